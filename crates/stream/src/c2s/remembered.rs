//! Features as they were written for an earlier stream (RFC 6120 §4.3.2).
//!
//! What a stream is offered depends on little: which domain it is, whether there is TLS and what of it binds, and whether a
//! resource is bound. To make the elements, to hash them (XEP-0115, XEP-0509) and to write them costs as much as all the
//! rest that is said during a log-in, so it is done once for each of those cases, until the [`crate::FeatureSource`] has
//! something else to say.

use super::machine::{C2s, Security, State};
use crate::Phase;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stonechat_jid::Domain;
use stonechat_sasl::TlsVersion;

/// Cases that are remembered; beyond it all are forgotten.
const MOST: usize = 1024;

/// What was written, by case. Belongs to one [`super::Config`], whose values are part of no case.
#[derive(Default)]
pub struct Remembered(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    revision: u64,
    written: HashMap<Case, Arc<Written>>,
}

/// Everything of a stream that its features depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Case {
    phase: Phase,
    domain: Option<Domain>,
    channel: Channel,
    resource: Resource,
}

/// Which channel bindings there are, and not their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Channel {
    Clear,
    Tls { exporter: Binding, end_point: Binding, version: Option<TlsVersion> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Binding {
    There,
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Resource {
    Bound,
    Unbound,
}

/// Features in bytes, and the version that they carry (XEP-0509).
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) version: Option<String>,
}

impl Case {
    pub(super) fn of(stream: &C2s, phase: Phase) -> Case {
        let binding = |data: &Option<Vec<u8>>| if data.is_some() { Binding::There } else { Binding::Missing };
        Case {
            phase,
            domain: stream.domain.clone(),
            channel: match &stream.security {
                Security::Clear => Channel::Clear,
                Security::Tls(bindings) => Channel::Tls {
                    exporter: binding(&bindings.tls_exporter),
                    end_point: binding(&bindings.tls_server_end_point),
                    version: bindings.tls_version,
                },
            },
            resource: match stream.state {
                State::Bound { .. } => Resource::Bound,
                _ => Resource::Unbound,
            },
        }
    }
}

impl Remembered {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, revision: u64, case: &Case) -> Option<Arc<Written>> {
        let memory = self.lock();
        if memory.revision == revision { memory.written.get(case).cloned() } else { None }
    }

    /// Keeps what was written. The revision was asked for before: what has changed since is found out next time.
    pub(super) fn keep(&self, revision: u64, case: Case, written: Written) {
        let mut memory = self.lock();
        if memory.revision != revision || memory.written.len() >= MOST {
            memory.written.clear();
            memory.revision = revision;
        }
        memory.written.insert(case, Arc::new(written));
    }
}
