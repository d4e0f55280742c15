//! Log-ins: connect, TLS, SCRAM, bind, roster, presence, clean close; a number of them in flight.
//!
//! The salted passwords are computed before the warm-up, so that the client's PBKDF2 does not slow what is measured.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::endpoint::{Endpoint, Protocol};
use crate::measure::{Phase, Recorder, Stopwatch, Window};
use crate::process::ProcessTree;
use crate::relay::Place;
use crate::report::Report;
use crate::session::{Session, Until, enter_all};
use crate::{Error, Result};

/// Loads the server with log-ins of accounts 1 to `accounts`, `in_flight` at a time. Latency is the time until the
/// roster is there.
pub(crate) async fn run(
    endpoint: &Endpoint,
    accounts: u32,
    in_flight: u32,
    window: Window,
    servers: &[ProcessTree],
) -> Result<Report> {
    if accounts < in_flight {
        return Err("fewer accounts than log-ins in flight: each needs its own".into());
    }
    let first = enter_all((1..=accounts).map(|number| (endpoint.clone(), number, Place::Idle)), Until::Roster).await?;
    leave_all(endpoint, first).await?;

    let stopwatch = Arc::new(Stopwatch::new());
    let mut recorders = Vec::new();
    let mut tasks = JoinSet::<Result<()>>::new();
    for worker in 1..=in_flight {
        let recorder = Arc::new(Recorder::new()?);
        recorders.push(Arc::clone(&recorder));
        let (endpoint, stopwatch) = (endpoint.clone(), Arc::clone(&stopwatch));
        tasks.spawn(async move {
            let numbers = (worker..=accounts).step_by(usize::try_from(in_flight)?);
            for number in numbers.cycle() {
                if stopwatch.phase() == Phase::Winddown {
                    break;
                }
                let begun = stopwatch.now();
                let session = Session::enter(&endpoint, number, Place::Idle, Until::Present).await?;
                let took = stopwatch.now().saturating_sub(begun);
                leave(&endpoint, session).await?;
                if stopwatch.count(1) == Phase::Measured {
                    recorder.record(took);
                }
            }
            Ok::<_, Error>(())
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
    Ok(Report { latency, ..report }.named("login", "login"))
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
