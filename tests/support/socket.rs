//! Clients of scenarios that log in over a socket, in the clear, with SCRAM.

use super::device::{CSI, SM};
use super::server::{Archive, Options, Server};
use super::tray::Tray;
use super::wire::{Lost, PATIENCE, Wire};
use super::{Comeback, Counting, Fall, Host, Looking, Peer, Trace};
use stonechat_xml::Element;

impl Host for Server {
    async fn begin(archive: Archive) -> Server {
        Server::start_with(&Options { archive, ..Options::default() }).await
    }
    async fn fall(&mut self, fall: Fall) {
        match fall {
            Fall::Stopped => self.stopped().await,
            Fall::Killed => self.kill().await,
        }
        self.restart().await;
    }
    async fn finish(self) {
        self.stop().await;
    }
}

pub struct Client {
    wire: Wire,
    name: String,
    resource: String,
    session: Option<String>,
    tray: Tray,
}

impl Client {
    async fn log_in(server: &Server, name: &str) -> Wire {
        let mut wire = Wire::dial(server.port.get(), None).await.expect("the server listens");
        wire.open().await.expect("features");
        wire.log_in(name).await.expect("logged in");
        wire
    }

    async fn bind(mut wire: Wire, name: &str, resource: &str, counting: Counting) -> Client {
        wire.bind(resource).await.expect("bound");
        let (name, resource) = (name.to_owned(), resource.to_owned());
        let mut client = Client { wire, name, resource, session: None, tray: Tray::default() };
        if counting == Counting::Yes {
            client.try_send(&Element::new("enable", SM).with_attribute("resume", "true")).await.expect("taken");
            let enabled = client.wire.expect("enabled").await.expect("enabled");
            client.session = Some(enabled.attribute("id").expect("it may be resumed").to_owned());
            client.tray.count();
        }
        client
    }

    /// Puts what came where it belongs.
    fn take_in(&mut self, element: Element) {
        // Counts and requests for them are not for the script; requests are answered when it says so.
        if element.namespace() == "jabber:client" {
            self.tray.put(element);
        }
    }

    /// Fences, but says whether the server answered: it may have been killed.
    pub async fn try_fence(&mut self) -> Result<(), Lost> {
        let id = self.tray.ask();
        self.try_send(&super::ping(&id)).await?;
        while self.tray.answer(&id).is_none() {
            let element = self.wire.answer().await?;
            self.take_in(element);
        }
        Ok(())
    }

    pub async fn try_send(&mut self, element: &Element) -> Result<(), Lost> {
        self.wire.send(element).await
    }
}

impl Peer for Client {
    type Server = Server;

    async fn connect(server: &Server, name: &str, resource: &str, counting: Counting) -> Client {
        Client::bind(Client::log_in(server, name).await, name, resource, counting).await
    }

    async fn resume(server: &Server, trace: Trace) -> (Comeback, Client) {
        let mut wire = Client::log_in(server, &trace.name).await;
        let resume = Element::new("resume", SM)
            .with_attribute("h", trace.tray.handled().to_string())
            .with_attribute("previd", trace.session.clone());
        wire.send(&resume).await.expect("taken");
        let answer = wire.answer().await.expect("an answer");
        if !answer.is("resumed", SM) {
            assert!(answer.is("failed", SM), "{}", answer.to_xml());
            return (Comeback::Anew, Client::bind(wire, &trace.name, &trace.resource, Counting::Yes).await);
        }
        let Trace { name, resource, session, tray } = trace;
        (Comeback::Resumed, Client { wire, name, resource, session: Some(session), tray })
    }

    async fn send(&mut self, element: &Element) {
        self.try_send(element).await.expect("the server takes what is sent");
    }

    fn tray(&mut self) -> &mut Tray {
        &mut self.tray
    }

    async fn pump(&mut self) -> Option<()> {
        let element = tokio::time::timeout(PATIENCE, self.wire.next()).await.ok()?.ok()?;
        self.take_in(element);
        Some(())
    }

    async fn look(&mut self, looking: Looking) {
        let name = match looking {
            Looking::Active => "active",
            Looking::Inactive => "inactive",
        };
        self.send(&Element::new(name, CSI)).await;
    }

    async fn acknowledge(&mut self) {
        self.send(&Element::new("a", SM).with_attribute("h", self.tray.handled().to_string())).await;
    }

    async fn leave(self) {
        // The server closes too: then the others have been told.
        self.wire.close().await;
    }

    async fn lose(self) -> Trace {
        self.wire.cut();
        let session = self.session.unwrap_or_default();
        Trace { name: self.name, resource: self.resource, session, tray: self.tray.lose() }
    }
}
