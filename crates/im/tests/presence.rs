//! RFC 6121 §4: priorities, broadcasts, directed presence, probes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use stonechat_im::presence::{
    Broadcast, DirectedPresence, FanOut, MAX_DIRECTED, MAX_DIRECTED_BYTES, ProbeAnswer, fan_out, priority,
    probe_answer, probed,
};
use stonechat_im::roster::RosterItem;
use stonechat_im::subscription::Subscription;
use stonechat_jid::{BareJid, Jid};
use stonechat_stanza::{PresenceType, Stanza, StanzaCondition, ns};
use stonechat_xml::Element;

fn jid(text: &str) -> Jid {
    Jid::parse(text).unwrap()
}

fn with_priorities(texts: &[&str]) -> Stanza {
    let priorities = texts.iter().map(|text| Element::new("priority", ns::CLIENT).with_text(*text));
    Stanza::presence(PresenceType::Available, priorities)
}

#[test]
fn rfc6121_4_7_2_3_priority() {
    assert_eq!(priority(&Stanza::presence(PresenceType::Available, [])), Ok(0));
    for (text, value) in [("0", 0), ("127", 127), ("-128", -128), (" 5\n", 5), ("+1", 1)] {
        assert_eq!(priority(&with_priorities(&[text])), Ok(value), "{text}");
    }
    // Not the presence's own.
    let foreign = Element::new("priority", "urn:example:other").with_text("500");
    assert_eq!(priority(&Stanza::presence(PresenceType::Available, [foreign])), Ok(0));
}

#[test]
fn abuse_81_priorities_out_of_range() {
    for text in ["128", "-129", "", "high", "1.5", "0x1", "99999999999999999999", "1 2"] {
        let refused = priority(&with_priorities(&[text])).unwrap_err();
        assert_eq!(refused.condition, StanzaCondition::BadRequest, "{text}");
    }
    assert!(priority(&with_priorities(&["1", "2"])).is_err());
}

fn roster() -> Vec<RosterItem> {
    let item = |name: &str, to, from, pending_in| RosterItem {
        subscription: Subscription { to, from, pending_in, ..Subscription::default() },
        listed: true,
        ..RosterItem::new(BareJid::parse(name).unwrap())
    };
    vec![
        item("none@example.org", false, false, false),
        item("asking@example.org", false, false, true),
        item("to@example.org", true, false, false),
        item("from@example.org", false, true, false),
        item("both@example.org", true, true, false),
    ]
}

fn names(fan_out: &FanOut<'_>) -> (Vec<String>, Vec<String>, Vec<String>) {
    (
        fan_out.contacts.iter().map(ToString::to_string).collect(),
        fan_out.directed.iter().map(ToString::to_string).collect(),
        fan_out.probes.iter().map(ToString::to_string).collect(),
    )
}

#[test]
fn rfc6121_4_2_2_initial_presence_to_subscribers_and_probes_to_the_subscribed() {
    let (roster, mut directed) = (roster(), DirectedPresence::default());
    directed.available(&jid("room@rooms.example.org/me")).unwrap();
    let (contacts, directed, probes) = names(&fan_out(Broadcast::Initial, &roster, &directed));
    assert_eq!(contacts, ["from@example.org", "both@example.org"]);
    assert_eq!(probes, ["to@example.org", "both@example.org"]);
    assert!(directed.is_empty());
}

#[test]
fn rfc6121_4_4_2_subsequent_presence_to_subscribers_only() {
    let (roster, mut directed) = (roster(), DirectedPresence::default());
    directed.available(&jid("room@rooms.example.org/me")).unwrap();
    let (contacts, directed, probes) = names(&fan_out(Broadcast::Subsequent, &roster, &directed));
    assert_eq!(contacts, ["from@example.org", "both@example.org"]);
    assert!(directed.is_empty() && probes.is_empty());
}

#[test]
fn rfc6121_4_5_2_and_4_6_3_unavailable_presence_to_whoever_saw_the_session_once() {
    let (roster, mut directed) = (roster(), DirectedPresence::default());
    for target in ["room@rooms.example.org/me", "from@example.org/home", "to@example.org", "left@example.org"] {
        directed.available(&jid(target)).unwrap();
    }
    directed.unavailable(&jid("left@example.org"));
    let (contacts, directed, probes) = names(&fan_out(Broadcast::Unavailable, &roster, &directed));
    assert_eq!(contacts, ["from@example.org", "both@example.org"]);
    assert_eq!(directed, ["room@rooms.example.org/me", "to@example.org"]);
    assert!(probes.is_empty());
}

#[test]
fn abuse_74_directed_presence_is_bounded() {
    let mut directed = DirectedPresence::default();
    for n in 0..MAX_DIRECTED {
        directed.available(&jid(&format!("t{n}@example.org"))).unwrap();
    }
    for n in MAX_DIRECTED..10_000 {
        let refused = directed.available(&jid(&format!("t{n}@example.org"))).unwrap_err();
        assert_eq!(refused.condition, StanzaCondition::PolicyViolation);
    }
    assert!(directed.contains(&jid("t0@example.org")) && !directed.contains(&jid("other@example.org")));
    // One that is noted already is no news, and one that left makes room.
    directed.available(&jid("t0@example.org")).unwrap();
    directed.unavailable(&jid("t0@example.org"));
    directed.available(&jid("new@example.org")).unwrap();
    assert_eq!(directed.take().count(), MAX_DIRECTED);
    assert_eq!(directed.take().count(), 0);
    directed.available(&jid("t0@example.org")).unwrap();
}

#[test]
fn abuse_74_directed_presence_is_bounded_in_bytes() {
    let mut directed = DirectedPresence::default();
    let long = "x".repeat(1_000);
    let noted =
        (0..MAX_DIRECTED).filter(|n| directed.available(&jid(&format!("{n}@example.org/{long}"))).is_ok()).count();
    assert!(noted * 1_000 <= MAX_DIRECTED_BYTES && noted > MAX_DIRECTED_BYTES / 1_100, "{noted}");
    // All bytes come back.
    for n in 0..MAX_DIRECTED {
        directed.unavailable(&jid(&format!("{n}@example.org/{long}")));
        directed.unavailable(&jid(&format!("{n}@example.org/{long}")));
    }
    let again =
        (0..MAX_DIRECTED).filter(|n| directed.available(&jid(&format!("{n}@example.org/{long}"))).is_ok()).count();
    assert_eq!(again, noted);
}

#[test]
fn abuse_84_probes_of_strangers_learn_nothing() {
    let state = |to, from, pending_in, approved| Subscription { to, from, pending_in, approved, pending_out: false };
    for subscription in [
        None,
        Some(Subscription::default()),
        Some(state(true, false, false, false)),
        Some(state(false, false, true, false)),
        Some(state(false, false, false, true)),
    ] {
        assert_eq!(probe_answer(subscription), ProbeAnswer::Unsubscribed, "{subscription:?}");
    }
    for subscription in [state(false, true, false, false), state(true, true, false, false)] {
        assert_eq!(probe_answer(Some(subscription)), ProbeAnswer::Presence);
    }
}

#[test]
fn rfc6121_4_3_2_a_probe_of_one_resource_is_answered_for_that_one() {
    let available = ["balcony", "chamber"];
    assert_eq!(probed(None, &available).as_slice(), [0, 1]);
    assert_eq!(probed(Some("chamber"), &available).as_slice(), [1]);
    assert_eq!(probed(Some("garden"), &available).as_slice(), [0usize; 0]);
    assert_eq!(probed(None, &[]).as_slice(), [0usize; 0]);
}
