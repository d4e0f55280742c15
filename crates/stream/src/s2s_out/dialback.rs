//! Dialback as the initiating server, and as the receiving one that asks the authoritative (XEP-0220 §2): the local domains
//! and the questions of one stream, what is known of them, and until when.

use super::machine::S2sOut;
use super::{Event, PairFailure, Question, management};
use crate::dialback::{Content, Direction, Outgoing, addresses, direction};
use crate::{Dialback, DialbackPolicy, Step};
use std::time::Instant;
use stonechat_jid::Domain;
use stonechat_stanza::StanzaCondition;
use stonechat_xml::Frame;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The stream is not open yet.
    Waiting,
    Asked(Instant),
    Proved,
}

/// The local domains and the questions of one stream, each bounded.
#[derive(Default)]
pub(super) struct Pairs {
    locals: Vec<(Domain, Standing)>,
    questions: Vec<(Question, Standing)>,
}

impl Pairs {
    pub(super) fn is_ready(&self, local: &str) -> bool {
        self.locals.iter().any(|(domain, standing)| domain.as_str() == local && *standing == Standing::Proved)
    }

    pub(super) fn any_ready(&self) -> bool {
        self.locals.iter().any(|(_, standing)| *standing == Standing::Proved)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let of = |standing: &Standing| match standing {
            Standing::Asked(deadline) => Some(*deadline),
            Standing::Waiting | Standing::Proved => None,
        };
        let locals = self.locals.iter().filter_map(|(_, standing)| of(standing));
        locals.chain(self.questions.iter().filter_map(|(_, standing)| of(standing))).min()
    }

    /// Every question that has no answer yet.
    pub(super) fn take_questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions).into_iter().map(|(question, _)| question).collect()
    }

    /// A local domain was proved otherwise.
    pub(super) fn prove(&mut self, local: &Domain) {
        match self.locals.iter_mut().find(|(domain, _)| domain == local) {
            Some((_, standing)) => *standing = Standing::Proved,
            None => self.locals.push((local.clone(), Standing::Proved)),
        }
    }
}

/// Proves a local domain, now or when the stream is open.
pub(super) fn add(stream: &mut S2sOut, now: Instant, local: Domain) {
    let known = stream.pairs.locals.iter().find(|(domain, _)| *domain == local).map(|(_, standing)| *standing);
    match known {
        Some(Standing::Proved) => return management::proved(stream, now, local),
        Some(Standing::Waiting | Standing::Asked(_)) => return,
        None if stream.pairs.locals.len() >= stream.config.limits.pairs => {
            return pair_failed(stream, local, PairFailure::NotAllowed);
        }
        None => stream.pairs.locals.push((local, Standing::Waiting)),
    }
    send_waiting(stream, now);
}

/// Asks about a key, now or when the stream is open.
pub(super) fn ask(stream: &mut S2sOut, now: Instant, question: Question) {
    if stream.pairs.questions.len() >= stream.config.limits.pairs {
        let answer = Dialback::Failed(StanzaCondition::ResourceConstraint);
        return stream.events.push_back(Event::Verified { question, answer });
    }
    stream.pairs.questions.push((question, Standing::Waiting));
    send_waiting(stream, now);
}

/// Sends what waited for the stream to be open.
pub(super) fn send_waiting(stream: &mut S2sOut, now: Instant) {
    if !stream.is_open() {
        return;
    }
    let deadline = now.checked_add(stream.config.limits.dialback).unwrap_or(now);
    for (question, standing) in &mut stream.pairs.questions {
        if *standing == Standing::Waiting {
            *standing = Standing::Asked(deadline);
            let (id, content) = (Some(question.stream_id.as_str()), Content::Key(&question.key));
            Outgoing { name: "verify", from: &question.from, to: &question.to, id, content }
                .write(&mut stream.wire.out);
        }
    }
    let mut refused = Vec::new();
    let mut sent = Vec::new();
    for (local, standing) in &mut stream.pairs.locals {
        if *standing != Standing::Waiting {
            continue;
        }
        match &stream.peer_id {
            Some(id) if stream.config.policy.dialback == DialbackPolicy::Allowed => {
                *standing = Standing::Asked(deadline);
                let key = stream.config.secret.key(&stream.remote, local, id);
                let content = Content::Key(&key);
                Outgoing { name: "result", from: local, to: &stream.remote, id: None, content }
                    .write(&mut stream.wire.out);
                sent.push(local.clone());
            }
            // Without the id of the peer's header there is no key (XEP-0220 §2.1.1).
            _ => refused.push(local.clone()),
        }
    }
    for from in sent {
        stream.note(Step::DialbackSent { from, to: stream.remote.clone() });
    }
    for local in refused {
        stream.pairs.locals.retain(|(domain, _)| *domain != local);
        pair_failed(stream, local, PairFailure::NotAllowed);
    }
}

fn pair_failed(stream: &mut S2sOut, local: Domain, reason: PairFailure) {
    let remote = stream.remote.clone();
    stream.events.push_back(Event::PairFailed { local, remote, reason });
}

/// `<db:result/>` from the peer: the answer to a key of ours.
pub(super) fn on_result(stream: &mut S2sOut, now: Instant, frame: &Frame) -> Expected {
    let (Some((from, to)), Direction::Answer(answer)) = (addresses(frame), direction(frame)) else {
        return Expected::No;
    };
    let asked = |(domain, standing): &(Domain, Standing)| *domain == to && matches!(standing, Standing::Asked(_));
    let index = stream.pairs.locals.iter().position(asked);
    // Abuse case 130: an answer to nothing, or one that came too late, changes nothing.
    let Some(index) = index.filter(|_| from == stream.remote) else { return Expected::Yes };
    stream.note(Step::DialbackAnswered { from: to.clone(), to: from, answer });
    let reason = match answer {
        Dialback::Valid => {
            stream.ready(now, &to);
            return Expected::Yes;
        }
        Dialback::Invalid => PairFailure::Invalid,
        Dialback::Failed(condition) => PairFailure::Refused(condition),
    };
    stream.pairs.locals.remove(index);
    pair_failed(stream, to, reason);
    Expected::Yes
}

/// `<db:verify/>` from the peer: the answer to a question of ours.
pub(super) fn on_verify(stream: &mut S2sOut, frame: &Frame) -> Expected {
    let (Some((from, to)), Direction::Answer(answer)) = (addresses(frame), direction(frame)) else {
        return Expected::No;
    };
    let id = frame.attribute("id").map_or("", |id| &**id);
    let index = stream.pairs.questions.iter().position(|(question, standing)| {
        question.from == to && question.to == from && question.stream_id == id && matches!(standing, Standing::Asked(_))
    });
    if let Some(index) = index {
        let (question, _) = stream.pairs.questions.remove(index);
        stream.wire.renew();
        stream.events.push_back(Event::Verified { question, answer });
    }
    Expected::Yes
}

/// Whether an element is of a kind that may come on such a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Yes,
    No,
}

/// Gives up what was not answered in time.
pub(super) fn time_out(stream: &mut S2sOut, now: Instant) {
    let late = |standing: &Standing| matches!(standing, Standing::Asked(deadline) if *deadline <= now);
    let (gone, left): (Vec<_>, Vec<_>) =
        std::mem::take(&mut stream.pairs.questions).into_iter().partition(|(_, standing)| late(standing));
    stream.pairs.questions = left;
    for (question, _) in gone {
        let answer = Dialback::Failed(StanzaCondition::RemoteServerTimeout);
        stream.events.push_back(Event::Verified { question, answer });
    }
    let (gone, left): (Vec<_>, Vec<_>) =
        std::mem::take(&mut stream.pairs.locals).into_iter().partition(|(_, standing)| late(standing));
    stream.pairs.locals = left;
    for (local, _) in gone {
        pair_failed(stream, local, PairFailure::Timeout);
    }
}
