//! Dialback as the receiving server, and as the authoritative one (XEP-0220 §2): which pairs of domains are proved, asked
//! for, or refused.

use super::machine::{S2sIn, SecureEnough, Security, our_own, tls_required};
use super::{Event, Proof};
use crate::dialback::{Content, Direction, Outgoing, addresses, direction};
use crate::{Dialback, DialbackPolicy, HostStatus, PeerCertificate, PeerVersion, Step, Token, Validity};
use std::time::Instant;
use stonechat_jid::Domain;
use stonechat_stanza::{StanzaCondition, StreamCondition, StreamError};
use stonechat_xml::Frame;

/// A `<db:result/>` with a key.
pub(super) struct Request {
    pub(super) from: Domain,
    pub(super) to: Domain,
    pub(super) key: String,
}

/// What goes on when a certificate was judged.
pub(super) enum Waiting {
    /// The features, after the header.
    Features,
    Dialback(Request),
}

struct Pair {
    from: Domain,
    to: Domain,
    standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Proved,
    Asked(Token),
}

/// The pairs of one stream, bounded.
pub(super) struct Pairs {
    pairs: Vec<Pair>,
    /// Judgements of the stream's certificate.
    judged: Vec<(Domain, Validity)>,
    most: usize,
}

/// There are as many pairs as there may be.
pub(super) struct Full;

impl Pairs {
    pub(super) fn new(most: usize) -> Self {
        Pairs { pairs: Vec::new(), judged: Vec::new(), most }
    }

    pub(super) fn proved(&self) -> impl Iterator<Item = (&Domain, &Domain)> {
        self.pairs.iter().filter(|pair| pair.standing == Standing::Proved).map(|pair| (&pair.from, &pair.to))
    }

    pub(super) fn remember(&mut self, domain: Domain, validity: Validity) {
        // What is forgotten is asked again.
        if self.judged.len() < self.most {
            self.judged.push((domain, validity));
        }
    }

    pub(super) fn judged(&self, domain: &Domain) -> Option<Validity> {
        self.judged.iter().find(|(judged, _)| judged == domain).map(|(_, validity)| *validity)
    }

    fn find(&self, from: &Domain, to: &Domain) -> Option<Standing> {
        self.pairs.iter().find(|pair| pair.from == *from && pair.to == *to).map(|pair| pair.standing)
    }

    fn set(&mut self, from: Domain, to: Domain, standing: Standing) -> Result<(), Full> {
        if let Some(pair) = self.pairs.iter_mut().find(|pair| pair.from == from && pair.to == to) {
            pair.standing = standing;
            return Ok(());
        }
        if self.pairs.len() >= self.most {
            return Err(Full);
        }
        self.pairs.push(Pair { from, to, standing });
        Ok(())
    }

    fn take_asked(&mut self, token: Token) -> Option<(Domain, Domain)> {
        let index = self.pairs.iter().position(|pair| pair.standing == Standing::Asked(token))?;
        let pair = self.pairs.swap_remove(index);
        Some((pair.from, pair.to))
    }
}

/// Whether dialback can prove anything on the stream as it is now: only then it is announced.
pub(super) fn is_useful(stream: &S2sIn) -> bool {
    stream.is_secure_enough() == SecureEnough::Yes
        && stream.config.policy.dialback == DialbackPolicy::Allowed
        && (stream.dialback_alone() == DialbackPolicy::Allowed
            || stream.security == Security::Tls(PeerCertificate::Presented))
}

/// `<db:result/>`: the peer speaks for a domain (XEP-0220 §2.1).
pub(super) fn on_result(stream: &mut S2sIn, now: Instant, frame: &Frame) {
    let Some((from, to)) = addresses(frame) else {
        return stream.end_with(now, StreamCondition::ImproperAddressing);
    };
    let key = match direction(frame) {
        Direction::Request { key } => key,
        // Abuse case 130: we sent no key on this stream.
        Direction::Answer(_) | Direction::Unknown => return stream.end(now, unsolicited()),
    };
    if stream.is_secure_enough() == SecureEnough::No {
        return stream.end(now, tls_required());
    }
    stream.note(Step::DialbackReceived { from: from.clone(), to: to.clone() });
    if stream.config.hosts.status(&from) == HostStatus::Served {
        return stream.end(now, our_own());
    }
    if stream.config.hosts.status(&to) != HostStatus::Served {
        // XEP-0220 §2.4: peers that know errors keep the stream for their other domains.
        return match stream.version {
            PeerVersion::Old => stream.end_with(now, StreamCondition::HostUnknown),
            PeerVersion::Current => answer(stream, &from, &to, Dialback::Failed(StanzaCondition::ItemNotFound)),
        };
    }
    match stream.pairs.find(&from, &to) {
        Some(Standing::Proved) => return answer(stream, &from, &to, Dialback::Valid),
        // It will be answered.
        Some(Standing::Asked(_)) => return,
        None => {}
    }
    if stream.pairs.pairs.len() >= stream.pairs.most {
        // Abuse case 135
        return stream.end(now, too_many());
    }
    let request = Request { from, to, key };
    match stream.security {
        Security::Tls(PeerCertificate::Presented) => match stream.pairs.judged(&request.from) {
            Some(validity) => decide(stream, request, validity),
            None => stream.ask_certificate(request.from.clone(), Waiting::Dialback(request)),
        },
        Security::Tls(PeerCertificate::Absent) | Security::Clear => decide(stream, request, Validity::Invalid),
    }
}

/// Goes on with a key when it is known what the certificate is worth.
pub(super) fn decide(stream: &mut S2sIn, request: Request, certificate: Validity) {
    let Request { from, to, key } = request;
    let refused = Dialback::Failed(StanzaCondition::PolicyViolation);
    match (stream.config.policy.dialback, certificate, stream.dialback_alone()) {
        (DialbackPolicy::Never, ..) => answer(stream, &from, &to, refused),
        // Who holds the domain's key needs nobody to be dialled (XEP-0344 §2).
        (_, Validity::Valid, _) => {
            answer(stream, &from, &to, Dialback::Valid);
            prove(stream, from, to, Proof::Certificate);
        }
        (_, Validity::Invalid, DialbackPolicy::Never) => answer(stream, &from, &to, refused),
        (_, Validity::Invalid, DialbackPolicy::Allowed) => {
            let token = stream.tokens.next();
            if stream.pairs.set(from.clone(), to.clone(), Standing::Asked(token)).is_ok() {
                let stream_id = stream.stream_id.clone();
                stream.events.push_back(Event::DialbackResult { token, from, to, stream_id, key });
            }
        }
    }
}

/// What the authoritative server said.
pub(super) fn verdict(stream: &mut S2sIn, token: Token, verdict: Dialback) {
    let Some((from, to)) = stream.pairs.take_asked(token) else { return };
    answer(stream, &from, &to, verdict);
    if verdict == Dialback::Valid {
        prove(stream, from, to, Proof::Dialback);
    }
}

pub(super) fn prove(stream: &mut S2sIn, from: Domain, to: Domain, by: Proof) {
    if stream.pairs.set(from.clone(), to.clone(), Standing::Proved).is_ok() {
        stream.is_of_use();
        stream.wire.trust(stream.config.limits.after);
        stream.events.push_back(Event::Authorised { from, to, by });
    }
}

/// Answers a `<db:result/>` of the peer's domain `from` to ours.
fn answer(stream: &mut S2sIn, from: &Domain, to: &Domain, answer: Dialback) {
    let content = Content::Answer(answer);
    Outgoing { name: "result", from: to, to: from, id: None, content }.write(&mut stream.wire.out);
    stream.note(Step::DialbackAnswered { from: from.clone(), to: to.clone(), answer });
}

/// `<db:verify/>`: somebody was given a key that should be ours (XEP-0220 §2.2).
pub(super) fn on_verify(stream: &mut S2sIn, now: Instant, frame: &Frame) {
    let (Some((from, to)), Some(id)) = (addresses(frame), frame.attribute("id").cloned()) else {
        return stream.end_with(now, StreamCondition::ImproperAddressing);
    };
    let key = match direction(frame) {
        Direction::Request { key } => key,
        // Abuse case 130: we asked nothing on this stream.
        Direction::Answer(_) | Direction::Unknown => return stream.end(now, unsolicited()),
    };
    if stream.is_secure_enough() == SecureEnough::No {
        return stream.end(now, tls_required());
    }
    let answer = match stream.config.hosts.status(&to) {
        HostStatus::Served => stream.config.secret.matches(&from, &to, &id, &key),
        HostStatus::Gone | HostStatus::Unknown => Dialback::Failed(StanzaCondition::ItemNotFound),
    };
    let content = Content::Answer(answer);
    Outgoing { name: "verify", from: &to, to: &from, id: Some(&id), content }.write(&mut stream.wire.out);
    stream.note(Step::VerifyAnswered { from, to, answer });
    stream.is_of_use();
    stream.wire.renew();
}

fn unsolicited() -> StreamError {
    StreamError::new(StreamCondition::InvalidFrom).with_text("nothing was asked on this stream")
}

fn too_many() -> StreamError {
    StreamError::new(StreamCondition::ResourceConstraint).with_text("too many domains on one stream")
}
