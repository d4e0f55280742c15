//! One client's connection: a stream in the clear, framed by our parser, and the classic log-in with SCRAM.
//!
//! It counts its flights: how often it waited for the server after it had said something.

use super::PASSWORD;
use super::tls::Socket;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use stonechat_sasl::client::Scram;
use stonechat_sasl::{Hash, decode, encode, prepare_password};
use stonechat_xml::{Element, Framing, Item, Limits, Parser};
use tokio::net::{TcpSocket, TcpStream};

/// How long an answer may take before the server is called silent. Nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(60);

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const SASL2: &str = "urn:xmpp:sasl:2";

/// Why a connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nobody listens, or the socket failed.
    Broken,
    /// The connection ended.
    Ended,
    /// The server closed its stream.
    Closed,
    /// The server ended the stream with this condition.
    Error(String),
    /// The server said nothing for a long while.
    Silent,
    /// The server refused what was asked.
    Refused(String),
}

pub struct Wire {
    stream: Socket,
    parser: Parser,
    buffer: Vec<u8>,
    spoke: bool,
    flights: u32,
}

impl Wire {
    /// Connects, from an address of its own if one is given.
    pub async fn dial(port: u16, source: Option<Ipv4Addr>) -> Result<Wire, Lost> {
        Ok(Wire::over(Socket::plain(Wire::connect(port, source).await?)))
    }

    /// The same, taking next to nothing ahead of what is read.
    pub async fn dial_narrow(port: u16) -> Result<Wire, Lost> {
        let socket = TcpSocket::new_v4().map_err(|_| Lost::Broken)?;
        socket.set_recv_buffer_size(4096).map_err(|_| Lost::Broken)?;
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.map_err(|_| Lost::Broken)?;
        Ok(Wire::over(Socket::plain(stream)))
    }

    /// The same, inside TLS.
    pub async fn dial_tls(port: u16, source: Option<Ipv4Addr>) -> Result<Wire, Lost> {
        let stream = Wire::connect(port, source).await?;
        match tokio::time::timeout(PATIENCE, Socket::secure(stream)).await {
            Ok(socket) => Ok(Wire::over(socket.map_err(|_| Lost::Broken)?)),
            Err(_) => Err(Lost::Silent),
        }
    }

    async fn connect(port: u16, source: Option<Ipv4Addr>) -> Result<TcpStream, Lost> {
        let socket = TcpSocket::new_v4().map_err(|_| Lost::Broken)?;
        if let Some(source) = source {
            socket.bind(SocketAddr::from((source, 0))).map_err(|_| Lost::Broken)?;
        }
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = socket.connect(target).await.map_err(|_| Lost::Broken)?;
        stream.set_nodelay(true).map_err(|_| Lost::Broken)?;
        Ok(stream)
    }

    fn over(stream: Socket) -> Wire {
        let parser = Parser::new(Framing::Stream, Limits::CLIENT);
        Wire { stream, parser, buffer: Vec::new(), spoke: false, flights: 0 }
    }

    /// How often it waited for an answer so far.
    pub fn flights(&self) -> u32 {
        self.flights
    }

    /// Reads whatever comes, and looks at none of it, until the connection ends.
    pub async fn discard(mut self) {
        let mut bytes = vec![0; 64 * 1024];
        while self.stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    }

    /// Whether the server has said something that was not read yet.
    pub async fn has_something(&mut self) -> bool {
        let mut bytes = [0; 64];
        // A socket that has something is ready at the first look.
        match tokio::time::timeout(Duration::ZERO, self.stream.read(&mut bytes)).await {
            Ok(read) => read.is_ok(),
            Err(_) => false,
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        self.spoke = true;
        match tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await {
            Ok(written) => written.map_err(|_| Lost::Broken),
            Err(_) => Err(Lost::Silent),
        }
    }

    pub async fn send(&mut self, element: &Element) -> Result<(), Lost> {
        let mut bytes = Vec::new();
        element.write(&mut bytes, "jabber:client");
        self.write(&bytes).await
    }

    /// The next element; pieces of it are kept when the wait is given up.
    pub async fn next(&mut self) -> Result<Element, Lost> {
        loop {
            let mut rest = self.buffer.as_slice();
            let item = self.parser.next(&mut rest);
            let item = item.unwrap_or_else(|error| {
                panic!("what the server writes is well-formed: {error}: {}", String::from_utf8_lossy(&self.buffer))
            });
            let used = self.buffer.len() - rest.len();
            self.buffer.drain(..used);
            match item {
                Some(Item::Frame(frame)) => return Ok(frame.to_element().unwrap()),
                Some(Item::Footer) => return Err(Lost::Closed),
                Some(_) => {}
                None => self.read().await?,
            }
        }
    }

    async fn read(&mut self) -> Result<(), Lost> {
        if std::mem::take(&mut self.spoke) {
            self.flights += 1;
        }
        let mut bytes = [0u8; 4096];
        match self.stream.read(&mut bytes).await {
            Ok(0) => Err(Lost::Ended),
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(_) => Err(Lost::Broken),
        }
    }

    /// The next element, which the server owes.
    pub async fn answer(&mut self) -> Result<Element, Lost> {
        tokio::time::timeout(PATIENCE, self.next()).await.unwrap_or(Err(Lost::Silent))
    }

    /// How a stream is opened.
    pub fn header() -> String {
        "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
            .to_owned()
    }

    /// Opens a stream; its features.
    pub async fn open(&mut self) -> Result<Element, Lost> {
        self.parser = Parser::new(Framing::Stream, Limits::CLIENT);
        self.write(Wire::header().as_bytes()).await?;
        self.expect("features").await
    }

    /// The element of this name, which the server owes.
    pub async fn expect(&mut self, name: &str) -> Result<Element, Lost> {
        let came = self.answer().await?;
        if came.name() == name { Ok(came) } else { Err(refusal(&came)) }
    }

    /// The classic log-in: SCRAM-SHA-256, and a new stream behind it; its features.
    pub async fn log_in(&mut self, name: &str) -> Result<Element, Lost> {
        let password = prepare_password(PASSWORD).unwrap();
        let mut scram = Scram::new(Hash::Sha256, name, &password, b"a nonce that is long enough", None);
        let initial = encode(&scram.initial());
        self.write(format!("<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{initial}</auth>").as_bytes()).await?;
        let challenge = self.expect("challenge").await?;
        let response = scram.respond(&decode(&challenge.text()).unwrap()).expect("an acceptable challenge");
        self.write(format!("<response xmlns='{SASL}'>{}</response>", encode(&response)).as_bytes()).await?;
        let success = self.expect("success").await?;
        scram.finish(&decode(&success.text()).unwrap()).expect("the server proves itself");
        self.open().await
    }

    /// The log-in of XEP-0388 with SCRAM-SHA-256, and what it is to bring along; the server's success.
    pub async fn log_in_with(&mut self, name: &str, wanted: &str) -> Result<Element, Lost> {
        let password = prepare_password(PASSWORD).unwrap();
        let mut scram = Scram::new(Hash::Sha256, name, &password, b"a nonce that is long enough", None);
        let initial = encode(&scram.initial());
        let authenticate = format!(
            "<authenticate xmlns='{SASL2}' mechanism='SCRAM-SHA-256'><initial-response>{initial}</initial-response>{wanted}\
             </authenticate>"
        );
        self.write(authenticate.as_bytes()).await?;
        let challenge = self.expect("challenge").await?;
        let response = scram.respond(&decode(&challenge.text()).unwrap()).expect("an acceptable challenge");
        self.write(format!("<response xmlns='{SASL2}'>{}</response>", encode(&response)).as_bytes()).await?;
        let success = self.expect("success").await?;
        let proof = success.child("additional-data", SASL2).map(Element::text).unwrap_or_default();
        scram.finish(&decode(&proof).unwrap()).expect("the server proves itself");
        Ok(success)
    }

    /// Binds a resource.
    pub async fn bind(&mut self, resource: &str) -> Result<(), Lost> {
        let bind = format!(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
        );
        self.write(bind.as_bytes()).await?;
        let bound = self.expect("iq").await?;
        if bound.attribute("type") == Some("result") { Ok(()) } else { Err(refusal(&bound)) }
    }

    /// Closes the stream and waits until the server has closed it too: `Closed`, or why it did not.
    pub async fn close(mut self) -> Lost {
        let written = self.write(b"</stream:stream>").await;
        let mut lost = written.err();
        while lost.is_none() {
            lost = self.answer().await.err();
        }
        lost.unwrap_or(Lost::Ended)
    }

    /// The connection is gone without a word: the kernel tells the server at once.
    pub fn cut(self) {
        drop(self);
    }

    /// The connection is gone and nobody tells the server: a tunnel. Whoever keeps what is returned keeps up the pretence.
    pub fn vanish(self) -> TcpStream {
        self.stream.into_stream()
    }
}

/// What an element that ends a negotiation says.
pub fn refusal(element: &Element) -> Lost {
    if element.is("error", "http://etherx.jabber.org/streams") {
        let condition = element.children().find(|child| child.namespace() == "urn:ietf:params:xml:ns:xmpp-streams");
        return Lost::Error(condition.map_or("none", Element::name).to_owned());
    }
    Lost::Refused(element.to_xml())
}
