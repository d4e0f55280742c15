//! Scripts that read like a chat, and how they are played.
//!
//! A line says who does what; elements follow on indented lines. What is expected is a part of what comes: attributes and
//! children that are not named do not matter; `*` stands for any value; `$name` stands for any value the first time, and for
//! the same one from then on, also in what is sent.
//!
//! | Line | Meaning |
//! |---|---|
//! | `juliet/phone connects` | logs in and binds the resource |
//! | `juliet/phone connects and counts` | … and enables stream management, with resumption |
//! | `juliet/phone sends` | sends the element, and waits until the server has done with it |
//! | `juliet/phone receives` | the next stanza is like that |
//! | `juliet/phone receives nothing` | and nothing is left |
//! | `juliet/phone enables carbons` | asks for copies |
//! | `juliet/phone is inactive`, `… is active` | says whether somebody looks |
//! | `juliet/phone acknowledges` | tells the server that it has got what it has received |
//! | `juliet/phone loses its connection` | without a word |
//! | `juliet/phone resumes` | connects and gets its session back |
//! | `juliet/phone cannot resume` | connects, and the session is not there; then it binds anew, and counts |
//! | `juliet/phone disconnects` | closes its stream |
//! | `juliet/phone finds in its archive` | all of it, in order, each with its id as a `<stanza-id/>` |
//! | `juliet/phone finds nothing in its archive` | |
//! | `the archive is off` | at the beginning: in the server's configuration |
//! | `the stream is real` | at the beginning: such a script is played against the binary only |
//! | `the server restarts`, `the server is killed` | and is started again on the same data |
//! | `11 minutes pass` | under the held clock; such a script is played in memory only |

use super::server::Archive;
use super::{Comeback, Counting, Fall, Host, Looking, Peer, Trace};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use stonechat_xml::{Element, Node};

enum Step {
    Connects(Counting),
    Sends(Element),
    Receives(Element),
    Nothing,
    EnablesCarbons,
    Looks(Looking),
    Acknowledges,
    LosesConnection,
    Resumes,
    CannotResume,
    Disconnects,
    Finds(Vec<Element>),
    Falls(Fall),
    Passes(Duration),
}

pub struct Script {
    pub name: String,
    archive: Archive,
    needs_stream: bool,
    steps: Vec<(usize, String, Step)>,
}

pub fn read(path: &Path) -> Script {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let mut lines = text.lines().enumerate().peekable();
    let mut script = Script { name, archive: Archive::On, needs_stream: false, steps: Vec::new() };
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{}:{}", script.name, number + 1);
        let (who, verb) = line.split_once(' ').unwrap_or_else(|| panic!("{place}: who does what?"));
        let mut body = String::new();
        while let Some((_, more)) = lines.next_if(|(_, line)| line.starts_with(' ')) {
            body.push_str(more.trim());
        }
        let elements = || -> Vec<Element> {
            let list = Element::parse(format!("<list>{body}</list>").as_bytes(), "jabber:client");
            list.unwrap_or_else(|error| panic!("{place}: {error}: {body}")).children().cloned().collect()
        };
        let element = || {
            let mut elements = elements();
            assert_eq!(elements.len(), 1, "{place}: one element");
            elements.remove(0)
        };
        let step = match verb {
            "connects" => Step::Connects(Counting::No),
            "connects and counts" => Step::Connects(Counting::Yes),
            "sends" => Step::Sends(element()),
            "receives" => Step::Receives(element()),
            "receives nothing" => Step::Nothing,
            "enables carbons" => Step::EnablesCarbons,
            "is inactive" => Step::Looks(Looking::Inactive),
            "is active" => Step::Looks(Looking::Active),
            "acknowledges" => Step::Acknowledges,
            "loses its connection" => Step::LosesConnection,
            "resumes" => Step::Resumes,
            "cannot resume" => Step::CannotResume,
            "disconnects" => Step::Disconnects,
            "finds in its archive" => Step::Finds(elements()),
            "finds nothing in its archive" => Step::Finds(Vec::new()),
            "server restarts" if who == "the" => Step::Falls(Fall::Stopped),
            "server is killed" if who == "the" => Step::Falls(Fall::Killed),
            "archive is off" if who == "the" => {
                script.archive = Archive::Off;
                continue;
            }
            "stream is real" if who == "the" => {
                script.needs_stream = true;
                continue;
            }
            "minutes pass" => {
                let minutes: u64 = who.parse().unwrap_or_else(|_| panic!("{place}: how many minutes?"));
                Step::Passes(Duration::from_secs(60 * minutes))
            }
            other => panic!("{place}: what is {other:?}?"),
        };
        script.steps.push((number + 1, who.to_owned(), step));
    }
    script
}

pub fn scripts() -> Vec<Script> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "chat"))
        .collect();
    paths.sort();
    // `STONECHAT_SCENARIO=push` plays those alone that have it in their name.
    if let Ok(wanted) = std::env::var("STONECHAT_SCENARIO") {
        paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(&wanted)));
    }
    assert!(!paths.is_empty(), "there are no scenarios");
    paths.iter().map(|path| read(path)).collect()
}

impl Script {
    /// Whether it is about what the stream does before the router sees anything.
    pub fn needs_stream(&self) -> bool {
        self.needs_stream
    }

    /// Whether time has to pass in it.
    pub fn needs_held_clock(&self) -> bool {
        self.steps.iter().any(|(_, _, step)| matches!(step, Step::Passes(_)))
    }
}

/// What stands for `$name`.
type Names = HashMap<String, String>;

fn same(expected: &str, actual: &str, names: &mut Names) -> bool {
    match expected.strip_prefix('$') {
        Some(name) => names.entry(name.to_owned()).or_insert_with(|| actual.to_owned()) == actual,
        None => expected == "*" || expected == actual,
    }
}

/// Whether what came has everything that is expected. Names that are found out are kept only when it has.
fn matches(expected: &Element, actual: &Element, names: &mut Names) -> bool {
    let mut found = names.clone();
    let attributes = expected.attributes().all(|(namespace, name, value)| {
        actual.attributes().any(|(ns, n, v)| ns == namespace && n == name && same(value, v, &mut found))
    });
    let mut rest = actual.children();
    let children = expected.children().all(|child| rest.any(|candidate| matches(child, candidate, &mut found)));
    let has_text = expected.nodes().iter().any(|node| matches!(node, Node::Text(_)));
    let text = !has_text || same(&expected.text(), &actual.text(), &mut found);
    let all = expected.is(actual.name(), actual.namespace()) && attributes && children && text;
    if all {
        *names = found;
    }
    all
}

struct Stage<P: Peer> {
    server: P::Server,
    peers: HashMap<String, P>,
    /// Those that lost their connection.
    lost: HashMap<String, Trace>,
    names: Names,
}

pub async fn play<P: Peer>(script: &Script) {
    let server = P::Server::begin(script.archive).await;
    let mut stage: Stage<P> = Stage { server, peers: HashMap::new(), lost: HashMap::new(), names: Names::new() };
    for (line, who, step) in &script.steps {
        let place = format!("{}:{line}: {who}", script.name);
        stage.step(&place, who, step).await;
    }
    for (_, peer) in stage.peers {
        peer.leave().await;
    }
    stage.server.finish().await;
}

impl<P: Peer> Stage<P> {
    fn peer(&mut self, place: &str, who: &str) -> &mut P {
        self.peers.get_mut(who).unwrap_or_else(|| panic!("{place} is not connected"))
    }

    fn leaving(&mut self, place: &str, who: &str) -> P {
        self.peers.remove(who).unwrap_or_else(|| panic!("{place} is not connected"))
    }

    fn trace(&mut self, place: &str, who: &str) -> Trace {
        self.lost.remove(who).unwrap_or_else(|| panic!("{place} has lost no connection"))
    }

    async fn step(&mut self, place: &str, who: &str, step: &Step) {
        match step {
            Step::Connects(counting) => {
                let (name, resource) = who.split_once('/').unwrap_or_else(|| panic!("{place}: needs a resource"));
                let peer = P::connect(&self.server, name, resource, *counting).await;
                self.peers.insert(who.to_owned(), peer);
            }
            Step::Disconnects => self.leaving(place, who).leave().await,
            Step::LosesConnection => {
                let trace = self.leaving(place, who).lose().await;
                self.lost.insert(who.to_owned(), trace);
            }
            Step::Resumes | Step::CannotResume => {
                let expected = if matches!(step, Step::Resumes) { Comeback::Resumed } else { Comeback::Anew };
                let trace = self.trace(place, who);
                let (comeback, peer) = P::resume(&self.server, trace).await;
                assert_eq!(comeback, expected, "{place}");
                self.peers.insert(who.to_owned(), peer);
            }
            Step::Sends(element) => {
                let element = filled(element, &self.names);
                let peer = self.peer(place, who);
                peer.send(&element).await;
                // What was sent is done with when the server answers what was sent after it.
                peer.fence().await;
            }
            Step::Receives(expected) => {
                let came = self.peer(place, who).receive().await;
                let came = came.unwrap_or_else(|| panic!("{place}: nothing came, expected {}", expected.to_xml()));
                self.expect(place, expected, &came);
            }
            Step::Nothing => {
                let peer = self.peer(place, who);
                peer.fence().await;
                if let Some(came) = peer.tray().take() {
                    panic!("{place}: expected nothing, came {}", came.to_xml());
                }
            }
            Step::EnablesCarbons => {
                let enable = Element::new("enable", "urn:xmpp:carbons:2");
                let request = Element::new("iq", "jabber:client").with_attribute("type", "set").with_child(enable);
                let answer = self.peer(place, who).ask(request).await;
                assert_eq!(answer.attribute("type"), Some("result"), "{place}: {}", answer.to_xml());
            }
            Step::Looks(looking) => {
                let peer = self.peer(place, who);
                peer.look(*looking).await;
                peer.fence().await;
            }
            Step::Acknowledges => {
                let peer = self.peer(place, who);
                peer.acknowledge().await;
                peer.fence().await;
            }
            Step::Finds(expected) => self.finds(place, who, expected).await,
            Step::Falls(fall) => {
                for (who, peer) in std::mem::take(&mut self.peers) {
                    self.lost.insert(who, peer.lose().await);
                }
                self.server.fall(*fall).await;
            }
            Step::Passes(span) => {
                tokio::time::sleep(*span).await;
            }
        }
    }

    fn expect(&mut self, place: &str, expected: &Element, came: &Element) {
        let names = self.names.clone();
        assert!(
            matches(expected, came, &mut self.names),
            "{place}:\n expected {}\n came     {}\n names    {names:?}",
            expected.to_xml(),
            came.to_xml()
        );
    }

    async fn finds(&mut self, place: &str, who: &str, expected: &[Element]) {
        let account = format!("{}@localhost", who.split('/').next().unwrap_or_default());
        let query = Element::new("query", "urn:xmpp:mam:2").with_attribute("queryid", "own-archive");
        let request = Element::new("iq", "jabber:client").with_attribute("type", "set").with_child(query);
        let peer = self.peer(place, who);
        let answer = peer.ask(request).await;
        let complete = answer.child("fin", "urn:xmpp:mam:2").and_then(|fin| fin.attribute("complete"));
        assert_eq!(complete, Some("true"), "{place}: one page is all: {}", answer.to_xml());
        let rows: Vec<_> = peer.tray().rows().iter().map(|row| as_kept(row, &account)).collect();
        let told: Vec<_> = rows.iter().map(Element::to_xml).collect();
        assert_eq!(rows.len(), expected.len(), "{place}: what is in the archive: {told:#?}");
        for (expected, row) in expected.iter().zip(&rows) {
            self.expect(place, expected, row);
        }
    }
}

/// An element with what `$name` stands for.
fn filled(element: &Element, names: &Names) -> Element {
    let value = |text: &str| match text.strip_prefix('$') {
        Some(name) => names.get(name).cloned().unwrap_or_else(|| text.to_owned()),
        None => text.to_owned(),
    };
    let mut filled = Element::new(element.name().to_owned(), element.namespace().to_owned());
    for (namespace, name, text) in element.attributes() {
        filled.set_attribute(namespace.to_owned(), name.to_owned(), value(text));
    }
    for node in element.nodes() {
        match node {
            Node::Text(text) => filled.push_text(&value(text)),
            Node::Element(child) => filled.push(Node::Element(self::filled(child, names))),
        }
    }
    filled
}

/// A row of the archive as a client keeps it: the message, under the archive's id.
fn as_kept(row: &Element, account: &str) -> Element {
    let forwarded = row.child("forwarded", "urn:xmpp:forward:0").expect("a row has a message");
    let message = forwarded.child("message", "jabber:client").expect("a row has a message").clone();
    let id = row.attribute("id").expect("a row has an id");
    let twice = message
        .children()
        .any(|child| child.is("stanza-id", "urn:xmpp:sid:0") && child.attribute("by") == Some(account));
    if twice {
        return message;
    }
    message
        .with_child(Element::new("stanza-id", "urn:xmpp:sid:0").with_attribute("by", account).with_attribute("id", id))
}
