//! What whole-server tests stand on: clients of two kinds, with the same words.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod chance;
pub mod crowd;
pub mod device;
pub mod journal;
pub mod memory;
pub mod server;
pub mod socket;
pub mod tunnel;
pub mod wire;

use stonechat_xml::Element;

/// The accounts each server has, and their password.
pub const ACCOUNTS: [&str; 3] = ["romeo", "juliet", "nurse"];
pub const PASSWORD: &str = "wherefore art thou";

/// A connected client.
#[allow(async_fn_in_trait, reason = "tests only")]
pub trait Peer: Sized {
    type Server;
    async fn connect(server: &Self::Server, name: &str, resource: &str) -> Self;
    async fn send(&mut self, element: &Element);
    /// Waits until the server has done with everything sent before; what comes meanwhile is kept.
    async fn fence(&mut self);
    /// The next element; `None` when none comes in time.
    async fn receive(&mut self) -> Option<Element>;
    /// What has come already.
    fn already(&mut self) -> Option<Element>;
    async fn leave(self);
}

pub fn ping(id: &str) -> Element {
    Element::new("iq", "jabber:client")
        .with_attribute("type", "get")
        .with_attribute("id", id)
        .with_attribute("to", "localhost")
        .with_child(Element::new("ping", "urn:xmpp:ping"))
}
