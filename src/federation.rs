//! Composition of federation, and what administrators may ask of it.

use crate::config::{Config, Permission};
use crate::output::Failure;
use async_trait::async_trait;
use std::net::SocketAddr;
use std::sync::Arc;
use stonechat_admin::{ErrorCode, Federation as Asked, LinkView, PingAnswer};
use stonechat_jid::Domain;
use stonechat_net::{
    AddressLimits, Addresses, Certificates, DomainLimits, Domains, PeerDialler, PeerFront, RandomOf, Rate, Roots,
    accept_peer, hosts_of,
};
use stonechat_router::{Memory, Router};
use stonechat_s2s::{
    Federation, HickoryResolver, Pace, PrivateAddresses, Security, Settings, Switch, Target, Unpaced, serve_inbound,
};
use stonechat_stream::{
    CertificatePolicy, DialbackPolicy, DialbackSecret, Random, S2sPolicy, S2sTransport, TlsPolicy, s2s_in,
};
use tokio::net::TcpStream;

/// What connections to other servers need.
pub(crate) fn peers(
    config: &Config,
    certificates: Arc<Certificates>,
    memory: Arc<Memory>,
) -> Result<Arc<PeerFront>, Failure> {
    let roots = Roots::load(&config.federation.extra_roots)
        .map_err(|error| Failure::new(ErrorCode::CertificateUnusable, error.to_string()))?;
    let addresses = match config.rate_limits {
        // One address may be the server of hundreds of domains, each with streams of its own.
        Permission::Allowed => Some(AddressLimits {
            connections: 1_000,
            arrivals: Rate { per_second: 50, burst: 1_000 },
            ..AddressLimits::default()
        }),
        Permission::Refused => None,
    };
    Ok(Arc::new(PeerFront { certificates, roots: Arc::new(roots), addresses: Addresses::new(addresses), memory }))
}

struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        stonechat_router::Random::fill(&crate::server::OsRandom, buffer);
    }
}

pub(crate) fn start(config: &Config, peers: Arc<PeerFront>, secret: &[u8; 32]) -> Result<Federation, Failure> {
    let section = &config.federation;
    let resolver = HickoryResolver::new(section.resolver)
        .map_err(|error| Failure::new(ErrorCode::ConfigValue, format!("s2s.resolver: {error}")))?;
    let hosts = section
        .hosts
        .iter()
        .map(|(domain, fixed)| {
            let security = match fixed.direct_tls {
                Permission::Allowed => Security::Direct,
                Permission::Refused => Security::StartTls,
            };
            (domain.clone(), Target { host: fixed.host.clone(), port: fixed.port, security })
        })
        .collect();
    let settings = Settings {
        switch: match config.federates() {
            Permission::Allowed => Switch::On,
            Permission::Refused => Switch::Off,
        },
        policy: policy(config),
        access: section.access.clone(),
        hosts,
        private: match section.allow_private {
            Permission::Allowed => PrivateAddresses::Allowed,
            Permission::Refused => PrivateAddresses::Refused,
        },
        ..Settings::default()
    };
    let pace: Arc<dyn Pace> = match config.rate_limits {
        Permission::Allowed => Arc::new(Domains::new(DomainLimits::default())),
        Permission::Refused => Arc::new(Unpaced),
    };
    Ok(Federation::new(
        settings,
        Arc::new(resolver),
        Arc::new(PeerDialler::new(peers)),
        DialbackSecret::new(secret),
        Arc::new(SystemRandom),
        pace,
    ))
}

fn policy(config: &Config) -> S2sPolicy {
    S2sPolicy {
        tls: match config.federation.allow_plaintext {
            Permission::Allowed => TlsPolicy::Optional,
            Permission::Refused => TlsPolicy::Required,
        },
        certificate: match config.federation.require_valid_certificate {
            Permission::Allowed => CertificatePolicy::Required,
            Permission::Refused => CertificatePolicy::Preferred,
        },
        dialback: DialbackPolicy::Allowed,
    }
}

/// Takes streams that other servers open.
pub(crate) struct Incoming {
    federation: Federation,
    router: Router,
    peers: Arc<PeerFront>,
    start_tls: Arc<s2s_in::Config>,
    direct: Arc<s2s_in::Config>,
}

impl Incoming {
    pub(crate) fn new(federation: Federation, router: Router, peers: Arc<PeerFront>) -> Arc<Incoming> {
        let config = |transport| {
            Arc::new(s2s_in::Config {
                hosts: hosts_of(&router),
                random: Arc::new(RandomOf(router.clone())),
                secret: federation.secret().clone(),
                transport,
                policy: federation.policy(),
                limits: s2s_in::Limits::default(),
            })
        };
        Arc::new(Incoming {
            start_tls: config(S2sTransport::StartTls),
            direct: config(S2sTransport::DirectTls),
            federation,
            router,
            peers,
        })
    }

    pub(crate) fn take(&self, socket: TcpStream, peer: SocketAddr, transport: S2sTransport) {
        let Some(channel) = accept_peer(&self.peers, socket, peer) else { return };
        let config = match transport {
            S2sTransport::StartTls => &self.start_tls,
            S2sTransport::DirectTls => &self.direct,
        };
        tokio::spawn(serve_inbound(self.federation.clone(), self.router.clone(), Arc::clone(config), channel));
    }
}

/// What administrators ask.
pub(crate) struct FederationControl {
    pub(crate) federation: Federation,
    pub(crate) router: Router,
}

#[async_trait]
impl Asked for FederationControl {
    fn links(&self) -> Vec<LinkView> {
        let outgoing = self.federation.links().into_iter().map(|link| LinkView {
            domain: link.remote.to_string(),
            direction: "out",
            state: link.state,
            connection: link.connection,
            queued: link.queued,
        });
        let incoming = self.federation.inbound().into_iter().map(|(domain, connection)| LinkView {
            domain: domain.map_or_else(|| "unknown".to_owned(), |domain| domain.to_string()),
            direction: "in",
            state: "open".to_owned(),
            connection: Some(connection),
            queued: 0,
        });
        outgoing.chain(incoming).collect()
    }
    fn explain(&self, domain: &Domain) -> Option<Vec<String>> {
        self.federation.explain(domain)
    }
    async fn ping(&self, from: &Domain, domain: &Domain) -> Result<PingAnswer, String> {
        let (time, answer) = self.federation.ping(&self.router, from, domain).await?;
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Ok(PingAnswer { domain: domain.to_string(), milliseconds, answer })
    }
    fn reset(&self, domain: &Domain) -> Option<()> {
        self.federation.reset(domain)
    }
}
