//! A client on tokio-xmpp for the conformance run: finds the server by SRV, trusts what `SSL_CERT_FILE` says.
//!
//! `conformance-tokio-client MODE TRANSPORT JID PASSWORD [PEER]`, with TRANSPORT `starttls` or `direct`:
//!
//! * `message`: logs in, sends PEER a message, waits for an answer of the same text, prints it;
//! * `plus`: demands SCRAM-SHA-256-PLUS bound to the connection by `tls-exporter` (RFC 9266), and prints what was offered.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use futures::StreamExt;
use sasl::common::{ChannelBinding, Credentials};
use tokio_xmpp::connect::{DirectTlsServerConnector, DnsConfig, ServerConnector, StartTlsServerConnector};
use tokio_xmpp::jid::{BareJid, Jid};
use tokio_xmpp::parsers::message::{Lang, Message, MessageType};
use tokio_xmpp::parsers::ns;
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::parsers::stream_features::StreamFeatures;
use tokio_xmpp::xmlstream::Timeouts;
use tokio_xmpp::{Client, Event, rustls};

const LIMIT: Duration = Duration::from_secs(30);

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

// On several threads tokio-xmpp 6.0.0 now and then misses its own wake-up and reads nothing more, whatever the server sends.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let work = async {
        match arguments.as_slice() {
            ["message", transport, jid, password, peer] => message(transport, jid, password, peer).await,
            ["plus", "starttls", jid, password] => {
                let jid = Jid::from_str(jid)?;
                let dns = DnsConfig::srv_default_client(jid.domain().as_str());
                plus(StartTlsServerConnector::from(dns), jid, password).await
            }
            ["plus", "direct", jid, password] => {
                let jid = Jid::from_str(jid)?;
                let dns = DnsConfig::srv_xmpps(jid.domain().as_str());
                plus(DirectTlsServerConnector::from(dns), jid, password).await
            }
            _ => Err("usage: message|plus starttls|direct JID PASSWORD [PEER]".into()),
        }
    };
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            println!("failed: no end within {LIMIT:?}");
            ExitCode::FAILURE
        }
    }
}

async fn message(transport: &str, jid: &str, password: &str, peer: &str) -> Outcome {
    let jid = BareJid::from_str(jid)?;
    let peer = Jid::from_str(peer)?;
    let mut client = match transport {
        "starttls" => Client::new(jid, password),
        "direct" => Client::new_direct_tls(jid, password),
        other => return Err(format!("unknown transport {other}").into()),
    };
    let text = format!("over {transport}");
    while let Some(event) = client.next().await {
        match event {
            Event::Online { bound_jid, .. } => {
                println!("online: {bound_jid}");
                client.send_stanza(Presence::available().into()).await?;
                let mut message = Message::new(Some(peer.clone()));
                message.type_ = MessageType::Chat;
                message.bodies.insert(Lang::default(), text.clone());
                client.send_stanza(message.into()).await?;
            }
            Event::Disconnected(error) => return Err(format!("disconnected: {error}").into()),
            Event::Stanza(stanza) => {
                let Ok(message) = Message::try_from(stanza) else {
                    continue;
                };
                if message.type_ == MessageType::Error {
                    return Err("the message came back as an error".into());
                }
                if message.bodies.values().any(|body| *body == text) {
                    println!("answered: {text}");
                    client.send_end().await?;
                    return Ok(());
                }
            }
        }
    }
    Err("the client ended by itself".into())
}

async fn plus<C: ServerConnector>(connector: C, jid: Jid, password: &str) -> Outcome {
    let (stream, binding) = connector.connect(&jid, ns::JABBER_CLIENT, Timeouts::default()).await?;
    if !matches!(binding, ChannelBinding::TlsExporter(_)) {
        return Err("TLS 1.3 was not negotiated, so nothing can be bound with tls-exporter".into());
    }
    let (features, stream) = stream.recv_features().await?;
    let features: StreamFeatures = features;
    let mut mechanisms = features.sasl_mechanisms;
    println!("offered: {}", mechanisms.iter().cloned().collect::<Vec<_>>().join(" "));
    mechanisms.retain(|name| name == "SCRAM-SHA-256-PLUS");
    if mechanisms.is_empty() {
        return Err("SCRAM-SHA-256-PLUS is not offered".into());
    }
    let username = jid.node().ok_or("the address has no local part")?.as_str();
    let credentials =
        Credentials::default().with_username(username).with_password(password).with_channel_binding(binding);
    tokio_xmpp::client_login(stream, mechanisms, credentials).await?;
    println!("authenticated with SCRAM-SHA-256-PLUS");
    Ok(())
}
