//! What a message means to both accounts, beside its delivery: XEP-0280 (copies), XEP-0313 (archive), XEP-0198 (what is
//! kept until it is acknowledged), XEP-0357 (waking); and what holds for whatever is planned.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use proptest::prelude::*;
use stonechat_im::classify::{Classification, Content, Conversational, Hints, Room};
use stonechat_im::plan::{
    Address, Archive, Archiving, Carbons, Counting, Kept, LeftoverPlan, Others, Reason, Recipient, SessionState, Wake,
    plan, plan_leftover, plan_own, plan_sent, plan_waiting,
};
use stonechat_stanza::{MessageType, StanzaCondition};

const NO_HINTS: Hints = Hints { no_store: false, no_permanent_store: false, no_copy: false, store: false };
const BODY: Classification =
    Classification { content: Content::Body, hints: NO_HINTS, room: Room::No, conversational: Conversational::Written };
const CHAT_STATE: Classification =
    Classification { content: Content::ChatState, conversational: Conversational::Yes, ..BODY };

const fn session(priority: Option<i8>, carbons: Carbons, counting: Counting) -> SessionState {
    SessionState { priority, carbons, counting }
}
const fn plain(priority: i8) -> SessionState {
    session(Some(priority), Carbons::Disabled, Counting::No)
}
const fn copied(priority: Option<i8>) -> SessionState {
    session(priority, Carbons::Enabled, Counting::No)
}
const fn counting(priority: i8) -> SessionState {
    session(Some(priority), Carbons::Disabled, Counting::Resumable)
}
fn account(sessions: &[SessionState], address: Address) -> Recipient<'_> {
    Recipient::Account { sessions, address, archiving: Archiving::On }
}

/// Available with and without copies, not available, not wanting messages.
const DEVICES: &[SessionState] = &[copied(Some(1)), plain(2), copied(None), copied(Some(-1)), plain(-2)];

#[test]
fn xep0280_7_to_who_asked_and_did_not_get_it_whatever_its_presence() {
    let rows: [(MessageType, Address, &[usize], &[usize]); 6] = [
        (MessageType::Chat, Address::Bare, &[0, 1], &[2, 3]),
        (MessageType::Normal, Address::Bare, &[0, 1], &[2, 3]),
        (MessageType::Chat, Address::Session(0), &[0], &[2, 3]),
        (MessageType::Chat, Address::Session(4), &[4], &[0, 2, 3]),
        // RFC 6121 §8.5.3.2.1: as if to the account.
        (MessageType::Chat, Address::NoSession, &[0, 1], &[2, 3]),
        (MessageType::Groupchat, Address::Session(1), &[1], &[]),
    ];
    for (message_type, address, deliver, carbons) in rows {
        let plan = plan(message_type, BODY, account(DEVICES, address));
        assert_eq!(
            (plan.deliver.as_slice(), plan.carbons.as_slice()),
            (deliver, carbons),
            "{message_type:?} {address:?}"
        );
    }
}

#[test]
fn xep0280_7_nobody_available_is_no_reason_to_copy_it_to_nobody() {
    let sessions = [copied(None), copied(Some(-1)), plain(-1)];
    let kept = plan(MessageType::Chat, BODY, account(&sessions, Address::Bare));
    // What is kept comes to the one that is not available yet with its presence: a copy now would be the first of two.
    assert_eq!((kept.carbons.as_slice(), kept.kept), (&[1][..], Kept::Offline));
    let dropped = plan(MessageType::Chat, CHAT_STATE, account(&sessions, Address::Bare));
    assert_eq!((dropped.carbons.as_slice(), dropped.kept), (&[0, 1][..], Kept::Nowhere));
}

#[test]
fn xep0280_6_1_an_error_for_a_session_that_is_gone_is_told_to_the_others() {
    let answers = BODY.answering_copied();
    let gone = plan(MessageType::Error, answers, account(DEVICES, Address::NoSession));
    assert_eq!((gone.reason, gone.carbons.as_slice()), (Reason::ResourceGone, &[0, 2, 3][..]));
    let bare = plan(MessageType::Error, answers, account(DEVICES, Address::Bare));
    assert_eq!((bare.reason, bare.carbons.as_slice()), (Reason::ErrorToAccount, &[0, 2, 3][..]));
    let unknown = plan(MessageType::Error, BODY, account(DEVICES, Address::NoSession));
    assert_eq!(unknown.carbons.as_slice(), []);
}

#[test]
fn xep0280_8_to_the_other_sessions_of_the_sender() {
    for (sender, carbons) in [(Some(0), &[2, 3][..]), (Some(1), &[0, 2, 3]), (Some(2), &[0, 3]), (None, &[0, 2, 3])] {
        let sent = plan_sent(MessageType::Chat, BODY, DEVICES, sender, Archiving::On);
        assert_eq!(sent.carbons.as_slice(), carbons, "{sender:?}");
        assert_eq!(sent.archive, Archive::Stored);
    }
}

#[test]
fn xep0313_6_1_what_is_refused_is_in_no_archive_of_the_recipient() {
    let refused = [
        plan(MessageType::Chat, BODY, Recipient::Absent),
        plan(MessageType::Normal, BODY, account(DEVICES, Address::NoSession)),
        plan(MessageType::Groupchat, BODY, account(DEVICES, Address::Bare)),
        plan(
            MessageType::Chat,
            Classification { hints: Hints { no_store: true, ..NO_HINTS }, ..BODY },
            account(&[copied(None)], Address::Bare),
        ),
    ];
    for plan in refused {
        assert_eq!(plan.bounce, Some(StanzaCondition::ServiceUnavailable), "{plan:?}");
        assert_eq!((plan.archive, plan.wake, plan.kept), (Archive::Skipped, Wake::No, Kept::Nowhere), "{plan:?}");
        assert_eq!(plan.carbons.as_slice(), [], "{plan:?}");
    }
}

#[test]
fn xep0198_what_is_not_archived_is_kept_until_a_counting_session_acknowledges_it() {
    const OFF_RECORD: Classification = Classification { hints: Hints { no_permanent_store: true, ..NO_HINTS }, ..BODY };
    let kept = |classification, archiving, sessions: &[SessionState], address| {
        plan(MessageType::Chat, classification, Recipient::Account { sessions, address, archiving }).kept
    };
    let mixed = [plain(0), counting(0), counting(-1)];
    assert_eq!(kept(BODY, Archiving::Off, &mixed, Address::Bare), Kept::UntilAcknowledged);
    assert_eq!(kept(BODY, Archiving::Off, &mixed, Address::Session(2)), Kept::UntilAcknowledged);
    assert_eq!(kept(OFF_RECORD, Archiving::On, &mixed, Address::Bare), Kept::UntilAcknowledged);
    // The archive has it.
    assert_eq!(kept(BODY, Archiving::On, &mixed, Address::Bare), Kept::Nowhere);
    // But a session that waits to be resumed gets it without that its client looks there.
    let waiting = [counting(0), session(Some(0), Carbons::Disabled, Counting::Waiting)];
    assert_eq!(kept(BODY, Archiving::On, &waiting, Address::Bare), Kept::WhileWaiting);
    assert_eq!(kept(BODY, Archiving::On, &waiting, Address::Session(1)), Kept::WhileWaiting);
    assert_eq!(kept(BODY, Archiving::On, &waiting, Address::Session(0)), Kept::Nowhere);
    assert_eq!(kept(CHAT_STATE, Archiving::On, &waiting, Address::Bare), Kept::Nowhere);
    assert_eq!(kept(BODY, Archiving::Off, &waiting[1..], Address::Bare), Kept::UntilAcknowledged);
    // And what a session has not acknowledged when it begins to wait is no worse off than what comes then.
    assert_eq!(plan_waiting(MessageType::Chat, BODY, Archive::Stored), Kept::WhileWaiting);
    assert_eq!(plan_waiting(MessageType::Chat, CHAT_STATE, Archive::Stored), Kept::Nowhere);
    assert_eq!(plan_waiting(MessageType::Chat, BODY, Archive::Skipped), Kept::Nowhere);
    // Nobody who gets it counts.
    assert_eq!(kept(BODY, Archiving::Off, &mixed, Address::Session(0)), Kept::Nowhere);
    assert_eq!(kept(BODY, Archiving::Off, &[plain(0), counting(-1)], Address::Bare), Kept::Nowhere);
    // It is worth nothing later, or must not be kept.
    assert_eq!(kept(CHAT_STATE, Archiving::Off, &mixed, Address::Bare), Kept::Nowhere);
    let no_store = Classification { hints: Hints { no_store: true, ..NO_HINTS }, ..BODY };
    assert_eq!(kept(no_store, Archiving::Off, &mixed, Address::Bare), Kept::Nowhere);
    // Nobody got it: it is for whoever comes first, archived or not.
    assert_eq!(kept(BODY, Archiving::Off, &[counting(-1)], Address::Bare), Kept::Offline);
    assert_eq!(kept(BODY, Archiving::On, &[counting(-1)], Address::Bare), Kept::Offline);
}

#[test]
fn xep0313_6_1_1_a_note_to_oneself_is_archived_once_and_each_device_has_it_once() {
    for (address, sender, deliver, carbons) in [
        (Address::Bare, Some(0), &[0, 1][..], &[2, 3][..]),
        // XEP-0280 §8: no copy for the session that sent it.
        (Address::Bare, Some(3), &[0, 1], &[2]),
        (Address::Session(1), Some(0), &[1], &[2, 3]),
        (Address::Session(1), Some(4), &[1], &[0, 2, 3]),
        (Address::Session(0), Some(0), &[0], &[2, 3]),
        (Address::NoSession, Some(0), &[0, 1], &[2, 3]),
    ] {
        let plan = plan_own(MessageType::Chat, BODY, DEVICES, address, sender, Archiving::On);
        assert_eq!((plan.deliver.as_slice(), plan.carbons.as_slice()), (deliver, carbons), "{address:?} {sender:?}");
        assert_eq!((plan.archive, plan.wake), (Archive::Stored, Wake::No));
    }
    let away = plan_own(MessageType::Chat, BODY, &[copied(None)], Address::Bare, Some(0), Archiving::On);
    assert_eq!((away.kept, away.carbons.as_slice()), (Kept::Offline, &[][..]));
}

#[test]
fn xep0313_6_1_1_a_message_that_comes_back_stays_sent() {
    let sent = plan_sent(MessageType::Normal, BODY, DEVICES, Some(1), Archiving::On);
    let own = plan_own(MessageType::Normal, BODY, DEVICES, Address::NoSession, Some(1), Archiving::On);
    assert_eq!(own.bounce, Some(StanzaCondition::ServiceUnavailable));
    assert_eq!((own.archive, own.carbons), (sent.archive, sent.carbons));
}

fn any_message_type() -> impl Strategy<Value = MessageType> {
    proptest::sample::select(vec![
        MessageType::Normal,
        MessageType::Chat,
        MessageType::Groupchat,
        MessageType::Headline,
        MessageType::Error,
    ])
}
fn any_classification() -> impl Strategy<Value = Classification> {
    let content = proptest::sample::select(vec![
        Content::Body,
        Content::Invitation,
        Content::Call,
        Content::CallProgress,
        Content::Companion,
        Content::Other,
        Content::Event,
        Content::ChatState,
        Content::Nothing,
    ]);
    let room = proptest::sample::select(vec![Room::PrivateMessage, Room::No]);
    let conversational =
        proptest::sample::select(vec![Conversational::Yes, Conversational::Written, Conversational::No]);
    // Hints are rare, else hardly a message is kept.
    let hint = || proptest::bool::weighted(0.2);
    let hints = (hint(), hint(), hint(), hint()).prop_map(|(no_store, no_permanent_store, no_copy, store)| Hints {
        no_store,
        no_permanent_store,
        no_copy,
        store,
    });
    (content, hints, room, conversational).prop_map(|(content, hints, room, conversational)| Classification {
        content,
        hints,
        room,
        conversational,
    })
}
fn any_session() -> impl Strategy<Value = SessionState> {
    let carbons = proptest::sample::select(vec![Carbons::Enabled, Carbons::Disabled]);
    let counting = proptest::sample::select(vec![Counting::Resumable, Counting::Waiting, Counting::No]);
    (proptest::option::of(any::<i8>()), carbons, counting).prop_map(|(priority, carbons, counting)| SessionState {
        priority,
        carbons,
        counting,
    })
}
fn any_sessions() -> impl Strategy<Value = Vec<SessionState>> {
    proptest::collection::vec(any_session(), 0..7)
}
fn any_address() -> impl Strategy<Value = Address> {
    prop_oneof![Just(Address::Bare), Just(Address::NoSession), (0usize..8).prop_map(Address::Session)]
}
fn any_archiving() -> impl Strategy<Value = Archiving> {
    proptest::sample::select(vec![Archiving::On, Archiving::Off])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_planned_for_the_recipient_holds_together(
        message_type in any_message_type(),
        classification in any_classification(),
        sessions in any_sessions(),
        address in any_address(),
        archiving in any_archiving(),
    ) {
        let plan = plan(message_type, classification, Recipient::Account { sessions: &sessions, address, archiving });
        let Hints { no_store, no_permanent_store, no_copy, .. } = classification.hints;
        // Each session once, and only those that asked for copies get some.
        prop_assert!(plan.carbons.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(plan.carbons.iter().all(|index| !plan.deliver.contains(index)));
        prop_assert!(plan.carbons.iter().all(|index| sessions[*index].carbons == Carbons::Enabled));
        prop_assert!(plan.carbons.is_empty() || !no_copy && message_type != MessageType::Groupchat);
        prop_assert!(plan.carbons.is_empty() || classification.room == Room::No || message_type == MessageType::Error);
        // A chat message reaches everybody who asked.
        if message_type == MessageType::Chat && !no_copy && classification.room == Room::No && plan.bounce.is_none() {
            for (index, session) in sessions.iter().enumerate() {
                let reached = plan.deliver.contains(&index) || plan.carbons.contains(&index);
                let waits = plan.kept == Kept::Offline && session.priority.is_none();
                prop_assert!(reached != waits || session.carbons == Carbons::Disabled);
                prop_assert!(reached || waits || session.carbons == Carbons::Disabled);
            }
        }
        // The archive.
        if plan.archive == Archive::Stored {
            prop_assert_eq!(archiving, Archiving::On);
            prop_assert!(!no_store && !no_permanent_store);
            prop_assert!(matches!(message_type, MessageType::Chat | MessageType::Normal));
            prop_assert!(plan.bounce.is_none());
            prop_assert!(!plan.deliver.is_empty() || plan.kept == Kept::Offline);
        }
        // What is kept.
        prop_assert!(plan.kept == Kept::Nowhere || classification.is_kept(message_type));
        if plan.kept == Kept::UntilAcknowledged {
            prop_assert_eq!(plan.archive, Archive::Skipped);
            prop_assert!(plan.deliver.iter().any(|index| sessions[*index].counting != Counting::No));
        }
        let waits = plan.deliver.iter().any(|index| sessions[*index].counting == Counting::Waiting);
        if plan.kept == Kept::WhileWaiting {
            prop_assert_eq!(plan.archive, Archive::Stored);
            prop_assert!(waits);
        }
        // Nothing that is worth keeping is only in the memory of a session that counts on us.
        let resumable = plan.deliver.iter().any(|index| sessions[*index].counting != Counting::No);
        if resumable && classification.is_kept(message_type) {
            prop_assert!(plan.archive == Archive::Stored || plan.kept == Kept::UntilAcknowledged);
            prop_assert!(!waits || plan.kept != Kept::Nowhere);
        }
        // Waking.
        if plan.wake == Wake::Yes {
            prop_assert!(classification.content <= Content::Call);
            prop_assert!(!plan.deliver.is_empty() || plan.kept == Kept::Offline);
        }
        // What is answered leaves nothing behind.
        if plan.bounce.is_some() {
            prop_assert!(plan.deliver.is_empty() && plan.carbons.is_empty());
            prop_assert_eq!((plan.archive, plan.wake, plan.kept), (Archive::Skipped, Wake::No, Kept::Nowhere));
        }
    }

    #[test]
    fn what_is_archived_is_never_answered_when_it_is_left_over(
        message_type in any_message_type(),
        classification in any_classification(),
        sessions in any_sessions(),
        others in proptest::sample::select(vec![Others::Served, Others::None]),
        archive in proptest::sample::select(vec![Archive::Stored, Archive::Skipped]),
    ) {
        match plan_leftover(message_type, classification, archive, others, &sessions) {
            LeftoverPlan::Deliver(deliver) => {
                prop_assert!(!deliver.is_empty() && others == Others::None && !classification.hints.no_copy);
                prop_assert!(deliver.iter().all(|index| sessions[*index].priority.is_some_and(|priority| priority >= 0)));
            }
            LeftoverPlan::Offline => {
                prop_assert!(classification.is_kept(message_type) && others == Others::None);
            }
            LeftoverPlan::Bounce(_) => {
                prop_assert!(archive == Archive::Skipped && others == Others::None);
                prop_assert!(classification.content == Content::Body);
                prop_assert!(message_type != MessageType::Error);
            }
            // What a person wrote ends only where somebody finds it.
            LeftoverPlan::Nothing => {
                let conversation = matches!(message_type, MessageType::Chat | MessageType::Normal);
                let lost = conversation && classification.content == Content::Body;
                prop_assert!(!lost || others == Others::Served || archive == Archive::Stored);
            }
        }
    }

    #[test]
    fn a_note_to_oneself_reaches_each_session_once_and_its_sender_never_as_a_copy(
        message_type in any_message_type(),
        classification in any_classification(),
        sessions in any_sessions(),
        address in any_address(),
        sender in proptest::option::of(0usize..7),
        archiving in any_archiving(),
    ) {
        let own = plan_own(message_type, classification, &sessions, address, sender, archiving);
        let sent = plan_sent(message_type, classification, &sessions, sender, archiving);
        let received = plan(message_type, classification, Recipient::Account { sessions: &sessions, address, archiving });
        prop_assert!(own.carbons.iter().all(|index| !own.deliver.contains(index) && Some(*index) != sender));
        prop_assert_eq!(own.archive, sent.archive);
        prop_assert_eq!((own.deliver, own.kept, own.bounce), (received.deliver, received.kept, received.bounce));
        prop_assert_eq!(own.wake, Wake::No);
    }
}
