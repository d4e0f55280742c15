//! A server process of the runner: started, waited for, stopped; its output kept for the case that it fails.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;
use crate::process::ProcessTree;

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Where one instance of a server listens, all on 127.0.0.1, and what it is called.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) domain: String,
    pub(crate) c2s: u16,
    pub(crate) c2s_tls: u16,
    pub(crate) s2s: u16,
}

impl Site {
    /// A site on ports that are free now.
    pub(crate) fn new(domain: &str) -> Result<Self> {
        // Held together, so that they differ.
        let held = [free()?, free()?, free()?];
        let [c2s, c2s_tls, s2s] = held.each_ref().map(|listener| listener.local_addr().map(|address| address.port()));
        Ok(Self { domain: domain.to_owned(), c2s: c2s?, c2s_tls: c2s_tls?, s2s: s2s? })
    }
}

fn free() -> Result<TcpListener> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)
}

/// A running process, ended when it is dropped.
pub(crate) struct Server {
    child: Child,
    output: PathBuf,
}

impl Server {
    /// Starts the command with its output in that file, and waits until the port accepts.
    pub(crate) fn start(command: &mut Command, output: &Path, port: u16) -> Result<Self> {
        let file = File::create(output)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut server = Self { child, output: output.to_owned() };
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended at its start ({status}): {}", server.last_words()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("nothing on port {port} after {START_LIMIT:?}: {}", server.last_words()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    pub(crate) fn process(&self) -> ProcessTree {
        ProcessTree(self.child.id())
    }

    /// Whether the process is still there; if not, why.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the server ended by itself ({status}): {}", self.last_words()).into()),
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.output).unwrap_or_default();
        let mut lines: Vec<&str> = text.lines().rev().take(12).map(str::trim).collect();
        lines.reverse();
        lines.join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
