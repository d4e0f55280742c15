//! Upgrade tasks (XEP-0480): a client that has proved its password brings the keys of a hash that its account lacks, before
//! it is let in. Whoever does not ask for it is not asked either.

use super::Event;
use super::auth::Failed;
use super::authenticate::Authenticate;
use super::machine::{C2s, State};
use super::sasl2::{self, Login, Proved, Stage};
use crate::Token;
use std::collections::VecDeque;
use std::time::Instant;
use stonechat_sasl::{DEFAULT_ITERATIONS, Failure, UpgradeTask, encode};
use stonechat_stanza::ns;
use stonechat_xml::Element;

/// Tasks in the order in which they are done, the first of them now.
pub(super) struct Upgrading {
    pub(super) proved: Proved,
    task: UpgradeTask,
    rest: VecDeque<UpgradeTask>,
    step: Step,
}

enum Step {
    /// `<continue/>` was sent.
    Offered,
    /// The client was told this salt.
    Salted([u8; 16]),
    /// The keys are being kept.
    Keeping(Token),
}

impl Upgrading {
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Keeping(_))
    }
}

/// What is announced (XEP-0480 §2.1).
pub(super) fn features() -> impl Iterator<Item = Element> {
    UpgradeTask::ALL.into_iter().map(|task| Element::new("upgrade", ns::SASL_UPGRADE).with_text(task.name()))
}

/// Goes on with the next task, or to where there is none.
pub(super) fn offer(stream: &mut C2s, request: Authenticate, mut proved: Proved, mut tasks: VecDeque<UpgradeTask>) {
    let Some(task) = tasks.pop_front() else { return sasl2::authorize(stream, request, proved) };
    // XEP-0388 §2.6.3: the mechanism's last words come with the first of these. XEP-0480 §2.2: one task at a time.
    let additional =
        proved.additional.take().map(|data| Element::new("additional-data", ns::SASL2).with_text(encode(&data)));
    let tasks_element =
        Element::new("tasks", ns::SASL2).with_child(Element::new("task", ns::SASL2).with_text(task.name()));
    Element::new("continue", ns::SASL2)
        .with_children(additional)
        .with_child(tasks_element)
        .write(&mut stream.wire.out, ns::CLIENT);
    let upgrading = Upgrading { proved, task, rest: tasks, step: Step::Offered };
    stream.state = State::LoggingIn(Box::new(Login { request, stage: Stage::Upgrading(upgrading) }));
}

/// Takes `<next/>` and `<task-data/>`.
pub(super) fn take(stream: &mut C2s, now: Instant, element: &Element) {
    let mut salt = [0u8; 16];
    stream.config.random.fill(&mut salt);
    let token = stream.tokens.next();
    let State::LoggingIn(login) = &mut stream.state else { return };
    let Stage::Upgrading(upgrading) = &mut login.stage else { return };
    let account = upgrading.proved.account.clone();
    match (element.name(), &upgrading.step) {
        ("next", Step::Offered) if element.attribute("task") == Some(upgrading.task.name()) => {
            upgrading.step = Step::Salted(salt);
            let salt = Element::new("salt", ns::SCRAM_UPGRADE)
                .with_attribute("iterations", DEFAULT_ITERATIONS.to_string())
                .with_text(encode(&salt));
            Element::new("task-data", ns::SASL2).with_child(salt).write(&mut stream.wire.out, ns::CLIENT);
        }
        ("task-data", Step::Salted(salt)) => {
            let (task, salt) = (upgrading.task, *salt);
            let keys = element
                .child("hash", ns::SCRAM_UPGRADE)
                .and_then(|hash| sasl2::decode(&hash.text()))
                .ok_or(Failure::MalformedRequest)
                .and_then(|salted_password| task.keys(&salted_password, salt, DEFAULT_ITERATIONS));
            match keys {
                Ok(keys) => {
                    upgrading.step = Step::Keeping(token);
                    stream.tell(Event::Upgraded(token, account, task.hash(), keys));
                }
                Err(failure) => sasl2::fail(stream, now, Failed::of(account, failure)),
            }
        }
        // Another task than the one there is, or the steps of it in another order.
        _ => sasl2::fail(stream, now, Failed::of(account, Failure::MalformedRequest)),
    }
}

/// The keys are kept, or could not be: the client has proved its password in either case.
pub(super) fn kept(stream: &mut C2s, token: Token) {
    let asked = matches!(
        &stream.state,
        State::LoggingIn(login)
            if matches!(&login.stage, Stage::Upgrading(Upgrading { step: Step::Keeping(asked), .. }) if *asked == token)
    );
    if !asked {
        return;
    }
    let Some(login) = sasl2::take_login(stream) else { return };
    let Login { request, stage } = *login;
    if let Stage::Upgrading(upgrading) = stage {
        offer(stream, request, upgrading.proved, upgrading.rest);
    }
}
