//! A server process of the runner: started, waited for, stopped; its output kept for the case that it fails.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::ProcessTree;
use crate::{Error, Result};

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
    /// A site for each domain, on ports that are free now.
    pub(crate) fn all(domains: &[&str]) -> Result<Vec<Self>> {
        // Held together, so that they differ.
        let mut held = Vec::new();
        let mut sites = Vec::new();
        for domain in domains {
            let mut port = || {
                let listener = free()?;
                let port = listener.local_addr()?.port();
                held.push(listener);
                Ok::<_, Error>(port)
            };
            sites.push(Self { domain: (*domain).to_owned(), c2s: port()?, c2s_tls: port()?, s2s: port()? });
        }
        Ok(sites)
    }

    /// Every port that a server of this site listens on.
    pub(crate) fn ports(&self) -> [u16; 3] {
        [self.c2s, self.c2s_tls, self.s2s]
    }
}

/// A listener on a port below those that outgoing connections take: a client's socket must not sit on a server's port
/// while that server is away between two rows.
fn free() -> Result<TcpListener> {
    let first = 15_000 + u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    (first..32_000)
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .ok_or_else(|| "no port is free between 15000 and 32000".into())
}

/// A running process, ended when it is dropped.
pub(crate) struct Server {
    child: Child,
    output: PathBuf,
}

impl Server {
    /// Starts the command with its output in that file, and waits until all those ports accept.
    pub(crate) fn start(command: &mut Command, output: &Path, ports: &[u16]) -> Result<Self> {
        let file = File::create(output)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut server = Self { child, output: output.to_owned() };
        let deadline = Instant::now() + START_LIMIT;
        let mut closed = ports.to_vec();
        loop {
            closed.retain(|port| TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).is_err());
            if closed.is_empty() {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended at its start ({status}): {}", server.last_words()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("nothing on {closed:?} after {START_LIMIT:?}: {}", server.last_words()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sites_of_one_run_share_no_port() {
        let sites = Site::all(&["a.lab", "b.lab"]).unwrap();
        let ports: HashSet<u16> = sites.iter().flat_map(Site::ports).collect();
        assert_eq!(ports.len(), 6);
    }
}
