//! Clients of scenarios that log in over a socket, in the clear, with SCRAM.

use super::wire::{Lost, Wire};
use super::{Peer, ping};
use std::collections::VecDeque;
use stonechat_xml::Element;

pub use super::server::Server;

pub struct Client {
    wire: Wire,
    kept: VecDeque<Element>,
    fences: u32,
}

impl Client {
    /// Fences, but says whether the server answered: it may have been killed.
    pub async fn try_fence(&mut self) -> Result<(), Lost> {
        self.fences += 1;
        let id = format!("fence-{}", self.fences);
        self.wire.send(&ping(&id)).await?;
        loop {
            let next = self.wire.answer().await?;
            if next.attribute("id") == Some(&id) {
                return Ok(());
            }
            self.kept.push_back(next);
        }
    }

    pub async fn try_send(&mut self, element: &Element) -> Result<(), Lost> {
        self.wire.send(element).await
    }
}

impl Peer for Client {
    type Server = Server;

    async fn connect(server: &Server, name: &str, resource: &str) -> Client {
        let mut wire = Wire::dial(server.port.get(), None).await.expect("the server listens");
        wire.open().await.expect("features");
        wire.log_in(name).await.expect("logged in");
        wire.bind(resource).await.expect("bound");
        Client { wire, kept: VecDeque::new(), fences: 0 }
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
            None => self.wire.answer().await.ok(),
        }
    }

    fn already(&mut self) -> Option<Element> {
        self.kept.pop_front()
    }

    async fn leave(self) {
        // The server closes too: then the others have been told.
        self.wire.close().await;
    }
}
