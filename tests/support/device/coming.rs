//! How a device comes and goes: log-in, resumption, what a session needs, loss, and the way out.

use super::super::journal::What;
use super::super::server::Archive;
use super::super::wire::{Lost, Wire, refusal};
use super::super::{Looking, ping};
use super::{Back, CARBONS, CLIENT, Counted, Device, GHOSTS, LogIn, Loss, SM};
use std::collections::VecDeque;
use stonechat_xml::Element;

const BIND2: &str = "urn:xmpp:bind:0";

/// The id of a device's user agent: always the same for the same device.
fn uuid(account: &str, resource: &str) -> String {
    let digits = format!("{account}/{resource}")
        .bytes()
        .fold(0x811c_9dc5_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{:08x}-0000-4000-8000-{:012x}", digits >> 32, digits & 0xffff_ffff)
}

impl Device {
    /// Connects and logs in; resumes its session if it has one, otherwise begins one. Then whatever belongs to it: copies,
    /// presence, what was not acknowledged, the archive.
    pub async fn come_back(&mut self) -> Result<Back, Lost> {
        let came = self.try_come_back().await;
        self.keep(came)
    }

    async fn try_come_back(&mut self) -> Result<Back, Lost> {
        self.wire = None;
        let mut wire = match self.log_in {
            LogIn::Classic => Wire::dial(self.port.get(), self.source).await?,
            LogIn::AtOnce => Wire::dial_tls(self.port.get(), self.source).await?,
        };
        wire.open().await?;
        let back = match self.log_in {
            LogIn::Classic => {
                wire.log_in(&self.account).await?;
                self.wire = Some(wire);
                if self.try_resume().await? {
                    Back::Resumed
                } else {
                    self.begin().await?;
                    Back::Anew
                }
            }
            LogIn::AtOnce => {
                let wanted = self.wanted();
                let success = wire.log_in_with(&self.account, &wanted).await?;
                self.wire = Some(wire);
                if self.is_resumed(&success).await? {
                    Back::Resumed
                } else {
                    self.begun(&success)?;
                    Back::Anew
                }
            }
        };
        self.settle_in(back).await?;
        Ok(back)
    }

    /// What a log-in is to bring: the session that it has, or a new one.
    fn wanted(&self) -> String {
        let user_agent = uuid(&self.account, &self.resource);
        let resume = match &self.session {
            Some(Counted { id: Some(id), received, .. }) => {
                format!("<resume xmlns='{SM}' h='{received}' previd='{id}'/>")
            }
            _ => String::new(),
        };
        format!(
            "<user-agent id='{user_agent}'><software>ledger</software></user-agent>{resume}\
             <bind xmlns='{BIND2}'><tag>{}</tag><enable xmlns='{CARBONS}'/><enable xmlns='{SM}' resume='true'/></bind>",
            self.resource
        )
    }

    async fn is_resumed(&mut self, success: &Element) -> Result<bool, Lost> {
        let answer = success.child("resumed", SM).or_else(|| success.child("failed", SM));
        match (answer, self.session.is_some()) {
            (Some(answer), true) => self.resumption(answer).await,
            (None, false) => Ok(false),
            _ => Err(refusal(success)),
        }
    }

    fn begun(&mut self, success: &Element) -> Result<(), Lost> {
        let enabled = success.child("bound", BIND2).and_then(|bound| bound.child("enabled", SM));
        let id = enabled.ok_or_else(|| refusal(success))?.attribute("id").map(str::to_owned);
        self.fresh();
        self.copies = true;
        self.bound(id);
        Ok(())
    }

    async fn try_resume(&mut self) -> Result<bool, Lost> {
        let Some(Counted { id: Some(id), received, .. }) = &self.session else { return Ok(false) };
        let resume =
            Element::new("resume", SM).with_attribute("h", received.to_string()).with_attribute("previd", id.clone());
        self.wire()?.send(&resume).await?;
        let answer = self.wire()?.answer().await?;
        self.resumption(&answer).await
    }

    /// What the server says to a wish to resume.
    async fn resumption(&mut self, answer: &Element) -> Result<bool, Lost> {
        let h = answer.attribute("h").and_then(|h| h.parse().ok());
        if answer.is("resumed", SM) {
            let Some(h) = h else { return Err(Lost::Refused(answer.to_xml())) };
            self.journal.enter(self.id, What::Resumed { h });
            self.acknowledged(h);
            // §5: the rest is sent again.
            let again: Vec<_> = self.unacknowledged.iter().map(|waiting| waiting.stanza.clone()).collect();
            for message in self.unacknowledged.iter().filter_map(|waiting| waiting.message.clone()) {
                self.journal.enter(self.id, What::Sent { message: message.0, to: message.1 });
            }
            for stanza in again {
                self.wire()?.send(&stanza).await?;
            }
            Ok(true)
        } else if answer.is("failed", SM) {
            self.journal.enter(self.id, What::NotResumed { h });
            // What is known of a session that is lost may lag behind what was told while it was there.
            let lags = |h: u32, told: u32| told.wrapping_sub(h) < u32::MAX / 2;
            if let (Some(h), Some(session)) = (h, &self.session)
                && !lags(h, session.acknowledged)
            {
                self.acknowledged(h);
            }
            self.session = None;
            Ok(false)
        } else {
            Err(refusal(answer))
        }
    }

    async fn begin(&mut self) -> Result<(), Lost> {
        self.fresh();
        let resource = self.resource.clone();
        self.wire()?.bind(&resource).await?;
        let enable = Element::new("enable", SM).with_attribute("resume", "true");
        self.wire()?.send(&enable).await?;
        // What was addressed to the resource may come before, and is not counted.
        let enabled = loop {
            let came = self.wire()?.answer().await?;
            match came.namespace() {
                CLIENT => self.handle(came).await?,
                _ if came.is("enabled", SM) => break came,
                _ => return Err(refusal(&came)),
            }
        };
        self.bound(enabled.attribute("id").map(str::to_owned));
        Ok(())
    }

    /// Nothing of the session before counts any more.
    fn fresh(&mut self) {
        self.session = None;
        (self.copies, self.present, self.there, self.caught_up, self.ahead) = (false, false, false, false, None);
        self.looking = Looking::Active;
    }

    fn bound(&mut self, id: Option<String>) {
        if id.is_none() {
            self.broke("the session cannot be resumed");
        }
        self.session = Some(Counted { id, received: 0, acknowledged: 0 });
        self.journal.enter(self.id, What::Bound);
    }

    /// What a session needs, as far as it has not got it yet.
    async fn settle_in(&mut self, back: Back) -> Result<(), Lost> {
        // What was not acknowledged in an older session is sent again, messages only, before anything new.
        let mut again = VecDeque::new();
        if back == Back::Anew {
            again = std::mem::take(&mut self.unacknowledged);
            again.retain(|waiting| waiting.message.is_some());
        }
        // They are in the queue even if the connection is lost while they are sent.
        self.unacknowledged.extend(again.drain(..));
        if back == Back::Anew {
            for (message, to) in self.unacknowledged.iter().filter_map(|waiting| waiting.message.clone()) {
                self.journal.enter(self.id, What::Sent { message, to });
            }
            let again: Vec<_> = self.unacknowledged.iter().map(|waiting| waiting.stanza.clone()).collect();
            for stanza in again {
                self.wire()?.send(&stanza).await?;
            }
        }
        if !self.copies {
            let enable =
                Element::new("iq", CLIENT).with_attribute("type", "set").with_child(Element::new("enable", CARBONS));
            self.request(enable).await?;
            self.copies = true;
        }
        // Some clients ask the archive before they say that they are there, to have something to show. They have to ask
        // again: what came in between was kept, and another device may have been the first to take it.
        if self.messages.is_multiple_of(2) && !self.present && self.archive == Archive::On {
            self.read_pages().await?;
        }
        if !self.present {
            self.send(Element::new("presence", CLIENT), None).await?;
            self.present = true;
        }
        if !self.there {
            self.request(ping("")).await?;
            self.there = true;
            self.journal.enter(self.id, What::There);
        }
        if self.archive == Archive::On && !self.caught_up {
            self.catch_up().await?;
        }
        if self.looking == Looking::Inactive {
            self.say_looking().await?;
        }
        Ok(())
    }

    /// Loses its connection.
    pub async fn lose(&mut self, loss: Loss) {
        let Some(mut wire) = self.wire.take() else { return };
        self.note(format!("loses its connection: {loss:?}"));
        match loss {
            Loss::Cut => wire.cut(),
            Loss::Vanish => {
                self.ghosts.push_back(wire.vanish());
                if self.ghosts.len() > GHOSTS {
                    self.ghosts.pop_front();
                }
            }
            Loss::Torn => {
                let _ = wire.write(b"<message to='nobody@localhost'><body>half of ").await;
                wire.cut();
            }
        }
    }

    /// Acknowledges what it has got, closes its stream and is away. What comes after that it has not seen.
    pub async fn leave(&mut self) {
        let answered = self.acknowledge().await;
        if self.keep(answered).is_ok()
            && let Some(wire) = self.wire.take()
        {
            self.note("leaves");
            // Until the server has closed its stream too, it may not know, and what it has not acknowledged yet is not lost.
            match wire.close().await {
                Lost::Closed => self.session = None,
                other => self.note(format!("does not hear the end: {other:?}")),
            }
        }
    }
}
