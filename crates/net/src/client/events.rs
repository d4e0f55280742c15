//! What a client's session does with what its stream's machine has to say: it asks the router, and answers.
//!
//! [`Driver::note`] takes what needs no waiting. The others wait for the store or for work of the blocking pool, and the
//! machine takes no input meanwhile.

use super::{ClientTransport, Driver, Going, secure};
use crate::bucket::Spent;
use crate::device;
use crate::tls::{self, Choice};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain, FullJid};
use stonechat_router::{
    Attention, BindError, ClientSession, Ending, NotResumed, Outbox, RESUMPTION, Resumable, SessionFacts, Turn,
};
use stonechat_sasl::{Lookup, Verdict};
use stonechat_stanza::{Stanza, StanzaCondition, StreamCondition, StreamError};
use stonechat_store::AccountState;
use stonechat_stream::c2s::{
    Bind2Request, Bound2, Carbons, ClientState, Command, Enabled, Event, Failed, ResumeRequest, Resumed, Resumption,
};
use stonechat_stream::{Closed, Token};
use tracing::{debug, error, info, warn};

fn resumable(resumption: Resumption) -> Resumable {
    match resumption {
        Resumption::Wanted { .. } => Resumable::Yes,
        Resumption::NotWanted => Resumable::No,
    }
}

async fn enable(session: &mut ClientSession, resumption: Resumption) -> Enabled {
    let id = session.enable_counting(resumable(resumption)).await.map(|id| id.text());
    let max = id.as_ref().map(|_| u32::try_from(RESUMPTION.as_secs()).unwrap_or(u32::MAX));
    Enabled { id, max }
}

impl Driver {
    /// Takes what needs no waiting; gives back what does.
    pub(super) fn note(&mut self, event: Event, turn: &mut Turn) -> Option<Event> {
        let now = Instant::now();
        match event {
            Event::Reply(reply) => {
                if let Some(session) = &mut self.session {
                    session.answered(reply.as_ref(), turn);
                }
            }
            Event::Acknowledged(handled) => {
                if let Some(Err(sent)) = self.session.as_mut().map(|session| session.acknowledged(handled, turn)) {
                    self.machine.command(now, Command::AcknowledgedTooMuch { h: handled, sent });
                }
            }
            Event::AcknowledgementRequested => {
                self.owed = self.session.as_ref().map(ClientSession::received);
            }
            Event::ClientState(state) => {
                let attention = match state {
                    ClientState::Active => Attention::Active,
                    ClientState::Inactive => Attention::Inactive,
                };
                if let Some(session) = &mut self.session {
                    session.set_attention(attention, turn);
                }
            }
            Event::AuthenticationFailed(failed) => self.on_failed(&failed, now),
            Event::Authenticated(account) => self.account = Some(account),
            other => return Some(other),
        }
        None
    }

    /// Answers what needs waiting.
    pub(super) async fn on_event(&mut self, event: Event) -> Going {
        let now = Instant::now();
        match event {
            Event::StartTls(domain) => return self.on_start_tls(&domain).await,
            Event::Enable(token, resumption) => self.on_enable(token, resumption).await,
            Event::Resume(token, request) => self.on_resume(token, request).await,
            Event::Lookup(token, account) => {
                self.login = self.front.router.login_start();
                let lookup = self.look_up(&account).await;
                self.machine.command(Instant::now(), Command::Credentials(token, lookup));
            }
            Event::CheckPassword(token, password, credentials) => {
                let verdict = match self.place.spend_authentication(now) {
                    Spent::Refused => Verdict::Unavailable,
                    Spent::Granted => match self.front.router.verify_password(*credentials, password).await {
                        Some(true) => Verdict::Accepted,
                        Some(false) => Verdict::Refused,
                        None => Verdict::Unavailable,
                    },
                };
                self.machine.command(Instant::now(), Command::PasswordChecked(token, verdict));
            }
            Event::Authorized(token, authorized) => {
                let admitted = device::admit(&self.front.router, self.login, &authorized).await;
                self.account = Some(authorized.account);
                self.device = authorized.device.map(|device| device.id.into());
                let command = match admitted {
                    Ok(granted) => Command::Granted(token, granted),
                    Err(failure) => Command::Denied(token, failure),
                };
                self.machine.command(Instant::now(), command);
            }
            Event::LookupTokens(token, of) => {
                self.login = self.front.router.login_start();
                let lookup = device::candidates(&self.front.router, &of).await;
                self.machine.command(Instant::now(), Command::Tokens(token, lookup));
            }
            Event::Upgraded(token, account, hash, keys) => {
                device::add_keys(&self.front.router, self.login, &account, hash, keys).await;
                self.machine.command(Instant::now(), Command::Upgraded(token));
            }
            Event::Bind(token, account, resource) => {
                let bound = self.bind(&account, resource.as_deref(), None).await;
                let command = match bound {
                    Ok(jid) => Command::Bound(token, jid),
                    Err(BindError::Refused(error)) => Command::BindRefused(token, error),
                    Err(BindError::NotAllowed) => Command::Close(Some(StreamCondition::NotAuthorized.into())),
                };
                self.machine.command(Instant::now(), command);
            }
            Event::Bind2(token, request) => {
                let command = match self.on_bind2(&request).await {
                    Ok(bound) => Command::Bound2(token, bound),
                    Err(BindError::Refused(error)) => Command::BindRefused(token, error),
                    Err(BindError::NotAllowed) => Command::Close(Some(StreamCondition::NotAuthorized.into())),
                };
                self.machine.command(Instant::now(), command);
            }
            Event::Register(domain, stanza) => {
                if self.place.spend_authentication(now) == Spent::Refused {
                    let error = StreamError::new(StreamCondition::PolicyViolation)
                        .with_text("too many registrations from your address");
                    self.machine.command(now, Command::Close(Some(error)));
                } else if let Some(reply) = self.front.router.answer_registration(&domain, &stanza).await {
                    self.machine.command(Instant::now(), Command::Send(reply));
                }
            }
            Event::Leaving => {
                if let Some(session) = &mut self.session {
                    session.settle().await;
                }
                self.machine.command(now, Command::Leave);
                // The end follows at once, and takes our own last word with it.
                return Going::On;
            }
            Event::Closed(closed) => {
                if matches!(closed, Closed::Cleanly) {
                    self.ending = Ending::Closed;
                }
                match &closed {
                    Closed::ByUs(reason) => {
                        info!(event = "c2s.closed", peer = %self.peer, reason = reason.condition.name(), "a stream was ended");
                    }
                    _ => debug!(event = "c2s.closed", peer = %self.peer, ?closed, "a stream ended"),
                }
                self.take_leave();
                return Going::Ended;
            }
            // A stanza goes its own way, and the others are taken by `note`.
            Event::Stanza(_)
            | Event::Reply(_)
            | Event::Acknowledged(_)
            | Event::AcknowledgementRequested
            | Event::ClientState(_)
            | Event::AuthenticationFailed(_)
            | Event::Authenticated(_) => {}
        }
        self.transmit()
    }

    async fn bind(
        &mut self,
        account: &BareJid,
        resource: Option<&str>,
        counts: Option<Resumable>,
    ) -> Result<FullJid, BindError> {
        let facts = SessionFacts { counts, ..self.facts() };
        let outbox: Arc<dyn Outbox> = self.link.clone();
        // Nothing overtakes the answer.
        self.link.cork();
        let session = self.front.router.bind(account, resource, outbox, facts).await?;
        info!(event = "c2s.bound", jid = %session.jid(), peer = %self.peer, "a client is there");
        let jid = session.jid().clone();
        self.session = Some(session);
        Ok(jid)
    }

    /// A stanza of the client goes its way.
    pub(super) async fn on_stanza(&mut self, stanza: Stanza, turn: &mut Turn) -> Going {
        let Some(session) = &mut self.session else { return Going::Ended };
        if let Some(bucket) = &mut self.stanzas {
            let wait = bucket.spend(1, Instant::now());
            if !wait.is_zero() {
                self.paused_until = self.paused_until.max(Instant::now().checked_add(wait));
            }
        }
        // P6: a panic costs this stream, nobody else's.
        let accepted = AssertUnwindSafe(session.accept(stanza, turn)).catch_unwind().await;
        if accepted.is_err() {
            error!(event = "c2s.panicked", peer = %self.peer, "handling a stanza panicked");
            self.machine.command(Instant::now(), Command::Close(Some(StreamCondition::InternalServerError.into())));
        }
        Going::On
    }

    fn facts(&self) -> SessionFacts {
        SessionFacts {
            connection: self.describe(),
            device: self.device.as_deref().map(str::to_owned),
            instead_of: self.instead_of.as_deref().map(str::to_owned),
            counts: None,
            login: Some(self.login),
        }
    }

    /// XEP-0198 §3: from here on both directions are counted. Nothing that is counted overtakes the answer, and nothing that
    /// is not counted stands behind it: the router corks the link as it begins to count.
    async fn on_enable(&mut self, token: Token, resumption: Resumption) {
        let command = match &mut self.session {
            Some(session) => Command::Enabled(token, enable(session, resumption).await),
            None => Command::EnableRefused(token, StanzaCondition::UnexpectedRequest),
        };
        self.machine.command(Instant::now(), command);
    }

    /// XEP-0386: a resource, and everything else that a session begins with, in one exchange.
    async fn on_bind2(&mut self, request: &Bind2Request) -> Result<Bound2, BindError> {
        let router = self.front.router.clone();
        let resource = router.resource_of(&request.account, request.tag.as_deref(), request.device.as_deref());
        let jid = self.bind(&request.account, Some(&resource), request.enable.map(resumable)).await?;
        let archive = router.archive_bounds(&request.account).await;
        let mut enabled = None;
        if let Some(session) = &mut self.session {
            session.reads_history();
            if request.carbons == Carbons::On {
                session.enable_carbons();
            }
            if let Some(resumption) = request.enable {
                enabled = Some(enable(session, resumption).await);
            }
            if request.state == ClientState::Inactive {
                session.set_attention(Attention::Inactive, &mut Turn::new());
            }
        }
        Ok(Bound2 { jid, archive, enabled })
    }

    /// XEP-0198 §5: the session comes back, with what was not acknowledged behind the answer.
    async fn on_resume(&mut self, token: Token, request: ResumeRequest) {
        self.link.cork();
        let facts = self.facts();
        let outbox: Arc<dyn Outbox> = self.link.clone();
        let ResumeRequest { account, previd, h } = request;
        let command = match self.front.router.resume(&account, &previd, h, outbox, facts).await {
            Ok((session, h)) => {
                info!(event = "c2s.resumed", jid = %session.jid(), peer = %self.peer, "a client is back");
                let jid = session.jid().clone();
                self.session = Some(session);
                Command::Resumed(token, Resumed { jid, h })
            }
            Err(NotResumed::Unknown(h)) => {
                self.instead_of = Some(previd.into());
                Command::ResumeRefused(token, h)
            }
            Err(NotResumed::TooMuch { handled, sent }) => Command::AcknowledgedTooMuch { h: handled, sent },
        };
        self.machine.command(Instant::now(), command);
    }

    /// Tells the client what was handled once everything that it had sent before it asked is safe. What it sends meanwhile
    /// goes on being read.
    pub(super) fn acknowledge(&mut self) {
        let (Some(owed), Some(session)) = (self.owed, &mut self.session) else { return };
        let handled = session.handled();
        // Counts go around at 2^32.
        if handled.wrapping_sub(owed) <= u32::MAX / 2 {
            self.owed = None;
            self.machine.command(Instant::now(), Command::Acknowledge(handled));
        }
    }

    async fn on_start_tls(&mut self, domain: &Domain) -> Going {
        if self.transmit() == Going::Ended {
            return Going::Ended;
        }
        let choice = match self.front.certificates.of(domain) {
            Some(certificate) => Choice::Fixed(certificate),
            None => Choice::ByServerName(&self.front.certificates),
        };
        match secure(&self.front, &self.link, &mut self.machine, choice).await {
            Ok(()) => Going::On,
            Err(source) => {
                debug!(event = "c2s.tls_failed", peer = %self.peer, %source, "a TLS handshake failed");
                Going::Ended
            }
        }
    }

    async fn look_up(&self, account: &BareJid) -> Lookup {
        match self.front.router.store().account(account).await {
            Ok(Some(account)) => match account.state {
                AccountState::Active => Lookup::Found(account.credentials),
                AccountState::Locked => Lookup::Locked(account.credentials),
            },
            Ok(None) => Lookup::Unknown,
            Err(source) => {
                error!(event = "c2s.lookup_failed", %source, "the store could not be asked for an account");
                Lookup::Unavailable
            }
        }
    }

    fn on_failed(&mut self, failed: &Failed, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.place.spend_authentication(now);
        // Abuse case 54: slower with each failure, for this connection alone, so that nobody can lock another out.
        self.paused_until = now.checked_add(Duration::from_millis(500).saturating_mul(self.failures));
        match failed.notice {
            Some(notice) => warn!(
                event = "c2s.login_suspicious", peer = %self.peer, account = ?failed.account, ?notice,
                "a log-in looks like an attack"
            ),
            None => info!(
                event = "c2s.login_failed", peer = %self.peer, account = ?failed.account,
                reason = failed.failure.condition(), "a log-in failed"
            ),
        }
    }

    fn describe(&self) -> String {
        let kind = match self.transport {
            ClientTransport::DirectTls => "direct",
            ClientTransport::StartTls | ClientTransport::StartTlsOptional => "STARTTLS",
        };
        match tls::version_name(&self.link) {
            "clear" => format!("{} in the clear", self.peer),
            version => format!("{} by {version} ({kind})", self.peer),
        }
    }
}
