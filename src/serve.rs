//! `serve` and `check`.

use crate::cli::Serve;
use crate::client;
use crate::config::{Config, Permission};
use crate::output::{self, Failure, Format};
use crate::server::{self, Server};
use std::path::Path;
use stonechat_admin::{CertificatesControl, ErrorCode, Lifecycle};
use stonechat_jid::Domain;
use stonechat_s2s::Access;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

/// Runs the server until it is told to stop.
pub(crate) fn run(named: Option<&Path>, options: &Serve) -> Result<(), Failure> {
    let config = client::load(named)?;
    crate::logging::start(&options.log, options.log_format);
    for notice in &config.notices {
        warn!(event = "config.notice", "{notice}");
    }
    runtime()?.block_on(async {
        let signals = Signals::catch()?;
        let server = server::start(config).await?;
        announce(&server);
        until_stopped(server, signals, HangUp::Reloads).await
    })
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::new(ErrorCode::Internal, format!("the runtime cannot start: {source}")))
}

fn announce(server: &Server) {
    let control = server.control();
    for place in control.listening() {
        info!(event = "server.listening", "listening: {place}");
    }
    if control.config().federates() == Permission::Refused {
        info!(event = "s2s.off", "federation is off: listen.s2s and listen.s2s_tls are empty");
    }
    for certificate in CertificatesControl::status(&**control) {
        if certificate.self_signed {
            warn!(
                event = "tls.self_signed", domain = %certificate.domain,
                "the certificate of {} is self-signed: clients warn of it; set [tls] cert and key", certificate.domain
            );
        } else {
            info!(
                event = "tls.certificate", domain = %certificate.domain, days_left = certificate.days_left,
                "the certificate of {} is good for {} days", certificate.domain, certificate.days_left
            );
        }
    }
    info!(event = "server.ready", version = env!("CARGO_PKG_VERSION"), "ready");
    // Without systemd around there is nobody to notify.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// The signals that mean something, caught before the server says that it is ready: one that comes earlier waits.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn catch() -> Result<Signals, Failure> {
        let catch = |kind| {
            signal(kind)
                .map_err(|source| Failure::new(ErrorCode::Internal, format!("signals cannot be caught: {source}")))
        };
        Ok(Signals {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangUp {
    /// The configuration is read again, as with every service.
    Reloads,
    /// The terminal was closed, and the server with it.
    Ends,
}

/// Serves until SIGTERM, SIGINT or `stonechat stop`, or until SIGHUP where that is an end.
pub(crate) async fn until_stopped(mut server: Server, mut signals: Signals, hang_up: HangUp) -> Result<(), Failure> {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            () = server.stop_requested() => break,
            _ = signals.hangup.recv() => {
                if hang_up == HangUp::Ends {
                    break;
                }
                if let Err(message) = Lifecycle::reload(&**server.control()) {
                    error!(event = "config.reload_failed", "the old configuration stays: {message}");
                }
            }
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    server.shut_down().await;
    Ok(())
}

/// With whom this configuration federates, in words.
fn federation(config: &Config) -> String {
    let list = |domains: &[Domain]| domains.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let Access { deny, allow } = &config.federation.access;
    match (config.federates(), deny.is_empty(), allow.is_empty()) {
        (Permission::Refused, ..) => "off: listen.s2s and listen.s2s_tls are empty".to_owned(),
        (Permission::Allowed, true, true) => "on".to_owned(),
        (Permission::Allowed, false, true) => format!("on, but not with {}", list(deny)),
        (Permission::Allowed, true, false) => format!("on, with {} alone", list(allow)),
        (Permission::Allowed, false, false) => format!("on, with {} alone, but not with {}", list(allow), list(deny)),
    }
}

/// Checks the configuration and the certificates it names, and says what it found.
pub(crate) fn check(named: Option<&Path>, format: Format) -> Result<(), Failure> {
    let checked = || {
        let config = client::load(named)?;
        let loaded = match config.tls {
            crate::config::Tls::SelfSigned => 0,
            crate::config::Tls::Files { .. } => crate::keys::load(&config)
                .map_err(|error| Failure::new(ErrorCode::CertificateUnusable, error.to_string()))?
                .len(),
        };
        Ok(serde_json::json!({
            "configuration": config.path.display().to_string(),
            "domains": config.domains.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "certificates": loaded,
            "federation": federation(&config),
            "notices": config.notices,
            "result": "good",
        }))
    };
    let answer = checked().map_err(|failure: Failure| failure.in_format(format))?;
    output::print(&answer, format);
    Ok(())
}
