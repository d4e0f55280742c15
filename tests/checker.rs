//! The checker of the ledgers must be able to find what it looks for: each fault, told to it, is found, and a good run is
//! found to be good.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use support::journal::{Complete, DeviceId, Display, Expected, Fault, Journal, MessageId, Route, What};

/// Romeo with one device writes to Juliet with two; each test changes one thing in a good run.
struct Story {
    journal: Journal,
    romeo: DeviceId,
    phone: DeviceId,
    laptop: DeviceId,
}

impl Story {
    fn new() -> Story {
        let journal = Journal::new();
        let romeo = journal.device("romeo", "balcony");
        let phone = journal.device("juliet", "phone");
        let laptop = journal.device("juliet", "laptop");
        Story { journal, romeo, phone, laptop }
    }

    fn message(&self, number: u32) -> MessageId {
        MessageId { sender: self.romeo, number }
    }

    fn sent(&self, number: u32) {
        self.journal.enter(self.romeo, What::Sent { message: self.message(number), to: "juliet".into() });
    }

    fn acknowledged(&self, number: u32) {
        self.journal.enter(self.romeo, What::Acknowledged { message: self.message(number) });
    }

    fn copy(&self, device: DeviceId, number: u32, id: Option<&str>, route: Route, display: Display) {
        let what = What::Copy { message: self.message(number), archive_id: id.map(str::to_owned), route, display };
        self.journal.enter(device, what);
    }

    /// Both devices show it.
    fn shown(&self, number: u32, id: &str) {
        for device in [self.phone, self.laptop] {
            self.copy(device, number, Some(id), Route::Live, Display::Shown);
        }
    }

    fn archived(&self, juliets: &[(&str, u32)], romeos: &[(&str, u32)]) {
        for (account, rows) in [("juliet", juliets), ("romeo", romeos)] {
            let rows = rows.iter().map(|(id, number)| ((*id).to_owned(), self.message(*number)));
            self.journal.archive(account, rows.collect());
        }
    }

    fn good_archives(&self) {
        self.archived(&[("j1", 1), ("j2", 2)], &[("r1", 1), ("r2", 2)]);
    }

    fn faults(&self) -> Vec<Fault> {
        let verdict = self.journal.check(Expected { archives: true, complete: Complete::All });
        let mut faults: Vec<_> = verdict.violations.iter().map(|violation| violation.fault).collect();
        assert_eq!(self.journal.tell(&verdict, 3).is_empty(), faults.is_empty(), "what is found is told");
        faults.dedup();
        faults
    }

    /// Two messages that everybody gets.
    fn good() -> Story {
        let story = Story::new();
        for (number, id) in [(1, "j1"), (2, "j2")] {
            story.sent(number);
            story.acknowledged(number);
            story.shown(number, id);
        }
        story
    }
}

#[test]
fn a_good_run_is_good() {
    let story = Story::good();
    story.good_archives();
    // Sent again, acknowledged once more, found again in a page: nothing wrong with that.
    story.sent(2);
    story.copy(story.phone, 2, Some("j2"), Route::Page, Display::Dropped);
    assert_eq!(story.faults(), []);
}

#[test]
fn a_message_that_only_the_archive_has_is_not_lost() {
    let story = Story::new();
    story.sent(1);
    story.acknowledged(1);
    story.archived(&[("j1", 1)], &[("r1", 1)]);
    assert_eq!(story.faults(), [Fault::Missing]);
}

#[test]
fn what_is_nowhere_is_lost() {
    let story = Story::new();
    story.sent(1);
    story.acknowledged(1);
    story.archived(&[], &[("r1", 1)]);
    assert_eq!(story.faults(), [Fault::Lost, Fault::Gap, Fault::Missing]);
}

#[test]
fn what_is_not_acknowledged_is_not_lost_but_a_fault_of_its_own() {
    let story = Story::new();
    story.sent(1);
    story.archived(&[], &[]);
    assert_eq!(story.faults(), [Fault::Unacknowledged]);
}

#[test]
fn a_second_copy_that_is_shown_is_found_and_one_that_is_dropped_too() {
    let story = Story::good();
    story.good_archives();
    story.copy(story.phone, 2, Some("another"), Route::Live, Display::Shown);
    assert_eq!(story.faults(), [Fault::ShownTwice, Fault::OtherId]);
    let story = Story::good();
    story.good_archives();
    story.copy(story.phone, 2, Some("j2"), Route::Carbon, Display::Dropped);
    assert_eq!(story.faults(), [Fault::CameTwice]);
}

#[test]
fn a_copy_without_the_archives_id_is_found() {
    let story = Story::new();
    story.sent(1);
    story.acknowledged(1);
    story.shown(1, "j1");
    story.copy(story.phone, 1, None, Route::Page, Display::Dropped);
    story.archived(&[("j1", 1)], &[("r1", 1)]);
    assert_eq!(story.faults(), [Fault::OtherId]);
}

#[test]
fn an_older_message_behind_a_newer_one_is_found() {
    let story = Story::new();
    for number in [1, 2] {
        story.sent(number);
        story.acknowledged(number);
    }
    story.shown(2, "j2");
    story.shown(1, "j1");
    story.good_archives();
    assert_eq!(story.faults(), [Fault::OutOfOrder]);
}

#[test]
fn archives_are_held_against_what_was_acknowledged() {
    let story = Story::good();
    story.archived(&[("j1", 1), ("j2", 2)], &[("r1", 1)]);
    assert_eq!(story.faults(), [Fault::Gap]);
    let story = Story::good();
    story.archived(&[("j1", 1), ("j2", 2), ("j3", 2)], &[("r1", 1), ("r2", 2)]);
    assert_eq!(story.faults(), [Fault::Duplicate]);
    let story = Story::good();
    story.archived(&[("j1", 1), ("j2", 2)], &[("r2", 2), ("r1", 1)]);
    assert_eq!(story.faults(), [Fault::Misfiled]);
}

#[test]
fn a_device_that_missed_one_is_found() {
    let story = Story::good();
    story.sent(3);
    story.acknowledged(3);
    story.copy(story.phone, 3, Some("j3"), Route::Live, Display::Shown);
    story.archived(&[("j1", 1), ("j2", 2), ("j3", 3)], &[("r1", 1), ("r2", 2), ("r3", 3)]);
    assert_eq!(story.faults(), [Fault::Missing]);
}

#[test]
fn a_device_that_stayed_is_owed_everything_since_it_was_there_and_another_is_not() {
    let story = Story::new();
    let expected = Expected { archives: false, complete: Complete::Staying };
    story.sent(1);
    story.acknowledged(1);
    story.copy(story.laptop, 1, None, Route::Live, Display::Shown);
    story.journal.enter(story.phone, What::Bound);
    story.journal.enter(story.phone, What::There);
    assert!(story.journal.check(expected).violations.is_empty(), "it was not there yet");
    story.sent(2);
    story.acknowledged(2);
    story.copy(story.laptop, 2, None, Route::Live, Display::Shown);
    let missed = story.journal.check(expected).violations;
    assert_eq!(missed.iter().map(|violation| violation.fault).collect::<Vec<_>>(), [Fault::Missing]);
    story.journal.enter(story.phone, What::Bound);
    assert!(story.journal.check(expected).violations.is_empty(), "it has begun another session since");
}

#[test]
fn what_comes_back_and_what_breaks_the_protocol_is_found() {
    let story = Story::good();
    story.good_archives();
    let message = story.message(1);
    story.journal.enter(story.romeo, What::Bounced { message, condition: "service-unavailable".into() });
    story.journal.enter(story.romeo, What::Broke("it counted too much".into()));
    assert_eq!(story.faults(), [Fault::Bounced, Fault::Broken]);
}
