//! Where another domain is, and a connection to it: SRV records and addresses (RFC 6120 §3.2, XEP-0368), and of the
//! addresses the first that answers (RFC 8305 §5).
//!
//! Deliberately absent: the order of SRV records, which is [`crate::targets`]'s, and which addresses and ports may be named
//! at all, which is [`crate::reach`]'s.

use super::Failure;
use crate::link::{self, note};
use crate::reach::{self, PrivateAddresses};
use crate::targets::{Plan, Srv};
use crate::{Channel, Federation, Security, Target};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use std::net::SocketAddr;
use std::time::Duration;
use stonechat_jid::Domain;
use stonechat_router::Router;

/// RFC 8305 §5: how long one address has before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// Abuse case 132: SRV records of one domain that are tried, addresses of each, and addresses altogether.
const TARGETS: usize = 16;
const ADDRESSES_OF_A_TARGET: usize = 8;
const ENDPOINTS: usize = 16;

/// One address of a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) security: Security,
}

/// What to try for a domain, in order.
pub(super) async fn endpoints(
    federation: &Federation,
    router: &Router,
    remote: &Domain,
) -> Result<Vec<Endpoint>, Failure> {
    let (targets, trust) = match federation.inner.settings.hosts.get(remote) {
        Some(fixed) => {
            note(federation, router, remote, format!("fixed address {}:{}", fixed.host, fixed.port));
            (vec![fixed.clone()], PrivateAddresses::Allowed)
        }
        None => (targets(federation, router, remote).await?, federation.inner.settings.private),
    };
    let resolver = &federation.inner.resolver;
    let resolved = join_all(targets.into_iter().map(|target| async move {
        let addresses = resolver.addresses(&target.host).await;
        (target, addresses)
    }));
    let mut endpoints = Vec::new();
    let mut failure = Failure::NoAddress;
    for (Target { host, port, security }, addresses) in resolved.await {
        match addresses {
            Ok(addresses) => {
                let (tried, refused): (Vec<_>, Vec<_>) = addresses
                    .into_iter()
                    .partition(|address| trust == PrivateAddresses::Allowed || reach::is_public(*address));
                let kind = match security {
                    Security::StartTls => "STARTTLS",
                    Security::Direct => "direct TLS",
                };
                let mut told: Vec<String> = tried.iter().map(ToString::to_string).collect();
                told.extend(refused.iter().map(|address| format!("{address} is private and not tried")));
                let told = if told.is_empty() { "no address".to_owned() } else { told.join(", ") };
                note(federation, router, remote, format!("{host} port {port} ({kind}): {told}"));
                if !refused.is_empty() {
                    failure = Failure::Private;
                }
                let tried = tried.into_iter().take(ADDRESSES_OF_A_TARGET);
                endpoints.extend(tried.map(|ip| Endpoint { address: SocketAddr::new(ip, port), security }));
            }
            Err(error) => {
                note(federation, router, remote, format!("{host}: {error}"));
                failure = Failure::Dns(error.to_string());
            }
        }
    }
    endpoints.truncate(ENDPOINTS);
    if endpoints.is_empty() { Err(failure) } else { Ok(endpoints) }
}

/// What DNS says of a domain.
async fn targets(federation: &Federation, router: &Router, remote: &Domain) -> Result<Vec<Target>, Failure> {
    let resolver = &federation.inner.resolver;
    let ascii = remote.to_ascii().map_err(|_| Failure::NoAddress)?;
    let (starttls_name, direct_name) = (format!("_xmpp-server._tcp.{ascii}"), format!("_xmpps-server._tcp.{ascii}"));
    let (starttls, direct) = tokio::join!(resolver.srv(&starttls_name), resolver.srv(&direct_name));
    let srv = match (starttls, direct) {
        // A kind that could not be asked for may be the one there is.
        (Err(error), Err(_) | Ok(None)) | (Ok(None), Err(error)) => {
            note(federation, router, remote, error.to_string());
            return Err(Failure::Dns(error.to_string()));
        }
        (starttls, direct) => Srv { starttls: starttls.unwrap_or_default(), direct: direct.unwrap_or_default() },
    };
    let targets = match link::plan(federation, &ascii, srv) {
        Plan::NoService => {
            note(federation, router, remote, "its SRV records say that it has no such service");
            return Err(Failure::NoService);
        }
        Plan::Try(targets) => targets,
    };
    let (mut tried, refused): (Vec<_>, Vec<_>) =
        targets.into_iter().partition(|target| reach::is_port_of_xmpp(target.port));
    if let Some(target) = refused.first() {
        let text = format!("{} port {}: not a port of XMPP, and not tried", target.host, target.port);
        note(federation, router, remote, text);
    }
    if tried.len() > TARGETS {
        note(federation, router, remote, format!("{} SRV records, of which {TARGETS} are tried", tried.len()));
        tried.truncate(TARGETS);
    }
    if tried.is_empty() { Err(Failure::Port) } else { Ok(tried) }
}

/// Connects to the first endpoint that answers (RFC 8305), and takes it and those before it off the list.
pub(super) async fn connect(
    federation: &Federation,
    router: &Router,
    remote: &Domain,
    left: &mut Vec<Endpoint>,
) -> Result<(Box<dyn Channel>, Endpoint), Failure> {
    let mut attempts = FuturesUnordered::new();
    let mut next = 0usize;
    let mut last = String::from("no address answered");
    loop {
        if let Some(endpoint) = left.get(next).copied() {
            next = next.saturating_add(1);
            let dial = federation.inner.dialler.dial(endpoint.address);
            let limit = federation.inner.settings.connect;
            attempts.push(async move {
                let dialled = tokio::time::timeout(limit, dial)
                    .await
                    .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
                (endpoint, dialled)
            });
        } else if attempts.is_empty() {
            left.clear();
            return Err(Failure::Unreachable(last));
        }
        let more = next < left.len();
        tokio::select! {
            Some((endpoint, dialled)) = attempts.next() => match dialled {
                Ok(channel) => {
                    left.retain(|other| other.address != endpoint.address);
                    return Ok((channel, endpoint));
                }
                Err(error) => {
                    last = format!("{}: {error}", endpoint.address);
                    note(federation, router, remote, format!("{}: {error}", endpoint.address));
                }
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}
