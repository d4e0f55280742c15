//! The server's life, with the real binary: whoever can connect can be administered, and signals are heard from the first
//! moment.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::server;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with a configuration that listens at a port which was free a moment ago.
async fn set_up() -> (tempfile::TempDir, u16) {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "domains = [\"localhost\"]\ndata_dir = \"data\"\n[listen]\nc2s = [\"127.0.0.1:{port}\"]\nc2s_tls = []\ns2s = []\n\
         s2s_tls = []\n"
    );
    std::fs::write(directory.path().join("stonechat.toml"), text).unwrap();
    (directory, port)
}

fn serve(directory: &Path) -> Child {
    Command::new(server::binary())
        .args(["serve", "--log-format", "json", "--config"])
        .arg(directory.join("stonechat.toml"))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

async fn ends_well(mut child: Child) {
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends in time").unwrap();
    assert!(ended.success(), "an orderly end is a success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_connections_takes_commands() {
    for _ in 0..5 {
        let (directory, port) = set_up().await;
        let mut child = serve(directory.path());
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let connected = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, connected).await.expect("it listens");
        let config = directory.path().join("stonechat.toml");
        server::add_account(&config, "romeo@localhost");
        signal(&child, "TERM");
        ends_well(child).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_in_the_first_moment_ends_in_order() {
    for name in ["TERM", "INT"] {
        let (directory, _) = set_up().await;
        let mut child = serve(directory.path());
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = async {
            while let Some(line) = log.next_line().await.unwrap() {
                if line.contains("server.ready") {
                    return;
                }
            }
            panic!("it ended before it was ready");
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("it is ready");
        signal(&child, name);
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        ends_well(child).await;
    }
}
