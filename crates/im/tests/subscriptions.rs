//! RFC 6121 appendix A, row by row; pre-approval; removal; and two servers that must always agree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use proptest::prelude::*;
use std::collections::VecDeque;
use stonechat_im::subscription::Change::{self, Subscribe, Subscribed, Unsubscribe, Unsubscribed};
use stonechat_im::subscription::Passage::{self, Passed, Stopped};
use stonechat_im::subscription::{Consequence, Subscription, Transition, inbound, outbound, removal};

/// The nine states of appendix A.1, by their names there.
fn state(name: &str) -> Subscription {
    let mut state = Subscription::default();
    for part in name.split('+') {
        match part {
            "None" => {}
            "To" => state.to = true,
            "From" => state.from = true,
            "Both" => (state.to, state.from) = (true, true),
            "Out" => state.pending_out = true,
            "In" => state.pending_in = true,
            "Approved" => state.approved = true,
            other => panic!("no such state: {other}"),
        }
    }
    state
}

type Row = (&'static str, Passage, &'static str);

fn check(side: fn(Subscription, Change) -> Transition, change: Change, rows: &[Row]) {
    assert_eq!(rows.len(), 9, "appendix A has nine states");
    for (existing, passage, new) in rows {
        let transition = side(state(existing), change);
        assert_eq!(transition.state, state(new), "{change:?} in {existing}: new state");
        assert_eq!(transition.passage, *passage, "{change:?} in {existing}: routed or delivered");
    }
}

#[test]
fn rfc6121_a_2_1_outbound_subscribe() {
    check(
        outbound,
        Subscribe,
        &[
            ("None", Passed, "None+Out"),
            ("None+Out", Passed, "None+Out"),
            ("None+In", Passed, "None+Out+In"),
            ("None+Out+In", Passed, "None+Out+In"),
            ("To", Passed, "To"),
            ("To+In", Passed, "To+In"),
            ("From", Passed, "From+Out"),
            ("From+Out", Passed, "From+Out"),
            ("Both", Passed, "Both"),
        ],
    );
}

#[test]
fn rfc6121_a_2_2_outbound_unsubscribe() {
    check(
        outbound,
        Unsubscribe,
        &[
            ("None", Passed, "None"),
            ("None+Out", Passed, "None"),
            ("None+In", Passed, "None+In"),
            ("None+Out+In", Passed, "None+In"),
            ("To", Passed, "None"),
            ("To+In", Passed, "None+In"),
            ("From", Passed, "From"),
            ("From+Out", Passed, "From"),
            ("Both", Passed, "From"),
        ],
    );
}

/// With pre-approval (§3.4) where the table has its footnote.
#[test]
fn rfc6121_a_2_3_outbound_subscribed() {
    check(
        outbound,
        Subscribed,
        &[
            ("None", Stopped, "None+Approved"),
            ("None+Out", Stopped, "None+Out+Approved"),
            ("None+In", Passed, "From"),
            ("None+Out+In", Passed, "From+Out"),
            ("To", Stopped, "To+Approved"),
            ("To+In", Passed, "Both"),
            ("From", Stopped, "From"),
            ("From+Out", Stopped, "From+Out"),
            ("Both", Stopped, "Both"),
        ],
    );
}

#[test]
fn rfc6121_a_2_4_outbound_unsubscribed() {
    check(
        outbound,
        Unsubscribed,
        &[
            ("None", Stopped, "None"),
            ("None+Out", Stopped, "None+Out"),
            ("None+In", Passed, "None"),
            ("None+Out+In", Passed, "None+Out"),
            ("To", Stopped, "To"),
            ("To+In", Passed, "To"),
            ("From", Passed, "None"),
            ("From+Out", Passed, "None+Out"),
            ("Both", Passed, "To"),
        ],
    );
}

#[test]
fn rfc6121_a_3_1_inbound_subscribe() {
    check(
        inbound,
        Subscribe,
        &[
            ("None", Passed, "None+In"),
            ("None+Out", Passed, "None+Out+In"),
            ("None+In", Stopped, "None+In"),
            ("None+Out+In", Stopped, "None+Out+In"),
            ("To", Passed, "To+In"),
            ("To+In", Stopped, "To+In"),
            ("From", Stopped, "From"),
            ("From+Out", Stopped, "From+Out"),
            ("Both", Stopped, "Both"),
        ],
    );
}

#[test]
fn rfc6121_a_3_2_inbound_unsubscribe() {
    check(
        inbound,
        Unsubscribe,
        &[
            ("None", Stopped, "None"),
            ("None+Out", Stopped, "None+Out"),
            ("None+In", Passed, "None"),
            ("None+Out+In", Passed, "None+Out"),
            ("To", Stopped, "To"),
            ("To+In", Passed, "To"),
            ("From", Passed, "None"),
            ("From+Out", Passed, "None+Out"),
            ("Both", Passed, "To"),
        ],
    );
}

#[test]
fn rfc6121_a_3_3_inbound_subscribed() {
    check(
        inbound,
        Subscribed,
        &[
            ("None", Stopped, "None"),
            ("None+Out", Passed, "To"),
            ("None+In", Stopped, "None+In"),
            ("None+Out+In", Passed, "To+In"),
            ("To", Stopped, "To"),
            ("To+In", Stopped, "To+In"),
            ("From", Stopped, "From"),
            ("From+Out", Passed, "Both"),
            ("Both", Stopped, "Both"),
        ],
    );
}

#[test]
fn rfc6121_a_3_4_inbound_unsubscribed() {
    check(
        inbound,
        Unsubscribed,
        &[
            ("None", Stopped, "None"),
            ("None+Out", Passed, "None"),
            ("None+In", Stopped, "None+In"),
            ("None+Out+In", Passed, "None+In"),
            ("To", Passed, "None"),
            ("To+In", Passed, "None+In"),
            ("From", Stopped, "From"),
            ("From+Out", Passed, "From"),
            ("Both", Passed, "From"),
        ],
    );
}

#[test]
fn rfc6121_3_1_3_subscribe_of_a_subscriber_is_answered_for_the_user() {
    for existing in ["From", "From+Out", "Both"] {
        let transition = inbound(state(existing), Subscribe);
        assert_eq!(transition.consequence, Consequence::AnswerSubscribed, "{existing}");
    }
    for existing in ["None", "None+Out", "None+In", "None+Out+In", "To", "To+In"] {
        let transition = inbound(state(existing), Subscribe);
        assert_eq!(transition.consequence, Consequence::Nothing, "{existing}");
    }
}

#[test]
fn rfc6121_3_1_5_presence_follows_a_granted_request() {
    for existing in ["None+In", "None+Out+In", "To+In"] {
        let transition = outbound(state(existing), Subscribed);
        assert_eq!(transition.consequence, Consequence::SendPresence, "{existing}");
    }
    for existing in ["None", "To", "From", "Both"] {
        let transition = outbound(state(existing), Subscribed);
        assert_eq!(transition.consequence, Consequence::Nothing, "{existing}");
    }
}

#[test]
fn rfc6121_3_2_1_and_3_3_3_unavailable_presence_when_a_subscription_from_ends() {
    for (side, change) in [(outbound as fn(_, _) -> _, Unsubscribed), (inbound, Unsubscribe)] {
        for existing in ["From", "From+Out", "Both"] {
            let transition: Transition = side(state(existing), change);
            assert_eq!(transition.consequence, Consequence::SendUnavailable, "{existing}");
        }
        for existing in ["None", "None+Out", "None+In", "None+Out+In", "To", "To+In"] {
            let transition: Transition = side(state(existing), change);
            assert_eq!(transition.consequence, Consequence::Nothing, "{existing}");
        }
    }
}

#[test]
fn rfc6121_3_4_a_pre_approved_request_is_granted_unseen() {
    for (existing, new) in [("None+Approved", "From"), ("None+Out+Approved", "From+Out"), ("To+Approved", "Both")] {
        let transition = inbound(state(existing), Subscribe);
        assert_eq!(transition.state, state(new), "{existing}");
        assert_eq!(transition.passage, Stopped, "{existing}");
        assert_eq!(transition.consequence, Consequence::AnswerSubscribed, "{existing}");
    }
}

#[test]
fn rfc6121_3_4_2_the_user_takes_back_a_pre_approval_and_the_contact_cannot() {
    for existing in ["None", "None+Out", "To"] {
        let approved = Subscription { approved: true, ..state(existing) };
        let taken_back = outbound(approved, Unsubscribed);
        assert_eq!((taken_back.state, taken_back.passage), (state(existing), Stopped));
        assert!(inbound(approved, Unsubscribe).state.approved, "{existing}");
        assert!(inbound(approved, Unsubscribed).state.approved, "{existing}");
    }
}

#[test]
fn rfc6121_2_1_2_a_push_is_due_when_the_client_can_see_the_change() {
    let seen = |change: Transition, old: &str| change.state.visible() != state(old).visible();
    assert!(seen(outbound(state("None"), Subscribe), "None"), "ask appears");
    assert!(seen(outbound(state("None"), Subscribed), "None"), "approved appears");
    assert!(seen(inbound(state("None+Out"), Subscribed), "None+Out"), "subscribed");
    assert!(seen(inbound(state("Both"), Unsubscribe), "Both"), "from ends");
    assert!(!seen(inbound(state("None"), Subscribe), "None"), "a request is not in the roster");
    assert!(!seen(inbound(state("None+In"), Unsubscribe), "None+In"), "nor is its withdrawal");
    assert!(!seen(outbound(state("To"), Subscribe), "To"), "nothing changed");
}

#[test]
fn rfc6121_2_5_2_removal_ends_what_there_was_in_both_directions() {
    let rows: &[(&str, &[Change], Consequence)] = &[
        ("None", &[], Consequence::Nothing),
        ("None+Approved", &[], Consequence::Nothing),
        ("None+Out", &[Unsubscribe], Consequence::Nothing),
        ("None+In", &[Unsubscribed], Consequence::Nothing),
        ("None+Out+In", &[Unsubscribe, Unsubscribed], Consequence::Nothing),
        ("To", &[Unsubscribe], Consequence::Nothing),
        ("To+In", &[Unsubscribe, Unsubscribed], Consequence::Nothing),
        ("From", &[Unsubscribed], Consequence::SendUnavailable),
        ("From+Out", &[Unsubscribe, Unsubscribed], Consequence::SendUnavailable),
        ("Both", &[Unsubscribe, Unsubscribed], Consequence::SendUnavailable),
    ];
    for (existing, changes, consequence) in rows {
        let removal = removal(state(existing));
        assert_eq!((removal.changes, removal.consequence), (*changes, *consequence), "{existing}");
    }
}

#[test]
fn abuse_82_a_request_repeated_ten_thousand_times_is_delivered_once() {
    let mut now = Subscription::default();
    let mut delivered = 0;
    for _ in 0..10_000 {
        let transition = inbound(now, Subscribe);
        now = transition.state;
        delivered += usize::from(transition.passage == Passed);
    }
    assert_eq!((delivered, now), (1, state("None+In")));
}

/// One user's side, and what is under way to it, in order.
#[derive(Default)]
struct Side {
    state: Subscription,
    incoming: VecDeque<Change>,
}

fn act(sides: &mut [Side; 2], actor: usize, change: Change) {
    let transition = outbound(sides[actor].state, change);
    sides[actor].state = transition.state;
    if transition.passage == Passed {
        sides[1 - actor].incoming.push_back(change);
    }
}

fn receive(sides: &mut [Side; 2], receiver: usize) {
    let Some(change) = sides[receiver].incoming.pop_front() else { return };
    let transition = inbound(sides[receiver].state, change);
    sides[receiver].state = transition.state;
    if transition.consequence == Consequence::AnswerSubscribed {
        sides[1 - receiver].incoming.push_back(Subscribed);
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![Just(Subscribe), Just(Subscribed), Just(Unsubscribe), Just(Unsubscribed)]
}

proptest! {
    /// Whatever both do, no side ever holds a state that appendix A does not know.
    #[test]
    fn abuse_83_only_the_states_of_appendix_a_are_reached(steps in proptest::collection::vec((any_change(), any::<bool>()), 0..40)) {
        let mut now = Subscription::default();
        for (change, out) in steps {
            now = if out { outbound(now, change) } else { inbound(now, change) }.state;
            prop_assert!(!(now.to && now.pending_out), "{now:?}");
            prop_assert!(!(now.from && now.pending_in), "{now:?}");
            prop_assert!(!(now.from && now.approved), "{now:?}");
        }
    }

    /// When each action is carried out before the next, both sides always tell the same story.
    #[test]
    fn two_servers_agree(steps in proptest::collection::vec((any_change(), 0usize..2), 0..60)) {
        let mut sides = [Side::default(), Side::default()];
        for (change, actor) in steps {
            act(&mut sides, actor, change);
            while !(sides[0].incoming.is_empty() && sides[1].incoming.is_empty()) {
                receive(&mut sides, 0);
                receive(&mut sides, 1);
            }
            let [a, b] = &sides;
            prop_assert_eq!(a.state.to, b.state.from);
            prop_assert_eq!(b.state.to, a.state.from);
            prop_assert_eq!(a.state.pending_out, b.state.pending_in);
            prop_assert_eq!(b.state.pending_out, a.state.pending_in);
        }
    }

    /// However stanzas cross each other, nobody is left seeing presence that the other does not mean to send, once the
    /// user who is seen has said so.
    #[test]
    fn a_revocation_always_ends_the_subscription(steps in proptest::collection::vec((any_change(), 0usize..2, 0usize..3), 0..60)) {
        let mut sides = [Side::default(), Side::default()];
        for (change, actor, deliveries) in steps {
            act(&mut sides, actor, change);
            for _ in 0..deliveries {
                receive(&mut sides, actor);
            }
        }
        while !(sides[0].incoming.is_empty() && sides[1].incoming.is_empty()) {
            receive(&mut sides, 0);
            receive(&mut sides, 1);
        }
        act(&mut sides, 0, Unsubscribed);
        while !(sides[0].incoming.is_empty() && sides[1].incoming.is_empty()) {
            receive(&mut sides, 0);
            receive(&mut sides, 1);
        }
        prop_assert!(!sides[0].state.from && !sides[0].state.pending_in);
        prop_assert!(!sides[1].state.to, "{:?}", sides[1].state);
    }

    /// What was removed on one side is gone on the other, from any state that both agree on.
    #[test]
    fn removal_leaves_nothing_behind(steps in proptest::collection::vec((any_change(), 0usize..2), 0..30)) {
        let mut sides = [Side::default(), Side::default()];
        let settle = |sides: &mut [Side; 2]| while !(sides[0].incoming.is_empty() && sides[1].incoming.is_empty()) {
            receive(sides, 0);
            receive(sides, 1);
        };
        for (change, actor) in steps {
            act(&mut sides, actor, change);
            settle(&mut sides);
        }
        for change in removal(sides[0].state).changes {
            sides[1].incoming.push_back(*change);
        }
        sides[0].state = Subscription::default();
        settle(&mut sides);
        let left = sides[1].state;
        prop_assert!(!left.to && !left.from && !left.pending_in && !left.pending_out, "{left:?}");
    }
}
