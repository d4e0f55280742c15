//! The command line as scripts see it, and the life of the process around it: exit statuses, JSON, what a start that fails
//! says, signals, systemd, certificates that are exchanged under a session, and the demonstration.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use stonechat_store::Store as _;
use stonechat_store_sqlite::SqliteStore;
use support::PASSWORD;
use support::line::{HEADER, Line};
use support::server::{Server, binary};
use support::wire::Wire;
use tokio::io::{AsyncBufReadExt, BufReader};

const PATIENCE: Duration = Duration::from_secs(30);

/// What a command said.
struct Said {
    status: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: &Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        Said {
            status: output.status.code().expect("it ended by itself"),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
    fn json(&self) -> Value {
        assert_eq!((self.status, self.err.as_str()), (0, ""), "{}", self.out);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
    /// The code of an error: one line for people, one object for scripts.
    fn code(&self) -> String {
        assert_eq!(self.err.trim_end().lines().count(), 1, "an error is one line: {}", self.err);
        match serde_json::from_str::<Value>(&self.err) {
            Ok(error) => error["error"]["code"].as_str().expect("a code").to_owned(),
            Err(_) => {
                let rest = self.err.strip_prefix("error [").unwrap_or_else(|| panic!("no error: {}", self.err));
                rest.split(']').next().unwrap_or_default().to_owned()
            }
        }
    }
}

fn stonechat(config: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(binary()).args(arguments).arg("--config").arg(config).output().unwrap();
    Said::of(&output)
}

fn with_password(config: &Path, arguments: &[&str], password: &str) -> Said {
    let mut child = Command::new(binary())
        .args(arguments)
        .args(["--password-stdin", "--config"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    Said::of(&child.wait_with_output().unwrap())
}

/// The names of an object's fields.
fn fields(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

const ACCOUNT: [&str; 4] = ["created", "jid", "last_activity", "state"];

/// Accounts, with and without a running server, by the same words.
fn accounts(config: &Path) {
    let made = with_password(config, &["user", "add", "nurse2@localhost", "--json"], PASSWORD);
    assert_eq!(made.json(), serde_json::json!({ "jid": "nurse2@localhost" }));
    let again = with_password(config, &["user", "add", "nurse2@localhost", "--json"], PASSWORD);
    assert_eq!((again.status, again.code().as_str()), (4, "USR-002"));
    let elsewhere = with_password(config, &["user", "add", "x@elsewhere.example"], PASSWORD);
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (5, "USR-003"));
    let empty = with_password(config, &["user", "add", "x@localhost"], "");
    assert_eq!((empty.status, empty.code().as_str()), (2, "USR-004"));
    let list = stonechat(config, &["user", "list", "--json"]).json();
    let found = list.as_array().unwrap().iter().find(|row| row["jid"] == "nurse2@localhost").expect("it is listed");
    for field in ACCOUNT {
        assert!(found.get(field).is_some(), "{field}: {found}");
    }
    let shown = stonechat(config, &["user", "show", "nurse2@localhost", "--json"]).json();
    assert_eq!(
        (&shown["state"], &shown["offline_messages"], &shown["contacts"]),
        (&"active".into(), &0.into(), &0.into())
    );
    assert_eq!(
        with_password(config, &["user", "passwd", "nurse2@localhost", "--json"], "another").json(),
        serde_json::json!({ "jid": "nurse2@localhost" })
    );
    for (verb, state) in [("lock", "locked"), ("unlock", "active")] {
        stonechat(config, &["user", verb, "nurse2@localhost", "--json"]).json();
        assert_eq!(stonechat(config, &["user", "show", "nurse2@localhost", "--json"]).json()["state"], state);
    }
    assert_eq!(stonechat(config, &["user", "devices", "nurse2@localhost", "--json"]).json(), serde_json::json!([]));
    let revoked = stonechat(config, &["user", "revoke", "nurse2@localhost", "phone", "--json"]);
    assert_eq!((revoked.status, revoked.code().as_str()), (3, "USR-005"));
    stonechat(config, &["user", "delete", "nurse2@localhost", "--json"]).json();
    for verb in ["show", "lock", "delete", "devices"] {
        let gone = stonechat(config, &["user", verb, "nurse2@localhost", "--json"]);
        assert_eq!((gone.status, gone.code().as_str()), (3, "USR-001"), "{verb}");
    }
    let taken = with_password(config, &["user", "add", "nurse2@localhost"], PASSWORD);
    assert_eq!((taken.status, taken.code().as_str()), (4, "USR-002"), "nobody inherits the name");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_managed_with_and_without_a_running_server() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("stonechat.toml");
    std::fs::write(&config, "domains = [\"localhost\"]\n").unwrap();
    accounts(&config);
    let server = Server::start().await;
    accounts(&server.config());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_the_server_says_so_and_what_does_not_answers() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("stonechat.toml");
    std::fs::write(&config, "domains = [\"localhost\"]\n").unwrap();
    for command in [
        &["status"][..],
        &["reload"],
        &["stop"],
        &["session", "list"],
        &["session", "show", "a@localhost/x"],
        &["session", "kill", "a@localhost/x"],
        &["s2s", "list"],
        &["s2s", "explain", "other.example"],
        &["s2s", "ping", "other.example"],
        &["s2s", "reset", "other.example"],
        &["cert", "status"],
        &["cert", "reload"],
    ] {
        let said = stonechat(&config, command);
        assert_eq!((said.status, said.code().as_str()), (6, "CTL-001"), "{command:?}");
        let json = stonechat(&config, &[command, &["--json"]].concat());
        assert_eq!((json.status, json.code().as_str()), (6, "CTL-001"), "{command:?}");
    }
    let checked = stonechat(&config, &["check", "--json"]).json();
    assert_eq!(checked["result"], "good");
    assert_eq!(checked["domains"], serde_json::json!(["localhost"]));
    for unknown in
        [&["no-such-noun"][..], &["user", "no-such-verb"], &["user", "show"], &["status", "--no-such-option"]]
    {
        assert_eq!(stonechat(&config, unknown).status, 2, "{unknown:?}");
    }
    let explained = stonechat(&config, &["explain", "cfg-003", "--json"]).json();
    assert_eq!(fields(&explained), ["code", "explanation"]);
    let nothing = stonechat(&config, &["explain", "CFG-999"]);
    assert_eq!((nothing.status, nothing.code().as_str()), (3, "CTL-007"));
    let missing = stonechat(&directory.path().join("other.toml"), &["status"]);
    assert_eq!((missing.status, missing.code().as_str()), (1, "CFG-002"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_shows_and_ends_its_sessions() {
    let server = Server::start().await;
    let config = server.config();
    let mut wire = Wire::dial(server.port.get(), None).await.unwrap();
    wire.open().await.unwrap();
    wire.log_in("romeo").await.unwrap();
    wire.bind("balcony").await.unwrap();
    let status = stonechat(&config, &["status", "--json"]).json();
    assert_eq!(status["sessions"], 1);
    for field in ["version", "uptime", "domains", "listening", "links", "store", "warnings"] {
        assert!(status.get(field).is_some(), "{field}: {status}");
    }
    let list = stonechat(&config, &["session", "list", "--account", "romeo@localhost", "--json"]).json();
    let shown = stonechat(&config, &["session", "show", "romeo@localhost/balcony", "--json"]).json();
    assert_eq!(list[0]["jid"], shown["jid"]);
    for field in ["id", "since", "connection", "priority", "queued_bytes", "state", "device"] {
        assert!(shown.get(field).is_some(), "{field}: {shown}");
    }
    assert_eq!(
        stonechat(&config, &["session", "list", "--account", "juliet@localhost", "--json"]).json(),
        serde_json::json!([])
    );
    let table = stonechat(&config, &["session", "list"]);
    assert!(table.out.contains("romeo@localhost/balcony") && !table.out.contains('{'), "{}", table.out);
    assert!(!table.out.contains('\u{1b}'), "colour is for terminals");
    stonechat(&config, &["session", "kill", "romeo@localhost/balcony", "--json"]).json();
    let ended = loop {
        let came = wire.next().await.expect("the stream ends with an error");
        if came.name() == "error" {
            break came;
        }
    };
    assert!(ended.children().any(|child| child.name() == "policy-violation"), "{}", ended.to_xml());
    let gone = stonechat(&config, &["session", "show", "romeo@localhost/balcony", "--json"]);
    assert_eq!((gone.status, gone.code().as_str()), (3, "SES-001"));
    let links = stonechat(&config, &["s2s", "list", "--json"]).json();
    assert_eq!(links, serde_json::json!([]));
    let unknown = stonechat(&config, &["s2s", "explain", "other.example", "--json"]);
    assert_eq!((unknown.status, unknown.code().as_str()), (3, "S2S-001"));
    let ping = stonechat(&config, &["s2s", "ping", "other.example", "--json"]);
    assert_eq!((ping.status, ping.code().as_str()), (1, "S2S-002"));
    let certificates = stonechat(&config, &["cert", "status", "--json"]).json();
    assert_eq!(fields(&certificates[0]), ["covers_domain", "days_left", "domain", "names", "not_after", "self_signed"]);
    // Another one on the same data.
    let second = stonechat(&config, &["serve"]);
    assert!(second.status != 0 && !second.err.contains("panicked"), "{}", second.err);
    server.stop().await;
}

#[test]
fn completions_and_man_pages_come_from_the_definition() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = Said::of(&Command::new(binary()).args(["completions", shell]).output().unwrap());
        assert_eq!(said.status, 0, "{shell}: {}", said.err);
        for word in ["explain", "passwd", "cert"] {
            assert!(said.out.contains(word), "{shell} completes {word}");
        }
    }
    let pages = directory.path().join("man");
    assert!(Command::new(binary()).arg("man").arg(&pages).output().unwrap().status.success());
    for page in
        ["stonechat.1", "stonechat-serve.1", "stonechat-user.1", "stonechat-user-add.1", "stonechat-s2s-explain.1"]
    {
        let text = std::fs::read_to_string(pages.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH"), "{page} is a man page");
    }
}

/// A self-signed certificate and its key, by these names.
fn make_certificate(directory: &Path, domain: &str) {
    let made = rcgen::generate_simple_self_signed([domain.to_owned()]).unwrap();
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(directory.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn fails(directory: &Path, text: &str) -> Said {
    let config = directory.join("stonechat.toml");
    std::fs::write(&config, text).unwrap();
    // Errors stand alone: the log says no more than that.
    let ended = tokio::process::Command::new(binary())
        .args(["serve", "--log", "error", "--config"])
        .arg(&config)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("it started: {text}"));
    let said = Said::of(&output.unwrap());
    assert_ne!(said.status, 0, "{text}");
    assert_eq!(said.out, "");
    said
}

const NOWHERE: &str = "[listen]\nc2s = [\"127.0.0.1:0\"]\nc2s_tls = []\ns2s = []\ns2s_tls = []\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let top = "domains = [\"localhost\"]\ndata_dir = \"data\"\n";
    for (bad, code) in [
        ("domains = [\n", "CFG-003"),
        ("domains = [\"localhost\"]\n[lisen]\nc2s = []\n", "CFG-003"),
        ("domains = [\"localhost\"]\n[archive]\nkeep = \"soon\"\n", "CFG-003"),
        ("domains = [\"localhost\"]\nadmins = [\"x@elsewhere.example\"]\n", "CFG-004"),
        ("domains = []\n", "CFG-004"),
        ("domains = [\"localhost\"]\n[storage]\nengine = \"postgres\"\n", "CFG-004"),
    ] {
        assert_eq!(fails(here, bad).await.code(), code, "{bad}");
    }
    // A key that stands nearly there is suggested.
    assert!(fails(here, "domains = [\"localhost\"]\n[lisen]\nc2s = []\n").await.err.contains("listen"));

    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let busy =
        fails(here, &format!("{top}[listen]\nc2s = [\"127.0.0.1:{port}\"]\nc2s_tls = []\ns2s = []\ns2s_tls = []\n"))
            .await;
    assert_eq!(busy.code(), "NET-001");
    assert!(busy.err.contains(&format!("127.0.0.1:{port}")), "{}", busy.err);

    make_certificate(here, "localhost");
    let tls = format!("{top}{NOWHERE}[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n");
    std::fs::write(here.join("key.pem"), "not a key\n").unwrap();
    let unusable = fails(here, &tls).await;
    assert_eq!(unusable.code(), "TLS-001");
    assert!(unusable.err.contains("key.pem"), "{}", unusable.err);
    std::fs::remove_file(here.join("key.pem")).unwrap();
    assert_eq!(fails(here, &tls).await.code(), "TLS-001");

    // A database of a later version.
    std::fs::create_dir_all(here.join("data")).unwrap();
    let path = here.join("data/stonechat.sqlite");
    let store = SqliteStore::open(&path, stonechat_store_sqlite::Options::default()).unwrap();
    store.close().await.unwrap();
    drop(store);
    let mut file = std::fs::read(&path).unwrap();
    // `user_version` in the header of the file.
    file[60..64].copy_from_slice(&9_999u32.to_be_bytes());
    std::fs::write(&path, file).unwrap();
    let newer = fails(here, &format!("{top}{NOWHERE}")).await;
    assert_eq!(newer.code(), "DAT-002");
}

/// The binary in the foreground, until it says that it is ready.
async fn serve(directory: &Path, arguments: &[&str], more: &[(&str, &Path)]) -> (tokio::process::Child, Vec<String>) {
    let mut command = tokio::process::Command::new(binary());
    command.args(arguments).current_dir(directory).stderr(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    for (name, value) in more {
        command.env(name, value);
    }
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = Vec::new();
    let ready = async {
        while let Some(line) = log.next_line().await.unwrap() {
            let ready = line.contains("server.ready") || line.contains(" ready");
            lines.push(line);
            if ready {
                return;
            }
        }
        panic!("it ended before it was ready: {lines:#?}");
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("it is ready in time");
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    (child, lines)
}

fn signal(child: &tokio::process::Child, name: &str) {
    let id = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

async fn ends_well(mut child: tokio::process::Child) {
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends in time").unwrap();
    assert!(ended.success(), "an orderly end is a success: {ended:?}");
}

/// The port after these words in the log.
fn port_of(lines: &[String], kind: &str) -> u16 {
    let told = lines.iter().find_map(|line| line.split_once(&format!("listening: {kind} 127.0.0.1:")));
    let (_, rest) = told.unwrap_or_else(|| panic!("{kind} is not told: {lines:#?}"));
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_when_the_server_is_ready_and_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    std::fs::write(here.join("stonechat.toml"), format!("domains = [\"localhost\"]\n{NOWHERE}")).unwrap();
    let socket = here.join("notify");
    let told = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let next = || async {
        let mut bytes = [0u8; 512];
        let count = tokio::time::timeout(PATIENCE, told.recv(&mut bytes)).await.expect("it is told").unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let (child, _) = serve(here, &["serve"], &[("NOTIFY_SOCKET", &socket)]).await;
    assert!(next().await.contains("READY=1"));
    signal(&child, "TERM");
    assert!(next().await.contains("STOPPING=1"));
    ends_well(child).await;
}

/// A session over TLS that answers.
fn present(port: u16, name: &str, password: &str) -> Line {
    let mut line = Line::dial(port);
    line.write(HEADER);
    line.expect("features");
    let (scram, initial) = Line::scram_with(name, password);
    line.write(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>{initial}</auth>"));
    line.prove(scram, "urn:ietf:params:xml:ns:xmpp-sasl");
    line.restart();
    line.expect("features");
    line.write("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
    line.until_answer("bind");
    line
}

fn answers(line: &mut Line, id: &str) {
    line.write(&format!("<iq type='get' id='{id}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"));
    assert_eq!(line.until_answer(id).1.attribute("type"), Some("result"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_configuration_are_exchanged_under_a_session() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_owned();
    make_certificate(&here, "localhost");
    let text = "domains = [\"localhost\"]\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n[listen]\nc2s = []\n\
                c2s_tls = [\"127.0.0.1:0\"]\ns2s = []\ns2s_tls = []\n";
    let config = here.join("stonechat.toml");
    std::fs::write(&config, text).unwrap();
    support::server::add_account(&config, "romeo@localhost");
    let (child, lines) = serve(&here, &["serve"], &[]).await;
    let port = port_of(&lines, "c2s_tls");
    let id = child.id().unwrap().to_string();
    tokio::task::spawn_blocking(move || {
        let mut before = present(port, "romeo", PASSWORD);
        let first = before.certificate();
        // `cert reload`: the files alone.
        make_certificate(&here, "localhost");
        stonechat(&config, &["cert", "reload", "--json"]).json();
        let second = Line::dial(port).certificate();
        assert_ne!(first, second, "whoever comes now sees the new one");
        answers(&mut before, "a");
        // `reload`: both.
        make_certificate(&here, "localhost");
        std::fs::write(&config, format!("{text}[registration]\nmode = \"open\"\n")).unwrap();
        let reloaded = stonechat(&config, &["reload", "--json"]).json();
        assert_eq!(reloaded["applied"], serde_json::json!(["registration.mode"]));
        let third = Line::dial(port).certificate();
        assert_ne!(second, third);
        answers(&mut before, "b");
        // SIGHUP does the same.
        make_certificate(&here, "localhost");
        assert!(Command::new("kill").args(["-s", "HUP", &id]).status().unwrap().success());
        let mut tries = 0;
        while Line::dial(port).certificate() == third {
            tries += 1;
            assert!(tries < 3_000, "SIGHUP loads the certificates again");
            std::thread::sleep(Duration::from_millis(10));
        }
        answers(&mut before, "c");
        // One that will not do changes nothing.
        let good = Line::dial(port).certificate();
        std::fs::write(here.join("cert.pem"), "no certificate\n").unwrap();
        let refused = stonechat(&config, &["cert", "reload", "--json"]);
        assert_eq!((refused.status, refused.code().as_str()), (1, "TLS-001"));
        assert_eq!(stonechat(&config, &["reload"]).status, 1);
        assert_eq!(Line::dial(port).certificate(), good);
        answers(&mut before, "d");
        // What needs a restart is named.
        make_certificate(&here, "localhost");
        std::fs::write(&config, format!("{text}[limits]\nenabled = false\n")).unwrap();
        let reloaded = stonechat(&config, &["reload", "--json"]).json();
        assert_eq!(reloaded["needs_restart"], serde_json::json!(["limits.enabled"]));
        answers(&mut before, "e");
    })
    .await
    .unwrap();
    signal(&child, "TERM");
    ends_well(child).await;
}

#[test]
fn what_a_configuration_may_not_say_is_told_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("stonechat.toml");
    make_certificate(directory.path(), "localhost");
    let pair = "cert = \"cert.pem\"\nkey = \"key.pem\"\n";
    for (text, told) in [
        // Passwords in the clear are for loopback addresses alone.
        ("[c2s]\nallow_plaintext = true\n", "c2s.allow_plaintext"),
        ("[c2s]\nallow_plaintext = true\n[listen]\nc2s = [\"192.0.2.1:5222\"]\n", "192.0.2.1:5222"),
        ("[listen]\nc2s = [\"localhost\"]\n", "listen.c2s"),
        ("[tls]\ncert = \"cert.pem\"\n", "cert and key go together"),
        ("[tls]\nacme = true\n", "tls.acme"),
        (&format!("[tls.domains.\"other.example\"]\n{pair}"), "other.example"),
        ("[s2s]\nresolver = \"dns.example\"\n", "s2s.resolver"),
        ("[s2s.hosts]\n\"b.example\" = \"b.example\"\n", "HOST:PORT"),
        ("[registration]\nmode = \"invite\"\n", "registration.mode"),
        ("[registration]\nmode = \"opne\"\n", "open"),
        ("[storage]\nurl = \"postgres://x\"\n", "storage"),
        ("[offline]\nbytes = \"many\"\n", "50MB"),
        ("[archive]\nkeep = \"90\"\n", "90d"),
        ("[contact]\nboss = [\"mailto:a@b.example\"]\n", "contact.boss"),
        ("[contact]\nabuse = [\"a@b.example\"]\n", "mailto:"),
        ("[s2s]\nallow_plaintxt = true\n", "allow_plaintext"),
    ] {
        std::fs::write(&config, format!("domains = [\"localhost\"]\n{text}")).unwrap();
        let said = stonechat(&config, &["check"]);
        assert_eq!(said.status, 1, "{text}");
        assert!(matches!(said.code().as_str(), "CFG-003" | "CFG-004"), "{text}: {}", said.err);
        assert!(said.err.contains(told), "{told}: {}", said.err);
    }
    // What is accepted without effect is told, and what works is not.
    std::fs::write(
        &config,
        "domains = [\"localhost\"]\n[listen]\nhttps = [\"[::]:5443\"]\n[upload]\nquota = \"1GB\"\n",
    )
    .unwrap();
    let notices = stonechat(&config, &["check", "--json"]).json()["notices"].clone();
    assert_eq!(notices.as_array().unwrap().len(), 2, "{notices}");
    // Every key that the example shows is one, and each is at its default.
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stonechat.toml");
    assert_eq!(stonechat(&example, &["check", "--json"]).json()["notices"], serde_json::json!([]));
}

#[test]
fn each_domain_has_accounts_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("stonechat.toml");
    std::fs::write(&config, "domains = [\"a.example\", \"b.example\"]\n").unwrap();
    assert_eq!(with_password(&config, &["user", "add", "romeo@a.example"], PASSWORD).status, 0);
    assert_eq!(stonechat(&config, &["user", "show", "romeo@b.example"]).code(), "USR-001");
    assert_eq!(with_password(&config, &["user", "add", "romeo@b.example"], "another").status, 0);
    assert_eq!(stonechat(&config, &["user", "delete", "romeo@a.example"]).status, 0);
    let left = stonechat(&config, &["user", "list", "--json"]).json();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["jid"]), (1, &"romeo@b.example".into()));
    assert_eq!(stonechat(&config, &["user", "list", "--domain", "a.example", "--json"]).json(), serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_137_domains_are_refused_with_the_reload_and_explain_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_owned();
    let config = here.join("stonechat.toml");
    let text = "domains = [\"localhost\"]\n[listen]\nc2s = [\"127.0.0.1:0\"]\nc2s_tls = []\ns2s = [\"127.0.0.1:0\"]\ns2s_tls = []\n";
    std::fs::write(&config, text).unwrap();
    for (list, code) in [
        ("deny = [\"localhost\"]", "CFG-004"),
        ("deny = [\"*.bad.example\"]", "CFG-004"),
        ("allow = [\"not a domain\"]", "CFG-004"),
        ("deny = \"bad.example\"", "CFG-003"),
        ("denied = [\"bad.example\"]", "CFG-003"),
    ] {
        let other = here.join("other.toml");
        std::fs::write(&other, format!("{text}[s2s]\n{list}\n")).unwrap();
        let said = stonechat(&other, &["check"]);
        assert_eq!((said.status, said.code().as_str()), (1, code), "{list}");
    }
    let (child, _) = serve(&here, &["serve"], &[]).await;
    let unknown = stonechat(&config, &["s2s", "explain", "rooms.bad.example"]);
    assert_eq!((unknown.status, unknown.code().as_str()), (3, "S2S-001"));
    std::fs::write(&config, format!("{text}[s2s]\ndeny = [\"bad.example\"]\n")).unwrap();
    let checked = stonechat(&config, &["check", "--json"]).json();
    assert_eq!(checked["federation"], "on, but not with bad.example");
    let reloaded = stonechat(&config, &["reload", "--json"]).json();
    assert_eq!(
        (&reloaded["applied"], &reloaded["needs_restart"]),
        (&serde_json::json!(["s2s.deny"]), &serde_json::json!([]))
    );
    let explained = stonechat(&config, &["s2s", "explain", "rooms.bad.example"]);
    assert_eq!(explained.status, 0);
    assert!(explained.out.contains("[s2s] deny"), "{}", explained.out);
    let ping = stonechat(&config, &["s2s", "ping", "bad.example"]);
    assert_eq!((ping.status, ping.code().as_str()), (1, "S2S-002"));
    assert!(ping.err.contains("[s2s] deny"), "{}", ping.err);
    signal(&child, "TERM");
    ends_well(child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_has_two_accounts_and_can_be_looked_into() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_owned();
    // Two ports in a row that were free a moment ago.
    let port = loop {
        let low = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = low.local_addr().unwrap().port();
        if port < u16::MAX && std::net::TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            break port;
        }
    };
    let child = serve_demo(&here, port).await;
    let direct = port + 1;
    tokio::task::spawn_blocking(move || {
        let mut romeo = present(direct, "romeo", "stonechat");
        let mut juliet = present(direct, "juliet", "stonechat");
        juliet.write("<presence/>");
        answers(&mut juliet, "there");
        romeo.write("<message to='juliet@localhost' type='chat' id='m'><body>hello</body></message>");
        while juliet.next().attribute("id") != Some("m") {}
        let sessions = stonechat(&here.join("stonechat-demo/stonechat.toml"), &["session", "list", "--json"]).json();
        assert_eq!(sessions.as_array().unwrap().len(), 2);
    })
    .await
    .unwrap();
    signal(&child, "INT");
    ends_well(child).await;
    // It can be shown again.
    let again = serve_demo(directory.path(), port).await;
    // Whoever closes the terminal is done with it.
    signal(&again, "HUP");
    ends_well(again).await;
}

/// The demonstration, until it has said how to log in.
async fn serve_demo(directory: &Path, port: u16) -> tokio::process::Child {
    let mut child = tokio::process::Command::new(binary())
        .args(["demo", "--port", &port.to_string()])
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    let told = async {
        while let Some(line) = out.next_line().await.unwrap() {
            text.push_str(&line);
            if line.contains("Ctrl-C") {
                return;
            }
        }
        panic!("it ended before it said how to log in: {text}");
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it says how to log in");
    for word in ["romeo@localhost", "juliet@localhost", "Gajim", "Profanity", "session list"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    tokio::spawn(async move { while let Ok(Some(_)) = out.next_line().await {} });
    child
}

#[test]
fn a_configuration_is_never_written_over_another() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("stonechat.toml");
    let init = |domain: &str| stonechat(&config, &["init", "--domain", domain, "--email", "a@b.example", "--json"]);
    assert_eq!(fields(&init("example.org").json()), ["written"]);
    let written = std::fs::read(&config).unwrap();
    let again = init("other.example");
    assert_eq!((again.status, again.code().as_str()), (4, "CTL-006"));
    assert_eq!(std::fs::read(&config).unwrap(), written);
    assert_eq!(stonechat(&config, &["check", "--json"]).json()["domains"], serde_json::json!(["example.org"]));
}
