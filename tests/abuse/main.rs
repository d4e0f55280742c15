//! Abuse cases that show in the whole server only: the real binary, against clients that do what they should not, and with
//! less of everything than it would like.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod crowds;
mod memory;
mod scarce;
mod stanzas;

use stonechat_xml::Element;
use support::server::Server;
use support::wire::{Lost, Wire};

const CLIENT: &str = "jabber:client";
const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// A bound client.
struct Person {
    wire: Wire,
    fences: u32,
}

impl Person {
    async fn bound(server: &Server, name: &str, resource: &str) -> Person {
        let wire = Wire::dial(server.port.get(), None).await.expect("the server listens");
        Person::bound_over(wire, name, resource).await
    }

    async fn bound_over(mut wire: Wire, name: &str, resource: &str) -> Person {
        wire.open().await.expect("features");
        wire.log_in(name).await.expect("logged in");
        wire.bind(resource).await.expect("bound");
        Person { wire, fences: 0 }
    }

    async fn present(server: &Server, name: &str, resource: &str) -> Person {
        let mut person = Person::bound(server, name, resource).await;
        person.say("<presence/>").await;
        person.heard().await;
        person
    }

    async fn say(&mut self, text: &str) {
        self.wire.write(text.as_bytes()).await.expect("the server takes it");
    }

    /// What came until the server had worked off everything that was said before.
    async fn heard(&mut self) -> Vec<Element> {
        self.try_heard().await.expect("the server answers a ping")
    }

    async fn try_heard(&mut self) -> Result<Vec<Element>, Lost> {
        self.fences += 1;
        let id = format!("fence-{}", self.fences);
        self.wire.send(&support::ping(&id)).await?;
        let mut heard = Vec::new();
        loop {
            let element = self.wire.answer().await?;
            if element.attribute("id") == Some(&id) {
                return Ok(heard);
            }
            heard.push(element);
        }
    }

    /// Reads until the stream ends; the condition of a stream error.
    async fn ended_with(&mut self) -> Option<String> {
        loop {
            match self.wire.answer().await {
                Ok(element) if element.name() == "error" && element.namespace() != CLIENT => {
                    let condition = element.children().next().map(|child| child.name().to_owned());
                    return condition;
                }
                Ok(_) => {}
                Err(Lost::Silent) => panic!("the stream does not end"),
                Err(_) => return None,
            }
        }
    }
}

/// The condition of a stanza error.
fn condition(stanza: &Element) -> Option<&str> {
    let error = stanza.child("error", CLIENT)?;
    error.children().find(|child| child.namespace() == STANZAS && child.name() != "text").map(Element::name)
}
