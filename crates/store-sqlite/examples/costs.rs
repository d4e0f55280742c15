//! What the store costs: processor time of the writing thread for each half of a message, the time of pages in a large archive,
//! and that of searches. Figures are kept in docs/performance.md.
//!
//! `cargo run --release -p stonechat-store-sqlite --example costs -- halves|halves=KIND|pages|search [directory]`
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a tool for those who work on the store"
)]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;
use stonechat_jid::{BareJid, FullJid};
use stonechat_sasl::Credentials;
use stonechat_store::{
    AccountId, Accounts, ArchiveFilter, ArchiveId, ArchivePosition, ArchiveRow, Archives, Half, Holder, Mark,
    NewAccount, Offline, Others, Reference, Repeatable, Sessions, SmId, SpoolRow, Store,
};
use stonechat_store_sqlite::{Durability, Options, SqliteStore};

const NO_BOUNDS: (u64, u64) = (u64::MAX, u64::MAX);
const TEXT: &str = "Wherefore art thou? Deny thy father and refuse thy name.";
/// When the first message was sent.
const BEGIN: u64 = 1_700_000_000_000;

/// A random number after another (xorshift): the runs are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Two that are not the same.
    fn pair(&mut self, bound: usize) -> (usize, usize) {
        let first = self.below(bound);
        (first, (first + 1 + self.below(bound - 1)) % bound)
    }
}

/// Microseconds of processor time that threads of this name have used.
fn processor(name: &str) -> f64 {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        if std::fs::read_to_string(task.join("comm")).unwrap().trim() == name {
            let spent = std::fs::read_to_string(task.join("schedstat")).unwrap();
            nanoseconds += spent.split(' ').next().unwrap().parse::<f64>().unwrap();
        }
    }
    nanoseconds / 1_000.0
}

fn stanza(from: &str, to: &str, id: u64, text: &str) -> Vec<u8> {
    format!(
        "<message xmlns='jabber:client' from='{from}' to='{to}' type='chat' id='{id:016x}'><body>{text}</body>\
         <origin-id xmlns='urn:xmpp:sid:0' id='{id:016x}'/><request xmlns='urn:xmpp:receipts'/>\
         <markable xmlns='urn:xmpp:chat-markers:0'/></message>"
    )
    .into_bytes()
}

struct Person {
    id: AccountId,
    jid: FullJid,
    session: SmId,
    /// Stanzas given to its session, and acknowledged by it.
    given: u64,
    acknowledged: u64,
}

async fn people(store: &SqliteStore, count: usize) -> Vec<Person> {
    let jids = (0..count).map(|number| FullJid::parse(&format!("person{number}@example.org/phone.x7Kq")).unwrap());
    let pending: Vec<_> = jids
        .map(|jid| {
            let new = NewAccount { jid: jid.to_bare(), credentials: Credentials::default(), now: 1 };
            (jid, store.create_account(new, 0))
        })
        .collect();
    let mut people = Vec::new();
    for (number, (jid, id)) in pending.into_iter().enumerate() {
        let mut session = SmId([7; 16]);
        session.0[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        people.push(Person { id: id.await.unwrap(), jid, session, given: 0, acknowledged: 0 });
    }
    people
}

/// What is kept of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Both archives.
    Archived,
    /// Both archives, and the sender's count.
    Counted,
    /// The same, and what the recipient's session was given, until it acknowledges every fourth.
    Acknowledged,
    /// Both archives, the sender's count, and a message for when the recipient comes back.
    Away,
}

struct Traffic {
    random: Random,
    people: Vec<Person>,
    /// Who talks with whom at the moment: some ten messages each.
    talks: Vec<(usize, usize)>,
    now: u64,
}

impl Traffic {
    async fn begin(store: &SqliteStore, people: usize, talks: usize) -> Traffic {
        let people = self::people(store, people).await;
        let mut random = Random(88_172_645_463_325_252);
        let talks = (0..talks).map(|_| random.pair(people.len())).collect();
        Traffic { random, people, talks, now: BEGIN }
    }

    /// The writes of one message.
    fn message(&mut self, store: &SqliteStore, kind: Kind, waiting: &mut Waiting) {
        let talk = self.random.below(self.talks.len());
        if self.random.below(10) == 0 {
            self.talks[talk] = self.random.pair(self.people.len());
        }
        let (mut from, mut to) = self.talks[talk];
        if self.random.below(2) == 0 {
            (from, to) = (to, from);
        }
        self.now += 1;
        let number = self.random.next();
        let (sender, recipient) = (self.people[from].jid.clone(), self.people[to].jid.clone());
        let xml = stanza(
            sender.as_str(),
            recipient.as_str(),
            number,
            "Wherefore art thou? Deny thy father and refuse thy name.",
        );
        let id = ArchiveId::next(None, self.now, number as u32);
        let mark =
            Some(Mark { reference: Reference(number.cast_signed()), repeatable: Repeatable::Recognised, named: None });
        let row = |with: &FullJid| ArchiveRow { id, with: with.clone().into(), stanza: xml.clone(), mark };
        let person = &self.people[from];
        let counted = (kind != Kind::Archived).then_some((person.session, number as u32));
        let half = Half { at: self.now, archive: Some(row(&recipient)), counted, ..Half::default() };
        waiting.push(store.record(person.id, half, NO_BOUNDS));
        let person = &mut self.people[to];
        let mut half = Half { at: self.now, archive: Some(row(&sender)), ..Half::default() };
        let holder = match kind {
            Kind::Archived | Kind::Counted => None,
            Kind::Away => Some(Holder::Anybody),
            Kind::Acknowledged => {
                person.given += 1;
                Some(Holder::Session {
                    id: person.session,
                    place: stonechat_store::Place::Sent(person.given),
                    others: Others::None,
                })
            }
        };
        half.spool = holder
            .map(|holder| SpoolRow { at: self.now, stanza: xml.clone(), archive: Some(id), holder })
            .into_iter()
            .collect();
        waiting.push(store.record(person.id, half, NO_BOUNDS));
        if person.given >= person.acknowledged + 4 {
            person.acknowledged = person.given;
            drop(store.acknowledge_spool(person.id, person.session, person.given));
        }
    }
}

type Pending = stonechat_store::Pending<stonechat_store::Recorded>;

/// Halves that are under way.
#[derive(Default)]
struct Waiting(VecDeque<Pending>);

impl Waiting {
    fn push(&mut self, pending: Pending) {
        self.0.push_back(pending);
    }

    /// Waits until no more than this many are.
    async fn until(&mut self, most: usize) {
        while self.0.len() > most {
            self.0.pop_front().unwrap().await.unwrap();
        }
    }
}

/// What SQLite takes for the bytes alone: rows of a stanza's size at the end of one table, so many to a synced commit.
fn floor(directory: &Path) {
    let connection = rusqlite::Connection::open(directory.join("floor.sqlite")).unwrap();
    let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)";
    connection.execute_batch(setup).unwrap();
    let xml = stanza("person1@example.org/phone.x7Kq", "person2@example.org/phone.x7Kq", 1, TEXT);
    for (group, groups) in [(2, 500), (16, 500), (150, 200)] {
        let spent = processor("costs");
        for _ in 0..groups {
            connection.prepare_cached("BEGIN IMMEDIATE").unwrap().execute([]).unwrap();
            for _ in 0..group {
                connection.prepare_cached("INSERT INTO t (b) VALUES (?1)").unwrap().execute([&xml]).unwrap();
            }
            connection.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
        }
        let each = (processor("costs") - spent) / f64::from(group * groups);
        println!("the bytes alone, {group} to a commit: {each:.1}");
    }
}

/// Puts everything to its place.
async fn settle(store: &SqliteStore) {
    for _ in 0..600 {
        store.expire_marks(0, 1).await.unwrap();
    }
}

async fn halves(directory: &Path, wanted: &str) {
    if wanted.is_empty() {
        floor(directory);
    }
    println!("microseconds of processor time for each half (10000 people, 2000 talks at a time)");
    for kind in [Kind::Archived, Kind::Counted, Kind::Acknowledged, Kind::Away] {
        if !wanted.is_empty() && format!("{kind:?}") != wanted {
            continue;
        }
        let path = directory.join(format!("{kind:?}.sqlite"));
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        let mut traffic = Traffic::begin(&store, 10_000, 2_000).await;
        let mut waiting = Waiting::default();
        // An archive that was used for a while.
        for _ in 0..150_000 {
            traffic.message(&store, kind, &mut waiting);
            waiting.until(20_000).await;
        }
        waiting.until(0).await;
        settle(&store).await;
        // Fewer halves than go to their places by themselves: that is measured apart.
        for (group, messages) in [(2, 1_000), (32, 30_000), (2_000, 30_000)] {
            let (begun, before) = (Instant::now(), store.statistics());
            let (spent, folding) = (processor("store-writer"), processor("store-log"));
            for _ in 0..messages {
                traffic.message(&store, kind, &mut waiting);
                // As many wait at a time, and they are let go together.
                if waiting.0.len() >= group {
                    waiting.until(0).await;
                }
            }
            waiting.until(0).await;
            let halves = f64::from(messages) * 2.0;
            let writer = (processor("store-writer") - spent) / halves;
            let folding = (processor("store-log") - folding) / halves;
            let after = store.statistics();
            println!(
                "{kind:?}, {group} at a time: {writer:.1} of the writer, {folding:.1} of folding, {:.0} halves/s, {:.0} writes to a commit",
                halves / begun.elapsed().as_secs_f64(),
                (after.writes - before.writes) as f64 / (after.commits - before.commits) as f64,
            );
            let spent = processor("store-writer");
            settle(&store).await;
            let settling = (processor("store-writer") - spent) / halves;
            println!("{kind:?}: {settling:.1} of the writer to put each of these {halves} halves to its place");
        }
        store.close().await.unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        println!("{kind:?}: {:.0} bytes of the file for each half", size as f64 / (2.0 * 211_000.0));
    }
}

/// One large archive among others, written when it is not there yet.
async fn large(store: &SqliteStore) -> AccountId {
    const MESSAGES: u64 = 1_000_000;
    let jid = BareJid::parse("person0@example.org").unwrap();
    if let Some(account) = store.account(&jid).await.unwrap() {
        return account.id;
    }
    let people = people(store, 1_001).await;
    let (mut random, mut waiting) = (Random(88_172_645_463_325_252), Waiting::default());
    let words = ["rose", "thorn", "night", "balcony", "nurse", "orchard", "poison", "letter"];
    let begun = Instant::now();
    for number in 0..MESSAGES {
        // Two years; half of it with one partner, the rest with 199 others.
        let now = BEGIN + number * 63_000;
        let partner = if random.below(2) == 0 { 1 } else { 1 + random.below(200) };
        let other = 1 + random.below(1_000);
        for (owner, with) in [(0, partner), (other, partner)] {
            let id = ArchiveId::next(None, now, random.next() as u32);
            let with = &people[with].jid;
            let text = format!("the {} and the word{}", words[random.below(8)], random.below(100_000));
            let stanza = stanza(with.as_str(), people[owner].jid.as_str(), number, &text);
            let mark = Some(Mark {
                reference: Reference(number.cast_signed()),
                repeatable: Repeatable::Recognised,
                named: None,
            });
            let archive = Some(ArchiveRow { id, with: with.clone().into(), stanza, mark });
            waiting.push(store.record(people[owner].id, Half { archive, ..Half::default() }, NO_BOUNDS));
        }
        waiting.until(20_000).await;
    }
    waiting.until(0).await;
    println!("written: 2000000 rows in {:.0} s", begun.elapsed().as_secs_f64());
    people[0].id
}

/// The fastest and the median of some runs, in milliseconds.
async fn timed<T>(what: &str, mut run: impl AsyncFnMut() -> T) -> T {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..11 {
        let begun = Instant::now();
        last = Some(run().await);
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    let first = times[0];
    times.sort_by(f64::total_cmp);
    println!("{what}: first {first:.2} ms, median {:.2} ms, best {:.2} ms", times[5], times[0]);
    last.unwrap()
}

fn words(stanza: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(stanza).ok()?;
    let (_, body) = text.split_once("<body>")?;
    Some(body.split_once("</body>")?.0.to_owned())
}

async fn pages(store: &SqliteStore, id: AccountId) {
    let filter =
        |with: Option<&str>| ArchiveFilter { with: with.map(|with| with.parse().unwrap()), ..ArchiveFilter::default() };
    let page = async |filter: ArchiveFilter, position, limit| {
        store.archive_page(id, filter, position, limit, words).await.unwrap()
    };
    let middle = ArchiveFilter { start: Some(BEGIN + 31_500_000_000), ..ArchiveFilter::default() };
    let middle = page(middle, ArchivePosition::First, 1).await.messages[0].id;
    for limit in [50, 250] {
        for (name, with) in [
            ("all", None),
            ("with half of it", Some("person1@example.org")),
            ("with one of 200", Some("person77@example.org")),
            ("with one of 200, full", Some("person77@example.org/phone.x7Kq")),
            ("with nobody", Some("nobody@example.org")),
        ] {
            for (place, position) in [
                ("first", ArchivePosition::First),
                ("middle", ArchivePosition::After(middle)),
                ("before the middle", ArchivePosition::Before(middle)),
                ("last", ArchivePosition::Last),
            ] {
                timed(&format!("page of {limit}, {name}, {place}"), async || page(filter(with), position, limit).await)
                    .await;
            }
        }
    }
    for with in [None, Some("person1@example.org"), Some("person77@example.org")] {
        let name = format!("count, with {with:?}");
        let count = timed(&name, async || store.count_archive(id, filter(with), words).await.unwrap()).await;
        println!("  of {count}");
    }
    let marks = timed("recent marks, 256", async || store.recent_marks(id, 256).await.unwrap()).await;
    assert_eq!(marks.len(), 256);
    timed("bounds", async || store.archive_bounds(id).await.unwrap()).await;
    let partner = BareJid::parse("person1@example.org").unwrap();
    timed("a reference that is not there", async || {
        store.replace_archived(id, partner.clone(), Reference(-1), Vec::new()).await.unwrap()
    })
    .await;
    timed("offline, none", async || store.offline(id, stonechat_store::Share::Anybodys, None, 50).await.unwrap()).await;
}

async fn search(store: &SqliteStore, id: AccountId) {
    let small = store.account(&BareJid::parse("person500@example.org").unwrap()).await.unwrap().unwrap().id;
    let filter = |wanted: &str, with: Option<&str>| ArchiveFilter {
        words: Some(wanted.into()),
        with: with.map(|with| with.parse().unwrap()),
        ..ArchiveFilter::default()
    };
    let page = async |id, filter: ArchiveFilter, position| {
        store.archive_page(id, filter, position, 50, words).await.unwrap().messages.len()
    };
    for (name, id) in [("small", small), ("large", id), ("small, beside the large", small)] {
        let (begun, spent) = (Instant::now(), processor("store-writer"));
        let found = page(id, filter("rose", None), ArchivePosition::Last).await;
        let (time, spent) = (begun.elapsed().as_secs_f64(), processor("store-writer") - spent);
        let count = store.count_archive(id, ArchiveFilter::default(), words).await.unwrap();
        let each = spent / count as f64;
        println!(
            "{name}: first search {time:.2} s, {each:.1} µs of the writer for each of {count} messages, {found} found"
        );
        for wanted in ["the", "rose", "rose word77", "word777", "nothere"] {
            for (place, position) in [("first", ArchivePosition::First), ("last", ArchivePosition::Last)] {
                timed(&format!("  {wanted}, {place}"), async || page(id, filter(wanted, None), position).await).await;
            }
        }
        timed("  rose, with one of 200, last", async || {
            page(id, filter("rose", Some("person77@example.org")), ArchivePosition::Last).await
        })
        .await;
        timed("  count of the", async || store.count_archive(id, filter("the", None), words).await.unwrap()).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let directory = arguments.next().map(PathBuf::from).unwrap_or_else(|| std::env::temp_dir().join("store-costs"));
    std::fs::create_dir_all(&directory).unwrap();
    if let Some(wanted) = what.strip_prefix("halves") {
        return halves(&directory, wanted.trim_start_matches('=')).await;
    }
    let options = Options { durability: Durability::Relaxed, ..Options::default() };
    let store = SqliteStore::open(&directory.join("large.sqlite"), options).unwrap();
    let id = large(&store).await;
    match what.as_str() {
        "pages" => pages(&store, id).await,
        "search" => search(&store, id).await,
        _ => println!("halves, pages or search"),
    }
    println!("{}", store.describe());
    store.close().await.unwrap();
}
