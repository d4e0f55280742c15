//! DNS, behind a trait.

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use std::net::{IpAddr, SocketAddr};

/// One SRV record; an empty target, or ".", says that there is no such service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    /// Lower first.
    pub priority: u16,
    /// More often.
    pub weight: u16,
    /// Port.
    pub port: u16,
    /// Name, without its final dot.
    pub target: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The resolver could not be asked, or failed: try again later.
    #[error("DNS failed: {0}")]
    Failed(String),
}

/// Asks DNS.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// SRV records of a name; `None` when there are none.
    async fn srv(&self, name: &str) -> Result<Option<Vec<SrvRecord>>, ResolveError>;
    /// Addresses of a name, IPv6 and IPv4 in turn; empty when there are none.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError>;
}

/// The real one.
pub struct HickoryResolver {
    resolver: TokioResolver,
}

impl HickoryResolver {
    /// The system's resolver, or one at an address.
    pub fn new(server: Option<SocketAddr>) -> Result<HickoryResolver, ResolveError> {
        let failed = |error: hickory_resolver::net::NetError| ResolveError::Failed(error.to_string());
        let builder = match server {
            None => TokioResolver::builder_tokio().map_err(failed)?,
            Some(server) => {
                let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp]
                    .into_iter()
                    .map(|protocol| {
                        let mut connection = ConnectionConfig::new(protocol);
                        connection.port = server.port();
                        connection
                    })
                    .collect();
                let server = NameServerConfig::new(server.ip(), true, connections);
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        Ok(HickoryResolver { resolver: builder.build().map_err(failed)? })
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, ResolveError> {
        // Fully qualified: search domains have no say.
        let name = format!("{}.", name.trim_end_matches('.'));
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => Ok(lookup.answers().iter().map(|record| record.data.clone()).collect()),
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
            Err(error) => Err(ResolveError::Failed(error.to_string())),
        }
    }
}

#[async_trait]
impl Resolve for HickoryResolver {
    async fn srv(&self, name: &str) -> Result<Option<Vec<SrvRecord>>, ResolveError> {
        let records: Vec<SrvRecord> = self
            .lookup(name, RecordType::SRV)
            .await?
            .into_iter()
            .filter_map(|data| match data {
                RData::SRV(srv) => Some(SrvRecord {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    target: srv.target.to_utf8().trim_end_matches('.').to_owned(),
                }),
                _ => None,
            })
            .collect();
        Ok(if records.is_empty() { None } else { Some(records) })
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(literal) = name.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![literal]);
        }
        let (six, four) = tokio::join!(self.lookup(name, RecordType::AAAA), self.lookup(name, RecordType::A));
        let pick = |records: &Result<Vec<RData>, ResolveError>| -> Vec<IpAddr> {
            let records = records.as_ref().map_or(&[][..], Vec::as_slice);
            records
                .iter()
                .filter_map(|data| match data {
                    RData::A(address) => Some(IpAddr::V4(address.0)),
                    RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                    _ => None,
                })
                .collect()
        };
        let (sixes, fours) = (pick(&six), pick(&four));
        if sixes.is_empty() && fours.is_empty() {
            six?;
            four?;
        }
        // RFC 8305 §4: the families alternate.
        let mut addresses = Vec::with_capacity(sixes.len().saturating_add(fours.len()));
        let (mut sixes, mut fours) = (sixes.into_iter(), fours.into_iter());
        loop {
            match (sixes.next(), fours.next()) {
                (None, None) => return Ok(addresses),
                (six, four) => addresses.extend(six.into_iter().chain(four)),
            }
        }
    }
}
