//! What devices did and saw, and what must hold of it in the end.
//!
//! Each message says in its body who sent it as which of its own, so that a copy is recognised by whatever way it comes.
//! A device writes down every copy: that it was shown, or that it was dropped because its archive id was known already,
//! as a real client does. The checker then looks for what the promises P1 to P3 exclude.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stonechat_xml::Element;

/// A device of the test, by its number in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub u16);

/// A message: the device that sent it, and which of that device's messages it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    pub sender: DeviceId,
    pub number: u32,
}

/// How a copy came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    Live,
    /// Addressed to the resource, before it was available.
    Early,
    /// Kept while nobody was there: it says since when.
    Kept,
    Carbon,
    Page,
}

/// What a device did with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    Shown,
    /// Its archive id was known.
    Dropped,
}

#[derive(Clone, Debug)]
pub enum What {
    Sent {
        message: MessageId,
        to: String,
    },
    Acknowledged {
        message: MessageId,
    },
    Copy {
        message: MessageId,
        archive_id: Option<String>,
        route: Route,
        display: Display,
    },
    Bounced {
        message: MessageId,
        condition: String,
    },
    /// A new session.
    Bound,
    /// It is available, and gets copies.
    There,
    Resumed {
        h: u32,
    },
    NotResumed {
        h: Option<u32>,
    },
    /// Something else that happened to the device, in words.
    Note(String),
    /// The server broke the protocol.
    Broke(String),
}

struct Entry {
    at: Duration,
    device: Option<DeviceId>,
    what: What,
}

#[derive(Default)]
struct Book {
    /// Account and resource of each device.
    devices: Vec<(String, String)>,
    entries: Vec<Entry>,
    archives: BTreeMap<String, Vec<(String, MessageId)>>,
    /// What the server still holds for an account in the end.
    kept: Vec<(String, MessageId)>,
}

/// How far a test has come: what happens next is decided by this, and not by a clock that a busy machine outruns.
#[derive(Default)]
pub struct Progress {
    there: AtomicU64,
    acknowledged: AtomicU64,
    arrived: AtomicU64,
}

impl Progress {
    /// Waits until this many more messages are acknowledged.
    pub async fn acknowledged(&self, more: u64) {
        Progress::more(&self.acknowledged, more).await;
    }
    /// Waits until this many more devices have come, by a new session or by resumption.
    pub async fn arrived(&self, more: u64) {
        Progress::more(&self.arrived, more).await;
    }
    /// Waits until this many more sessions are there.
    pub async fn there(&self, more: u64) {
        Progress::more(&self.there, more).await;
    }
    async fn more(count: &AtomicU64, more: u64) {
        let goal = count.load(Ordering::Relaxed) + more;
        while count.load(Ordering::Relaxed) < goal {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The journal of a whole test.
#[derive(Clone)]
pub struct Journal {
    start: Instant,
    pub progress: Arc<Progress>,
    book: Arc<Mutex<Book>>,
}

impl Journal {
    pub fn new() -> Journal {
        Journal { start: Instant::now(), progress: Arc::default(), book: Arc::default() }
    }

    pub fn device(&self, account: &str, resource: &str) -> DeviceId {
        let mut book = self.book.lock().unwrap();
        book.devices.push((account.to_owned(), resource.to_owned()));
        DeviceId(book.devices.len() as u16 - 1)
    }

    pub fn enter(&self, device: DeviceId, what: What) {
        self.add(Some(device), what);
    }

    /// What happened to the server.
    pub fn note(&self, what: impl Into<String>) {
        self.add(None, What::Note(what.into()));
    }

    fn add(&self, device: Option<DeviceId>, what: What) {
        match what {
            What::Acknowledged { .. } => self.progress.acknowledged.fetch_add(1, Ordering::Relaxed),
            What::There => self.progress.there.fetch_add(1, Ordering::Relaxed),
            What::Bound | What::Resumed { .. } => self.progress.arrived.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        let at = self.start.elapsed();
        self.book.lock().unwrap().entries.push(Entry { at, device, what });
    }

    /// The body of a message.
    pub fn body(&self, message: MessageId) -> String {
        let book = self.book.lock().unwrap();
        format!("{} {}", book.name(message.sender), message.number)
    }

    /// The message that a body tells of.
    pub fn message(&self, body: &str) -> Option<MessageId> {
        let (name, number) = body.rsplit_once(' ')?;
        let (account, resource) = name.split_once('/')?;
        let book = self.book.lock().unwrap();
        let index = book.devices.iter().position(|(a, r)| a == account && r == resource)?;
        Some(MessageId { sender: DeviceId(index as u16), number: number.parse().ok()? })
    }

    /// The whole archive of an account, as it is in the end.
    pub fn archive(&self, account: &str, rows: Vec<(String, MessageId)>) {
        self.book.lock().unwrap().archives.insert(account.to_owned(), rows);
    }

    /// What the server still holds for its accounts in the end.
    pub fn kept(&self, kept: Vec<(String, Element)>) {
        let known = kept.into_iter().filter_map(|(account, message)| {
            let body = message.child("body", "jabber:client")?.text();
            Some((account, self.message(&body)?))
        });
        let known: Vec<_> = known.collect();
        self.book.lock().unwrap().kept = known;
    }

    pub fn check(&self, expected: Expected) -> Verdict {
        self.book.lock().unwrap().check(expected)
    }

    /// What became of faulty messages, told from the beginning: so many of each fault.
    pub fn tell(&self, verdict: &Verdict, stories: usize) -> String {
        self.book.lock().unwrap().tell(verdict, stories)
    }
}

/// What must hold beside what always must.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Each account has an archive, and it was read at the end.
    pub archives: bool,
    /// Which devices end with every message its account received, and every message its other devices sent.
    pub complete: Complete,
}

/// Devices whose ledgers are complete in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// All: they have the archive.
    All,
    /// Those that had one session all the time, from when it was there.
    Staying,
    /// None: the server was killed, and others may have got what was for them.
    Nobody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// Acknowledged, shown to no device of the receiver, and not in its archive.
    Lost,
    /// Shown twice by one device.
    ShownTwice,
    /// Came twice with the same id, other than in a page of the archive.
    CameTwice,
    /// Came behind a later message of the same device.
    OutOfOrder,
    /// Acknowledged, and not in the archive of its sender or its receiver.
    Gap,
    /// More than once in an archive.
    Duplicate,
    /// In an archive behind a later message of the same device.
    Misfiled,
    /// One copy has another archive id than the archive, or none.
    OtherId,
    /// One device of the account never saw it.
    Missing,
    /// Shown, and still kept for whoever comes next.
    Leftover,
    /// Sent back to its sender.
    Bounced,
    /// Never acknowledged, although its sender asked until the end.
    Unacknowledged,
    /// The server broke the protocol.
    Broken,
}

const FAULTS: [(Fault, &str); 13] = [
    (Fault::Lost, "lost"),
    (Fault::ShownTwice, "shown twice"),
    (Fault::CameTwice, "came twice"),
    (Fault::OutOfOrder, "out of order"),
    (Fault::Gap, "archive gaps"),
    (Fault::Duplicate, "archive twice"),
    (Fault::Misfiled, "archive order"),
    (Fault::OtherId, "other id"),
    (Fault::Missing, "device missed"),
    (Fault::Leftover, "kept for nothing"),
    (Fault::Bounced, "bounced"),
    (Fault::Unacknowledged, "unacknowledged"),
    (Fault::Broken, "protocol"),
];

#[derive(Clone, Debug)]
pub struct Violation {
    pub fault: Fault,
    pub message: Option<MessageId>,
    pub detail: String,
    /// The device that got a copy it should not have got then.
    device: Option<DeviceId>,
    /// The entry that tells of it, when it is not about a message.
    entry: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub sent: u64,
    pub attempts: u64,
    pub acknowledged: u64,
    pub shown: u64,
    pub dropped: u64,
    pub rows: u64,
    /// Shown to nobody yet: the server holds them for a session that may still come back.
    pub waiting: Vec<MessageId>,
    pub bound: u64,
    pub resumed: u64,
    pub not_resumed: u64,
    pub violations: Vec<Violation>,
}

impl Verdict {
    pub fn count(&self, fault: Fault) -> usize {
        self.violations.iter().filter(|violation| violation.fault == fault).count()
    }

    /// In one line for people, and one with the count of each fault.
    pub fn summary(&self) -> String {
        let faults: Vec<_> = FAULTS.iter().map(|(fault, title)| format!("{title} {}", self.count(*fault))).collect();
        format!(
            "sent {} (with repetitions {}), acknowledged {}, shown {}, dropped {}, archive rows {}, still waiting {}; sessions begun {}, resumed {}, \
             not resumed {}\n    {}",
            self.sent,
            self.attempts,
            self.acknowledged,
            self.shown,
            self.dropped,
            self.rows,
            self.waiting.len(),
            self.bound,
            self.resumed,
            self.not_resumed,
            faults.join(", ")
        )
    }

    fn find(&mut self, fault: Fault, message: MessageId, detail: impl Into<String>) {
        let detail = detail.into();
        self.violations.push(Violation { fault, message: Some(message), detail, device: None, entry: 0 });
    }

    fn find_at(&mut self, fault: Fault, message: MessageId, device: DeviceId, detail: impl Into<String>) {
        self.find(fault, message, detail);
        if let Some(last) = self.violations.last_mut() {
            last.device = Some(device);
        }
    }
}

/// What the entries tell of one message.
#[derive(Default)]
struct Fate {
    to: String,
    first: Duration,
    acknowledged: bool,
    shown_by: HashSet<DeviceId>,
}

impl Book {
    fn name(&self, device: DeviceId) -> String {
        let (account, resource) = &self.devices[device.0 as usize];
        format!("{account}/{resource}")
    }

    fn account(&self, device: DeviceId) -> &str {
        &self.devices[device.0 as usize].0
    }

    fn devices_of<'a>(&'a self, account: &'a str) -> impl Iterator<Item = DeviceId> + 'a {
        let all = self.devices.iter().enumerate();
        all.filter(move |(_, (name, _))| name == account).map(|(index, _)| DeviceId(index as u16))
    }

    fn check(&self, expected: Expected) -> Verdict {
        let mut verdict = Verdict::default();
        let mut fates: BTreeMap<MessageId, Fate> = BTreeMap::new();
        self.read_entries(&mut verdict, &mut fates);
        self.check_copies(&mut verdict);
        if expected.archives {
            self.check_archives(&fates, &mut verdict);
        }
        let filed: HashSet<(&str, MessageId)> =
            self.archives.iter().flat_map(|(account, rows)| rows.iter().map(|(_, m)| (account.as_str(), *m))).collect();
        let sessions = self.sessions();
        let staying =
            |device, since: Duration| matches!(sessions.get(&device), Some((1, Some(there))) if *there < since);
        for (message, fate) in &fates {
            if !fate.acknowledged {
                verdict.find(Fault::Unacknowledged, *message, "its sender never learnt that it was accepted");
                continue;
            }
            let seen = self.devices_of(&fate.to).any(|device| fate.shown_by.contains(&device));
            let kept = self.kept.iter().any(|(account, kept)| *account == fate.to && kept == message);
            if kept && seen {
                verdict.find(Fault::Leftover, *message, format!("{} would get it again", fate.to));
            }
            if !seen && kept {
                verdict.waiting.push(*message);
            } else if !seen && !filed.contains(&(fate.to.as_str(), *message)) {
                verdict.find(Fault::Lost, *message, format!("{} never saw it", fate.to));
            }
            if expected.complete != Complete::Nobody {
                let others = self.devices_of(self.account(message.sender)).filter(|other| *other != message.sender);
                for device in self.devices_of(&fate.to).chain(others) {
                    let owed = expected.complete == Complete::All || staying(device, fate.first);
                    if owed && !fate.shown_by.contains(&device) {
                        verdict.find(Fault::Missing, *message, format!("{} never saw it", self.name(device)));
                    }
                }
            }
        }
        verdict.violations.sort_by_key(|violation| violation.fault);
        verdict
    }

    /// How many sessions each device had, and since when the first was there.
    fn sessions(&self) -> HashMap<DeviceId, (u32, Option<Duration>)> {
        let mut sessions: HashMap<DeviceId, (u32, Option<Duration>)> = HashMap::new();
        for Entry { at, device, what } in &self.entries {
            let Some(device) = *device else { continue };
            match what {
                What::Bound => sessions.entry(device).or_default().0 += 1,
                What::There => {
                    sessions.entry(device).or_default().1.get_or_insert(*at);
                }
                _ => {}
            }
        }
        sessions
    }

    fn read_entries(&self, verdict: &mut Verdict, fates: &mut BTreeMap<MessageId, Fate>) {
        for (entry, Entry { at, device, what }) in self.entries.iter().enumerate() {
            match what {
                What::Sent { message, to } => {
                    verdict.attempts += 1;
                    fates.entry(*message).or_insert_with(|| {
                        verdict.sent += 1;
                        Fate { to: to.clone(), first: *at, ..Fate::default() }
                    });
                }
                What::Acknowledged { message } => {
                    verdict.acknowledged += 1;
                    if let Some(fate) = fates.get_mut(message) {
                        fate.acknowledged = true;
                    }
                }
                What::Copy { message, display: Display::Shown, .. } => {
                    verdict.shown += 1;
                    if let (Some(fate), Some(device)) = (fates.get_mut(message), device) {
                        fate.shown_by.insert(*device);
                    }
                }
                What::Copy { display: Display::Dropped, .. } => verdict.dropped += 1,
                What::Bounced { message, condition } => verdict.find(Fault::Bounced, *message, condition.clone()),
                What::Bound => verdict.bound += 1,
                What::Resumed { .. } => verdict.resumed += 1,
                What::NotResumed { .. } => verdict.not_resumed += 1,
                What::Broke(detail) => {
                    verdict.violations.push(Violation {
                        fault: Fault::Broken,
                        message: None,
                        detail: format!("{}: {detail}", device.map_or_else(String::new, |device| self.name(device))),
                        device: None,
                        entry,
                    });
                }
                What::There | What::Note(_) => {}
            }
        }
    }

    /// Copies at each device: shown once, in order, under one id.
    fn check_copies(&self, verdict: &mut Verdict) {
        let mut ids: HashMap<(&str, MessageId), Vec<&str>> = HashMap::new();
        for (account, rows) in &self.archives {
            for (id, message) in rows {
                ids.entry((account.as_str(), *message)).or_default().push(id);
            }
        }
        let mut shown: HashSet<(DeviceId, MessageId)> = HashSet::new();
        let mut came: HashSet<(DeviceId, MessageId)> = HashSet::new();
        let mut newest: HashMap<(DeviceId, DeviceId), u32> = HashMap::new();
        for Entry { device, what, .. } in &self.entries {
            let (Some(device), What::Copy { message, archive_id, route, display }) = (*device, what) else { continue };
            let who = self.name(device);
            if *display == Display::Shown && !shown.insert((device, *message)) {
                verdict.find(Fault::ShownTwice, *message, format!("{who} showed it again ({route:?}, {archive_id:?})"));
            }
            let account = self.account(device);
            if let Some(ids) = ids.get(&(account, *message))
                && archive_id.as_deref().is_none_or(|id| !ids.contains(&id))
            {
                let detail = format!("{who} got it ({route:?}) under {archive_id:?}; the archive has {ids:?}");
                verdict.find(Fault::OtherId, *message, detail);
            }
            if *route == Route::Page {
                continue;
            }
            if *route == Route::Early {
                // What was kept before comes behind it, with the presence.
                came.insert((device, *message));
                continue;
            }
            if !came.insert((device, *message)) {
                if *display == Display::Dropped {
                    verdict.find(Fault::CameTwice, *message, format!("{who} got it again ({route:?})"));
                }
                continue;
            }
            let newest = newest.entry((device, message.sender)).or_insert(0);
            if message.number < *newest {
                verdict.find_at(
                    Fault::OutOfOrder,
                    *message,
                    device,
                    format!("{who} got it ({route:?}) behind number {newest} of the same device"),
                );
            }
            *newest = (*newest).max(message.number);
        }
    }

    fn check_archives(&self, fates: &BTreeMap<MessageId, Fate>, verdict: &mut Verdict) {
        for (account, rows) in &self.archives {
            verdict.rows += rows.len() as u64;
            let mut seen = HashSet::new();
            let mut newest: HashMap<DeviceId, u32> = HashMap::new();
            for (id, message) in rows {
                if !seen.insert(*message) {
                    verdict.find(Fault::Duplicate, *message, format!("again in the archive of {account}, as {id}"));
                    continue;
                }
                let newest = newest.entry(message.sender).or_insert(0);
                if message.number < *newest {
                    let detail = format!("in the archive of {account} behind number {newest} of the same device");
                    verdict.find(Fault::Misfiled, *message, detail);
                }
                *newest = (*newest).max(message.number);
            }
            for (message, fate) in fates.iter().filter(|(_, fate)| fate.acknowledged) {
                let concerns = fate.to == *account || self.account(message.sender) == account;
                if concerns && !seen.contains(message) {
                    verdict.find(Fault::Gap, *message, format!("not in the archive of {account}"));
                }
            }
        }
    }

    fn tell(&self, verdict: &Verdict, stories: usize) -> String {
        let mut text = String::new();
        let mut told = HashSet::new();
        let mut of_kind: HashMap<Fault, usize> = HashMap::new();
        for violation in &verdict.violations {
            let before = of_kind.entry(violation.fault).or_insert(0);
            *before += 1;
            if *before > stories {
                continue;
            }
            let Some(message) = violation.message else {
                let _ = writeln!(text, "{:?}: {}", violation.fault, violation.detail);
                self.before(violation.entry, &mut text);
                continue;
            };
            let name = format!("{} {}", self.name(message.sender), message.number);
            let _ = writeln!(text, "{:?}: message \"{name}\": {}", violation.fault, violation.detail);
            if told.insert(message) {
                self.story(message, violation.device, &mut text);
            }
        }
        for message in verdict.waiting.iter().take(stories) {
            let _ = writeln!(text, "Still waiting: message \"{} {}\"", self.name(message.sender), message.number);
            self.story(*message, None, &mut text);
        }
        text
    }

    /// What one device did before an entry.
    fn before(&self, entry: usize, text: &mut String) {
        let device = self.entries[entry].device;
        let own = self.entries[..=entry].iter().rev().filter(|entry| entry.device.is_none() || entry.device == device);
        let mut last: Vec<_> = own.take(25).collect();
        last.reverse();
        for entry in last {
            self.line(entry, text);
        }
    }

    fn line(&self, entry: &Entry, text: &mut String) {
        let who = entry.device.map_or_else(|| "the server".to_owned(), |device| self.name(device));
        let message = match &entry.what {
            What::Sent { message: m, .. }
            | What::Acknowledged { message: m }
            | What::Copy { message: m, .. }
            | What::Bounced { message: m, .. } => format!(" [{} {}]", self.name(m.sender), m.number),
            _ => String::new(),
        };
        let _ = writeln!(text, "    {:>9.3} s  {who}: {}{message}", entry.at.as_secs_f64(), words(&entry.what));
    }

    /// Everything about one message, and what happened to the server and to the devices concerned meanwhile.
    fn story(&self, message: MessageId, place: Option<DeviceId>, text: &mut String) {
        let about = |what: &What| match what {
            What::Sent { message: m, .. }
            | What::Acknowledged { message: m }
            | What::Copy { message: m, .. }
            | What::Bounced { message: m, .. } => *m == message,
            _ => false,
        };
        let own: Vec<_> = self.entries.iter().filter(|entry| about(&entry.what)).collect();
        let (Some(first), Some(last)) = (own.first(), own.last()) else { return };
        let to = own.iter().find_map(|entry| match &entry.what {
            What::Sent { to, .. } => Some(to.as_str()),
            _ => None,
        });
        let margin = Duration::from_millis(300);
        let (from, until) = (first.at.saturating_sub(margin), last.at + 2 * margin);
        for entry in &self.entries {
            let Entry { at, device, what } = entry;
            let concerns = device.is_none_or(|device| device == message.sender || to == Some(self.account(device)));
            // At the device concerned, what else came from the same sender.
            let beside = device.is_some()
                && *device == place
                && matches!(what, What::Copy { message: m, .. } if m.sender == message.sender);
            let other = matches!(
                what,
                What::Sent { .. } | What::Acknowledged { .. } | What::Copy { .. } | What::Bounced { .. }
            );
            if about(what) || ((beside || !other && concerns) && (from..until).contains(at)) {
                self.line(entry, text);
            }
        }
    }
}

fn words(what: &What) -> String {
    match what {
        What::Sent { to, .. } => format!("sends it to {to}"),
        What::Acknowledged { .. } => "learns that it was accepted".to_owned(),
        What::Copy { archive_id, route, display, .. } => {
            let id = archive_id.as_deref().unwrap_or("no id");
            format!("{} a copy ({route:?}, {id})", if *display == Display::Shown { "shows" } else { "drops" })
        }
        What::Bounced { condition, .. } => format!("gets it back: {condition}"),
        What::Bound => "binds a new session".to_owned(),
        What::There => "is there".to_owned(),
        What::Resumed { h } => format!("resumes; the server handled {h}"),
        What::NotResumed { h } => format!("cannot resume; the server handled {h:?}"),
        What::Note(note) => note.clone(),
        What::Broke(detail) => format!("is told what breaks the protocol: {detail}"),
    }
}
