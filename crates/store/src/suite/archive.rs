//! Archives: pages and filters, marks, replacement, age.

use super::{account, jid};
use crate::{
    AccountId, ArchiveFilter, ArchiveId, ArchivePage, ArchivePosition, ArchiveRow, Error, Half, Holder, Mark,
    OfflineStored, Reference, Repeatable, Share, SpoolRow, Store,
};
use stonechat_jid::Jid;

/// What the tests' stanzas say: everything behind the colon.
pub(super) fn words(stanza: &[u8]) -> Option<String> {
    std::str::from_utf8(stanza).ok()?.split_once(':').map(|(_, said)| said.to_owned())
}

pub(super) fn row(id: ArchiveId, with: &str, stanza: &str) -> ArchiveRow {
    ArchiveRow { id, with: Jid::parse(with).unwrap(), stanza: stanza.into(), mark: None }
}

pub(super) fn marked(mut row: ArchiveRow, reference: i64, repeatable: Repeatable) -> ArchiveRow {
    row.mark = Some(Mark { reference: Reference(reference), repeatable, named: None });
    row
}

pub(super) async fn archive(store: &dyn Store, id: AccountId, row: ArchiveRow) {
    let half = Half { at: row.id.millis(), archive: Some(row), ..Half::default() };
    let recorded = store.record(id, half, (0, 0)).await.unwrap();
    assert_eq!((recorded.spool, recorded.outgoing), (None, None));
}

/// The id of the `number`th message of these tests: some share a millisecond, and they are spread over days.
fn id(number: u64) -> ArchiveId {
    ArchiveId::next(None, 1_700_000_000_000 + (number / 3) * 25 * 60_000, (number % 3) as u32)
}

async fn page(store: &dyn Store, id: AccountId, filter: ArchiveFilter, limit: usize) -> ArchivePage {
    store.archive_page(id, filter, ArchivePosition::First, limit, words).await.unwrap()
}

fn stanzas(page: &ArchivePage) -> Vec<&str> {
    page.messages.iter().map(|message| std::str::from_utf8(&message.stanza).unwrap()).collect()
}

async fn found(store: &dyn Store, id: AccountId, wanted: &str) -> Vec<String> {
    let filter = ArchiveFilter { words: Some(wanted.into()), ..ArchiveFilter::default() };
    let count = store.count_archive(id, filter.clone(), words).await.unwrap();
    let page = page(store, id, filter, 100).await;
    assert_eq!(count, page.messages.len() as u64, "{wanted}");
    stanzas(&page).into_iter().map(str::to_owned).collect()
}

/// The messages of these tests: (number, with, stanza).
fn conversation() -> Vec<(u64, &'static str, String)> {
    let partners = [
        "romeo@example.net/orchard",
        "nurse@example.org/hall",
        "romeo@example.net/hall",
        "romeo@example.net",
        "romeo@example.net/orchard",
        "example.net",
    ];
    (0..60)
        .map(|number| {
            let said = ["rose", "a rose and its thorn", "thorn", "nothing"][number as usize * 7 % 4];
            (number, partners[number as usize * 5 % 6], format!("{number}:{said}"))
        })
        .collect()
}

/// Every combination of these conditions.
fn filters() -> Vec<ArchiveFilter> {
    let mut filters = vec![ArchiveFilter::default()];
    let mut either = |change: &dyn Fn(&mut ArchiveFilter)| {
        let changed: Vec<_> = filters
            .iter()
            .map(|filter: &ArchiveFilter| {
                let mut filter = filter.clone();
                change(&mut filter);
                filter
            })
            .collect();
        filters.extend(changed);
    };
    either(&|filter| filter.start = Some(id(9).millis()));
    either(&|filter| filter.end = Some(id(45).millis()));
    either(&|filter| filter.after_id = Some(id(4)));
    either(&|filter| filter.before_id = Some(id(52)));
    either(&|filter| filter.ids = [3, 59, 12, 13, 40, 12, 51, 24, 30].map(id).into());
    either(&|filter| filter.words = Some("rose".into()));
    let mut all = Vec::new();
    for with in [None, Some("romeo@example.net"), Some("romeo@example.net/orchard"), Some("paris@example.net")] {
        let with = with.map(|with| Jid::parse(with).unwrap());
        all.extend(filters.iter().cloned().map(|filter| ArchiveFilter { with: with.clone(), ..filter }));
    }
    all
}

fn passes(filter: &ArchiveFilter, number: u64, with: &str, stanza: &str) -> bool {
    let (id, with) = (id(number), Jid::parse(with).unwrap());
    let party = |wanted: &Jid| if wanted.is_bare() { with.same_bare(wanted) } else { with == *wanted };
    filter.with.as_ref().is_none_or(party)
        && filter.start.is_none_or(|start| id.millis() >= start)
        && filter.end.is_none_or(|end| id.millis() <= end)
        && filter.after_id.is_none_or(|after| id > after)
        && filter.before_id.is_none_or(|before| id < before)
        && (filter.ids.is_empty() || filter.ids.contains(&id))
        && filter.words.as_ref().is_none_or(|word| stanza.contains(word.as_str()))
}

pub(super) async fn xep0313_a_page_is_what_the_filter_leaves_in_both_directions(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    let messages = conversation();
    for (number, with, stanza) in &messages {
        archive(store, juliet, row(id(*number), with, stanza)).await;
        // Somebody else's, with the same ids and the same partners.
        archive(store, nurse, row(id(*number), with, "0:rose")).await;
    }
    for filter in filters() {
        let left: Vec<_> =
            messages.iter().filter(|(number, with, stanza)| passes(&filter, *number, with, stanza)).collect();
        let count = store.count_archive(juliet, filter.clone(), words).await.unwrap();
        assert_eq!(count, left.len() as u64, "{filter:?}");
        for position in [
            ArchivePosition::First,
            ArchivePosition::Last,
            ArchivePosition::After(id(0)),
            ArchivePosition::After(id(28)),
            ArchivePosition::Before(id(28)),
            ArchivePosition::Before(id(59)),
        ] {
            let mut left = left.clone();
            let forward = match position {
                ArchivePosition::First => true,
                ArchivePosition::After(after) => {
                    left.retain(|(number, ..)| id(*number) > after);
                    true
                }
                ArchivePosition::Last => false,
                ArchivePosition::Before(before) => {
                    left.retain(|(number, ..)| id(*number) < before);
                    false
                }
            };
            for limit in [0, left.len().saturating_sub(1), left.len()] {
                let rest = left.len().saturating_sub(limit);
                let expected = if forward { &left[..left.len() - rest] } else { &left[rest..] };
                let page = store.archive_page(juliet, filter.clone(), position, limit, words).await.unwrap();
                let ids: Vec<_> = page.messages.iter().map(|message| message.id).collect();
                let expected_ids: Vec<_> = expected.iter().map(|(number, ..)| id(*number)).collect();
                assert_eq!(ids, expected_ids, "{position:?}, {limit}, {filter:?}");
                assert!(
                    expected.iter().map(|(.., stanza)| stanza).eq(stanzas(&page)),
                    "{position:?}, {limit}, {filter:?}"
                );
                assert_eq!(page.complete, rest == 0, "{position:?}, {limit}, {filter:?}");
            }
        }
    }
}

pub(super) async fn xep0313_an_id_that_is_not_in_the_archive_is_not_found(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    archive(store, juliet, row(id(1), "romeo@example.net", "1")).await;
    archive(store, nurse, row(id(2), "romeo@example.net", "2")).await;
    let filters = |named: ArchiveId| {
        let filter = ArchiveFilter::default();
        [
            ArchiveFilter { after_id: Some(named), ..filter.clone() },
            ArchiveFilter { before_id: Some(named), ..filter.clone() },
            ArchiveFilter { ids: vec![id(1), named], ..filter },
        ]
    };
    // One that is nowhere, and one of somebody else's.
    for named in [id(0), id(2), ArchiveId(0), ArchiveId(i64::MAX as u64)] {
        for filter in filters(named) {
            let page = store.archive_page(juliet, filter.clone(), ArchivePosition::First, 10, words).await;
            assert!(matches!(page, Err(Error::NotFound)), "{filter:?}");
            assert!(matches!(store.count_archive(juliet, filter, words).await, Err(Error::NotFound)));
        }
        for position in [ArchivePosition::After(named), ArchivePosition::Before(named)] {
            let page = store.archive_page(juliet, ArchiveFilter::default(), position, 10, words).await;
            assert!(matches!(page, Err(Error::NotFound)), "{position:?}");
        }
    }
    // One that is in the archive and does not pass the filter is a place all the same.
    let filter = ArchiveFilter { end: Some(5), ..ArchiveFilter::default() };
    let page = store.archive_page(juliet, filter, ArchivePosition::After(id(1)), 10, words).await.unwrap();
    assert!(page.messages.is_empty() && page.complete);
    let nobody = AccountId(i64::MAX);
    let page = store.archive_page(nobody, ArchiveFilter::default(), ArchivePosition::After(id(1)), 10, words).await;
    assert!(matches!(page, Err(Error::NotFound)));
}

pub(super) async fn archives_are_apart_and_have_bounds(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    assert_eq!(store.archive_bounds(juliet).await.unwrap(), None);
    let empty = page(store, juliet, ArchiveFilter::default(), 10).await;
    assert!(empty.messages.is_empty() && empty.complete);
    for number in [4, 1, 7] {
        archive(store, juliet, row(id(number), "romeo@example.net", "juliet's:word")).await;
    }
    archive(store, nurse, row(id(0), "romeo@example.net", "nurse's:word")).await;
    assert_eq!(store.archive_bounds(juliet).await.unwrap(), Some((id(1), id(7))));
    assert_eq!(store.archive_bounds(nurse).await.unwrap(), Some((id(0), id(0))));
    assert_eq!(found(store, nurse, "word").await, ["nurse's:word"]);
    assert_eq!(found(store, juliet, "word").await.len(), 3);
    let with = ArchiveFilter { with: Some(jid("romeo@example.net").into()), ..ArchiveFilter::default() };
    assert_eq!(stanzas(&page(store, nurse, with, 10).await), ["nurse's:word"]);

    let nobody = AccountId(i64::MAX);
    assert_eq!(store.archive_bounds(nobody).await.unwrap(), None);
    assert_eq!(store.count_archive(nobody, ArchiveFilter::default(), words).await.unwrap(), 0);
    assert_eq!(found(store, nobody, "word").await, [""; 0]);
    assert_eq!(store.recent_marks(nobody, 10).await.unwrap(), []);
    let replaced = store.replace_archived(nobody, jid("romeo@example.net"), Reference(1), Vec::new()).await;
    assert!(matches!(replaced, Err(Error::NotFound)));
}

pub(super) async fn xep0431_words_are_found_whatever_the_language_and_never_understood(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let said = [
        "1:Meet me in Zürich, at the well-known café",
        "2:привет, мир",
        "3:我住在北京",
        "4:NEAR the rose AND the thorn OR col:umn NOT *star* \"quoted\"",
        "5",
        "6:wonderful",
    ];
    for (number, said) in (0..).zip(said) {
        archive(store, juliet, row(id(number), "romeo@example.net", said)).await;
    }
    for (wanted, expected) in [
        ("zurich", &[0][..]),
        ("CAFE meet", &[0]),
        ("well-known", &[0]),
        ("known-well", &[]),
        ("café at", &[0]),
        ("ПРИВЕТ", &[1]),
        ("北京", &[2]),
        ("京北", &[]),
        ("住", &[2]),
        ("wonder", &[]),
        // FTS5 and others would understand these.
        ("wonder*", &[]),
        ("words:wonderful", &[]),
        ("rose OR wonderful", &[]),
        ("rose OR", &[3]),
        ("rose NOT thorn", &[3]),
        ("NEAR(rose thorn)", &[]),
        ("col:umn", &[3]),
        ("\"quoted", &[3]),
        ("quoted\" OR \"wonderful", &[]),
        ("star\"\"quoted", &[3]),
        ("^wonderful", &[5]),
        ("-wonderful", &[5]),
        ("{wonderful} + (wonderful)", &[5]),
        ("wonderful\0", &[5]),
        // Nothing that is a word.
        ("", &[]),
        ("\"", &[]),
        ("* ^ -", &[]),
        ("5", &[]),
    ] {
        let expected: Vec<_> = expected.iter().map(|place: &usize| said[*place]).collect();
        assert_eq!(found(store, juliet, wanted).await, expected, "{wanted}");
    }
    // What came after the first search is found by the next.
    for number in 10..1_000 {
        let said = if number == 999 { "last:wonderful" } else { "more:of the same" };
        drop(store.record(
            juliet,
            Half { archive: Some(row(id(number), "a@example.net", said)), ..Half::default() },
            (0, 0),
        ));
    }
    assert_eq!(found(store, juliet, "wonderful").await, ["6:wonderful", "last:wonderful"]);
    let filter = ArchiveFilter { words: Some("same".into()), ..ArchiveFilter::default() };
    assert_eq!(store.count_archive(juliet, filter, words).await.unwrap(), 989);
}

pub(super) async fn marks_are_recalled_newest_first(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    let references = async |limit| {
        let marks = store.recent_marks(juliet, limit).await.unwrap();
        marks.into_iter().map(|Reference(reference)| reference).collect::<Vec<_>>()
    };
    for number in 0..10_i64 {
        // By turns archived and recognised, archived and not recognised, not archived.
        let repeatable = if number % 3 == 1 { Repeatable::No } else { Repeatable::Recognised };
        let row = marked(row(id(number as u64 * 3), "romeo@example.net", "a"), number, repeatable);
        let at = row.id.millis();
        let half = match number % 3 {
            2 => Half { at, mark: row.mark, ..Half::default() },
            _ => Half { at, archive: Some(row), ..Half::default() },
        };
        store.record(juliet, half.clone(), (0, 0)).await.unwrap();
        store
            .record(
                nurse,
                Half {
                    at: at + 1,
                    archive: None,
                    mark: Some(Mark { reference: Reference(-1), repeatable, named: None }),
                    ..half
                },
                (0, 0),
            )
            .await
            .unwrap();
    }
    assert_eq!(references(100).await, [9, 8, 6, 5, 3, 2, 0]);
    assert_eq!(references(8).await, [9, 8, 6, 5, 3, 2, 0]);
    // Among the newest three that are archived (9, 7, 6), and those that are not.
    assert_eq!(references(3).await, [9, 8, 6]);
    assert_eq!(references(1).await, [9]);
    assert_eq!(references(0).await, [0; 0]);
    // One that only serves retraction, and is not archived, serves nothing.
    let mark = Some(Mark { reference: Reference(77), repeatable: Repeatable::No, named: None });
    store.record(juliet, Half { at: i64::MAX as u64, mark, ..Half::default() }, (0, 0)).await.unwrap();
    assert_eq!(references(1).await, [9]);
}

pub(super) async fn xep0424_a_retracted_message_is_replaced_everywhere(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    let romeo = "romeo@example.net/orchard";
    let spooled =
        |archive: ArchiveId, holder| SpoolRow { at: 1, stanza: b"copy".to_vec(), archive: Some(archive), holder };
    let session =
        Holder::Session { id: crate::SmId([7; 16]), place: crate::Place::Sent(1), others: crate::Others::None };
    for (number, with, reference) in [(0, romeo, 5), (10, romeo, 5), (20, "paris@example.net/a", 5), (30, romeo, 6)] {
        let row = marked(row(id(number), with, &format!("{number}:secret")), reference, Repeatable::No);
        for owner in [juliet, nurse] {
            let spool = vec![spooled(row.id, Holder::Anybody), spooled(row.id, session)];
            let half = Half { archive: Some(row.clone()), spool, ..Half::default() };
            store.record(owner, half, (1_000, 1_000)).await.unwrap();
        }
    }
    // This one has another name too.
    let mut last = row(id(300), romeo, "300:secret");
    last.mark = Some(Mark { reference: Reference(7), repeatable: Repeatable::Recognised, named: Some(Reference(70)) });
    for owner in [juliet, nurse] {
        let spool = vec![spooled(last.id, Holder::Anybody), spooled(last.id, session)];
        store
            .record(owner, Half { archive: Some(last.clone()), spool, ..Half::default() }, (1_000, 1_000))
            .await
            .unwrap();
    }
    assert_eq!(found(store, juliet, "secret").await.len(), 5);
    let replace =
        |with: &str, reference| store.replace_archived(juliet, jid(with), Reference(reference), b"tombstone".to_vec());
    assert_eq!(replace("romeo@example.net", 8).await.unwrap(), None);
    assert_eq!(replace("nurse@example.org", 5).await.unwrap(), None);
    assert_eq!(replace("romeo@example.net", 5).await.unwrap(), Some(id(10)), "the newest of this conversation");
    let page = page(store, juliet, ArchiveFilter::default(), 100).await;
    assert_eq!(stanzas(&page), ["0:secret", "tombstone", "20:secret", "30:secret", "300:secret"]);
    assert!(page.messages.iter().map(|message| message.id).eq([0, 10, 20, 30, 300].map(id)), "ids stay");
    assert_eq!(found(store, juliet, "secret").await.len(), 4);
    assert_eq!(found(store, nurse, "secret").await.len(), 5);
    // The copies in the spool, whoever holds them.
    let copies = |messages: Vec<crate::OfflineMessage>| {
        messages.into_iter().map(|message| String::from_utf8(message.stanza).unwrap()).collect::<Vec<_>>()
    };
    store.release_spool(juliet, crate::SmId([7; 16]), crate::Others::Served).await.unwrap();
    let kept = copies(store.offline(juliet, Share::Anybodys, None, 100).await.unwrap());
    assert_eq!(kept, ["copy", "copy", "tombstone", "tombstone", "copy", "copy", "copy", "copy", "copy", "copy"]);
    assert!(copies(store.offline(nurse, Share::Anybodys, None, 100).await.unwrap()).iter().all(|copy| copy == "copy"));
    // Their new size counts: 8 × 4 + 2 × 9 bytes are there.
    let append = |size: usize| store.append_offline(juliet, 1, vec![b'x'; size], 100, 60);
    assert_eq!(append(11).await.unwrap(), OfflineStored::Full);
    assert_eq!(replace("romeo@example.net", 7).await.unwrap(), Some(id(300)));
    assert_eq!(replace("romeo@example.net", 70).await.unwrap(), Some(id(300)), "by its other name");
    assert_eq!(
        store.replace_archived(nurse, jid("romeo@example.net"), Reference(70), b"copy".to_vec()).await.unwrap(),
        Some(id(300))
    );
    store.expire_archive(id(301), 100).await.unwrap();
    assert_eq!(replace("romeo@example.net", 70).await.unwrap(), None, "it is no longer there");
    assert!(matches!(append(0).await.unwrap(), OfflineStored::Stored(_)));
}

pub(super) async fn what_is_old_goes_from_every_archive(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    for number in 0..20 {
        for owner in [juliet, nurse] {
            let row = row(id(number), "romeo@example.net", &format!("{number}:word"));
            let copy = SpoolRow { at: 1, stanza: b"copy".to_vec(), archive: Some(row.id), holder: Holder::Anybody };
            let half = Half { archive: Some(row), spool: vec![copy], ..Half::default() };
            store.record(owner, half, (1_000, 1_000)).await.unwrap();
        }
    }
    assert_eq!(found(store, juliet, "word").await.len(), 20);
    assert_eq!(store.expire_archive(id(0), 100).await.unwrap(), 0, "exactly what is before");
    let mut steps = Vec::new();
    loop {
        steps.push(store.expire_archive(id(16), 7).await.unwrap());
        if steps.last() != Some(&7) {
            break;
        }
    }
    assert_eq!(steps, [7, 7, 7, 7, 4]);
    for owner in [juliet, nurse] {
        let left: Vec<_> = (16..20).map(|number| format!("{number}:word")).collect();
        assert_eq!(stanzas(&page(store, owner, ArchiveFilter::default(), 100).await), left);
        let with = ArchiveFilter { with: Some(jid("romeo@example.net").into()), ..ArchiveFilter::default() };
        assert_eq!(stanzas(&page(store, owner, with, 100).await), left);
        assert_eq!(found(store, owner, "word").await, left);
        assert_eq!(store.archive_bounds(owner).await.unwrap(), Some((id(16), id(19))));
        // What waits to be delivered is delivered however old it is.
        assert_eq!(store.count_offline(owner).await.unwrap(), 20);
        // Its id is known no more.
        let filter = ArchiveFilter { after_id: Some(id(15)), ..ArchiveFilter::default() };
        assert!(matches!(store.count_archive(owner, filter, words).await, Err(Error::NotFound)));
    }
    // An archive that was emptied goes on.
    assert_eq!(store.expire_archive(id(20), 100).await.unwrap(), 8);
    assert_eq!(store.archive_bounds(juliet).await.unwrap(), None);
    archive(store, juliet, row(id(21), "romeo@example.net", "new:word")).await;
    assert_eq!(found(store, juliet, "word").await, ["new:word"]);
    let with = ArchiveFilter { with: Some(jid("romeo@example.net").into()), ..ArchiveFilter::default() };
    assert_eq!(stanzas(&page(store, juliet, with, 100).await), ["new:word"]);
}
