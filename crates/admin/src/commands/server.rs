//! `s2s …`, `cert …`, `status`, `reload`, `stop`

use super::{Admin, domain, needs_server};
use crate::{AdminError, ErrorCode};
use serde::Serialize;
use stonechat_router::Shortage;

/// One remote domain.
#[derive(Clone, Debug, Serialize)]
pub struct LinkView {
    /// The remote domain.
    pub domain: String,
    /// `in` or `out`.
    pub direction: &'static str,
    /// What it is doing, in words.
    pub state: String,
    /// Kind of connection and address.
    pub connection: Option<String>,
    /// Stanzas that wait to be sent, or to be acknowledged.
    pub queued: usize,
}

/// The answer to `s2s ping`.
#[derive(Clone, Debug, Serialize)]
pub struct PingAnswer {
    /// Who answered.
    pub domain: String,
    /// Milliseconds from request to answer.
    pub milliseconds: u64,
    /// Whether it was an answer (`pong`) or an error that proves that the server is there.
    pub answer: String,
}

/// `s2s explain`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Explanation {
    domain: String,
    lines: Vec<String>,
}

/// One domain's certificate.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateView {
    /// Domain.
    pub domain: String,
    /// DNS names in the certificate.
    pub names: Vec<String>,
    /// Whether one of them is the domain.
    pub covers_domain: bool,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// Whole days until then; negative when it is over.
    pub days_left: i64,
    /// Whether it signs itself, so that no client trusts it unasked.
    pub self_signed: bool,
}

/// What a reload did.
#[derive(Clone, Debug, Serialize)]
pub struct Reloaded {
    /// Keys that changed and are in force now.
    pub applied: Vec<String>,
    /// Keys that changed and need a restart.
    pub needs_restart: Vec<String>,
}

/// The process's memory, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryView {
    /// What the process was last found to hold, without pages of files; 0 where it cannot be measured.
    pub used: u64,
    /// What it may hold (`limits.memory`).
    pub ceiling: Option<u64>,
    /// What large queues hold of it.
    pub queued: u64,
    /// How short it is: `none`, `caches`, `holders`, `newcomers`, `everybody`.
    pub shortage: &'static str,
}

/// `status`.
#[derive(Clone, Debug, Serialize)]
pub struct StatusView {
    /// Version of the program.
    pub version: String,
    /// Seconds since the start.
    pub uptime: u64,
    /// Served domains.
    pub domains: Vec<String>,
    /// Where it listens.
    pub listening: Vec<String>,
    /// Bound sessions.
    pub sessions: u64,
    /// Remote domains with a stream or a queue.
    pub links: usize,
    /// Memory.
    pub memory: MemoryView,
    /// The store.
    pub store: String,
    /// What is not as it should be.
    pub warnings: Vec<String>,
}

/// A command that has nothing to say but that it was done.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Done {
    done: &'static str,
}

pub(super) fn links(admin: &Admin) -> Result<Vec<LinkView>, AdminError> {
    Ok(needs_server(&admin.federation)?.links())
}

pub(super) fn explain(admin: &Admin, text: &str) -> Result<Explanation, AdminError> {
    let remote = domain(text)?;
    match needs_server(&admin.federation)?.explain(&remote) {
        Some(lines) => Ok(Explanation { domain: remote.to_string(), lines }),
        None => Err(AdminError::new(ErrorCode::NoSuchLink, format!("nothing was tried with {remote} yet"))),
    }
}

pub(super) async fn ping(admin: &Admin, text: &str, from: Option<&str>) -> Result<PingAnswer, AdminError> {
    let remote = domain(text)?;
    let from = match from {
        Some(from) => domain(from)?,
        None => admin.router.hosts().default_domain().clone(),
    };
    if !admin.router.serves(&from) {
        return Err(AdminError::new(ErrorCode::DomainNotServed, format!("{from} is not a domain of this server")));
    }
    if admin.router.serves(&remote) {
        return Err(AdminError::new(ErrorCode::BadArgument, format!("{remote} is a domain of this server itself")));
    }
    needs_server(&admin.federation)?
        .ping(&from, &remote)
        .await
        .map_err(|message| AdminError::new(ErrorCode::PingFailed, message))
}

pub(super) fn reset(admin: &Admin, text: &str) -> Result<Done, AdminError> {
    let remote = domain(text)?;
    needs_server(&admin.federation)?
        .reset(&remote)
        .map(|()| Done { done: "reset" })
        .ok_or_else(|| AdminError::new(ErrorCode::NoSuchLink, format!("nothing is known of {remote}")))
}

pub(super) fn certificates(admin: &Admin) -> Result<Vec<CertificateView>, AdminError> {
    Ok(needs_server(&admin.certificates)?.status())
}

pub(super) fn reload_certificates(admin: &Admin) -> Result<Vec<CertificateView>, AdminError> {
    needs_server(&admin.certificates)?
        .reload()
        .map_err(|message| AdminError::new(ErrorCode::CertificateUnusable, message))
}

pub(super) fn status(admin: &Admin) -> Result<StatusView, AdminError> {
    let lifecycle = needs_server(&admin.lifecycle)?;
    let mut domains: Vec<String> = admin.router.hosts().iter().map(ToString::to_string).collect();
    domains.sort();
    let mut warnings = Vec::new();
    for certificate in admin.certificates.iter().flat_map(|certificates| certificates.status()) {
        let CertificateView { domain, days_left, .. } = &certificate;
        if certificate.self_signed {
            warnings.push(format!("TLS-001: the certificate of {domain} is self-signed; clients will warn"));
        } else if *days_left < 21 {
            warnings.push(format!("TLS-001: the certificate of {domain} has {days_left} days left"));
        }
        if !certificate.covers_domain {
            warnings.push(format!("TLS-001: the certificate of {domain} does not name it"));
        }
    }
    let memory = admin.router.memory();
    let shortage = memory.shortage();
    if shortage >= Shortage::Holders {
        warnings
            .push(format!("MEM-001: memory is short ({}): raise limits.memory, or look who holds it", shortage.name()));
    }
    Ok(StatusView {
        version: admin.version.to_owned(),
        uptime: admin.router.uptime().as_secs(),
        domains,
        listening: lifecycle.listening(),
        sessions: admin.router.session_count(),
        links: admin.federation.as_ref().map_or(0, |federation| federation.links().len()),
        memory: MemoryView {
            used: memory.used(),
            ceiling: memory.ceiling(),
            queued: memory.queued() as u64,
            shortage: shortage.name(),
        },
        store: admin.router.store().describe(),
        warnings,
    })
}

pub(super) fn reload(admin: &Admin) -> Result<Reloaded, AdminError> {
    needs_server(&admin.lifecycle)?
        .reload()
        .map_err(|message| AdminError::new(ErrorCode::ConfigValue, format!("the old configuration stays: {message}")))
}

pub(super) fn stop(admin: &Admin) -> Result<Done, AdminError> {
    needs_server(&admin.lifecycle)?.stop();
    Ok(Done { done: "stopping" })
}
