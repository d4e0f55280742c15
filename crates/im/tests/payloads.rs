//! One table of what clients send, and what each rule makes of it: XEP-0160 (kept), XEP-0313 (archived), XEP-0280 (copied),
//! XEP-0357 (waking) and XEP-0352 (what can wait). All of them read one classification, and this is where they are seen
//! side by side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use stonechat_im::classify::{Classification, Content, Conversational};
use stonechat_im::plan::{
    Address, Archive, Archiving, Carbons, Counting, DeliveryPlan, Kept, Recipient, SessionState, Wake, plan, plan_sent,
};
use stonechat_im::urgency::{Direction, Urgency, urgency, urgency_of_copy};
use stonechat_jid::Jid;
use stonechat_stanza::{MessageType, Stanza, ns};
use stonechat_xml::Element;

fn element(name: &'static str, namespace: &'static str) -> Element {
    Element::new(name, namespace)
}
fn body() -> Element {
    element("body", ns::CLIENT).with_text("Wherefore art thou?")
}
fn hint(name: &'static str) -> Element {
    element(name, ns::HINTS)
}
fn state() -> Element {
    element("composing", ns::CHAT_STATES)
}
fn receipt() -> Element {
    element("received", ns::RECEIPTS).with_attribute("id", "1")
}
fn displayed() -> Element {
    element("displayed", ns::CHAT_MARKERS).with_attribute("id", "1")
}
fn reactions() -> Element {
    element("reactions", ns::REACTIONS).with_attribute("id", "1")
}
fn retract() -> Element {
    element("retract", ns::MESSAGE_RETRACT).with_attribute("id", "1")
}
fn fastened_retract() -> Element {
    element("apply-to", ns::FASTEN).with_attribute("id", "1").with_child(element("retract", ns::MESSAGE_RETRACT_0))
}
fn fallback_for(namespace: &'static str) -> Element {
    element("fallback", ns::FALLBACK).with_attribute("for", namespace)
}
fn correction() -> Element {
    element("replace", ns::MESSAGE_CORRECT).with_attribute("id", "1")
}
fn call(name: &'static str) -> Element {
    element(name, ns::JINGLE_MESSAGE).with_attribute("id", "1")
}
fn direct_invitation() -> Element {
    element("x", ns::CONFERENCE).with_attribute("jid", "coven@muc.example")
}
fn room_mark() -> Element {
    element("x", ns::MUC_USER)
}
fn room_says(name: &'static str) -> Element {
    room_mark().with_child(element(name, ns::MUC_USER))
}
fn omemo(namespace: &'static str) -> Element {
    element("encrypted", namespace).with_child(element("header", namespace)).with_child(element("payload", namespace))
}
fn omemo_keys(namespace: &'static str) -> Element {
    element("encrypted", namespace).with_child(element("header", namespace))
}
fn unknown() -> Element {
    element("x", "urn:example:unknown")
}
fn encrypted_with(namespace: &'static str) -> Element {
    element("encryption", ns::EXPLICIT_ENCRYPTION).with_attribute("namespace", namespace)
}

/// What is expected of a payload in a message of type `chat`, but for `copied`.
struct Row {
    name: &'static str,
    payload: Vec<Element>,
    content: Content,
    /// XEP-0160 §3, XEP-0313 §6.1.1: for who is away, and in the archive.
    kept: bool,
    /// XEP-0280 §6.1, in a message of type `normal`: of type `chat` everything is. Who sends something else than a text
    /// without a `<body/>` says `chat` (XEP-0353 §3, XEP-0444 §3).
    copied: bool,
    /// XEP-0357 §7.
    waking: bool,
    /// XEP-0352 §3.2.
    urgency: Urgency<'static>,
}

const YES: bool = true;
const NO: bool = false;

fn rows() -> Vec<Row> {
    use Content::{Body, Call, CallProgress, ChatState, Companion, Event, Invitation, Nothing, Other};
    use Urgency::{Later, Never, Now};
    let mut rows = Vec::new();
    let mut row = |name, payload, content, kept, copied, waking, urgency| {
        rows.push(Row { name, payload, content, kept, copied, waking, urgency });
    };
    //   what                              payload                                 content     kept copied waking urgency
    row("a body", vec![body()], Body, YES, YES, YES, Now);
    row("a body and a chat state", vec![body(), state()], Body, YES, YES, YES, Now);
    row("a body and a receipt", vec![body(), receipt()], Body, YES, YES, YES, Now);
    row("a body and its subject", vec![element("subject", ns::CLIENT), body()], Body, YES, YES, YES, Now);
    row("a picture", vec![element("x", ns::OUT_OF_BAND)], Body, YES, NO, YES, Now);
    row("OMEMO", vec![omemo(ns::OMEMO)], Body, YES, NO, YES, Now);
    row("OMEMO of old", vec![omemo(ns::OMEMO_AXOLOTL)], Body, YES, NO, YES, Now);
    row("OpenPGP", vec![element("openpgp", ns::OPENPGP)], Body, YES, NO, YES, Now);
    row("OpenPGP of old", vec![element("x", ns::PGP_ENCRYPTED)], Body, YES, NO, YES, Now);
    row("XEP-0380 of the unknown", vec![unknown(), encrypted_with("urn:example:unknown")], Body, YES, NO, YES, Now);
    row("keys alone", vec![omemo_keys(ns::OMEMO)], Companion, YES, NO, NO, Later);
    row("keys alone of old", vec![omemo_keys(ns::OMEMO_AXOLOTL)], Companion, YES, NO, NO, Later);
    row("XEP-0380 of keys", vec![omemo_keys(ns::OMEMO), encrypted_with(ns::OMEMO)], Companion, YES, NO, NO, Later);
    row("a correction", vec![body(), correction()], Body, YES, YES, YES, Now);
    row("a direct invitation", vec![direct_invitation()], Invitation, YES, YES, YES, Now);
    row("a mediated invitation", vec![room_says("invite")], Invitation, YES, YES, YES, Now);
    row("a call", vec![call("propose"), hint("store")], Call, YES, NO, YES, Now);
    row("a call withdrawn", vec![call("retract"), hint("store")], CallProgress, YES, NO, NO, Now);
    row("a call accepted", vec![call("proceed"), hint("store")], CallProgress, YES, NO, NO, Now);
    row("a call accepted of old", vec![call("accept")], CallProgress, YES, NO, NO, Now);
    row("a call rejected", vec![call("reject"), hint("store")], CallProgress, YES, NO, NO, Now);
    row("a call over", vec![call("finish"), hint("store")], CallProgress, YES, NO, NO, Now);
    row("a device rings", vec![call("ringing"), hint("store")], CallProgress, YES, NO, NO, Now);
    row("a call to many", vec![element("invite", ns::CALL_INVITES)], Call, YES, NO, YES, Now);
    row("a call to many left", vec![element("left", ns::CALL_INVITES)], CallProgress, YES, NO, NO, Now);
    row("a receipt", vec![receipt()], Companion, YES, YES, NO, Later);
    row("a receipt and a chat state", vec![receipt(), state()], Companion, YES, YES, NO, Later);
    row("a marker", vec![displayed()], Companion, YES, YES, NO, Later);
    row("a reaction", vec![reactions(), hint("store")], Companion, YES, NO, NO, Later);
    row(
        "a reaction and its fallback",
        vec![reactions(), body(), fallback_for(ns::REACTIONS)],
        Companion,
        YES,
        YES,
        NO,
        Later,
    );
    row(
        "a reaction, any fallback",
        vec![body(), element("fallback", ns::FALLBACK), reactions()],
        Companion,
        YES,
        YES,
        NO,
        Later,
    );
    row("a reaction beside a text", vec![reactions(), body()], Body, YES, YES, YES, Now);
    row(
        "a reaction beside a reply",
        vec![reactions(), body(), fallback_for("urn:xmpp:reply:0")],
        Body,
        YES,
        YES,
        YES,
        Now,
    );
    row("a reply", vec![body(), fallback_for("urn:xmpp:reply:0")], Body, YES, YES, YES, Now);
    row("a retraction", vec![retract()], Companion, YES, NO, NO, Later);
    row(
        "a retraction and its fallback",
        vec![retract(), body(), fallback_for(ns::MESSAGE_RETRACT)],
        Companion,
        YES,
        YES,
        NO,
        Later,
    );
    row("a retraction of old", vec![fastened_retract(), body()], Companion, YES, YES, NO, Later);
    row("something else fastened", vec![element("apply-to", ns::FASTEN)], Other, YES, NO, NO, Now);
    row("an invitation declined", vec![room_says("decline")], Companion, YES, NO, NO, Later);
    row("a room's notice", vec![room_says("status")], Companion, YES, NO, NO, Later);
    row("a subject", vec![element("subject", ns::CLIENT)], Other, YES, NO, NO, Now);
    row("the unknown", vec![unknown()], Other, YES, NO, NO, Now);
    row("the unknown and a chat state", vec![unknown(), state()], Other, YES, YES, NO, Now);
    row("a chat state", vec![state()], ChatState, NO, YES, NO, Never);
    row("a chat state in a thread", vec![state(), element("thread", ns::CLIENT)], ChatState, NO, YES, NO, Never);
    row("a chat state in private", vec![state(), room_mark()], ChatState, NO, YES, NO, Never);
    row("XEP-0022", vec![element("x", ns::MESSAGE_EVENT)], ChatState, NO, NO, NO, Never);
    row("XEP-0301", vec![element("rtt", ns::REAL_TIME_TEXT)], ChatState, NO, NO, NO, Never);
    row("an event", vec![element("event", ns::PUBSUB_EVENT)], Event, NO, NO, NO, Later);
    row("an event and a chat state", vec![state(), element("event", ns::PUBSUB_EVENT)], Event, NO, YES, NO, Later);
    row("a room's activity", vec![element("rai", ns::ROOM_ACTIVITY)], Event, NO, NO, NO, Later);
    row("nothing", vec![], Nothing, NO, NO, NO, Later);
    row("an id", vec![element("origin-id", ns::STANZA_ID)], Nothing, NO, NO, NO, Later);
    row("XEP-0380 of nothing", vec![encrypted_with(ns::OMEMO)], Nothing, NO, NO, NO, Later);
    row("a request for a receipt", vec![element("request", ns::RECEIPTS)], Nothing, NO, YES, NO, Later);
    rows
}

const AVAILABLE: SessionState = SessionState { priority: Some(0), carbons: Carbons::Disabled, counting: Counting::No };
const COPIES: SessionState = SessionState { priority: None, carbons: Carbons::Enabled, counting: Counting::No };

/// The plan for a message to the first of two sessions, the other of which wants copies.
fn planned(message_type: MessageType, payload: &[Element]) -> DeliveryPlan {
    let message = Stanza::message(message_type, payload.to_vec());
    let sessions = &[AVAILABLE, COPIES];
    let recipient = Recipient::Account { sessions, address: Address::Session(0), archiving: Archiving::On };
    plan(message_type, Classification::of(&message), recipient)
}
fn away(message_type: MessageType, payload: &[Element]) -> DeliveryPlan {
    let message = Stanza::message(message_type, payload.to_vec());
    let recipient = Recipient::Account { sessions: &[], address: Address::Bare, archiving: Archiving::On };
    plan(message_type, Classification::of(&message), recipient)
}
fn with(payload: &[Element], more: Element) -> Vec<Element> {
    payload.iter().cloned().chain([more]).collect()
}

const CONVERSATION: [MessageType; 2] = [MessageType::Chat, MessageType::Normal];
const OTHERS: [MessageType; 3] = [MessageType::Groupchat, MessageType::Headline, MessageType::Error];

fn archive(yes: bool) -> Archive {
    if yes { Archive::Stored } else { Archive::Skipped }
}
fn kept(yes: bool) -> Kept {
    if yes { Kept::Offline } else { Kept::Nowhere }
}
fn wake(yes: bool) -> Wake {
    if yes { Wake::Yes } else { Wake::No }
}

#[test]
fn each_payload_is_what_it_is_whatever_the_order_and_wherever_it_is_read() {
    for row in rows() {
        let message = Stanza::message(MessageType::Chat, row.payload.clone());
        let classification = Classification::of(&message);
        assert_eq!(classification.content, row.content, "{}", row.name);
        let reversed = Stanza::message(MessageType::Chat, row.payload.clone().into_iter().rev());
        assert_eq!(Classification::of(&reversed), classification, "{}", row.name);
        let forwarded = Element::new("message", ns::CLIENT).with_children(row.payload.clone());
        assert_eq!(Classification::of_element(&forwarded), classification, "{}", row.name);
    }
}

#[test]
fn xep0313_6_1_1_what_is_archived() {
    for row in rows() {
        for message_type in CONVERSATION {
            let plan = planned(message_type, &row.payload);
            assert_eq!(plan.archive, archive(row.kept), "{} {message_type:?}", row.name);
        }
        // A room has an archive of its own; headlines are of their moment, errors no messages.
        for message_type in OTHERS {
            let plan = planned(message_type, &with(&row.payload, hint("store")));
            assert_eq!(plan.archive, Archive::Skipped, "{} {message_type:?}", row.name);
        }
    }
}

#[test]
fn xep0313_6_1_1_the_same_is_archived_for_the_sender_and_for_who_is_away() {
    for row in rows() {
        for message_type in CONVERSATION.into_iter().chain(OTHERS) {
            let message = Stanza::message(message_type, row.payload.clone());
            let sent = plan_sent(message_type, Classification::of(&message), &[], None, Archiving::On);
            assert_eq!(sent.archive, planned(message_type, &row.payload).archive, "{} {message_type:?}", row.name);
            if CONVERSATION.contains(&message_type) {
                let plan = away(message_type, &row.payload);
                assert_eq!(plan.archive, sent.archive, "{} {message_type:?}", row.name);
                // XEP-0160 §3: somebody without the archive must find it too.
                assert_eq!(plan.kept, kept(row.kept), "{} {message_type:?}", row.name);
            }
        }
    }
}

#[test]
fn xep0441_2_who_does_not_archive_has_nothing_archived() {
    for row in rows() {
        let message = Stanza::message(MessageType::Chat, row.payload.clone());
        let classification = Classification::of(&message);
        let recipient =
            Recipient::Account { sessions: &[AVAILABLE], address: Address::Bare, archiving: Archiving::Off };
        assert_eq!(plan(MessageType::Chat, classification, recipient).archive, Archive::Skipped);
        assert_eq!(plan_sent(MessageType::Chat, classification, &[], None, Archiving::Off).archive, Archive::Skipped);
    }
}

#[test]
fn xep0334_4_1_and_4_2_and_4_4_hints_and_the_archive() {
    for row in rows() {
        for message_type in CONVERSATION {
            let archived = |more: &[&'static str]| {
                let payload = more.iter().fold(row.payload.clone(), |payload, name| with(&payload, hint(name)));
                planned(message_type, &payload).archive
            };
            assert_eq!(archived(&["no-store"]), Archive::Skipped, "{}", row.name);
            assert_eq!(archived(&["no-permanent-store"]), Archive::Skipped, "{}", row.name);
            assert_eq!(archived(&["store"]), Archive::Stored, "{}", row.name);
            assert_eq!(archived(&["store", "no-store"]), Archive::Skipped, "{}", row.name);
            assert_eq!(archived(&["store", "no-permanent-store"]), Archive::Skipped, "{}", row.name);
            // §4.3 is about copies alone.
            assert_eq!(archived(&["no-copy"]), archive(row.kept), "{}", row.name);
        }
    }
}

#[test]
fn xep0280_6_1_what_is_copied() {
    for row in rows() {
        let copies = |message_type| {
            let received = planned(message_type, &row.payload).carbons.to_vec();
            let message = Stanza::message(message_type, row.payload.clone());
            let sent =
                plan_sent(message_type, Classification::of(&message), &[AVAILABLE, COPIES], Some(0), Archiving::On);
            // The sender's side and the recipient's agree, but for private messages of rooms.
            if !row.payload.iter().any(|child| child.namespace() == ns::MUC_USER) {
                assert_eq!(received, sent.carbons.to_vec(), "{}", row.name);
            }
            sent.carbons.to_vec()
        };
        assert_eq!(copies(MessageType::Chat), [1], "{}", row.name);
        let expected: &[usize] = if row.copied { &[1] } else { &[] };
        assert_eq!(copies(MessageType::Normal), expected, "{}", row.name);
        assert_eq!(copies(MessageType::Groupchat), [], "{}", row.name);
        // What it brings back does not tell whether the message was copied that it answers, but for what is copied always.
        let named = Classification::of(&Stanza::message(MessageType::Error, row.payload.clone()));
        let named = named.conversational == Conversational::Yes || named.content == Content::Invitation;
        let expected: &[usize] = if named { &[1] } else { &[] };
        assert_eq!(copies(MessageType::Error), expected, "{}", row.name);
    }
}

#[test]
fn xep0280_6_1_an_error_is_copied_when_it_answers_what_was_copied() {
    let sessions = &[AVAILABLE, COPIES];
    let copied = |payload: &[Element], address| {
        let error = Classification::of(&Stanza::message(MessageType::Error, payload.to_vec())).answering_copied();
        let recipient = Recipient::Account { sessions, address, archiving: Archiving::On };
        plan(MessageType::Error, error, recipient).carbons.to_vec()
    };
    let error = element("error", ns::CLIENT);
    for payload in [vec![error.clone()], vec![error.clone(), body()], vec![error.clone(), body(), room_mark()]] {
        for address in [Address::Session(0), Address::NoSession, Address::Bare] {
            assert_eq!(copied(&payload, address), [1], "{address:?}");
        }
    }
    assert_eq!(copied(&[error, body(), element("private", ns::CARBONS)], Address::Session(0)), []);
}

#[test]
fn xep0280_6_1_of_headlines_only_what_is_named_there_is_copied() {
    let copied = |payload: &[Element]| !planned(MessageType::Headline, payload).carbons.is_empty();
    assert!(!copied(&[body()]));
    assert!(!copied(&[element("event", ns::PUBSUB_EVENT)]));
    assert!(copied(&[receipt()]));
    assert!(copied(&[displayed()]));
    assert!(copied(&[direct_invitation()]));
}

#[test]
fn xep0280_9_and_xep0334_4_3_private_is_not_copied() {
    for row in rows() {
        for forbidden in [hint("no-copy"), element("private", ns::CARBONS)] {
            for message_type in CONVERSATION.into_iter().chain(OTHERS) {
                let payload = with(&row.payload, forbidden.clone());
                assert_eq!(planned(message_type, &payload).carbons.to_vec(), [], "{}", row.name);
                let classification = Classification::of(&Stanza::message(message_type, payload));
                let sent = plan_sent(message_type, classification, &[COPIES], None, Archiving::On);
                assert_eq!(sent.carbons.to_vec(), [], "{}", row.name);
            }
        }
    }
}

#[test]
fn xep0280_6_1_a_private_message_of_a_room_is_copied_when_sent_and_not_when_received() {
    for message_type in CONVERSATION {
        for payload in [vec![body(), room_mark()], vec![state(), room_mark()], vec![body(), room_says("item")]] {
            assert_eq!(planned(message_type, &payload).carbons.to_vec(), [], "{message_type:?}");
            let classification = Classification::of(&Stanza::message(message_type, payload));
            let sent = plan_sent(message_type, classification, &[AVAILABLE, COPIES], Some(0), Archiving::On);
            assert_eq!(sent.carbons.to_vec(), [1], "{message_type:?}");
        }
        // An invitation is none, with a body for who does not know it, or without.
        for payload in [
            vec![room_says("invite")],
            vec![body(), room_says("invite"), direct_invitation()],
            // One to another room, among occupants: who is not in this one has to learn of it.
            vec![direct_invitation(), room_mark()],
        ] {
            assert_eq!(planned(message_type, &payload).carbons.to_vec(), [1], "{message_type:?}");
        }
    }
}

#[test]
fn xep0313_6_1_1_a_private_message_of_a_room_is_in_the_accounts_archive() {
    assert_eq!(planned(MessageType::Chat, &[body(), room_mark()]).archive, Archive::Stored);
}

#[test]
fn xep0357_7_what_wakes() {
    for row in rows() {
        for message_type in CONVERSATION {
            assert_eq!(planned(message_type, &row.payload).wake, wake(row.waking), "{} {message_type:?}", row.name);
            assert_eq!(away(message_type, &row.payload).wake, wake(row.waking), "{} {message_type:?}", row.name);
        }
        // In a room somebody may be meant, and nothing but a body can say so.
        let room = planned(MessageType::Groupchat, &row.payload).wake;
        assert_eq!(room, wake(row.content == Content::Body), "{}", row.name);
        for message_type in [MessageType::Headline, MessageType::Error] {
            assert_eq!(planned(message_type, &row.payload).wake, Wake::No, "{}", row.name);
        }
    }
}

#[test]
fn xep0334_4_2_no_store_is_no_reason_to_let_somebody_sleep_and_store_none_to_wake() {
    for row in rows() {
        // A session that has it in its queue may sleep.
        let plan = planned(MessageType::Chat, &with(&row.payload, hint("no-store")));
        assert_eq!(plan.wake, wake(row.waking), "{}", row.name);
        let plan = planned(MessageType::Chat, &with(&row.payload, hint("store")));
        assert_eq!(plan.wake, wake(row.waking), "{}", row.name);
        // Nobody is woken for what is not there.
        let plan = away(MessageType::Chat, &with(&row.payload, hint("no-store")));
        assert_eq!(plan.wake, Wake::No, "{}", row.name);
    }
}

fn urgency_of(message_type: MessageType, payload: &[Element]) -> String {
    let mut message = Stanza::message(message_type, payload.to_vec());
    message.head_mut().from = Some(Jid::parse("juliet@capulet.example/balcony").unwrap());
    format!("{:?}", urgency(&message))
}
fn carbon(direction: &'static str, message_type: MessageType, payload: &[Element]) -> Vec<Element> {
    let message = element("message", ns::CLIENT).with_attribute("type", message_type.name());
    let forwarded = element("forwarded", ns::FORWARD).with_child(message.with_children(payload.to_vec()));
    vec![element(direction, ns::CARBONS).with_child(forwarded)]
}

#[test]
fn xep0352_3_2_what_can_wait() {
    for row in rows() {
        let stored = row.payload.iter().any(|child| child.is("store", ns::HINTS));
        let expected = format!("{:?}", row.urgency);
        for message_type in [MessageType::Chat, MessageType::Normal, MessageType::Groupchat] {
            assert_eq!(urgency_of(message_type, &row.payload), expected, "{} {message_type:?}", row.name);
            // What was received elsewhere is as urgent here.
            let received = carbon("received", message_type, &row.payload);
            assert_eq!(urgency_of(message_type, &received), expected, "{} {message_type:?}", row.name);
            let message = Stanza::message(message_type, row.payload.clone());
            assert_eq!(urgency_of_copy(&message, Direction::Received), row.urgency, "{} {message_type:?}", row.name);
        }
        // What was sent elsewhere only tells that a person is there; but a call stops ringing.
        let sent = urgency_of(MessageType::Chat, &carbon("sent", MessageType::Chat, &row.payload));
        let message = Stanza::message(MessageType::Chat, row.payload.clone());
        assert_eq!(format!("{:?}", urgency_of_copy(&message, Direction::Sent)), sent, "{}", row.name);
        match row.content {
            Content::Call | Content::CallProgress => assert_eq!(sent, "Now", "{}", row.name),
            Content::ChatState => assert_eq!(sent, "Never", "{}", row.name),
            _ => assert_eq!(sent, "Later", "{}", row.name),
        }
        assert_eq!(urgency_of(MessageType::Error, &row.payload), "Now", "{}", row.name);
        // Who wants it stored does not want it discarded.
        if !stored && row.urgency == Urgency::Never {
            assert_eq!(urgency_of(MessageType::Chat, &with(&row.payload, hint("store"))), "Later", "{}", row.name);
        }
    }
}

#[test]
fn xep0352_3_2_headlines_can_wait() {
    assert_eq!(urgency_of(MessageType::Headline, &[body()]), "Later");
    assert_eq!(urgency_of(MessageType::Headline, &[element("event", ns::PUBSUB_EVENT)]), "Later");
    assert_eq!(urgency_of(MessageType::Headline, &[call("propose")]), "Now");
    assert_eq!(urgency_of(MessageType::Headline, &[state()]), "Never");
}

#[test]
fn xep0313_4_2_results_do_not_wait() {
    let result = element("result", ns::MAM).with_child(element("forwarded", ns::FORWARD));
    assert_eq!(urgency_of(MessageType::Normal, &[result]), "Now");
}

#[test]
fn a_carbon_without_a_message_inside_can_wait() {
    assert_eq!(urgency_of(MessageType::Chat, &[element("received", ns::CARBONS)]), "Later");
    assert_eq!(urgency_of(MessageType::Chat, &[element("sent", ns::CARBONS).with_child(body())]), "Later");
}

/// The part of `docs/messages.md` between a mark and the next end. `UPDATE_EXPECT=1` writes it anew.
fn held(mark: &str, generated: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/messages.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(&format!("<!-- {mark} -->\n")).unwrap();
    let (written, tail) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, format!("{head}<!-- {mark} -->\n{generated}<!-- end -->{tail}")).unwrap();
    } else {
        assert!(written == generated, "{} is not what is decided: run with UPDATE_EXPECT=1", path.display());
    }
}

#[test]
fn the_book_tells_what_is_decided() {
    let yes = |yes: bool| if yes { "yes" } else { "" };
    let mut payloads = "| What | Kept | Copied | Wakes | Inactive |\n|---|---|---|---|---|\n".to_owned();
    for row in rows() {
        // As the tests above found it to be.
        let inactive = match row.urgency {
            Urgency::Now => "at once",
            Urgency::Never => "never",
            Urgency::Later | Urgency::Latest(_) => "later",
        };
        let cells = [row.name, yes(row.kept), yes(row.copied), yes(row.waking), inactive];
        payloads.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    held("payloads", &payloads);

    const AWAY: &[SessionState] = &[SessionState { priority: Some(-1), ..AVAILABLE }];
    const HERE: &[SessionState] = &[AVAILABLE, SessionState { priority: Some(5), ..AVAILABLE }];
    let account = |sessions, address| Recipient::Account { sessions, address, archiving: Archiving::Off };
    let columns = [
        ("No such account", Recipient::Absent),
        ("To the account, nobody available", account(AWAY, Address::Bare)),
        ("To the account, somebody available", account(HERE, Address::Bare)),
        ("To a session that is there", account(HERE, Address::Session(1))),
        ("To a session that is gone, nobody available", account(AWAY, Address::NoSession)),
        ("To a session that is gone, somebody available", account(HERE, Address::NoSession)),
    ];
    let mut delivery =
        format!("| Type | {} |\n|---|---|---|---|---|---|---|\n", columns.map(|(name, _)| name).join(" | "));
    for message_type in CONVERSATION.into_iter().chain(OTHERS) {
        let classification = Classification::of(&Stanza::message(message_type, [body()]));
        let cells = columns.map(|(_, recipient)| {
            let plan = plan(message_type, classification, recipient);
            match (plan.deliver.len(), plan.kept, plan.bounce) {
                (0, Kept::Offline, None) => "kept".to_owned(),
                (0, _, Some(condition)) => format!("`{}`", condition.name()),
                (0, _, None) => "ignored".to_owned(),
                (1, ..) => "that session".to_owned(),
                _ => "all available".to_owned(),
            }
        });
        let name = match message_type.name() {
            "" => "normal",
            name => name,
        };
        delivery.push_str(&format!("| `{name}` | {} |\n", cells.join(" | ")));
    }
    held("delivery", &delivery);
}
