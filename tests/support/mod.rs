//! What whole-server tests stand on: clients of two kinds, with the same words.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod chance;
pub mod crowd;
pub mod device;
pub mod journal;
pub mod line;
pub mod memory;
pub mod script;
pub mod server;
pub mod socket;
pub mod tls;
pub mod tray;
pub mod tunnel;
pub mod wire;

use stonechat_xml::Element;
use tray::Tray;

/// The accounts each server has, and their password.
pub const ACCOUNTS: [&str; 3] = ["romeo", "juliet", "nurse"];
pub const PASSWORD: &str = "wherefore art thou";

/// Whether a client counts what it sends and gets (XEP-0198).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// It does, and may resume.
    Yes,
    No,
}

/// Whether somebody looks at a client (XEP-0352).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looking {
    Active,
    Inactive,
}

/// How a server ends before it is started again on the same data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fall {
    Stopped,
    Killed,
}

/// What a client that lost its connection knows.
pub struct Trace {
    pub name: String,
    pub resource: String,
    /// The id under which it may resume.
    pub session: String,
    pub tray: Tray,
}

/// A server that clients of its kind connect to.
#[allow(async_fn_in_trait, reason = "tests only")]
pub trait Host: Sized {
    async fn begin(archive: server::Archive) -> Self;
    async fn fall(&mut self, fall: Fall);
    async fn finish(self);
}

/// How somebody who wanted a session back came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comeback {
    Resumed,
    Anew,
}

/// A connected client.
#[allow(async_fn_in_trait, reason = "tests only")]
pub trait Peer: Sized {
    type Server: Host;
    async fn connect(server: &Self::Server, name: &str, resource: &str, counting: Counting) -> Self;
    /// Resumes; or, when it cannot, binds anew on the same stream, and counts.
    async fn resume(server: &Self::Server, trace: Trace) -> (Comeback, Self);
    async fn send(&mut self, element: &Element);
    /// What has come.
    fn tray(&mut self) -> &mut Tray;
    /// Waits for more to come; `None` when nothing comes in time.
    async fn pump(&mut self) -> Option<()>;
    async fn look(&mut self, looking: Looking);
    /// Tells the server how much it has got and seen.
    async fn acknowledge(&mut self);
    async fn leave(self);
    /// Its connection is gone.
    async fn lose(self) -> Trace;

    /// Asks for something of its own; what else comes meanwhile is kept.
    async fn ask(&mut self, request: Element) -> Element {
        let id = self.tray().ask();
        self.send(&request.with_attribute("id", id.clone())).await;
        loop {
            if let Some(answer) = self.tray().answer(&id) {
                return answer;
            }
            self.pump().await.expect("the server answers a request");
        }
    }

    /// Waits until the server has done with everything sent before; what comes meanwhile is kept.
    async fn fence(&mut self) {
        let answer = self.ask(ping_of("localhost")).await;
        assert_eq!(answer.attribute("type"), Some("result"), "the server answers a ping");
    }

    /// The next element; `None` when none comes in time.
    async fn receive(&mut self) -> Option<Element> {
        loop {
            if let Some(element) = self.tray().take() {
                return Some(element);
            }
            self.pump().await?;
        }
    }
}

fn ping_of(domain: &str) -> Element {
    Element::new("iq", "jabber:client")
        .with_attribute("type", "get")
        .with_attribute("to", domain)
        .with_child(Element::new("ping", "urn:xmpp:ping"))
}

pub fn ping(id: &str) -> Element {
    ping_of("localhost").with_attribute("id", id)
}
