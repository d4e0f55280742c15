//! Composition: one running server out of its parts, and its life cycle.

use crate::config::{self, Config, Federation, Permission};
use crate::federation::{self, FederationControl};
use crate::keys;
use crate::output::Failure;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stonechat_admin::{Admin, CertificateView, CertificatesControl, ErrorCode, Lifecycle, Reloaded};
use stonechat_jid::Domain;
use stonechat_net::{
    AddressLimits, Addresses, Bound, Certificates, ClientFront, ClientLimits, ClientTransport, Listener, bind,
    serve_client,
};
use stonechat_router::{
    Durability, Hosts, Memory, NoRemote, Parts, Random, Registrar, Registry, Remote, Router, Settings,
};
use stonechat_sasl::DecoySecret;
use stonechat_store::Store;
use stonechat_store_sqlite::{Options, SqliteStore};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// How long other servers may take with what waits for them at the end, and then with closing their streams.
const FEDERATION_GRACE: Duration = Duration::from_secs(2);

/// The operating system's randomness.
pub(crate) struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            // Without randomness nothing here is safe: no token, no nonce, no key.
            tracing::error!(event = "random.failed", %error, "the system gives no random bytes");
            std::process::abort();
        }
    }
}

fn store_failure(error: stonechat_store::Error) -> Failure {
    let code = match error {
        stonechat_store::Error::NewerSchema { .. } => ErrorCode::StoreNewer,
        _ => ErrorCode::StoreUnusable,
    };
    Failure::new(code, error.to_string())
}

fn open_store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    let durability = match config.settings.durability {
        Durability::Full => stonechat_store_sqlite::Durability::Full,
        Durability::Relaxed => stonechat_store_sqlite::Durability::Relaxed,
    };
    let path = config.data_dir.join("stonechat.sqlite");
    let store = SqliteStore::open(&path, Options { durability, ..Options::default() }).map_err(store_failure)?;
    Ok(Arc::new(store))
}

fn hosts(config: &Config) -> Result<Hosts, Failure> {
    // The configuration has one domain at least.
    Hosts::new(config.domains.iter().cloned())
        .ok_or_else(|| Failure::new(ErrorCode::ConfigValue, "there is no domain to serve"))
}

pub(crate) fn registry() -> Result<Registry, Failure> {
    let mut registrar = Registrar::new();
    stonechat_ext::install_all(&mut registrar);
    Registry::build(registrar).map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))
}

fn router(
    config: &Config,
    store: Arc<dyn Store>,
    remote: Arc<dyn Remote>,
    memory: Arc<Memory>,
) -> Result<Router, Failure> {
    let parts = Parts::new(hosts(config)?, config.settings.clone(), store, registry()?, remote, Arc::new(OsRandom));
    Ok(Router::new(Parts { memory, ..parts }))
}

/// Commands on the store of a server that does not run.
pub(crate) fn offline(config: &Config) -> Result<Admin, Failure> {
    let router = router(config, open_store(config)?, Arc::new(NoRemote), Arc::default())?;
    Ok(Admin { router, federation: None, certificates: None, lifecycle: None, version: env!("CARGO_PKG_VERSION") })
}

/// What a running server is made of.
pub(crate) struct Server {
    pub(crate) router: Router,
    federation: stonechat_s2s::Federation,
    control: Arc<Control>,
    admin: Arc<Admin>,
    tasks: Vec<JoinHandle<()>>,
    admin_socket: PathBuf,
    stop: watch::Receiver<bool>,
}

/// What administrators and signals act on.
pub(crate) struct Control {
    router: Router,
    federation: stonechat_s2s::Federation,
    certificates: Arc<Certificates>,
    config: Mutex<Config>,
    listening: Vec<String>,
    stop: watch::Sender<bool>,
    /// Wakes whoever removes what is too old: it may be so earlier now.
    expiry: Arc<Notify>,
}

/// Starts everything: nothing listens before everything that can fail has succeeded.
pub(crate) async fn start(config: Config) -> Result<Server, Failure> {
    let certificates = keys::load(&config).map_err(certificate_failure)?;
    let default = config
        .domains
        .first()
        .cloned()
        .ok_or_else(|| Failure::new(ErrorCode::ConfigValue, "there is no domain to serve"))?;
    let certificates = Arc::new(Certificates::new(default, certificates).map_err(certificate_failure)?);
    let listeners = Listeners::bind(&config)?;
    let store = open_store(&config)?;
    let decoy = secret(&*store, "decoy").await?;
    let dialback = secret(&*store, "dialback").await?;
    let memory: Arc<Memory> = Arc::default();
    memory.set_ceiling(config.memory.bytes());
    let peers = federation::peers(&config, Arc::clone(&certificates), Arc::clone(&memory))?;
    let federation = federation::start(&config, Arc::clone(&peers), &dialback)?;
    let router = router(&config, store, Arc::new(federation.clone()), memory)?;
    // The store is open, so nobody else uses the directory.
    router.set_token_secret(crate::token_key::load(&config.data_dir, &OsRandom)?);
    let (limits, addresses) = match config.rate_limits {
        Permission::Allowed => (ClientLimits::default(), Some(AddressLimits::default())),
        Permission::Refused => (ClientLimits { bytes: None, stanzas: None, ..ClientLimits::default() }, None),
    };
    let front = ClientFront::new(
        router.clone(),
        Arc::clone(&certificates),
        Addresses::new(addresses),
        limits,
        DecoySecret(decoy),
        stonechat_stream::c2s::Limits::default(),
    );
    let (stop, stopped) = watch::channel(false);
    let admin_socket = crate::client::socket(&config);
    let control = Arc::new(Control {
        router: router.clone(),
        federation: federation.clone(),
        certificates,
        listening: listeners.describe(),
        config: Mutex::new(config),
        stop,
        expiry: Arc::default(),
    });
    let admin = Arc::new(Admin {
        router: router.clone(),
        federation: Some(Arc::new(FederationControl { federation: federation.clone(), router: router.clone() })),
        certificates: Some(control.clone()),
        lifecycle: Some(control.clone()),
        version: env!("CARGO_PKG_VERSION"),
    });
    let mut tasks = vec![stonechat_admin::serve(&admin_socket, Arc::clone(&admin)).await.map_err(socket_failure)?];
    let incoming = federation::Incoming::new(federation.clone(), router.clone(), peers);
    // Before anybody is let in: a client that comes back finds its session, and what was on its way goes first.
    router.restore_sessions().await.map_err(store_failure)?;
    router.resend_outgoing().await.map_err(store_failure)?;
    // Whoever can connect can be administered: the ports are opened last.
    let opened = listeners.listen().inspect_err(|_| {
        let _ = std::fs::remove_file(&admin_socket);
    })?;
    opened.accept(&front, &control, &incoming, &mut tasks);
    let (archives, expiry) = (router.clone(), Arc::clone(&control.expiry));
    tasks.push(tokio::spawn(async move {
        loop {
            if let Err(source) = archives.expire_archives().await {
                warn!(event = "archive.expire_failed", %source, "what is too old stays in the archives");
            }
            // Abuse case 110: what is not to be kept any more is gone at once. Else now and then is enough.
            let _ = tokio::time::timeout(Duration::from_secs(3600), expiry.notified()).await;
        }
    }));
    tasks.push(tokio::spawn(crate::memory::watch(router.clone())));
    let sweeper = router.clone();
    tasks.push(tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            sweeper.sweep();
            crate::logging::tell_left_out();
        }
    }));
    Ok(Server { router, federation, control, admin, tasks, admin_socket, stop: stopped })
}

fn certificate_failure(error: stonechat_net::CertificateError) -> Failure {
    Failure::new(ErrorCode::CertificateUnusable, error.to_string())
}

fn socket_failure(error: stonechat_admin::SocketError) -> Failure {
    let code = match error {
        stonechat_admin::SocketError::Taken => ErrorCode::AlreadyRunning,
        stonechat_admin::SocketError::Io(_) => ErrorCode::StoreUnusable,
    };
    Failure::new(code, error.to_string())
}

async fn secret(store: &dyn Store, name: &str) -> Result<[u8; 32], Failure> {
    let mut fresh = [0u8; 32];
    OsRandom.fill(&mut fresh);
    store.secret(name, fresh).await.map_err(store_failure)
}

/// The sockets of each kind.
struct Listeners<L> {
    c2s: Vec<L>,
    c2s_tls: Vec<L>,
    s2s: Vec<L>,
    s2s_tls: Vec<L>,
}

fn address_failure(error: stonechat_net::ListenerError) -> Failure {
    Failure::new(ErrorCode::AddressTaken, error.to_string())
}

impl Listeners<Bound> {
    fn bind(config: &Config) -> Result<Self, Failure> {
        let all = |addresses: &[SocketAddr]| -> Result<Vec<Bound>, Failure> {
            addresses.iter().map(|address| bind(*address).map_err(address_failure)).collect()
        };
        Ok(Listeners {
            c2s: all(&config.listen.c2s)?,
            c2s_tls: all(&config.listen.c2s_tls)?,
            s2s: all(&config.listen.s2s)?,
            s2s_tls: all(&config.listen.s2s_tls)?,
        })
    }

    fn listen(self) -> Result<Listeners<Listener>, Failure> {
        let all = |bound: Vec<Bound>| -> Result<Vec<Listener>, Failure> {
            bound.into_iter().map(|bound| bound.listen().map_err(address_failure)).collect()
        };
        Ok(Listeners {
            c2s: all(self.c2s)?,
            c2s_tls: all(self.c2s_tls)?,
            s2s: all(self.s2s)?,
            s2s_tls: all(self.s2s_tls)?,
        })
    }

    fn describe(&self) -> Vec<String> {
        let kinds = [("c2s", &self.c2s), ("c2s_tls", &self.c2s_tls), ("s2s", &self.s2s), ("s2s_tls", &self.s2s_tls)];
        kinds
            .iter()
            .flat_map(|(kind, listeners)| listeners.iter().map(move |l| format!("{kind} {}", l.address())))
            .collect()
    }
}

impl Listeners<Listener> {
    fn accept(
        self,
        front: &Arc<ClientFront>,
        control: &Arc<Control>,
        incoming: &Arc<federation::Incoming>,
        tasks: &mut Vec<JoinHandle<()>>,
    ) {
        let servers = self.s2s.into_iter().map(|l| (l, stonechat_stream::S2sTransport::StartTls));
        let direct = self.s2s_tls.into_iter().map(|l| (l, stonechat_stream::S2sTransport::DirectTls));
        for (listener, transport) in servers.chain(direct) {
            let (incoming, memory) = (Arc::clone(incoming), Arc::clone(front.router.memory()));
            tasks.push(tokio::spawn(async move {
                loop {
                    let (socket, peer) = listener.accept().await;
                    // Abuse case 149: the first of those who come too much waits here, and the others behind it.
                    memory.admits_newcomers().await;
                    incoming.take(socket, peer, transport);
                }
            }));
        }
        let clear = match control.config().plaintext_clients {
            Permission::Allowed => ClientTransport::StartTlsOptional,
            Permission::Refused => ClientTransport::StartTls,
        };
        let of = |listeners: Vec<Listener>, transport| listeners.into_iter().map(move |l| (l, transport));
        for (listener, transport) in of(self.c2s, clear).chain(of(self.c2s_tls, ClientTransport::DirectTls)) {
            let front = Arc::clone(front);
            tasks.push(tokio::spawn(async move {
                loop {
                    let (socket, peer) = listener.accept().await;
                    front.router.memory().admits_newcomers().await;
                    tokio::spawn(serve_client(Arc::clone(&front), socket, peer, transport));
                }
            }));
        }
    }
}

impl Server {
    /// What commands act on.
    pub(crate) fn admin(&self) -> Arc<Admin> {
        Arc::clone(&self.admin)
    }

    /// What signals act on.
    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Resolves when somebody asked the server to stop.
    pub(crate) async fn stop_requested(&mut self) {
        // The sender lives in `control`.
        let _ = self.stop.wait_for(|stop| *stop).await;
    }

    /// Ends in order: listeners, what waits for other servers, clients, streams to other servers, store. Clients hear what
    /// could not be sent, and other servers that the clients are gone.
    pub(crate) async fn shut_down(self) {
        info!(event = "server.stopping", "stopping");
        for task in &self.tasks {
            task.abort();
        }
        self.federation.drain(&self.router, FEDERATION_GRACE).await;
        let gone = async {
            loop {
                self.router.end_all_connections(stonechat_stanza::StreamCondition::SystemShutdown);
                if self.router.session_count() == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), gone).await.is_err() {
            warn!(
                event = "server.sessions_left",
                left = self.router.session_count(),
                "some clients did not close in time"
            );
        }
        self.federation.close(FEDERATION_GRACE).await;
        if let Err(source) = self.router.save_sessions().await {
            warn!(event = "store.sessions_not_saved", %source, "some clients will have to log in anew");
        }
        if let Err(source) = self.router.store().close().await {
            warn!(event = "store.close_failed", %source, "the store did not close cleanly");
        }
        let _ = std::fs::remove_file(&self.admin_socket);
        crate::logging::tell_left_out();
        info!(event = "server.stopped", "stopped");
    }
}

impl Control {
    pub(crate) fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn apply(&self, new: Config) -> Result<Reloaded, String> {
        let old = self.config();
        let mut reloaded = Reloaded { applied: Vec::new(), needs_restart: Vec::new() };
        let certificates = keys::load(&new).map_err(|error| error.to_string())?;
        let hosts = Hosts::new(new.domains.iter().cloned()).ok_or("there is no domain to serve")?;
        let default = hosts.default_domain().clone();
        self.certificates.replace(default, certificates).map_err(|error| error.to_string())?;
        let mut note = |key: &str, changed: bool, live: bool| {
            if changed {
                if live { &mut reloaded.applied } else { &mut reloaded.needs_restart }.push(key.to_owned());
            }
        };
        note("domains", old.domains != new.domains, true);
        note("tls", old.tls != new.tls, true);
        note("admins", old.settings.admins != new.settings.admins, true);
        note("registration.mode", old.settings.registration != new.settings.registration, true);
        note("offline", old.settings.offline != new.settings.offline, true);
        note("contact", old.settings.contacts != new.settings.contacts, true);
        note("data_dir", old.data_dir != new.data_dir, false);
        note("listen", old.listen != new.listen, false);
        note("c2s.allow_plaintext", old.plaintext_clients != new.plaintext_clients, false);
        note("s2s.deny", old.federation.access.deny != new.federation.access.deny, true);
        note("s2s.allow", old.federation.access.allow != new.federation.access.allow, true);
        let access = old.federation.access.clone();
        note("s2s", old.federation != Federation { access, ..new.federation.clone() }, false);
        note("archive", old.settings.archive != new.settings.archive, true);
        note("storage.durability", old.settings.durability != new.settings.durability, false);
        note("limits.memory", old.memory != new.memory, true);
        note("limits.enabled", old.rate_limits != new.rate_limits, false);
        self.router.memory().set_ceiling(new.memory.bytes());
        self.router.set_hosts(hosts);
        self.federation.set_access(&self.router, new.federation.access.clone());
        // The store was opened with the old one: the two must agree on what a commit is.
        self.router.set_settings(Settings { durability: old.settings.durability, ..new.settings.clone() });
        if old.settings.archive != new.settings.archive {
            self.expiry.notify_one();
        }
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(reloaded)
    }
}

impl Lifecycle for Control {
    fn reload(&self) -> Result<Reloaded, String> {
        let path = self.config().path;
        let new = config::load(&path).map_err(|error| error.to_string())?;
        let reloaded = self.apply(new)?;
        info!(
            event = "config.reloaded", applied = ?reloaded.applied, needs_restart = ?reloaded.needs_restart,
            "the configuration was read again"
        );
        Ok(reloaded)
    }
    fn stop(&self) {
        self.stop.send_replace(true);
    }
    fn listening(&self) -> Vec<String> {
        self.listening.clone()
    }
}

impl CertificatesControl for Control {
    fn status(&self) -> Vec<CertificateView> {
        let now = i64::try_from(self.router.clock().unix().as_secs()).unwrap_or(i64::MAX);
        keys::views(&self.certificates, now)
    }
    fn reload(&self) -> Result<Vec<CertificateView>, String> {
        let config = self.config();
        let loaded = keys::load(&config).map_err(|error| error.to_string())?;
        let default: Domain = config.domains.first().cloned().ok_or("there is no domain")?;
        self.certificates.replace(default, loaded).map_err(|error| error.to_string())?;
        info!(event = "certificates.reloaded", "the certificates were loaded again");
        Ok(CertificatesControl::status(self))
    }
}
