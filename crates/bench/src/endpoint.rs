//! Whom to measure: the server's address, its domain, how to reach it and as whom.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use rustls::{ClientConfig, ClientConnection, Connection};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use crate::link::{self, Incoming, Link};
use crate::scram::Salted;
use crate::{Result, tls};

/// How the connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Security {
    /// TLS from within the stream (RFC 6120 §5).
    Starttls,
    /// TLS from the first byte (XEP-0368).
    Direct,
    /// No TLS.
    Plain,
}

/// What is spoken after connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Xmpp,
    /// The relay's: one line that names the place, then bytes.
    Relay,
}

/// A server to put load on, and the accounts to do it with.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) domain: String,
    pub(crate) security: Security,
    pub(crate) protocol: Protocol,
    pub(crate) users: UserPattern,
    pub(crate) password: String,
    tls: Arc<ClientConfig>,
    keys: Arc<Mutex<HashMap<String, Salted>>>,
}

/// A user name with `{n}` in the place of the account's number.
#[derive(Debug, Clone)]
pub(crate) struct UserPattern(String);

impl UserPattern {
    pub(crate) fn new(pattern: &str) -> Result<Self> {
        if pattern.contains("{n}") {
            Ok(Self(pattern.to_owned()))
        } else {
            Err(format!("the user pattern {pattern:?} lacks {{n}}, the place of the account's number").into())
        }
    }

    pub(crate) fn user(&self, number: u32) -> String {
        self.0.replace("{n}", &number.to_string())
    }
}

impl Endpoint {
    pub(crate) fn new(
        address: SocketAddr,
        domain: &str,
        security: Security,
        protocol: Protocol,
        users: UserPattern,
        password: &str,
    ) -> Result<Self> {
        let application = (security == Security::Direct && protocol == Protocol::Xmpp).then_some(&b"xmpp-client"[..]);
        Ok(Self {
            address,
            domain: domain.to_owned(),
            security,
            protocol,
            users,
            password: password.to_owned(),
            tls: tls::client_config(application)?,
            keys: Arc::default(),
        })
    }

    /// The bare address of an account.
    pub(crate) fn bare_jid(&self, number: u32) -> String {
        format!("{}@{}", self.users.user(number), self.domain)
    }

    /// Connects a socket; with direct TLS that too.
    pub(crate) async fn connect(&self) -> Result<(Arc<Link>, Incoming)> {
        let socket = TcpStream::connect(self.address)
            .await
            .map_err(|error| format!("cannot connect to {}: {error}", self.address))?;
        let (link, mut incoming) = link::open(socket)?;
        if self.security == Security::Direct {
            self.secure(&mut incoming).await?;
        }
        Ok((link, incoming))
    }

    /// Negotiates TLS.
    pub(crate) async fn secure(&self, incoming: &mut Incoming) -> Result<()> {
        let name = ServerName::try_from(self.domain.clone())?;
        let tls = ClientConnection::new(Arc::clone(&self.tls), name)?;
        let early = incoming.secure(Connection::from(tls)).await?;
        if early.is_empty() { Ok(()) } else { Err("the server spoke first after the TLS handshake".into()) }
    }

    pub(crate) fn known_key(&self, user: &str) -> Option<Salted> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(user).cloned()
    }

    pub(crate) fn keep_key(&self, user: &str, salted: Salted) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned(), salted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_needs_the_place_of_the_number() {
        assert_eq!(UserPattern::new("bench{n}").unwrap().user(17), "bench17");
        assert!(UserPattern::new("bench").is_err());
    }
}
