//! What the operator's side keeps from others, and what it survives.

use super::{Person, condition};
use crate::support::PASSWORD;
use crate::support::line::{HEADER, Line};
use crate::support::server::{Limits, Options, Server, Transport, binary};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};
use stonechat_jid::{BareJid, Jid};
use stonechat_sasl::encode;
use stonechat_store::{Accounts as _, ArchiveId, ArchiveRow, Archives as _, Half, Store as _};
use stonechat_store_sqlite::SqliteStore;

fn stonechat(config: &Path, arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).arg("--config").arg(config).output().unwrap()
}

/// All regular files and sockets below, with their modes.
fn below(directory: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(below(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), entry.metadata().unwrap().permissions().mode() & 0o777));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_151_the_socket_and_the_data_are_for_their_owner_only() {
    let server = Server::start().await;
    let data = server.directory.path().join("data");
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o077, 0, "the directory");
    let files = below(&data);
    assert!(files.iter().any(|(name, _)| name.ends_with(".sock")), "{files:?}");
    for (name, mode) in files {
        // Nobody gets through the directory; what holds secrets does not rely on it.
        let secret = [".sock", ".key", ".sqlite", "-wal"].iter().any(|ending| name.ends_with(ending));
        assert!(!secret || mode & 0o077 == 0, "{name}: {mode:o}");
    }
    // As somebody else, when the test may become somebody else.
    if std::fs::metadata(&data).unwrap().uid() == 0 && Command::new("setpriv").arg("--version").output().is_ok() {
        let config = server.config();
        std::fs::set_permissions(server.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let status = Command::new("setpriv")
            .args(["--reuid", "65534", "--clear-groups"])
            .arg(binary())
            .args(["status", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        assert!(!status.status.success(), "{status:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_153_an_argument_is_an_address_or_refused() {
    let server = Server::start().await;
    let config = server.config();
    let before = below(server.directory.path()).len();
    for jid in [
        "new\nline@localhost",
        "../../etc/passwd",
        "../x@localhost",
        "a b@localhost",
        "@localhost",
        "x@localhost/resource",
        "x@",
        "",
        "x@localhost\0",
    ] {
        if jid.contains('\0') {
            continue;
        }
        for verb in ["show", "lock", "delete"] {
            let output = stonechat(&config, &["user", verb, jid]);
            assert!(matches!(output.status.code(), Some(2 | 3 | 5)), "{verb} {jid:?}: {output:?}");
            // One line, whatever stood in the argument.
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(told.trim_end().lines().count(), 1, "{verb} {jid:?}: {told}");
        }
    }
    let output = stonechat(&config, &["user", "show", "--json=--", "-x@localhost"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(below(server.directory.path()).len(), before);
    // The accounts are untouched.
    let list = stonechat(&config, &["user", "list"]);
    for name in ["romeo", "juliet", "nurse"] {
        assert!(String::from_utf8_lossy(&list.stdout).contains(name), "{list:?}");
    }
    server.stop().await;
}

#[test]
fn abuse_155_a_key_that_everybody_can_read_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = directory.path().join("stonechat.toml");
    std::fs::write(
        &config,
        "domains = [\"localhost\"]\ndata_dir = \"data\"\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n",
    )
    .unwrap();
    for (mode, told) in [(0o644, true), (0o640, false), (0o600, false)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = stonechat(&config, &["check"]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.contains("key.pem is a private key that everybody"), told, "{mode:o}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_159_a_bad_configuration_changes_nothing() {
    let server = Server::start().await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    let good = std::fs::read_to_string(server.config()).unwrap();
    let other = good.replace("\"localhost\"", "\"elsewhere.example\"");
    for bad in [
        "domains = [",
        "domains = []\n",
        &format!("{good}\n[nonsense]\nkey = 1\n"),
        &other.replace("[listen]", "[lisen]"),
    ] {
        std::fs::write(server.config(), bad).unwrap();
        let output = Command::new(binary()).args(["reload", "--config"]).arg(server.config()).output().unwrap();
        assert!(!output.status.success(), "{bad}: {output:?}");
        // Those who are there, and those who come, find what was there before.
        romeo.heard().await;
        let mut juliet = Person::present(&server, "juliet", "garden").await;
        juliet.heard().await;
        juliet.wire.close().await;
    }
    std::fs::write(server.config(), good).unwrap();
    assert!(stonechat(&server.config(), &["reload"]).status.success());
    romeo.heard().await;
    server.stop().await;
}

/// How many messages are in the archive of who asks.
async fn archived(person: &mut Person, id: &str) -> String {
    let none = "<set xmlns='http://jabber.org/protocol/rsm'><max>0</max></set>";
    person.say(&format!("<iq type='set' id='{id}'><query xmlns='urn:xmpp:mam:2'>{none}</query></iq>")).await;
    let heard = person.heard().await;
    let answer = heard.iter().find(|came| came.attribute("id") == Some(id)).expect("an answer");
    let set = answer.child("fin", "urn:xmpp:mam:2").and_then(|fin| fin.child("set", "http://jabber.org/protocol/rsm"));
    set.and_then(|set| set.child("count", "http://jabber.org/protocol/rsm")).expect("a count").text()
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_110_what_is_not_to_be_kept_any_more_is_gone_with_the_reload() {
    let mut server = Server::start().await;
    let good = std::fs::read_to_string(server.config()).unwrap();
    server.stopped().await;
    // A message of the year 2001.
    let path = server.directory.path().join("data/stonechat.sqlite");
    let store = SqliteStore::open(&path, stonechat_store_sqlite::Options::default()).unwrap();
    let account = store.account(&BareJid::parse("romeo@localhost").unwrap()).await.unwrap().unwrap().id;
    let row = ArchiveRow {
        id: ArchiveId::first_at(1_000_000_000_000),
        with: Jid::parse("juliet@localhost").unwrap(),
        stanza: b"<message xmlns='jabber:client' type='chat'><body>old</body></message>".to_vec(),
        mark: None,
    };
    store.record(account, Half { archive: Some(row), ..Half::default() }, (1, 1_000)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    std::fs::write(server.config(), format!("{good}[archive]\nkeep = \"forever\"\n")).unwrap();
    server.restart().await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    assert_eq!(archived(&mut romeo, "a").await, "1");
    std::fs::write(server.config(), format!("{good}[archive]\nkeep = \"1y\"\n")).unwrap();
    assert!(stonechat(&server.config(), &["reload"]).status.success());
    // It is removed beside the answer.
    let mut asked = 0;
    while archived(&mut romeo, &format!("b{asked}")).await != "0" {
        asked += 1;
        assert!(asked < 2_000, "it is gone");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_147_a_flood_of_lines_is_counted_and_not_written() {
    const FLOOD: usize = 500;
    let server = Server::start_with(&Options { limits: Limits::Off, ..Options::default() }).await;
    let port = server.port.get();
    for _ in 0..FLOOD / 50 {
        let mut failing = tokio::task::JoinSet::new();
        for _ in 0..50 {
            failing.spawn(async move {
                let mut wire = crate::support::wire::Wire::dial(port, None).await.unwrap();
                wire.open().await.unwrap();
                wire.write(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X'/>").await.unwrap();
                wire.expect("failure").await.unwrap();
            });
        }
        while let Some(failed) = failing.join_next().await {
            failed.unwrap();
        }
    }
    let log = server.log.clone();
    server.stop().await;
    let left_out: Vec<String> =
        log.with("log.left_out").into_iter().filter(|line| line.contains("c2s.login_failed")).collect();
    let number = |line: &String| -> usize {
        let rest = line.split_once("\"lines\":").unwrap_or_else(|| panic!("no number: {line}")).1;
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let untold: usize = left_out.iter().map(number).sum();
    let written = log.with("\"event\":\"c2s.login_failed\"").len();
    assert!(untold > 0, "{written} lines were written");
    assert_eq!(written + untold, FLOOD, "each is written or counted: {left_out:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_158_the_most_talkative_log_holds_no_secret_and_no_word_of_a_message() {
    const SECRET: &str = "the-body-that-nobody-may-read";
    let options = Options { log: "trace", ..Options::default() };
    let server = Server::start_with(&options).await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    let mut juliet = Person::present(&server, "juliet", "garden").await;
    for to in ["juliet@localhost/garden", "nurse@localhost", "nobody@localhost", "somebody@other.example"] {
        romeo.say(&format!("<message to='{to}' type='chat' id='m'><body>{SECRET}</body></message>")).await;
        romeo.heard().await;
    }
    romeo
        .say(&format!(
            "<iq type='set' id='p'><query xmlns='jabber:iq:private'><x xmlns='urn:x'>{SECRET}</x></query></iq>"
        ))
        .await;
    romeo
        .say(&format!(
            "<iq type='set' id='c' to='localhost'><query xmlns='jabber:iq:register'><username>romeo</username>\
             <password>{SECRET}</password></query></iq>"
        ))
        .await;
    let heard = romeo.heard().await;
    assert!(heard.iter().all(|came| condition(came) != Some("bad-request")), "{heard:?}");
    juliet.heard().await;
    // What is malformed is told without what it was.
    let _ = juliet.wire.write(format!("<message><body>{SECRET}</message>").as_bytes()).await;
    juliet.ended_with().await;
    // A log-in that fails.
    let mut wire = crate::support::wire::Wire::dial(server.port.get(), None).await.unwrap();
    wire.open().await.unwrap();
    let initial = encode(format!("n,,n=romeo,r={SECRET}").as_bytes());
    let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>{initial}</auth>");
    wire.write(auth.as_bytes()).await.unwrap();
    wire.expect("challenge").await.unwrap();
    let wrong = encode(SECRET.as_bytes());
    wire.write(format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{wrong}</response>").as_bytes())
        .await
        .unwrap();
    wire.expect("failure").await.unwrap();
    let log = server.log.clone();
    server.stop().await;
    for event in ["c2s.bound", "c2s.closed", "c2s.login_failed"] {
        assert!(!log.with(event).is_empty(), "{event} is told");
    }
    for secret in [SECRET, PASSWORD, &initial, &wrong, &encode(PASSWORD.as_bytes())] {
        assert_eq!(log.with(secret), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_158_nor_does_it_hold_what_devices_log_in_with() {
    const SASL2: &str = "urn:xmpp:sasl:2";
    let options = Options { log: "trace", transport: Transport::Tls, ..Options::default() };
    let server = Server::start_with(&options).await;
    let port = server.port.get();
    let device = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>test</software></user-agent>";
    let authenticate = move |mechanism: &str, initial: &str, wanted: &str| {
        format!(
            "<authenticate xmlns='{SASL2}' mechanism='{mechanism}'><initial-response>{initial}</initial-response>{device}\
             {wanted}</authenticate>"
        )
    };
    let secrets = tokio::task::spawn_blocking(move || {
        // PLAIN with the password itself, for a token and a session that can be resumed.
        let plain = encode(format!("\0juliet\0{PASSWORD}").as_bytes());
        let mut line = Line::dial(port);
        line.write(HEADER);
        line.expect("features");
        let wanted = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-EXPR'/>\
                      <bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>";
        line.write(&authenticate("PLAIN", &plain, wanted));
        let success = line.expect("success");
        let token = success.child("token", "urn:xmpp:fast:0").expect("a token").attribute("token").unwrap().to_owned();
        let bound = success.child("bound", "urn:xmpp:bind:0").expect("bound");
        let session = bound.child("enabled", "urn:xmpp:sm:3").expect("resumable").attribute("id").unwrap().to_owned();
        drop(line);
        // And back with both.
        let mut line = Line::dial(port);
        let exchange = line.token(&token);
        let initial = encode(&exchange.initial("juliet"));
        let wanted = format!(
            "<fast xmlns='urn:xmpp:fast:0' count='1'/><resume xmlns='urn:xmpp:sm:3' previd='{session}' h='0'/>"
        );
        line.write(&format!("{HEADER}{}", authenticate("HT-SHA-256-EXPR", &initial, &wanted)));
        line.expect("features");
        line.expect("success");
        // One that is not good.
        let mut line = Line::dial(port);
        let wrong = encode(&line.token("not the token").initial("juliet"));
        line.write(&format!(
            "{HEADER}{}",
            authenticate("HT-SHA-256-EXPR", &wrong, "<fast xmlns='urn:xmpp:fast:0' count='2'/>")
        ));
        line.expect("features");
        line.expect("failure");
        vec![plain, token, session, initial, wrong]
    })
    .await
    .unwrap();
    let log = server.log.clone();
    server.stop().await;
    for event in ["c2s.bound", "c2s.resumed", "c2s.login_failed"] {
        assert!(!log.with(event).is_empty(), "{event} is told");
    }
    for secret in secrets.iter().map(String::as_str).chain([PASSWORD]) {
        assert_eq!(log.with(secret), Vec::<String>::new(), "{secret}");
    }
}
