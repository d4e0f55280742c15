//! `peers`: the floor, Prosody and Stonechat, measured in turn in one run, as a Markdown table with ratios.
//!
//! Absolute figures depend on the machine and on who else uses it; only ratios within one run mean something
//! (`docs/performance.md`). Every row starts its servers anew, since none gives its memory back; what a row needs of
//! accounts is made before. A peer that cannot be measured is named with its reason and makes the run fail.

mod dns;
mod prosody;
mod rows;
mod server;
mod stonechat;
mod table;

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum as _};
use tempfile::TempDir;

use self::prosody::Prosody;
use self::rows::{Flavour, Needs, Row, Sizes};
use self::server::{Server, Site};
use self::stonechat::Stonechat;
use self::table::Table;
use crate::endpoint::{Endpoint, Protocol, Security, UserPattern};
use crate::process::ProcessTree;
use crate::report::Format;
use crate::setup;
use crate::tls::Identity;
use crate::{Error, Result};

/// Accounts, a start, log-ins and the window of one row on one subject.
const ROW_LIMIT: Duration = Duration::from_secs(240);
const PASSWORD: &str = "bench-password";
const DOMAINS: [&str; 2] = ["a.bench.lab", "b.bench.lab"];

/// The options of `peers`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The rows to run, separated by commas; all of them by default
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Row>,
    /// The servers to measure, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Subject::Floor, Subject::Prosody, Subject::Stonechat])]
    subjects: Vec<Subject>,
    /// Short runs, to see that everything works
    #[arg(long)]
    quick: bool,
    /// Write the table into this file too, anew after each row
    #[arg(long)]
    table: Option<PathBuf>,
    /// The stonechat binary
    #[arg(long, default_value = "target/release/stonechat")]
    binary: PathBuf,
    /// Append each report to this file as a JSON line
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Subject {
    /// The relay
    Floor,
    Prosody,
    Stonechat,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Floor => "floor",
            Self::Prosody => "prosody",
            Self::Stonechat => "stonechat",
        })
    }
}

/// Runs the rows; prints the table at the end, progress before on standard error.
pub(crate) async fn run(options: Options) -> Result<()> {
    let sizes = if options.quick { Sizes::quick() } else { Sizes::full() };
    let rows = if options.only.is_empty() { Row::value_variants().to_vec() } else { options.only.clone() };
    let mut failures: Vec<Error> = Vec::new();
    let begun = Instant::now();
    let mut versions = vec![(Subject::Floor, "relay of this program".to_owned())];
    for (subject, version) in [(Subject::Prosody, prosody::install as fn() -> Result<String>)] {
        if options.subjects.contains(&subject) {
            match version() {
                Ok(version) => versions.push((subject, version)),
                Err(error) => failures.push(format!("{subject}: {error}").into()),
            }
        }
    }
    if options.subjects.contains(&Subject::Stonechat) {
        match stonechat::version(&options.binary) {
            Ok(version) => versions.push((Subject::Stonechat, version)),
            Err(error) => failures.push(format!("{}: {error}", Subject::Stonechat).into()),
        }
    }
    versions.retain(|(subject, _)| options.subjects.contains(subject));

    let mut lab = Lab::build(&options.binary).await?;
    let mut table = Table::new(versions.clone());
    for failure in &failures {
        table.remark(format!("Not measured: {failure}"));
    }
    for row in rows {
        for (subject, _) in &versions {
            let name = row.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            eprintln!("{name}: {subject}");
            let measured = tokio::time::timeout(ROW_LIMIT, lab.measure(*subject, row, &sizes)).await;
            match measured.unwrap_or_else(|_| Err(format!("not done after {ROW_LIMIT:?}").into())) {
                Ok(Some(reports)) => {
                    if let Some(path) = &options.out {
                        let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
                        for report in &reports {
                            let mut line: serde_json::Value = serde_json::from_str(&report.render(Format::JsonLine)?)?;
                            if let Some(fields) = line.as_object_mut() {
                                fields.insert("row".to_owned(), name.clone().into());
                                fields.insert("subject".to_owned(), subject.to_string().into());
                            }
                            writeln!(file, "{line}")?;
                        }
                    }
                    for report in &reports {
                        eprintln!("{}", report.render(Format::Table)?);
                    }
                    table.add(row, *subject, &sizes, &reports);
                }
                Ok(None) => {}
                Err(error) => {
                    eprintln!("{name}, {subject}: {error}");
                    table.remark(format!("Not measured: {name}, {subject}: {error}"));
                    failures.push(error);
                }
            }
        }
        if let Some(path) = &options.table {
            fs::write(path, table.render(&sizes))?;
        }
    }
    eprintln!("all of it took {:.0} s", begun.elapsed().as_secs_f64());
    println!("{}", table.render(&sizes));
    if failures.is_empty() { Ok(()) } else { Err("not everything was measured".into()) }
}

/// What all subjects of a run share, and what was prepared for each.
struct Lab {
    directory: TempDir,
    binary: PathBuf,
    dns_port: u16,
    sites: Vec<Site>,
    /// Accounts that exist: by subject, site, set-up and pattern, up to which number.
    accounts: HashMap<(Subject, usize, Flavour, &'static str), u32>,
}

/// Servers in the state that a row wants them in.
struct Running {
    servers: Vec<Server>,
    endpoints: Vec<Endpoint>,
}

impl Lab {
    async fn build(binary: &Path) -> Result<Self> {
        let sites = Site::all(&DOMAINS)?;
        let names = sites.iter().map(|site| dns::Name { domain: site.domain.clone(), s2s_port: site.s2s }).collect();
        let directory = tempfile::Builder::new().prefix("stonechat-bench-").tempdir()?;
        // A rival runs as a user of its own and passes through here.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        for site in &sites {
            let identity = Identity::generate(std::slice::from_ref(&site.domain))?;
            fs::write(directory.path().join(format!("{}.pem", site.domain)), identity.certificate_pem)?;
            let key = directory.path().join(format!("{}.key", site.domain));
            fs::write(&key, identity.key_pem)?;
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        }
        Ok(Self {
            directory,
            binary: binary.to_owned(),
            dns_port: dns::serve(names).await?.port(),
            sites,
            accounts: HashMap::new(),
        })
    }

    /// Runs a row on a subject, or `None` where that has nothing like it.
    async fn measure(
        &mut self,
        subject: Subject,
        row: Row,
        sizes: &Sizes,
    ) -> Result<Option<Vec<crate::report::Report>>> {
        let needs = row.needs(sizes);
        if !row.is_for(subject) {
            return Ok(None);
        }
        self.make_accounts(subject, &needs).await?;
        let mut running = self.start(subject, &needs)?;
        let trees: Vec<ProcessTree> = running.servers.iter().map(Server::process).collect();
        let outcome = row.run(sizes, subject, &running.endpoints, &trees).await;
        for server in &mut running.servers {
            server.check()?;
        }
        outcome.map(Some)
    }

    async fn make_accounts(&mut self, subject: Subject, needs: &Needs) -> Result<()> {
        for index in 0..needs.sites {
            let key = (subject, index, needs.flavour, needs.pattern);
            let made = self.accounts.get(&key).copied().unwrap_or_default();
            if subject == Subject::Floor || made >= needs.accounts {
                continue;
            }
            let site = self.sites.get(index).ok_or("no such site")?.clone();
            let endpoint = endpoint(&site, needs, subject)?;
            let numbers = made + 1..=needs.accounts;
            match subject {
                Subject::Stonechat => {
                    let stonechat = self.stonechat(index, needs)?;
                    let _server = stonechat.start()?;
                    setup::by_command(&endpoint, numbers, &stonechat.register_command()?).await?;
                }
                _ => self.prosody(index, needs.flavour)?.make_accounts(&endpoint, numbers).await?,
            }
            self.accounts.insert(key, needs.accounts);
        }
        Ok(())
    }

    fn start(&self, subject: Subject, needs: &Needs) -> Result<Running> {
        let mut running = Running { servers: Vec::new(), endpoints: Vec::new() };
        let sites = if subject == Subject::Floor { 1 } else { needs.sites };
        for (index, site) in self.sites.iter().enumerate().take(sites) {
            running.servers.push(match subject {
                Subject::Floor => self.relay(site, needs.security)?,
                Subject::Prosody => self.prosody(index, needs.flavour)?.start()?,
                Subject::Stonechat => self.stonechat(index, needs)?.start()?,
            });
            running.endpoints.push(endpoint(site, needs, subject)?);
        }
        Ok(running)
    }

    fn relay(&self, site: &Site, security: Security) -> Result<Server> {
        let (port, mode) = match security {
            Security::Plain => (site.c2s, "plain"),
            Security::Direct | Security::Starttls => (site.c2s_tls, "direct"),
        };
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.args(["relay", "--port", &port.to_string(), "--mode", mode]);
        Server::start(&mut command, &self.directory.path().join("relay.log"), &[port])
    }

    fn prosody(&self, index: usize, flavour: Flavour) -> Result<Prosody> {
        let site = self.sites.get(index).ok_or("no such site")?;
        let (pem, key) = self.certificate(site);
        let directory = self.directory.path().join(format!("prosody-{}-{index}", flavour.name()));
        Prosody::prepare(&directory, site, (&pem, &key), self.dns_port, flavour)
    }

    fn stonechat(&self, index: usize, needs: &Needs) -> Result<Stonechat> {
        let site = self.sites.get(index).ok_or("no such site")?;
        let others: Vec<Site> = self.sites.iter().filter(|other| other.domain != site.domain).cloned().collect();
        let (pem, key) = self.certificate(site);
        let directory = self.directory.path().join(format!("stonechat-{}-{index}", needs.flavour.name()));
        Stonechat::prepare(&self.binary, &directory, site, &others, (&pem, &key), needs.security, needs.flavour)
    }

    fn certificate(&self, site: &Site) -> (PathBuf, PathBuf) {
        let at = |suffix: &str| self.directory.path().join(format!("{}.{suffix}", site.domain));
        (at("pem"), at("key"))
    }
}

fn endpoint(site: &Site, needs: &Needs, subject: Subject) -> Result<Endpoint> {
    let port = if needs.security == Security::Direct { site.c2s_tls } else { site.c2s };
    let protocol = if subject == Subject::Floor { Protocol::Relay } else { Protocol::Xmpp };
    Endpoint::new(
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        &site.domain,
        needs.security,
        protocol,
        UserPattern::new(needs.pattern)?,
        PASSWORD,
    )
}
