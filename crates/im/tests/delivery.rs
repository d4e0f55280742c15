//! RFC 6121 §8.5: the table of §8.5.4, a test for each cell, and the rules for presence and IQs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use proptest::prelude::*;
use smallvec::SmallVec;
use stonechat_im::classify::{Classification, Content, Conversational, Hints, IqOrigin, Room};
use stonechat_im::plan::{
    Address, Archiving, Carbons, Counting, DeliveryPlan, IqPlan, Kept, PresencePlan, Reason, Recipient, SessionState,
    plan, plan_iq, plan_presence,
};
use stonechat_stanza::{IqType, MessageType, PresenceType, StanzaCondition};

const fn available(priority: i8) -> SessionState {
    SessionState { priority: Some(priority), carbons: Carbons::Disabled, counting: Counting::No }
}
const CONNECTED: SessionState = SessionState { priority: None, carbons: Carbons::Disabled, counting: Counting::No };

/// The conditions of the table.
const NO_RESOURCE: &[SessionState] = &[];
const NOT_AVAILABLE: &[SessionState] = &[CONNECTED];
const NEGATIVE: &[SessionState] = &[CONNECTED, available(-1)];
const ONE: &[SessionState] = &[available(-1), available(5)];
const MANY: &[SessionState] = &[available(0), CONNECTED, available(-128), available(10), available(3)];

const WITH_BODY: Classification = Classification {
    content: Content::Body,
    hints: Hints { no_store: false, no_permanent_store: false, no_copy: false, store: false },
    room: Room::No,
    conversational: Conversational::No,
};

/// What a cell of the table says.
#[derive(Debug, PartialEq)]
enum Cell {
    Delivered(Vec<usize>),
    Offline,
    Error,
    Ignored,
}
use Cell::{Delivered, Error, Ignored, Offline};

fn cell(plan: &DeliveryPlan) -> Cell {
    match (plan.deliver.as_slice(), plan.kept, plan.bounce) {
        ([], Kept::Nowhere, None) => Ignored,
        ([], Kept::Offline, None) => Offline,
        ([], Kept::Nowhere, Some(StanzaCondition::ServiceUnavailable)) => Error,
        (deliver, Kept::Nowhere, None) => Delivered(deliver.to_vec()),
        _ => panic!("not one thing: {plan:?}"),
    }
}

fn account(sessions: &[SessionState], address: Address) -> Recipient<'_> {
    Recipient::Account { sessions, address, archiving: Archiving::Off }
}

macro_rules! cells {
    ($($name:ident: $message_type:ident to $recipient:expr => $cell:expr;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(cell(&plan(MessageType::$message_type, WITH_BODY, $recipient)), $cell);
        }
    )*};
}

// §8.5.1: the account does not exist. Ignored or answered, bare or full.
cells! {
    rfc6121_8_5_1_normal: Normal to Recipient::Absent => Error;
    rfc6121_8_5_1_chat: Chat to Recipient::Absent => Error;
    rfc6121_8_5_1_groupchat: Groupchat to Recipient::Absent => Error;
    rfc6121_8_5_1_headline: Headline to Recipient::Absent => Error;
    rfc6121_8_5_1_error: Error to Recipient::Absent => Ignored;
}

// §8.5.2.2.1: the bare address, no available resource.
cells! {
    rfc6121_8_5_2_2_1_normal: Normal to account(NO_RESOURCE, Address::Bare) => Offline;
    rfc6121_8_5_2_2_1_chat: Chat to account(NO_RESOURCE, Address::Bare) => Offline;
    rfc6121_8_5_2_2_1_groupchat: Groupchat to account(NO_RESOURCE, Address::Bare) => Error;
    rfc6121_8_5_2_2_1_headline: Headline to account(NO_RESOURCE, Address::Bare) => Ignored;
    rfc6121_8_5_2_2_1_error: Error to account(NO_RESOURCE, Address::Bare) => Ignored;
    rfc6121_8_5_2_2_1_normal_only_connected: Normal to account(NOT_AVAILABLE, Address::Bare) => Offline;
    rfc6121_8_5_2_2_1_chat_only_connected: Chat to account(NOT_AVAILABLE, Address::Bare) => Offline;
    rfc6121_8_5_2_2_1_headline_only_connected: Headline to account(NOT_AVAILABLE, Address::Bare) => Ignored;
}

// §8.5.2.1.1: the bare address, available resources.
cells! {
    rfc6121_8_5_2_1_1_normal_negative: Normal to account(NEGATIVE, Address::Bare) => Offline;
    rfc6121_8_5_2_1_1_chat_negative: Chat to account(NEGATIVE, Address::Bare) => Offline;
    rfc6121_8_5_2_1_1_groupchat_negative: Groupchat to account(NEGATIVE, Address::Bare) => Error;
    rfc6121_8_5_2_1_1_headline_negative: Headline to account(NEGATIVE, Address::Bare) => Ignored;
    rfc6121_8_5_2_1_1_error_negative: Error to account(NEGATIVE, Address::Bare) => Ignored;

    rfc6121_8_5_2_1_1_normal_one: Normal to account(ONE, Address::Bare) => Delivered(vec![1]);
    rfc6121_8_5_2_1_1_chat_one: Chat to account(ONE, Address::Bare) => Delivered(vec![1]);
    rfc6121_8_5_2_1_1_groupchat_one: Groupchat to account(ONE, Address::Bare) => Error;
    rfc6121_8_5_2_1_1_headline_one: Headline to account(ONE, Address::Bare) => Delivered(vec![1]);
    rfc6121_8_5_2_1_1_error_one: Error to account(ONE, Address::Bare) => Ignored;

    rfc6121_8_5_2_1_1_normal_many: Normal to account(MANY, Address::Bare) => Delivered(vec![0, 3, 4]);
    rfc6121_8_5_2_1_1_chat_many: Chat to account(MANY, Address::Bare) => Delivered(vec![0, 3, 4]);
    rfc6121_8_5_2_1_1_groupchat_many: Groupchat to account(MANY, Address::Bare) => Error;
    rfc6121_8_5_2_1_1_headline_many: Headline to account(MANY, Address::Bare) => Delivered(vec![0, 3, 4]);
    rfc6121_8_5_2_1_1_error_many: Error to account(MANY, Address::Bare) => Ignored;
}

// §8.5.3.1: a full address that a session has: delivered, whatever its type, availability and priority.
cells! {
    rfc6121_8_5_3_1_normal_negative: Normal to account(NEGATIVE, Address::Session(1)) => Delivered(vec![1]);
    rfc6121_8_5_3_1_chat_negative: Chat to account(NEGATIVE, Address::Session(1)) => Delivered(vec![1]);
    rfc6121_8_5_3_1_groupchat_negative: Groupchat to account(NEGATIVE, Address::Session(1)) => Delivered(vec![1]);
    rfc6121_8_5_3_1_headline_negative: Headline to account(NEGATIVE, Address::Session(1)) => Delivered(vec![1]);
    rfc6121_8_5_3_1_error_negative: Error to account(NEGATIVE, Address::Session(1)) => Delivered(vec![1]);

    rfc6121_8_5_3_1_normal_connected: Normal to account(NOT_AVAILABLE, Address::Session(0)) => Delivered(vec![0]);
    rfc6121_8_5_3_1_chat_connected: Chat to account(NOT_AVAILABLE, Address::Session(0)) => Delivered(vec![0]);
    rfc6121_8_5_3_1_groupchat_connected: Groupchat to account(NOT_AVAILABLE, Address::Session(0)) => Delivered(vec![0]);
    rfc6121_8_5_3_1_headline_connected: Headline to account(NOT_AVAILABLE, Address::Session(0)) => Delivered(vec![0]);
    rfc6121_8_5_3_1_error_connected: Error to account(NOT_AVAILABLE, Address::Session(0)) => Delivered(vec![0]);

    rfc6121_8_5_3_1_normal_one: Normal to account(ONE, Address::Session(1)) => Delivered(vec![1]);
    rfc6121_8_5_3_1_chat_one: Chat to account(ONE, Address::Session(1)) => Delivered(vec![1]);
    rfc6121_8_5_3_1_groupchat_one: Groupchat to account(ONE, Address::Session(1)) => Delivered(vec![1]);
    rfc6121_8_5_3_1_headline_one: Headline to account(ONE, Address::Session(1)) => Delivered(vec![1]);
    rfc6121_8_5_3_1_error_one: Error to account(ONE, Address::Session(1)) => Delivered(vec![1]);

    rfc6121_8_5_3_1_normal_many: Normal to account(MANY, Address::Session(4)) => Delivered(vec![4]);
    rfc6121_8_5_3_1_chat_many: Chat to account(MANY, Address::Session(4)) => Delivered(vec![4]);
    rfc6121_8_5_3_1_groupchat_many: Groupchat to account(MANY, Address::Session(4)) => Delivered(vec![4]);
    rfc6121_8_5_3_1_headline_many: Headline to account(MANY, Address::Session(4)) => Delivered(vec![4]);
    rfc6121_8_5_3_1_error_many: Error to account(MANY, Address::Session(4)) => Delivered(vec![4]);
}

// §8.5.3.2.1: a full address that no session has. A chat message is treated as one to the bare address.
cells! {
    rfc6121_8_5_3_2_1_normal_no_resource: Normal to account(NO_RESOURCE, Address::NoSession) => Error;
    rfc6121_8_5_3_2_1_chat_no_resource: Chat to account(NO_RESOURCE, Address::NoSession) => Offline;
    rfc6121_8_5_3_2_1_groupchat_no_resource: Groupchat to account(NO_RESOURCE, Address::NoSession) => Error;
    rfc6121_8_5_3_2_1_headline_no_resource: Headline to account(NO_RESOURCE, Address::NoSession) => Ignored;
    rfc6121_8_5_3_2_1_error_no_resource: Error to account(NO_RESOURCE, Address::NoSession) => Ignored;

    rfc6121_8_5_3_2_1_normal_negative: Normal to account(NEGATIVE, Address::NoSession) => Error;
    rfc6121_8_5_3_2_1_chat_negative: Chat to account(NEGATIVE, Address::NoSession) => Offline;
    rfc6121_8_5_3_2_1_groupchat_negative: Groupchat to account(NEGATIVE, Address::NoSession) => Error;
    rfc6121_8_5_3_2_1_headline_negative: Headline to account(NEGATIVE, Address::NoSession) => Ignored;
    rfc6121_8_5_3_2_1_error_negative: Error to account(NEGATIVE, Address::NoSession) => Ignored;

    rfc6121_8_5_3_2_1_normal_one: Normal to account(ONE, Address::NoSession) => Error;
    rfc6121_8_5_3_2_1_chat_one: Chat to account(ONE, Address::NoSession) => Delivered(vec![1]);
    rfc6121_8_5_3_2_1_groupchat_one: Groupchat to account(ONE, Address::NoSession) => Error;
    rfc6121_8_5_3_2_1_headline_one: Headline to account(ONE, Address::NoSession) => Ignored;
    rfc6121_8_5_3_2_1_error_one: Error to account(ONE, Address::NoSession) => Ignored;

    rfc6121_8_5_3_2_1_normal_many: Normal to account(MANY, Address::NoSession) => Error;
    rfc6121_8_5_3_2_1_chat_many: Chat to account(MANY, Address::NoSession) => Delivered(vec![0, 3, 4]);
    rfc6121_8_5_3_2_1_groupchat_many: Groupchat to account(MANY, Address::NoSession) => Error;
    rfc6121_8_5_3_2_1_headline_many: Headline to account(MANY, Address::NoSession) => Ignored;
    rfc6121_8_5_3_2_1_error_many: Error to account(MANY, Address::NoSession) => Ignored;
}

#[test]
fn the_plan_says_why() {
    let bare = |message_type, sessions| plan(message_type, WITH_BODY, account(sessions, Address::Bare)).reason;
    assert_eq!(plan(MessageType::Chat, WITH_BODY, Recipient::Absent).reason, Reason::NoAccount);
    assert_eq!(bare(MessageType::Chat, MANY), Reason::AvailableResources);
    assert_eq!(bare(MessageType::Chat, NO_RESOURCE), Reason::NobodyAvailable);
    assert_eq!(bare(MessageType::Groupchat, MANY), Reason::GroupchatToAccount);
    assert_eq!(bare(MessageType::Error, MANY), Reason::ErrorToAccount);
    assert_eq!(bare(MessageType::Headline, NEGATIVE), Reason::NotForKeeping);
    let full = |message_type, address| plan(message_type, WITH_BODY, account(MANY, address)).reason;
    assert_eq!(full(MessageType::Chat, Address::Session(0)), Reason::FullAddress);
    assert_eq!(full(MessageType::Groupchat, Address::NoSession), Reason::ResourceGone);
    assert_eq!(full(MessageType::Chat, Address::NoSession), Reason::AvailableResources);
}

fn delivered(indices: &[usize], reason: Reason) -> PresencePlan {
    PresencePlan::Deliver(SmallVec::from_slice(indices), reason)
}

const PLAIN: [PresenceType; 2] = [PresenceType::Available, PresenceType::Unavailable];
const MANAGING: [PresenceType; 4] =
    [PresenceType::Subscribe, PresenceType::Subscribed, PresenceType::Unsubscribe, PresenceType::Unsubscribed];

#[test]
fn rfc6121_8_5_1_presence() {
    for presence_type in PLAIN.into_iter().chain(MANAGING).chain([PresenceType::Error]) {
        assert_eq!(
            plan_presence(presence_type, Recipient::Absent),
            PresencePlan::Nothing(Reason::NoAccount),
            "{presence_type:?}"
        );
    }
}

#[test]
fn abuse_84_a_probe_goes_the_same_way_with_and_without_an_account() {
    let act = PresencePlan::Act(Reason::ServerActs);
    assert_eq!(plan_presence(PresenceType::Probe, Recipient::Absent), act);
    for sessions in [NO_RESOURCE, NEGATIVE, MANY] {
        for address in [Address::Bare, Address::NoSession, Address::Session(0)] {
            assert_eq!(plan_presence(PresenceType::Probe, account(sessions, address)), act);
        }
    }
}

#[test]
fn rfc6121_8_5_2_1_2_presence_to_every_available_resource() {
    for presence_type in PLAIN {
        assert_eq!(
            plan_presence(presence_type, account(MANY, Address::Bare)),
            delivered(&[0, 2, 3, 4], Reason::AvailableResources)
        );
        assert_eq!(
            plan_presence(presence_type, account(NEGATIVE, Address::Bare)),
            delivered(&[1], Reason::AvailableResources)
        );
    }
    assert_eq!(
        plan_presence(PresenceType::Error, account(MANY, Address::Bare)),
        PresencePlan::Nothing(Reason::ErrorToAccount)
    );
}

#[test]
fn rfc6121_8_5_2_2_2_presence_that_nobody_sees() {
    for presence_type in PLAIN {
        for sessions in [NO_RESOURCE, NOT_AVAILABLE] {
            assert_eq!(
                plan_presence(presence_type, account(sessions, Address::Bare)),
                PresencePlan::Nothing(Reason::NobodyAvailable)
            );
        }
    }
}

#[test]
fn rfc6121_8_5_3_1_presence_to_a_resource() {
    for presence_type in PLAIN.into_iter().chain([PresenceType::Error]) {
        for (sessions, index) in [(NOT_AVAILABLE, 0), (NEGATIVE, 1), (MANY, 3)] {
            assert_eq!(
                plan_presence(presence_type, account(sessions, Address::Session(index))),
                delivered(&[index], Reason::FullAddress)
            );
        }
    }
}

#[test]
fn rfc6121_8_5_3_2_2_presence_to_a_resource_that_is_gone() {
    for presence_type in PLAIN.into_iter().chain([PresenceType::Error]) {
        assert_eq!(
            plan_presence(presence_type, account(MANY, Address::NoSession)),
            PresencePlan::Nothing(Reason::ResourceGone)
        );
    }
}

#[test]
fn rfc6121_3_and_8_5_3_1_subscriptions_are_the_servers_business() {
    for presence_type in MANAGING {
        for address in [Address::Bare, Address::Session(0)] {
            assert_eq!(plan_presence(presence_type, account(MANY, address)), PresencePlan::Act(Reason::ServerActs));
        }
    }
}

#[test]
fn rfc6121_8_5_3_2_2_of_subscriptions_only_a_request_is_believed_when_the_resource_is_gone() {
    for presence_type in MANAGING {
        let expected = match presence_type {
            PresenceType::Subscribe => PresencePlan::Act(Reason::ServerActs),
            _ => PresencePlan::Nothing(Reason::ResourceGone),
        };
        assert_eq!(plan_presence(presence_type, account(MANY, Address::NoSession)), expected);
    }
}

const REQUESTS: [IqType; 2] = [IqType::Get, IqType::Set];
const RESPONSES: [IqType; 2] = [IqType::Result, IqType::Error];

fn unavailable(reason: Reason) -> IqPlan {
    IqPlan::Bounce(StanzaCondition::ServiceUnavailable, reason)
}

#[test]
fn rfc6121_8_5_1_iq() {
    for iq_type in REQUESTS {
        assert_eq!(plan_iq(iq_type, IqOrigin::Anybody, Recipient::Absent), unavailable(Reason::NoAccount));
    }
    for iq_type in RESPONSES {
        assert_eq!(plan_iq(iq_type, IqOrigin::Anybody, Recipient::Absent), IqPlan::Nothing(Reason::NobodyWaits));
    }
}

#[test]
fn rfc6121_8_5_2_1_3_and_8_5_2_2_3_iq_to_the_account_is_the_servers() {
    for iq_type in REQUESTS.into_iter().chain(RESPONSES) {
        for origin in [IqOrigin::Anybody, IqOrigin::Server] {
            for sessions in [NO_RESOURCE, NOT_AVAILABLE, NEGATIVE, MANY] {
                assert_eq!(plan_iq(iq_type, origin, account(sessions, Address::Bare)), IqPlan::Act(Reason::ServerActs));
            }
        }
    }
}

#[test]
fn rfc6121_8_5_3_1_iq_to_a_resource() {
    for iq_type in REQUESTS.into_iter().chain(RESPONSES) {
        for (sessions, index) in [(NOT_AVAILABLE, 0), (NEGATIVE, 1), (MANY, 3)] {
            assert_eq!(
                plan_iq(iq_type, IqOrigin::Anybody, account(sessions, Address::Session(index))),
                IqPlan::Deliver(index, Reason::FullAddress)
            );
        }
    }
}

#[test]
fn rfc6121_8_5_3_2_3_iq_to_a_resource_that_is_gone() {
    for iq_type in REQUESTS {
        assert_eq!(
            plan_iq(iq_type, IqOrigin::Anybody, account(MANY, Address::NoSession)),
            unavailable(Reason::ResourceGone)
        );
    }
    for iq_type in RESPONSES {
        assert_eq!(
            plan_iq(iq_type, IqOrigin::Anybody, account(MANY, Address::NoSession)),
            IqPlan::Nothing(Reason::NobodyWaits)
        );
    }
}

/// CVE-2015-8688: a roster push is its server's alone.
#[test]
fn rfc6121_2_1_6_a_roster_push_of_somebody_else_reaches_no_client() {
    assert_eq!(
        plan_iq(IqType::Set, IqOrigin::Server, account(MANY, Address::Session(0))),
        unavailable(Reason::ServerOnly)
    );
    // A get asks, and cannot do harm; a response is the client's to judge by its id.
    for iq_type in [IqType::Get, IqType::Result, IqType::Error] {
        assert_eq!(
            plan_iq(iq_type, IqOrigin::Server, account(MANY, Address::Session(0))),
            IqPlan::Deliver(0, Reason::FullAddress)
        );
    }
}

fn any_message_type() -> impl Strategy<Value = MessageType> {
    prop_oneof![
        Just(MessageType::Normal),
        Just(MessageType::Chat),
        Just(MessageType::Groupchat),
        Just(MessageType::Headline),
        Just(MessageType::Error)
    ]
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
    let conversational = proptest::sample::select(vec![Conversational::Yes, Conversational::No]);
    (content, any::<[bool; 4]>(), room, conversational).prop_map(
        |(content, [no_store, no_permanent_store, no_copy, store], room, conversational)| Classification {
            content,
            hints: Hints { no_store, no_permanent_store, no_copy, store },
            room,
            conversational,
        },
    )
}

proptest! {
    /// Whatever comes for whomever: one thing happens to it, to sessions that exist and take it, each once.
    #[test]
    fn a_message_is_delivered_or_kept_or_answered_or_ignored(
        message_type in any_message_type(),
        classification in any_classification(),
        priorities in proptest::collection::vec(proptest::option::of(any::<i8>()), 0..8),
        address in prop_oneof![Just(Address::Bare), Just(Address::NoSession), (0usize..10).prop_map(Address::Session)],
    ) {
        let sessions: Vec<SessionState> = priorities.into_iter().map(|priority| SessionState { priority, ..CONNECTED }).collect();
        let plan = plan(message_type, classification, account(&sessions, address));
        let outcomes = [!plan.deliver.is_empty(), plan.kept == Kept::Offline, plan.bounce.is_some()];
        prop_assert!(outcomes.into_iter().filter(|outcome| *outcome).count() <= 1, "{plan:?}");
        prop_assert!(plan.deliver.windows(2).all(|pair| pair[0] < pair[1]), "in order, each once");
        prop_assert!(plan.deliver.iter().all(|index| *index < sessions.len()));
        let addressed = matches!(address, Address::Session(index) if index < sessions.len());
        if !addressed {
            prop_assert!(plan.deliver.iter().all(|index| sessions[*index].priority.is_some_and(|p| p >= 0)));
        }
        // RFC 6120 §8.3.1: an error is never answered, and nothing but conversation is kept.
        prop_assert!(message_type != MessageType::Error || plan.bounce.is_none());
        if plan.kept == Kept::Offline {
            prop_assert!(matches!(message_type, MessageType::Chat | MessageType::Normal));
            prop_assert!(!classification.hints.no_store);
        }
        // Nothing that a person wrote vanishes without a word.
        if matches!(message_type, MessageType::Chat | MessageType::Normal) && classification.content == Content::Body {
            prop_assert!(outcomes.contains(&true), "{plan:?}");
        }
    }
}
