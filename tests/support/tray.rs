//! What has come for a client of a scenario and was not taken yet, and how far it has got (XEP-0198): what counts as got is
//! what the script has taken, so that a lost connection loses what nobody looked at.

use std::collections::{HashMap, VecDeque};
use stonechat_xml::Element;

/// Requests that are the runner's and not the script's begin with this.
const OWN: &str = "own-";

#[derive(Default)]
pub struct Tray {
    /// Each with its number in the stream; `None` for what was not meant for the script.
    waiting: VecDeque<(u32, Option<Element>)>,
    came: u32,
    taken: u32,
    asked: u32,
    answers: HashMap<String, Element>,
    rows: Vec<Element>,
}

impl Tray {
    /// Counting begins.
    pub fn count(&mut self) {
        assert!(self.waiting.is_empty(), "nothing comes before the presence");
        (self.came, self.taken) = (0, 0);
    }

    /// A stanza came.
    pub fn put(&mut self, stanza: Element) {
        self.came += 1;
        let own = |id: Option<&str>| id.is_some_and(|id| id.starts_with(OWN));
        let row = stanza.child("result", "urn:xmpp:mam:2").filter(|row| own(row.attribute("queryid"))).cloned();
        let answer = stanza.name() == "iq" && own(stanza.attribute("id"));
        if let Some(row) = row {
            self.rows.push(row);
            self.waiting.push_back((self.came, None));
        } else if answer {
            self.answers.insert(stanza.attribute("id").unwrap_or_default().to_owned(), stanza);
            self.waiting.push_back((self.came, None));
        } else {
            self.waiting.push_back((self.came, Some(stanza)));
        }
        self.pass_over();
    }

    fn pass_over(&mut self) {
        while let Some((number, None)) = self.waiting.front() {
            self.taken = *number;
            self.waiting.pop_front();
        }
    }

    /// The next one for the script.
    pub fn take(&mut self) -> Option<Element> {
        let (number, stanza) = self.waiting.pop_front()?;
        self.taken = number;
        self.pass_over();
        stanza
    }

    /// So many were got, up to the last that was taken.
    pub fn handled(&self) -> u32 {
        self.taken
    }

    /// The id for a request of the runner's own.
    pub fn ask(&mut self) -> String {
        self.asked += 1;
        format!("{OWN}{}", self.asked)
    }

    pub fn answer(&mut self, id: &str) -> Option<Element> {
        self.answers.remove(id)
    }

    /// Rows of the archive, as far as they have come.
    pub fn rows(&mut self) -> Vec<Element> {
        std::mem::take(&mut self.rows)
    }

    /// The connection is gone: what was not taken comes again.
    pub fn lose(mut self) -> Tray {
        self.waiting.clear();
        self.answers.clear();
        self.rows.clear();
        self.came = self.taken;
        self
    }
}
