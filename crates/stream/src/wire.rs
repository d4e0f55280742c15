//! What every machine does with bytes: frames them, holds what cannot be read yet, counts what a peer may send before it
//! has proved anything, and times elements that do not end.

use crate::{HostStatus, Hosts};
use std::time::{Duration, Instant};
use stonechat_jid::{Domain, Jid};
use stonechat_stanza::{StreamCondition, StreamError};
use stonechat_xml::{Framing, Item, Limits, Parser};

/// The most that waits for an answer. Drivers stop reading meanwhile, so it is one read's worth.
const BACKLOG: usize = 64 * 1024;

/// Whether there was something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// There was.
    Bytes,
    /// There was not.
    Nothing,
}

/// Whether our header has been sent: a stream error needs it (RFC 6120 §4.9.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OurHeader {
    Sent,
    Owed,
}

/// The bytes of one stream.
pub(crate) struct Wire {
    parser: Parser,
    /// To be sent.
    pub(crate) out: Vec<u8>,
    /// Bytes handed over to be sent.
    sent: u64,
    pub(crate) header: OurHeader,
    /// Input that waits for an answer to a question.
    backlog: Vec<u8>,
    /// Bytes that may still come before the peer has proved who it is.
    allowance: Option<usize>,
    most: usize,
    element: Duration,
    element_deadline: Option<Instant>,
}

/// Whether a machine takes input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// For the answer to a question.
    Waiting,
    /// For the TLS handshake.
    Securing,
    /// Nothing is read any more.
    Closed,
}

/// A machine, as its reading sees it.
pub(crate) trait Machine {
    fn wire(&self) -> &Wire;
    fn wire_mut(&mut self) -> &mut Wire;
    fn gate(&self) -> Gate;
    fn on_item(&mut self, now: Instant, item: Item);
    /// Ends the stream with an error.
    fn fail(&mut self, now: Instant, error: StreamError);
    /// Ends the stream without a word: there is nobody who could be told safely.
    fn abandon(&mut self);
}

impl Wire {
    /// `limits` also bounds the sum of what may come before [`Wire::trust`].
    pub(crate) fn new(limits: Limits, element: Duration) -> Self {
        Wire {
            parser: Parser::new(Framing::Stream, limits),
            out: Vec::new(),
            sent: 0,
            header: OurHeader::Owed,
            backlog: Vec::new(),
            allowance: Some(limits.bytes),
            most: limits.bytes,
            element,
            element_deadline: None,
        }
    }

    /// The stream begins anew (RFC 6120 §4.3.3).
    pub(crate) fn restart(&mut self, limits: Limits) {
        self.parser = Parser::new(Framing::Stream, limits);
        self.header = OurHeader::Owed;
        self.element_deadline = None;
    }

    /// The peer has proved who it is: the sum of what it sends is bounded no more.
    pub(crate) fn trust(&mut self, limits: Limits) {
        self.allowance = None;
        self.parser.set_limits(limits);
    }

    /// The peer, still a stranger, did something of use: it may send as much again.
    pub(crate) fn renew(&mut self) {
        if let Some(allowance) = &mut self.allowance {
            *allowance = self.most;
        }
    }

    /// Frees what is held. Only what is to be sent stays.
    pub(crate) fn end(&mut self, limits: Limits) {
        self.restart(limits);
        self.header = OurHeader::Sent;
        self.backlog = Vec::new();
    }

    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Bytes held: an unfinished element, input that waits, output that was not taken.
    pub(crate) fn held(&self) -> usize {
        self.parser.held().saturating_add(self.backlog.len()).saturating_add(self.out.len())
    }

    pub(crate) fn element_deadline(&self) -> Option<Instant> {
        self.element_deadline
    }

    /// Bytes written to the stream from its beginning.
    pub(crate) fn written(&self) -> u64 {
        self.sent.saturating_add(size(&self.out))
    }

    pub(crate) fn transmit(&mut self, out: &mut Vec<u8>) -> Transmit {
        self.transmit_until(u64::MAX, out)
    }

    /// Hands over what was written before that many bytes were.
    pub(crate) fn transmit_until(&mut self, until: u64, out: &mut Vec<u8>) -> Transmit {
        let due = until.saturating_sub(self.sent).min(size(&self.out));
        if due == 0 {
            return Transmit::Nothing;
        }
        self.sent = self.sent.saturating_add(due);
        let rest = match usize::try_from(due) {
            Ok(due) if due < self.out.len() => self.out.split_off(due),
            _ => Vec::new(),
        };
        out.extend_from_slice(&self.out);
        self.out = rest;
        Transmit::Bytes
    }

    fn next(&mut self, input: &mut &[u8]) -> Result<Option<Item>, StreamError> {
        let before = input.len();
        let item = self.parser.next(input).map_err(|error| StreamError::from(&error))?;
        if let Some(allowance) = &mut self.allowance {
            let used = before.saturating_sub(input.len());
            *allowance = allowance.checked_sub(used).ok_or_else(|| {
                StreamError::new(StreamCondition::PolicyViolation).with_text("too much before authentication")
            })?;
        }
        Ok(item)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        if self.backlog.len().saturating_add(bytes.len()) > BACKLOG {
            return Err(StreamError::new(StreamCondition::PolicyViolation).with_text("too much at once"));
        }
        self.backlog.extend_from_slice(bytes);
        Ok(())
    }

    fn watch(&mut self, now: Instant) {
        self.element_deadline = match (self.parser.is_mid_element(), self.element_deadline) {
            (false, _) => None,
            (true, Some(deadline)) => Some(deadline),
            (true, None) => now.checked_add(self.element),
        };
    }
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Bytes from the peer.
pub(crate) fn receive(machine: &mut impl Machine, now: Instant, bytes: &[u8]) {
    match machine.gate() {
        // RFC 6120 §5.4.3.3: what follows the last word in the clear was not written by whoever will speak TLS.
        Gate::Securing if is_blank(bytes) => {}
        Gate::Securing => machine.abandon(),
        Gate::Closed => {}
        Gate::Open if !machine.wire().has_backlog() => read(machine, now, bytes),
        Gate::Open | Gate::Waiting => {
            if let Err(error) = machine.wire_mut().keep(bytes) {
                machine.fail(now, error);
            }
        }
    }
}

/// White space behind `<starttls/>`, which some clients send, can do nothing, and is passed over.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_whitespace)
}

fn read(machine: &mut impl Machine, now: Instant, bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        match machine.gate() {
            Gate::Open => {}
            Gate::Closed => break,
            Gate::Securing if is_blank(rest) => break,
            Gate::Securing => return machine.abandon(),
            Gate::Waiting => {
                if let Err(error) = machine.wire_mut().keep(rest) {
                    machine.fail(now, error);
                }
                break;
            }
        }
        match machine.wire_mut().next(&mut rest) {
            Ok(Some(item)) => machine.on_item(now, item),
            Ok(None) => break,
            Err(error) => machine.fail(now, error),
        }
    }
    machine.wire_mut().watch(now);
}

/// Goes on with what came while an answer was awaited.
pub(crate) fn resume(machine: &mut impl Machine, now: Instant) {
    if machine.gate() != Gate::Waiting && machine.wire().has_backlog() {
        let backlog = std::mem::take(&mut machine.wire_mut().backlog);
        match machine.gate() {
            Gate::Securing if is_blank(&backlog) => {}
            Gate::Securing => machine.abandon(),
            _ => read(machine, now, &backlog),
        }
    }
}

/// Whether an address is at a domain served here.
pub(crate) fn is_ours(hosts: &dyn Hosts, address: &str) -> Ownership {
    match Jid::parse(address) {
        Ok(jid) if hosts.status(&jid.to_domain()) == HostStatus::Served => Ownership::Ours,
        _ => Ownership::Foreign,
    }
}

/// See [`is_ours`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    Ours,
    Foreign,
}

/// A header's `from` when nothing better is known: a name we answer to (RFC 6120 §4.9.1.2).
pub(crate) fn name_of(hosts: &dyn Hosts, domain: Option<&Domain>) -> Option<Domain> {
    domain.cloned().or_else(|| hosts.authoritative())
}

/// The next of several deadlines.
pub(crate) fn earliest(times: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    times.into_iter().flatten().min()
}
