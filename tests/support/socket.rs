//! The real binary, and clients that log in over a socket in the clear with SCRAM.

use super::{ACCOUNTS, PASSWORD, Peer, ping};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use stonechat_sasl::client::Scram;
use stonechat_sasl::{Hash, decode, encode, prepare_password};
use stonechat_xml::{Element, Framing, Item, Limits, Parser};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(10);

pub struct Server {
    pub directory: tempfile::TempDir,
    pub port: u16,
    child: Child,
}

pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_stonechat"))
}

impl Server {
    pub async fn start() -> Server {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("stonechat.toml"),
            "domains = [\"localhost\"]\ndata_dir = \"data\"\n[listen]\nc2s = [\"127.0.0.1:0\"]\nc2s_tls = []\ns2s = []\n\
             s2s_tls = []\n[c2s]\nallow_plaintext = true\n",
        )
        .unwrap();
        for name in ACCOUNTS {
            add_account(&directory.path().join("stonechat.toml"), &format!("{name}@localhost"));
        }
        let (child, port) = Server::spawn(directory.path()).await;
        Server { directory, port, child }
    }

    async fn spawn(directory: &Path) -> (Child, u16) {
        let mut child = Command::new(binary())
            .args(["serve", "--log-format", "json", "--config"])
            .arg(directory.join("stonechat.toml"))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let started = async {
            let mut port = None;
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, rest)) = line.split_once("listening: c2s 127.0.0.1:") {
                    port = rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
                }
                if line.contains("server.ready") {
                    return port.expect("the port was told");
                }
            }
            panic!("the server ended before it was ready");
        };
        let port = tokio::time::timeout(PATIENCE, started).await.expect("the server starts in time");
        // The log is read on, or the server would block on it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        (child, port)
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("stonechat.toml")
    }

    /// SIGKILL, and a new start on the same data.
    pub async fn kill_and_restart(&mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
        let (child, port) = Server::spawn(self.directory.path()).await;
        self.child = child;
        self.port = port;
    }

    pub async fn stop(mut self) {
        let status = Command::new(binary()).args(["stop", "--config"]).arg(self.config()).status().await.unwrap();
        assert!(status.success(), "`stop` reaches the server");
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

pub struct Client {
    stream: TcpStream,
    parser: Parser,
    buffer: Vec<u8>,
    kept: VecDeque<Element>,
    fences: u32,
}

impl Client {
    async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn open(&mut self) {
        self.parser = Parser::new(Framing::Stream, Limits::CLIENT);
        self.buffer.clear();
        self.write(
            "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
        )
        .await;
        let features = self.next().await.expect("features");
        assert_eq!(features.name(), "features");
    }

    /// The next element; `None` when the stream ends.
    async fn next(&mut self) -> Option<Element> {
        loop {
            let mut rest = self.buffer.as_slice();
            let item = self.parser.next(&mut rest).expect("what the server writes is well-formed");
            let used = self.buffer.len() - rest.len();
            self.buffer.drain(..used);
            match item {
                Some(Item::Frame(frame)) => return Some(frame.to_element().unwrap()),
                Some(Item::Footer) => return None,
                Some(_) => {}
                None => {
                    let mut bytes = [0u8; 4096];
                    let count = self.stream.read(&mut bytes).await.ok()?;
                    if count == 0 {
                        return None;
                    }
                    self.buffer.extend_from_slice(&bytes[..count]);
                }
            }
        }
    }

    async fn in_time(&mut self) -> Option<Element> {
        tokio::time::timeout(PATIENCE, self.next()).await.ok().flatten()
    }

    /// Fences, but says whether the server answered: it may have been killed.
    pub async fn try_fence(&mut self) -> Option<()> {
        self.fences += 1;
        let id = format!("fence-{}", self.fences);
        let mut bytes = Vec::new();
        ping(&id).write(&mut bytes, "jabber:client");
        self.stream.write_all(&bytes).await.ok()?;
        loop {
            let next = self.in_time().await?;
            if next.attribute("id") == Some(&id) {
                return Some(());
            }
            self.kept.push_back(next);
        }
    }

    pub async fn try_send(&mut self, element: &Element) -> Option<()> {
        let mut bytes = Vec::new();
        element.write(&mut bytes, "jabber:client");
        self.stream.write_all(&bytes).await.ok()
    }
}

impl Peer for Client {
    type Server = Server;

    async fn connect(server: &Server, name: &str, resource: &str) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        let parser = Parser::new(Framing::Stream, Limits::CLIENT);
        let mut client = Client { stream, parser, buffer: Vec::new(), kept: VecDeque::new(), fences: 0 };
        client.open().await;
        let password = prepare_password(PASSWORD).unwrap();
        let mut scram = Scram::new(Hash::Sha256, name, &password, b"a nonce that is long enough", None);
        let initial = encode(&scram.initial());
        client
            .write(&format!(
                "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>{initial}</auth>"
            ))
            .await;
        let challenge = client.in_time().await.expect("a challenge");
        let response = scram.respond(&decode(&challenge.text()).unwrap()).unwrap();
        client
            .write(&format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</response>", encode(&response)))
            .await;
        let success = client.in_time().await.expect("success");
        assert_eq!(success.name(), "success");
        scram.finish(&decode(&success.text()).unwrap()).expect("the server proves itself");
        client.open().await;
        client
            .write(&format!(
                "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
            ))
            .await;
        let bound = client.in_time().await.expect("bound");
        assert_eq!(bound.attribute("type"), Some("result"));
        client
    }

    async fn send(&mut self, element: &Element) {
        self.try_send(element).await.expect("the server takes what is sent");
    }

    async fn fence(&mut self) {
        self.try_fence().await.expect("the server answers a ping");
    }

    async fn receive(&mut self) -> Option<Element> {
        match self.kept.pop_front() {
            Some(element) => Some(element),
            None => self.in_time().await,
        }
    }

    fn already(&mut self) -> Option<Element> {
        self.kept.pop_front()
    }

    async fn leave(mut self) {
        self.write("</stream:stream>").await;
        // The server closes too: then the others have been told.
        while self.in_time().await.is_some() {}
    }
}
