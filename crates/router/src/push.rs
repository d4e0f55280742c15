//! Waking devices (XEP-0357): notifications to the application servers that devices registered.
//!
//! Whether a message is worth waking somebody is the delivery plan's to say; which devices sleep is seen here, when it is
//! safely kept: a device that is connected and looking is not woken. A notification tells how many messages wait and nothing
//! of what they say, nor from whom. While one is on its way the next ones to the same device wait for its answer and become
//! one, so that an application server that is slow or gone costs a bounded number of requests.

use crate::Router;
use crate::account::{Cell, State};
use crate::outflow::DOUBT;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use stonechat_jid::{BareJid, Jid};
use stonechat_stanza::{ErrorType, IqType, Stanza, StanzaCondition, ns};
use stonechat_store::PushRegistration;
use stonechat_xml::Element;
use tracing::{debug, error, info};

/// How long an application server has to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Notifications on their way, of all accounts.
const MOST: usize = 10_000;

/// A device, as notifications see it.
type Target = (BareJid, Jid, String);

/// Notifications on their way: what came meanwhile is one more.
#[derive(Default)]
pub(crate) struct Notifications {
    under_way: std::sync::Mutex<HashMap<Target, Again>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Yes,
    No,
}

/// Why a registration ends.
enum Verdict {
    Stays,
    Ends,
}

impl Notifications {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Target, Again>> {
        self.under_way.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    /// Whether a notification is to be sent now.
    fn begin(&self, target: &Target) -> Again {
        let mut under_way = self.lock();
        if let Some(again) = under_way.get_mut(target) {
            *again = Again::Yes;
            return Again::No;
        }
        if under_way.len() >= MOST {
            return Again::No;
        }
        under_way.insert(target.clone(), Again::No);
        Again::Yes
    }
    /// Whether another one is to follow.
    fn end(&self, target: &Target) -> Again {
        let mut under_way = self.lock();
        match under_way.get_mut(target) {
            Some(again @ Again::Yes) => {
                *again = Again::No;
                Again::Yes
            }
            _ => {
                under_way.remove(target);
                Again::No
            }
        }
    }
}

impl Router {
    /// Notifies the devices of an account that are not looking.
    pub(crate) fn wake_devices(&self, cell: &Arc<Cell>) {
        let doubt = self.wake(cell, Standing::Sleeping);
        if doubt == Doubt::Some {
            // A client that is connected and counts will say that it has the message, or its connection is dead and nobody
            // has noticed yet.
            let (router, cell) = (self.clone(), Arc::clone(cell));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(DOUBT)).await;
                router.wake(&cell, Standing::Doubtful);
            });
        }
    }

    /// Wakes the devices that stand so. Whether others may have to be woken later.
    fn wake(&self, cell: &Arc<Cell>, which: Standing) -> Doubt {
        let now = self.millis();
        let (sleeping, doubt) = {
            let mut state = cell.lock();
            let (sleeping, doubt) = devices(&state, now, which);
            if !sleeping.is_empty()
                && let Some(loaded) = state.loaded_mut()
            {
                loaded.unseen = loaded.unseen.saturating_add(1);
            }
            (sleeping, doubt)
        };
        for registration in sleeping {
            let target = (cell.jid.clone(), registration.service.clone(), registration.node.clone());
            if self.inner.notifications.begin(&target) == Again::Yes {
                let (router, cell) = (self.clone(), Arc::clone(cell));
                tokio::spawn(async move { router.notify(&cell, registration, target).await });
            }
        }
        doubt
    }

    async fn notify(&self, cell: &Arc<Cell>, registration: PushRegistration, target: Target) {
        loop {
            let unseen = cell.lock().loaded().map_or(0, |loaded| loaded.unseen);
            let notification = notification(cell, &registration, unseen);
            let answer = tokio::time::timeout(PATIENCE, self.request(notification)).await.ok().flatten();
            if let Verdict::Ends = judge(answer.as_ref()) {
                info!(
                    event = "push.ended", account = %cell.jid, service = %registration.service,
                    "an application server refused for good: the registration ends"
                );
                self.drop_registration(cell, &registration).await;
                self.inner.notifications.lock().remove(&target);
                return;
            }
            if answer.is_none() {
                debug!(event = "push.unanswered", account = %cell.jid, service = %registration.service, "no answer in time");
            }
            if self.inner.notifications.end(&target) == Again::No {
                return;
            }
        }
    }

    async fn drop_registration(&self, cell: &Arc<Cell>, registration: &PushRegistration) {
        let id = {
            let mut state = cell.lock();
            let Some(loaded) = state.loaded_mut() else { return };
            loaded.push.retain(|other| other.service != registration.service || other.node != registration.node);
            loaded.id
        };
        let (service, node) = (registration.service.clone(), Some(registration.node.clone()));
        if let Err(source) = self.inner.store.remove_push(id, service, node).await {
            error!(event = "push.write_failed", account = %cell.jid, %source, "a registration could not be removed");
        }
    }
}

/// Whether a device looks connected and may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    Some,
    None,
}

/// Which devices are to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Not connected, or nobody looks.
    Sleeping,
    /// Connected as it seems, but not heard of since a message was sent.
    Doubtful,
}

/// Registrations of devices that stand so.
fn devices(state: &State, now: u64, which: Standing) -> (Vec<PushRegistration>, Doubt) {
    let mut doubt = Doubt::None;
    let Some(loaded) = state.loaded() else { return (Vec::new(), doubt) };
    let mut found = Vec::new();
    for registration in &loaded.push {
        let session = state.sessions.iter().find(|session| {
            session.jid.as_jid().resource() == Some(&registration.resource) && !session.out.is_unattended()
        });
        let standing = match session {
            None => Some(Standing::Sleeping),
            Some(session) if session.out.is_doubtful(now) => Some(Standing::Doubtful),
            Some(session) => {
                if session.out.resumable().is_some() {
                    doubt = Doubt::Some;
                }
                None
            }
        };
        // A message that comes while a connection is in doubt finds it as good as gone.
        if standing == Some(which) || (which == Standing::Sleeping && standing == Some(Standing::Doubtful)) {
            found.push(registration.clone());
        }
    }
    (found, doubt)
}

/// XEP-0357 §6
fn notification(cell: &Cell, registration: &PushRegistration, unseen: u32) -> Stanza {
    let field = |name: &str, value: &str| {
        Element::new("field", ns::DATA_FORMS)
            .with_attribute("var", name)
            .with_child(Element::new("value", ns::DATA_FORMS).with_text(value))
    };
    let summary = Element::new("x", ns::DATA_FORMS)
        .with_attribute("type", "form")
        .with_child(field("FORM_TYPE", ns::PUSH_SUMMARY).with_attribute("type", "hidden"))
        .with_child(field("message-count", &unseen.max(1).to_string()));
    let item = Element::new("item", ns::PUBSUB).with_child(Element::new("notification", ns::PUSH).with_child(summary));
    let mut publish = Element::new("publish", ns::PUBSUB).with_child(item);
    if !registration.node.is_empty() {
        publish = publish.with_attribute("node", registration.node.as_str());
    }
    let mut pubsub = Element::new("pubsub", ns::PUBSUB).with_child(publish);
    let options = registration.options.as_deref().and_then(|xml| Element::parse(xml, ns::CLIENT).ok());
    if let Some(form) = options {
        pubsub = pubsub.with_child(Element::new("publish-options", ns::PUBSUB).with_child(form));
    }
    let mut iq = Stanza::iq(IqType::Set, "", pubsub);
    iq.head_mut().from = Some(Jid::from(cell.jid.clone()));
    iq.head_mut().to = Some(registration.service.clone());
    iq
}

/// Only what will not change by itself ends a registration: not an application server that is away.
fn judge(answer: Option<&Stanza>) -> Verdict {
    let Some(error) = answer.and_then(Stanza::error) else { return Verdict::Stays };
    let elsewhere = matches!(
        error.condition,
        StanzaCondition::RemoteServerNotFound
            | StanzaCondition::RemoteServerTimeout
            | StanzaCondition::ResourceConstraint
            | StanzaCondition::InternalServerError
            | StanzaCondition::RecipientUnavailable
    );
    match error.error_type {
        ErrorType::Wait => Verdict::Stays,
        _ if elsewhere => Verdict::Stays,
        _ => Verdict::Ends,
    }
}
