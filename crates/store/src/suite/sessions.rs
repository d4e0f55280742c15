//! The spool as sessions see it (XEP-0198), counts, and sessions that wait for a new start.

use super::{account, bodies, jid, keep};
use crate::{
    AccountId, Claim, Error, Half, Holder, Mark, OfflineId, OfflineStored, Others, Place, Reference, Repeatable,
    SavedSession, Share, SmId, SpoolRow, Store,
};

const PHONE: SmId = SmId([1; 16]);
const LAPTOP: SmId = SmId([2; 16]);
const BOUNDS: (u64, u64) = (100, 10_000);

fn held(stanza: &str, id: SmId, number: u64, others: Others) -> SpoolRow {
    SpoolRow {
        at: 5,
        stanza: stanza.into(),
        archive: None,
        holder: Holder::Session { id, place: Place::Sent(number), others },
    }
}

async fn hold(store: &dyn Store, id: AccountId, rows: Vec<SpoolRow>) -> OfflineStored {
    store.record(id, Half { spool: rows, ..Half::default() }, BOUNDS).await.unwrap().spool.unwrap()
}

async fn of_anybody(store: &dyn Store, id: AccountId) -> Vec<String> {
    let messages = store.offline(id, Share::Anybodys, None, 100).await.unwrap();
    assert_eq!(store.count_offline(id).await.unwrap(), messages.len() as u64);
    bodies(&messages).into_iter().map(str::to_owned).collect()
}

/// What a session holds, by letting it go.
async fn released(store: &dyn Store, id: AccountId, session: SmId) -> Vec<String> {
    let before = of_anybody(store, id).await;
    store.release_spool(id, session, Others::Served).await.unwrap();
    let mut after = of_anybody(store, id).await;
    after.retain(|stanza| !before.contains(stanza));
    after
}

pub(super) async fn what_a_session_holds_is_hidden_until_it_lets_go(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    keep(store, id, "a").await;
    hold(store, id, vec![held("b", PHONE, 1, Others::Served), held("b2", LAPTOP, 1, Others::Served)]).await;
    keep(store, id, "c").await;
    hold(store, id, vec![held("d", PHONE, 2, Others::None)]).await;
    assert_eq!(of_anybody(store, id).await, ["a", "c"]);
    assert_eq!(store.spool_holders(id).await.unwrap(), [(PHONE, Claim::Open), (LAPTOP, Claim::Open)]);
    // Whoever takes all that is anybody's takes nothing of theirs.
    store.remove_offline(id, Share::Anybodys, OfflineId(i64::MAX)).await.unwrap();
    assert_eq!(of_anybody(store, id).await, [""; 0]);
    keep(store, id, "e").await;
    // At its old place.
    store.release_spool(id, PHONE, Others::Served).await.unwrap();
    assert_eq!(of_anybody(store, id).await, ["b", "d", "e"]);
    assert_eq!(store.spool_holders(id).await.unwrap(), [(LAPTOP, Claim::Open)]);
    store.release_spool(id, LAPTOP, Others::Served).await.unwrap();
    assert_eq!(of_anybody(store, id).await, ["b", "b2", "d", "e"]);
    assert_eq!(store.spool_holders(id).await.unwrap(), []);
}

pub(super) async fn xep0198_what_is_acknowledged_is_gone(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    for owner in [juliet, nurse] {
        for number in 1..=5 {
            hold(store, owner, vec![held(&format!("p{number}"), PHONE, number, Others::None)]).await;
            hold(store, owner, vec![held(&format!("l{number}"), LAPTOP, number, Others::None)]).await;
        }
        keep(store, owner, "anybody's").await;
    }
    store.acknowledge_spool(juliet, PHONE, 3).await.unwrap();
    store.acknowledge_spool(juliet, PHONE, 2).await.unwrap();
    store.acknowledge_spool(juliet, LAPTOP, 0).await.unwrap();
    store.acknowledge_spool(juliet, SmId([9; 16]), u64::MAX).await.unwrap();
    store.acknowledge_spool(AccountId(i64::MAX), PHONE, 3).await.unwrap();
    assert_eq!(of_anybody(store, juliet).await, ["anybody's"]);
    assert_eq!(released(store, juliet, PHONE).await, ["p4", "p5"]);
    assert_eq!(released(store, juliet, LAPTOP).await, ["l1", "l2", "l3", "l4", "l5"]);
    assert_eq!(released(store, nurse, PHONE).await, ["p1", "p2", "p3", "p4", "p5"], "somebody else's is untouched");
    store.acknowledge_spool(nurse, LAPTOP, u64::MAX).await.unwrap();
    assert_eq!(released(store, nurse, LAPTOP).await, [""; 0]);
}

pub(super) async fn what_is_given_to_a_session_is_numbered_in_order(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let mut ids = Vec::new();
    for number in 0..6 {
        let OfflineStored::Stored(stored) = keep(store, id, &format!("{number}")).await else {
            panic!("there is room")
        };
        ids.push(stored);
        hold(store, id, vec![held(&format!("l{number}"), LAPTOP, number + 1, Others::None)]).await;
    }
    store.give_spool(id, Share::Anybodys, ids[3], PHONE, 10).await.unwrap();
    assert_eq!(of_anybody(store, id).await, ["4", "5"]);
    // Numbers 10 and 11 are the first two.
    store.acknowledge_spool(id, PHONE, 11).await.unwrap();
    store.acknowledge_spool(id, PHONE, 9).await.unwrap();
    // The next ones go on; what is behind `up_to` is left.
    store.give_spool(id, Share::Anybodys, ids[4], PHONE, 14).await.unwrap();
    store.acknowledge_spool(id, PHONE, 12).await.unwrap();
    assert_eq!(of_anybody(store, id).await, ["5"]);
    // It alone had them: nothing goes when it lets go.
    store.release_spool(id, PHONE, Others::None).await.unwrap();
    assert_eq!(of_anybody(store, id).await, ["3", "4", "5"]);
    assert_eq!(released(store, id, LAPTOP).await, ["l0", "l1", "l2", "l3", "l4", "l5"]);
    store.give_spool(id, Share::Anybodys, OfflineId(i64::MIN), PHONE, 1).await.unwrap();
    assert_eq!(store.spool_holders(id).await.unwrap(), []);
    let nobody = store.give_spool(AccountId(i64::MAX), Share::Anybodys, OfflineId(1), PHONE, 1).await;
    assert!(matches!(nobody, Err(Error::NotFound)));
}

/// What a session is sent of what was kept, without looking at whether it is anybody's.
async fn shared(store: &dyn Store, id: AccountId, share: Share) -> Vec<String> {
    bodies(&store.offline(id, share, None, 100).await.unwrap()).into_iter().map(str::to_owned).collect()
}

pub(super) async fn what_a_session_leaves_is_its_heirs_in_order(store: &dyn Store) {
    let tablet = SmId([3; 16]);
    let id = account(store, "juliet@example.org").await;
    keep(store, id, "a").await;
    hold(store, id, vec![held("b", PHONE, 7, Others::None), held("l", LAPTOP, 1, Others::None)]).await;
    keep(store, id, "c").await;
    hold(store, id, vec![held("d", PHONE, 8, Others::Served)]).await;
    keep(store, id, "e").await;
    let behind = Holder::Session { id: PHONE, place: Place::Behind(4), others: Others::None };
    hold(store, id, vec![SpoolRow { holder: behind, ..held("f", PHONE, 0, Others::None) }]).await;
    // Its client has the first, and says so to the server that does not know the session.
    store.claim_spool(id, PHONE, 7).await.unwrap();
    assert_eq!(store.spool_holders(id).await.unwrap(), [(LAPTOP, Claim::Open), (PHONE, Claim::Made)]);
    store.inherit_spool(id, PHONE, tablet).await.unwrap();
    assert_eq!(store.spool_holders(id).await.unwrap(), [(LAPTOP, Claim::Open), (tablet, Claim::Open)]);
    assert_eq!(of_anybody(store, id).await, ["a", "c", "e"]);
    assert_eq!(shared(store, id, Share::InheritedBy(tablet)).await, ["d", "f"]);
    assert_eq!(shared(store, id, Share::AnybodysAndOf(tablet)).await, ["a", "c", "d", "e", "f"]);
    assert_eq!(shared(store, id, Share::AnybodysAndOf(LAPTOP)).await, ["a", "c", "e"], "it inherited nothing");
    let page = store.offline(id, Share::AnybodysAndOf(tablet), None, 3).await.unwrap();
    assert_eq!(bodies(&page), ["a", "c", "d"]);
    assert_eq!(
        page.iter().map(|message| message.others).collect::<Vec<_>>(),
        [Others::None, Others::None, Others::Served]
    );
    let last = page.last().unwrap().id;
    let next = store.offline(id, Share::AnybodysAndOf(tablet), Some(last), 100).await.unwrap();
    assert_eq!(bodies(&next), ["e", "f"]);
    // What was inherited is not acknowledged by a number: it has none.
    store.acknowledge_spool(id, tablet, u64::MAX).await.unwrap();
    store.give_spool(id, Share::AnybodysAndOf(tablet), last, tablet, 1).await.unwrap();
    assert_eq!(shared(store, id, Share::AnybodysAndOf(tablet)).await, ["e", "f"]);
    store.acknowledge_spool(id, tablet, 2).await.unwrap();
    store.remove_offline(id, Share::InheritedBy(tablet), OfflineId(i64::MAX)).await.unwrap();
    assert_eq!(of_anybody(store, id).await, ["e"]);
    assert_eq!(released(store, id, LAPTOP).await, ["l"]);
    // "d" was its third, and still is what others got too.
    store.release_spool(id, tablet, Others::None).await.unwrap();
    assert_eq!(of_anybody(store, id).await, ["l", "e"]);
    assert_eq!(store.spool_holders(id).await.unwrap(), []);
}

pub(super) async fn what_stands_behind_is_numbered_when_it_is_sent(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let behind = |stanza: &str, number| {
        let holder = Holder::Session { id: PHONE, place: Place::Behind(number), others: Others::None };
        SpoolRow { holder, ..held(stanza, PHONE, 0, Others::None) }
    };
    hold(store, id, vec![behind("a", 1), behind("b", 2), behind("c", 3), held("l", LAPTOP, 2, Others::None)]).await;
    assert_eq!(shared(store, id, Share::AnybodysAndOf(PHONE)).await, [""; 0], "the session has them in its line");
    store.number_spool(id, PHONE, vec![(1, 10), (2, 12), (9, 13)]).await.unwrap();
    store.acknowledge_spool(id, PHONE, 11).await.unwrap();
    assert_eq!(released(store, id, PHONE).await, ["b", "c"]);
    assert_eq!(released(store, id, LAPTOP).await, ["l"]);
    let nobody = store.number_spool(AccountId(i64::MAX), PHONE, vec![(1, 1)]).await;
    assert!(matches!(nobody, Err(Error::NotFound)));
}

pub(super) async fn a_session_is_forgotten_with_all_it_held(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let half = Half { counted: Some((PHONE, 5)), ..Half::default() };
    store.record(id, half, BOUNDS).await.unwrap();
    let behind = Holder::Session { id: PHONE, place: Place::Behind(1), others: Others::None };
    let rows = vec![held("a", PHONE, 1, Others::None), held("l", LAPTOP, 1, Others::None)];
    hold(store, id, rows).await;
    hold(store, id, vec![SpoolRow { holder: behind, ..held("b", PHONE, 0, Others::None) }]).await;
    store.forget_spool(id, PHONE).await.unwrap();
    assert_eq!(store.committed_count(id, PHONE).await.unwrap(), None);
    assert_eq!(store.spool_holders(id).await.unwrap(), [(LAPTOP, Claim::Open)]);
    assert_eq!(released(store, id, LAPTOP).await, ["l"]);
}

pub(super) async fn what_others_got_too_goes_with_a_session_that_wants_it_so(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    for (keep, expected) in [(Others::None, &["alone"][..]), (Others::Served, &["alone", "alone", "shared"])] {
        hold(store, id, vec![held("alone", PHONE, 1, Others::None), held("shared", PHONE, 2, Others::Served)]).await;
        hold(store, id, vec![held("laptop's", LAPTOP, 1, Others::Served)]).await;
        store.release_spool(id, PHONE, keep).await.unwrap();
        assert_eq!(of_anybody(store, id).await, expected);
        // What was let go is nobody's in particular: a second session may let go of it without loss.
        let all = store.offline(id, Share::Anybodys, None, 100).await.unwrap();
        store.give_spool(id, Share::Anybodys, all.last().unwrap().id, PHONE, 1).await.unwrap();
        store.release_spool(id, PHONE, Others::None).await.unwrap();
        assert_eq!(of_anybody(store, id).await, expected);
        assert_eq!(store.spool_holders(id).await.unwrap(), [(LAPTOP, Claim::Open)]);
        store.acknowledge_spool(id, LAPTOP, 1).await.unwrap();
    }
    store.release_spool(id, SmId([9; 16]), Others::None).await.unwrap();
    store.release_spool(AccountId(i64::MAX), PHONE, Others::None).await.unwrap();
}

pub(super) async fn bounds_count_what_sessions_hold(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let add = async |row: SpoolRow| {
        let half = Half { spool: vec![row], ..Half::default() };
        matches!(store.record(id, half, (3, 10)).await.unwrap().spool, Some(OfflineStored::Stored(_)))
    };
    let free = |stanza: &str| SpoolRow { holder: Holder::Anybody, ..held(stanza, PHONE, 0, Others::None) };
    assert!(add(held("1234", PHONE, 1, Others::Served)).await);
    assert!(add(free("1234")).await);
    assert!(!add(free("123")).await, "one byte too many");
    assert!(add(free("12")).await);
    assert!(!add(held("", PHONE, 2, Others::None)).await, "one message too many");
    assert_eq!(store.append_offline(id, 1, Vec::new(), 3, 10).await.unwrap(), OfflineStored::Full);
    // Changing hands makes no room.
    store.give_spool(id, Share::Anybodys, OfflineId(i64::MAX), LAPTOP, 1).await.unwrap();
    assert!(!add(free("")).await);
    store.release_spool(id, LAPTOP, Others::None).await.unwrap();
    assert!(!add(free("")).await);
    // What goes does, in whichever way.
    store.release_spool(id, PHONE, Others::None).await.unwrap();
    assert!(add(held("1234", PHONE, 3, Others::None)).await);
    assert!(!add(free("")).await);
    store.acknowledge_spool(id, PHONE, 3).await.unwrap();
    assert!(add(free("1234")).await);
    assert!(!add(free("")).await);
    store.remove_offline(id, Share::Anybodys, OfflineId(i64::MAX)).await.unwrap();
    assert!(add(free("1234567890")).await);
    assert!(!add(free("1")).await);
    assert!(add(free("")).await);
}

pub(super) async fn sessions_are_saved_and_taken_once(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    account(store, "romeo@example.org").await;
    let session = |id, state: &str| SavedSession { id, until: 7, state: state.into() };
    assert_eq!(store.take_sessions(juliet).await.unwrap(), []);
    assert_eq!(store.accounts_with_sessions().await.unwrap(), []);
    store.save_sessions(juliet, vec![session(LAPTOP, "old")]).await.unwrap();
    store.save_sessions(juliet, vec![session(PHONE, "one"), session(LAPTOP, "two")]).await.unwrap();
    store.save_sessions(nurse, vec![session(PHONE, "hers")]).await.unwrap();
    let mut with = store.accounts_with_sessions().await.unwrap();
    with.sort();
    assert_eq!(with, [jid("juliet@example.org"), jid("nurse@example.org")]);
    assert_eq!(store.take_sessions(juliet).await.unwrap(), [session(PHONE, "one"), session(LAPTOP, "two")]);
    assert_eq!(store.take_sessions(juliet).await.unwrap(), []);
    assert_eq!(store.accounts_with_sessions().await.unwrap(), [jid("nurse@example.org")]);
    store.save_sessions(nurse, Vec::new()).await.unwrap();
    assert_eq!(store.accounts_with_sessions().await.unwrap(), []);
    let nobody = AccountId(i64::MAX);
    for sessions in [Vec::new(), vec![session(PHONE, "")]] {
        assert!(matches!(store.save_sessions(nobody, sessions).await, Err(Error::NotFound)));
    }
    assert_eq!(store.take_sessions(nobody).await.unwrap(), []);
}

pub(super) async fn xep0198_a_count_is_the_last_that_was_committed(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    let count = async |owner, id, number, at| {
        let half = Half { at, counted: Some((id, number)), ..Half::default() };
        store.record(owner, half, (0, 0)).await.unwrap();
    };
    assert_eq!(store.committed_count(juliet, PHONE).await.unwrap(), None);
    count(juliet, PHONE, 1, 10).await;
    count(juliet, PHONE, u32::MAX, 20).await;
    count(juliet, LAPTOP, 7, 30).await;
    count(nurse, PHONE, 9, 10).await;
    assert_eq!(store.committed_count(juliet, PHONE).await.unwrap(), Some(u32::MAX));
    // It wraps.
    count(juliet, PHONE, 0, 20).await;
    assert_eq!(store.committed_count(juliet, PHONE).await.unwrap(), Some(0));
    assert_eq!(store.committed_count(juliet, LAPTOP).await.unwrap(), Some(7));
    store.release_spool(juliet, LAPTOP, Others::None).await.unwrap();
    assert_eq!(store.committed_count(juliet, LAPTOP).await.unwrap(), None);
    assert_eq!(store.committed_count(nurse, PHONE).await.unwrap(), Some(9));
    assert_eq!(store.committed_count(AccountId(i64::MAX), PHONE).await.unwrap(), None);
}

pub(super) async fn old_marks_and_counts_are_forgotten(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    for number in 0..5_u8 {
        for owner in [juliet, nurse] {
            let mark = Mark { reference: Reference(number.into()), repeatable: Repeatable::Recognised, named: None };
            let at = 100 + u64::from(number);
            let half = Half { at, mark: Some(mark), counted: Some((SmId([number; 16]), 1)), ..Half::default() };
            store.record(owner, half, (0, 0)).await.unwrap();
        }
    }
    // Written again: it is as old as its last writing.
    store.record(juliet, Half { at: 200, counted: Some((SmId([0; 16]), 2)), ..Half::default() }, (0, 0)).await.unwrap();
    assert_eq!(store.expire_marks(100, 100).await.unwrap(), 0);
    let mut steps = Vec::new();
    loop {
        steps.push(store.expire_marks(103, 4).await.unwrap());
        if steps.last() != Some(&4) {
            break;
        }
    }
    assert_eq!(steps, [4, 4, 3], "three marks and three counts of each, but one count");
    for owner in [juliet, nurse] {
        assert_eq!(store.recent_marks(owner, 10).await.unwrap(), [Reference(4), Reference(3)]);
        assert_eq!(store.committed_count(owner, SmId([2; 16])).await.unwrap(), None);
        assert_eq!(store.committed_count(owner, SmId([3; 16])).await.unwrap(), Some(1));
    }
    assert_eq!(store.committed_count(juliet, SmId([0; 16])).await.unwrap(), Some(2));
}
