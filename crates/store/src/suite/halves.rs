//! What one account keeps of one message, in one commit.

use super::archive::{marked, row, words};
use super::{account, bodies};
use crate::{
    AccountId, ArchiveFilter, ArchiveId, Error, Half, Holder, Mark, OfflineStored, OutgoingRow, Recorded, Reference,
    Repeatable, Share, SmId, SpoolRow, Store,
};
use stonechat_jid::Domain;

const SESSION: SmId = SmId([1; 16]);

fn spooled(stanza: &str) -> SpoolRow {
    SpoolRow { at: 5, stanza: stanza.into(), archive: None, holder: Holder::Anybody }
}

fn outgoing(stanza: &str) -> OutgoingRow {
    OutgoingRow { at: 6, remote: Domain::parse("example.net").unwrap(), stanza: stanza.into() }
}

/// One of everything.
pub(super) fn whole(id: u64, spool: Vec<SpoolRow>) -> Half {
    let id = ArchiveId(id);
    Half {
        at: 9,
        archive: Some(marked(row(id, "romeo@example.net/orchard", "m:word"), 7, Repeatable::Recognised)),
        spool,
        mark: Some(Mark { reference: Reference(8), repeatable: Repeatable::Recognised, named: None }),
        counted: Some((SESSION, 3)),
        outgoing: Some(outgoing("out")),
    }
}

/// Messages archived, kept and on their way; marks; the count.
async fn sizes(store: &dyn Store, id: AccountId) -> (u64, u64, usize, usize, Option<u32>) {
    let out = store.outgoing(None, 100).await.unwrap();
    (
        store.count_archive(id, ArchiveFilter::default(), words).await.unwrap(),
        store.count_offline(id).await.unwrap(),
        out.iter().filter(|message| message.account == id).count(),
        store.recent_marks(id, 100).await.unwrap().len(),
        store.committed_count(id, SESSION).await.unwrap(),
    )
}

pub(super) async fn a_half_is_kept_whole(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let row = SpoolRow { archive: Some(ArchiveId(77)), ..spooled("kept") };
    let Recorded { spool: Some(OfflineStored::Stored(first)), outgoing: Some(sent) } =
        store.record(id, whole(77, vec![row, spooled("second")]), (10, 100)).await.unwrap()
    else {
        panic!("there is room")
    };
    assert_eq!(sizes(store, id).await, (1, 2, 1, 2, Some(3)));
    let kept = store.offline(id, Share::Anybodys, None, 10).await.unwrap();
    assert_eq!(bodies(&kept), ["kept", "second"]);
    assert_eq!((kept[0].id, kept[0].at, kept[0].archive), (first, 5, Some(ArchiveId(77))));
    assert_eq!(kept[1].archive, None);
    let out = store.outgoing(None, 10).await.unwrap();
    assert_eq!((out[0].id, out[0].account, &out[0].row), (sent, id, &outgoing("out")));
    // Nothing at all is a half too.
    let recorded = store.record(id, Half::default(), (10, 100)).await.unwrap();
    assert_eq!(recorded, Recorded { spool: None, outgoing: None });
    assert_eq!(sizes(store, id).await, (1, 2, 1, 2, Some(3)));
}

pub(super) async fn a_full_spool_refuses_its_rows_alone(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    store.record(id, Half { spool: vec![spooled("1234")], ..Half::default() }, (3, 10)).await.unwrap();
    // The second of these would find room by itself.
    for (archived, rows) in [(1, vec![spooled("1234"), spooled("1234")]), (2, vec![spooled("1234567")])] {
        let recorded = store.record(id, whole(archived, rows), (3, 10)).await.unwrap();
        assert_eq!(recorded.spool, Some(OfflineStored::Full));
        assert!(recorded.outgoing.is_some());
    }
    let three = ["a", "b", "c"].map(spooled).into();
    assert_eq!(store.record(id, whole(3, three), (3, 10)).await.unwrap().spool, Some(OfflineStored::Full));
    // The second mark of a reference at the same time is the same mark.
    assert_eq!(sizes(store, id).await, (3, 1, 3, 4, Some(3)));
    let two = ["a", "b"].map(spooled).into();
    let recorded = store.record(id, whole(4, two), (3, 10)).await.unwrap();
    assert!(matches!(recorded.spool, Some(OfflineStored::Stored(_))));
    assert_eq!(bodies(&store.offline(id, Share::Anybodys, None, 10).await.unwrap()), ["1234", "a", "b"]);
}

pub(super) async fn a_half_that_is_refused_leaves_nothing(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let other = account(store, "nurse@example.org").await;
    super::archive::archive(store, id, row(ArchiveId(1), "romeo@example.net", "first")).await;
    // Between others that succeed, so that they may share a transaction.
    let before = store.record(id, whole(2, vec![spooled("a")]), (10, 100));
    let taken = store.record(id, whole(1, vec![spooled("b")]), (10, 100));
    let nobody = store.record(AccountId(i64::MAX), whole(3, vec![spooled("c")]), (10, 100));
    let behind = store.record(other, whole(1, vec![spooled("d")]), (10, 100));
    assert!(matches!(taken.await, Err(Error::Conflict)));
    assert!(matches!(nobody.await, Err(Error::NotFound)));
    before.await.unwrap();
    behind.await.unwrap();
    assert_eq!(sizes(store, id).await, (2, 1, 1, 2, Some(3)));
    assert_eq!(sizes(store, other).await, (1, 1, 1, 2, Some(3)));
    assert_eq!(store.outgoing(None, 10).await.unwrap().len(), 2);
    assert_eq!(bodies(&store.offline(id, Share::Anybodys, None, 10).await.unwrap()), ["a"]);
    for half in [
        Half { mark: whole(1, Vec::new()).mark, ..Half::default() },
        Half { counted: Some((SESSION, 1)), ..Half::default() },
        Half { spool: vec![spooled("e")], ..Half::default() },
        Half { outgoing: Some(outgoing("f")), ..Half::default() },
    ] {
        assert!(matches!(store.record(AccountId(i64::MAX), half, (10, 100)).await, Err(Error::NotFound)));
    }
}

pub(super) async fn halves_are_kept_in_the_order_of_the_calls(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let pending: Vec<_> = (1..=300_u32)
        .map(|number| {
            let half = Half {
                archive: Some(row(ArchiveId(u64::from(number)), "romeo@example.net", "m")),
                spool: vec![spooled(&number.to_string())],
                counted: Some((SESSION, number)),
                outgoing: Some(outgoing(&number.to_string())),
                ..Half::default()
            };
            store.record(id, half, (1_000, 100_000))
        })
        .collect();
    // A read that is called now sees them all.
    let (kept, out, count) = (
        store.offline(id, Share::Anybodys, None, 1_000),
        store.outgoing(None, 1_000),
        store.committed_count(id, SESSION),
    );
    let numbers: Vec<_> = (1..=300).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&kept.await.unwrap()), numbers);
    let out = out.await.unwrap();
    assert!(out.is_sorted_by_key(|message| message.id));
    assert!(out.iter().map(|message| &message.row.stanza[..]).eq(numbers.iter().map(String::as_bytes)));
    assert_eq!(count.await.unwrap(), Some(300));
    let mut last = None;
    for recorded in pending {
        let recorded = recorded.await.unwrap();
        assert!(recorded.outgoing > last);
        last = recorded.outgoing;
    }
}

pub(super) async fn outgoing_messages_wait_until_they_are_removed(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    let mut ids = Vec::new();
    for number in 0..6 {
        let owner = if number % 2 == 0 { juliet } else { nurse };
        let half = Half { outgoing: Some(outgoing(&number.to_string())), ..Half::default() };
        ids.push(store.record(owner, half, (0, 0)).await.unwrap().outgoing.unwrap());
    }
    let first = store.outgoing(None, 4).await.unwrap();
    assert!(first.iter().map(|message| message.id).eq(ids[..4].iter().copied()), "all accounts in one row");
    assert!(first.iter().map(|message| message.account).eq([juliet, nurse, juliet, nurse]));
    let rest = store.outgoing(Some(ids[3]), 4).await.unwrap();
    assert!(rest.iter().map(|message| message.id).eq(ids[4..].iter().copied()));
    store.remove_outgoing(vec![ids[1], ids[5], ids[1], crate::OutgoingId(i64::MAX)]).await.unwrap();
    store.remove_outgoing(Vec::new()).await.unwrap();
    // With the account goes what it sent.
    store.delete_account(juliet, 1).await.unwrap();
    let left = store.outgoing(None, 10).await.unwrap();
    assert!(left.iter().map(|message| message.id).eq([ids[3]]));
    store.remove_outgoing(vec![ids[3]]).await.unwrap();
    let half = Half { outgoing: Some(outgoing("new")), ..Half::default() };
    assert!(
        store.record(nurse, half, (0, 0)).await.unwrap().outgoing > ids.last().copied(),
        "no number is given twice"
    );
}
