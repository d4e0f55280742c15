//! The real binary: started, stopped, killed and started again on the same data.

use super::{ACCOUNTS, PASSWORD};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stonechat_jid::BareJid;
use stonechat_store::{Accounts as _, Offline as _, Others, Sessions as _, Share};
use stonechat_store_sqlite::SqliteStore;
use stonechat_xml::Element;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(30);

/// How much of its log is kept for a failing test.
const KEPT_LINES: usize = 50_000;

/// What stands in the configuration beside the listener and the one domain.
#[derive(Clone, Debug)]
pub struct Options {
    pub accounts: Vec<String>,
    /// Whether the archive is on.
    pub archive: Archive,
    /// What the one listener speaks.
    pub transport: Transport,
    /// Whether rates are limited: a crowd from one address is no use case.
    pub limits: Limits,
    /// `limits.memory`, as it stands in the file.
    pub memory: &'static str,
    /// What a shell does before it becomes the server: bounds of the process, for one.
    pub before: &'static str,
    /// What is logged.
    pub log: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    /// TLS from the first byte, with a certificate that the server makes.
    Tls,
    /// A port for each.
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    On,
    Off,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            accounts: ACCOUNTS.iter().map(|name| (*name).to_owned()).collect(),
            archive: Archive::On,
            transport: Transport::Plain,
            limits: Limits::On,
            memory: "\"auto\"",
            before: "true",
            log: "info",
        }
    }
}

impl Options {
    fn text(&self) -> String {
        let (plain, tls) = match self.transport {
            Transport::Plain => ("\"127.0.0.1:0\"", ""),
            Transport::Tls => ("", "\"127.0.0.1:0\""),
            Transport::Both => ("\"127.0.0.1:0\"", "\"127.0.0.1:0\""),
        };
        let mut text = format!(
            "domains = [\"localhost\"]\ndata_dir = \"data\"\n[listen]\nc2s = [{plain}]\nc2s_tls = [{tls}]\ns2s = []\ns2s_tls = []\n\
             [c2s]\nallow_plaintext = true\n"
        );
        if self.archive == Archive::Off {
            text.push_str("[archive]\nenabled = false\n");
        }
        let limits = self.limits == Limits::On;
        text.push_str(&format!("[limits]\nenabled = {limits}\nmemory = {}\n", self.memory));
        text
    }
}

/// Where the server listens. It moves with every start.
#[derive(Clone, Debug, Default)]
pub struct Port(Arc<AtomicU16>);

impl Port {
    pub fn get(&self) -> u16 {
        self.0.load(Ordering::Relaxed)
    }
    pub fn set(&self, port: u16) {
        self.0.store(port, Ordering::Relaxed);
    }
}

/// The last lines of the server's log.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap();
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
    /// The last lines that contain a word.
    pub fn with(&self, word: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.contains(word)).cloned().collect()
    }
}

pub struct Server {
    pub directory: tempfile::TempDir,
    /// In the clear, when there is such a port; else inside TLS.
    pub port: Port,
    /// Inside TLS.
    pub tls_port: Port,
    pub log: Log,
    options: Options,
    child: Child,
}

pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_stonechat"))
}

impl Server {
    pub async fn start() -> Server {
        Server::start_with(&Options::default()).await
    }

    pub async fn start_with(options: &Options) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("stonechat.toml");
        std::fs::write(&config, options.text()).unwrap();
        for name in &options.accounts {
            add_account(&config, &format!("{name}@localhost"));
        }
        let (port, tls_port, log) = (Port::default(), Port::default(), Log::default());
        let child = Server::spawn(directory.path(), options, [&port, &tls_port], &log).await;
        Server { directory, port, tls_port, log, options: options.clone(), child }
    }

    async fn spawn(directory: &Path, options: &Options, [port, tls_port]: [&Port; 2], log: &Log) -> Child {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{}; exec \"$0\" \"$@\"", options.before)])
            .arg(binary())
            .args(["serve", "--log-format", "json", "--log", options.log, "--config"])
            .arg(directory.join("stonechat.toml"))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let started = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let told = line.split_once("listening: c2s").and_then(|(_, rest)| rest.split_once(" 127.0.0.1:"));
                if let Some((_, rest)) = told {
                    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                    let told = digits.parse().expect("the port is told");
                    let inside_tls = line.contains("listening: c2s_tls");
                    if inside_tls {
                        tls_port.set(told);
                    }
                    if !inside_tls || options.transport == Transport::Tls {
                        port.set(told);
                    }
                }
                let ready = line.contains("server.ready");
                log.push(line);
                if ready {
                    return;
                }
            }
            panic!("the server ended before it was ready: {:#?}", log.with(""));
        };
        tokio::time::timeout(PATIENCE, started).await.expect("the server starts in time");
        // The log is read on, or the server would block on it.
        let log = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.push(line);
            }
        });
        child
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("stonechat.toml")
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }

    /// A new start on the same data.
    pub async fn restart(&mut self) {
        self.child = Server::spawn(self.directory.path(), &self.options, [&self.port, &self.tls_port], &self.log).await;
    }

    pub async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.restart().await;
    }

    /// SIGTERM, as an init system sends it, and its orderly end.
    pub async fn terminate(&mut self) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success(), "the signal is sent");
        self.ended().await;
    }

    /// `stonechat stop`, and its orderly end.
    pub async fn stopped(&mut self) {
        let status = Command::new(binary())
            .args(["stop", "--config"])
            .arg(self.config())
            .stdout(Stdio::null())
            .status()
            .await
            .unwrap();
        assert!(status.success(), "`stop` reaches the server");
        self.ended().await;
    }

    pub async fn stop(mut self) {
        self.stopped().await;
    }

    /// Stops, and tells what is kept for whoever comes first, of each account: what the store still holds.
    pub async fn kept(mut self, accounts: &[String]) -> Vec<(String, Element)> {
        self.stopped().await;
        let path = self.directory.path().join("data/stonechat.sqlite");
        let store = SqliteStore::open(&path, stonechat_store_sqlite::Options::default()).expect("the store opens");
        let mut kept = Vec::new();
        for name in accounts {
            let jid = BareJid::parse(&format!("{name}@localhost")).unwrap();
            let id = store.account(&jid).await.unwrap().expect("the account is there").id;
            // As when the time is up that these sessions have to come back.
            for holder in store.spool_holders(id).await.unwrap() {
                store.release_spool(id, holder.0, Others::None).await.unwrap();
            }
            for message in store.offline(id, Share::Anybodys, None, usize::MAX >> 1).await.unwrap() {
                kept.push((name.clone(), Element::parse(&message.stanza, "jabber:client").unwrap()));
            }
        }
        kept
    }

    async fn ended(&mut self) {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").unwrap();
        assert!(ended.success(), "an orderly end is a success");
    }
}

pub fn add_account(config: &Path, jid: &str) {
    let mut child = std::process::Command::new(binary())
        .args(["user", "add", jid, "--password-stdin", "--config"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    assert!(child.wait().unwrap().success(), "the account {jid} is made");
}
