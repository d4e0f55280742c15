//! XEP-0198 §4: what an ended session was given and never acknowledged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use smallvec::SmallVec;
use stonechat_im::classify::{Classification, Content, Conversational, Hints, IqOrigin, Room};
use stonechat_im::plan::{
    Archive, Carbons, Counting, LeftoverPlan, Others, SessionState, plan_leftover, plan_leftover_iq,
};
use stonechat_stanza::{IqType, MessageType, StanzaCondition};

const fn available(priority: i8) -> SessionState {
    SessionState { priority: Some(priority), carbons: Carbons::Disabled, counting: Counting::No }
}
const NOBODY: &[SessionState] = &[];
const UNSUITABLE: &[SessionState] =
    &[SessionState { priority: None, carbons: Carbons::Enabled, counting: Counting::Resumable }, available(-1)];
const TWO: &[SessionState] = &[available(-1), available(0), available(7)];

fn of(content: Content) -> Classification {
    Classification { content, hints: Hints::default(), room: Room::No, conversational: Conversational::No }
}
fn hinted(content: Content, hints: Hints) -> Classification {
    Classification { hints, ..of(content) }
}
const NO_STORE: Hints = Hints { no_store: true, no_permanent_store: false, no_copy: false, store: false };
const NO_COPY: Hints = Hints { no_store: false, no_permanent_store: false, no_copy: true, store: false };
const STORE: Hints = Hints { no_store: false, no_permanent_store: false, no_copy: false, store: true };

fn to_both() -> LeftoverPlan {
    LeftoverPlan::Deliver(SmallVec::from_slice(&[1, 2]))
}
fn error() -> LeftoverPlan {
    LeftoverPlan::Bounce(StanzaCondition::ServiceUnavailable)
}
const CONVERSATION: [MessageType; 2] = [MessageType::Chat, MessageType::Normal];

#[test]
fn xep0198_4_what_nobody_else_has_goes_to_others_or_is_kept() {
    let kept =
        [Content::Body, Content::Invitation, Content::Call, Content::CallProgress, Content::Companion, Content::Other];
    for message_type in CONVERSATION {
        for content in kept {
            for archive in [Archive::Skipped, Archive::Stored] {
                let plan = |sessions| plan_leftover(message_type, of(content), archive, Others::None, sessions);
                assert_eq!(plan(TWO), to_both(), "{content:?}");
                assert_eq!(plan(UNSUITABLE), LeftoverPlan::Offline, "{content:?}");
                assert_eq!(plan(NOBODY), LeftoverPlan::Offline, "{content:?}");
            }
        }
    }
}

#[test]
fn xep0198_4_what_others_have_is_dealt_with() {
    for message_type in CONVERSATION {
        for hints in [Hints::default(), NO_STORE, NO_COPY, STORE] {
            for sessions in [NOBODY, TWO] {
                let message = hinted(Content::Body, hints);
                let plan = plan_leftover(message_type, message, Archive::Skipped, Others::Served, sessions);
                assert_eq!(plan, LeftoverPlan::Nothing);
            }
        }
    }
}

#[test]
fn xep0198_4_what_is_worth_nothing_later_ends() {
    for message_type in CONVERSATION {
        for content in [Content::Event, Content::ChatState, Content::Nothing] {
            for sessions in [NOBODY, TWO] {
                let plan = plan_leftover(message_type, of(content), Archive::Skipped, Others::None, sessions);
                assert_eq!(plan, LeftoverPlan::Nothing, "{content:?}");
            }
            // XEP-0334 §4.4.
            let plan = plan_leftover(message_type, hinted(content, STORE), Archive::Skipped, Others::None, NOBODY);
            assert_eq!(plan, LeftoverPlan::Offline, "{content:?}");
        }
    }
}

#[test]
fn xep0334_4_2_what_must_not_be_kept_goes_to_others_or_is_answered() {
    for message_type in CONVERSATION {
        let plan = |content, sessions| {
            plan_leftover(message_type, hinted(content, NO_STORE), Archive::Skipped, Others::None, sessions)
        };
        assert_eq!(plan(Content::Body, TWO), to_both());
        assert_eq!(plan(Content::Body, NOBODY), error());
        assert_eq!(plan(Content::Companion, NOBODY), LeftoverPlan::Nothing);
        assert_eq!(plan(Content::Call, TWO), LeftoverPlan::Nothing);
    }
}

#[test]
fn xep0334_4_3_what_must_not_be_copied_is_answered() {
    for message_type in CONVERSATION {
        for sessions in [NOBODY, TWO] {
            let plan = |content, archive| {
                plan_leftover(message_type, hinted(content, NO_COPY), archive, Others::None, sessions)
            };
            assert_eq!(plan(Content::Body, Archive::Skipped), error());
            // It is found in the archive.
            assert_eq!(plan(Content::Body, Archive::Stored), LeftoverPlan::Nothing);
            assert_eq!(plan(Content::Companion, Archive::Skipped), LeftoverPlan::Nothing);
        }
    }
}

#[test]
fn rfc6121_8_5_3_2_1_group_chat_headlines_and_errors_end_with_their_session() {
    for message_type in [MessageType::Groupchat, MessageType::Headline, MessageType::Error] {
        for hints in [Hints::default(), NO_STORE, NO_COPY, STORE] {
            for sessions in [NOBODY, TWO] {
                let message = hinted(Content::Body, hints);
                let plan = plan_leftover(message_type, message, Archive::Skipped, Others::None, sessions);
                assert_eq!(plan, LeftoverPlan::Nothing, "{message_type:?}");
            }
        }
    }
}

#[test]
fn rfc6121_8_5_3_2_3_a_request_to_an_ended_session_is_answered() {
    for iq_type in [IqType::Get, IqType::Set] {
        assert_eq!(plan_leftover_iq(iq_type, IqOrigin::Anybody), error(), "{iq_type:?}");
    }
    for iq_type in [IqType::Result, IqType::Error] {
        assert_eq!(plan_leftover_iq(iq_type, IqOrigin::Anybody), LeftoverPlan::Nothing, "{iq_type:?}");
    }
    // RFC 6121 §2.1.6: nobody waits for the answer to a push.
    assert_eq!(plan_leftover_iq(IqType::Set, IqOrigin::Server), LeftoverPlan::Nothing);
    assert_eq!(plan_leftover_iq(IqType::Get, IqOrigin::Server), error());
}
