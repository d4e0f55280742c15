//! Log-ins: connect, TLS, authentication, resource, roster, presence, clean close; a number of them in flight. Or the way
//! back into a session whose link was cut.
//!
//! The salted passwords are computed before the warm-up, so that the client's PBKDF2 does not slow what is measured.
//! Tokens and sessions to come back to are from there too. The round trips are the client's waits for the server from the
//! stream's first byte until the roster is there, or the session is resumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use tokio::task::JoinSet;

use crate::endpoint::{Endpoint, Protocol};
use crate::measure::{Phase, Recorder, Stopwatch, Window};
use crate::process::ProcessTree;
use crate::relay::Place;
use crate::report::Report;
use crate::session::{By, Continuity, Counting, Entry, Extras, Session, Token, Until};
use crate::{Error, Result};

/// The way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// SASL and bind, step by step
    Steps,
    /// SASL2 with Bind 2, by password
    Sasl2,
    /// SASL2 with Bind 2, by token (FAST)
    Token,
    /// Resumption behind SASL
    Resume,
    /// Resumption within SASL2, by token
    ResumeToken,
}

/// A log-in measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    pub(crate) accounts: u32,
    pub(crate) in_flight: u32,
    pub(crate) window: Window,
}

/// What an account comes back with.
#[derive(Default)]
struct Kept {
    token: Option<Token>,
    session: Option<(Counting, String)>,
}

impl Way {
    fn resumes(self) -> bool {
        matches!(self, Self::Resume | Self::ResumeToken)
    }

    /// The first log-in of an account, from which it has what it comes back with.
    async fn first(self, endpoint: &Endpoint, number: u32) -> Result<Kept> {
        let mut kept = Kept::default();
        let by = match self {
            Self::Steps | Self::Resume => By::Steps,
            Self::Sasl2 => By::Exchange(None),
            Self::Token | Self::ResumeToken => By::Exchange(Some(&mut kept.token)),
        };
        let session = Session::enter_by(endpoint, self.entry(number), by).await?;
        self.leave(endpoint, session, &mut kept).await?;
        Ok(kept)
    }

    async fn again(self, endpoint: &Endpoint, number: u32, kept: &mut Kept) -> Result<Session> {
        let missing = || format!("{self:?}: nothing to come back with");
        let by = match self {
            Self::Steps => By::Steps,
            Self::Sasl2 => By::Exchange(None),
            Self::Token => By::Token(kept.token.as_mut().ok_or_else(missing)?),
            Self::Resume => {
                let (counting, jid) = kept.session.take().ok_or_else(missing)?;
                By::StepsBack(counting, jid)
            }
            Self::ResumeToken => {
                let (counting, jid) = kept.session.take().ok_or_else(missing)?;
                By::TokenBack(kept.token.as_mut().ok_or_else(missing)?, counting, jid)
            }
        };
        Session::enter_by(endpoint, self.entry(number), by).await
    }

    fn entry(self, number: u32) -> Entry {
        let extras = Extras { counting: self.resumes().then_some(Continuity::Resumable), carbons: false };
        Entry { extras, ..Entry::simple(number, Place::Idle, Until::Present) }
    }

    async fn leave(self, endpoint: &Endpoint, session: Session, kept: &mut Kept) -> Result<()> {
        if self.resumes() && endpoint.protocol == Protocol::Xmpp {
            kept.session = Some(session.cut()?);
            return Ok(());
        }
        leave(endpoint, session).await
    }
}

/// Loads the server with log-ins of accounts 1 to `accounts`, `in_flight` at a time. Latency is the time until the
/// roster is there, or the session is resumed.
pub(crate) async fn run(endpoint: &Endpoint, plan: Plan, servers: &[ProcessTree]) -> Result<Report> {
    let Plan { way, accounts, in_flight, window } = plan;
    if accounts < in_flight {
        return Err("fewer accounts than log-ins in flight: each needs its own".into());
    }
    if way != Way::Steps && endpoint.protocol == Protocol::Relay {
        return Box::pin(run(endpoint, Plan { way: Way::Steps, ..plan }, servers)).await;
    }
    let mut first = JoinSet::new();
    for worker in 1..=in_flight {
        let endpoint = endpoint.clone();
        first.spawn(async move {
            let mut all = Vec::new();
            for number in (worker..=accounts).step_by(usize::try_from(in_flight)?) {
                all.push((number, way.first(&endpoint, number).await?));
            }
            Ok::<_, Error>(all)
        });
    }

    let stopwatch = Arc::new(Stopwatch::new());
    let trips = Arc::new(AtomicU64::new(0));
    let mut recorders = Vec::new();
    let mut tasks = JoinSet::<Result<()>>::new();
    while let Some(prepared) = first.join_next().await {
        let mut prepared = prepared??;
        let recorder = Arc::new(Recorder::new()?);
        recorders.push(Arc::clone(&recorder));
        let (endpoint, stopwatch, trips) = (endpoint.clone(), Arc::clone(&stopwatch), Arc::clone(&trips));
        tasks.spawn(async move {
            loop {
                for (number, kept) in &mut prepared {
                    if stopwatch.phase() == Phase::Winddown {
                        return Ok(());
                    }
                    let begun = stopwatch.now();
                    let session = way.again(&endpoint, *number, kept).await?;
                    let took = stopwatch.now().saturating_sub(begun);
                    let waits = session.round_trips;
                    way.leave(&endpoint, session, kept).await?;
                    if stopwatch.count(1) == Phase::Measured {
                        recorder.record(took);
                        trips.fetch_add(u64::from(waits), Ordering::Relaxed);
                    }
                }
            }
        });
    }
    let report = {
        let measured = stopwatch.run(window, servers);
        tokio::pin!(measured);
        loop {
            tokio::select! {
                report = &mut measured => break report?,
                Some(ended) = tasks.join_next() => ended??,
            }
        }
    };
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let latency = Recorder::summary(recorders.iter().map(Arc::as_ref))?;
    let round_trips = (endpoint.protocol == Protocol::Xmpp && report.operations > 0)
        .then(|| trips.load(Ordering::Relaxed) as f64 / report.operations as f64);
    Ok(Report { latency, round_trips, ..report }.named(way.name(), "login"))
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Steps => "login",
            Self::Sasl2 => "login by sasl2",
            Self::Token => "login by token",
            Self::Resume => "resumption",
            Self::ResumeToken => "resumption by token",
        }
    }
}

/// Closes one session in the way of its protocol.
async fn leave(endpoint: &Endpoint, session: Session) -> Result<()> {
    match endpoint.protocol {
        Protocol::Xmpp => session.close().await,
        Protocol::Relay => Ok(session.link.close()?),
    }
}

/// Closes many sessions at once.
pub(crate) async fn leave_all(endpoint: &Endpoint, sessions: Vec<Session>) -> Result<()> {
    let mut closing = JoinSet::new();
    for session in sessions {
        let endpoint = endpoint.clone();
        closing.spawn(async move { leave(&endpoint, session).await });
    }
    while let Some(closed) = closing.join_next().await {
        closed??;
    }
    Ok(())
}
