//! Private XML, vCards, and the server's secrets.

use super::account;
use crate::{AccountId, Error, Store, XmlKind};

pub(super) async fn a_document_is_replaced_and_removed(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let put = |kind, key: &'static str, text: Option<&str>| {
        store.put_xml(id, kind, key, text.map(|text| text.as_bytes().to_vec()), 1_000)
    };
    let get = async |kind, key: &'static str| {
        store.xml(id, kind, key).await.unwrap().map(|document| String::from_utf8(document).unwrap())
    };
    assert_eq!(get(XmlKind::VCard, "").await, None);
    put(XmlKind::VCard, "", Some("<vCard/>")).await.unwrap();
    put(XmlKind::Private, "", Some("<other/>")).await.unwrap();
    put(XmlKind::Private, "{a}b", Some("<one/>")).await.unwrap();
    put(XmlKind::Private, "{a}b", Some("<two/>")).await.unwrap();
    assert_eq!(get(XmlKind::VCard, "").await.as_deref(), Some("<vCard/>"), "kinds are apart");
    assert_eq!(get(XmlKind::Private, "{a}b").await.as_deref(), Some("<two/>"));
    assert_eq!(get(XmlKind::Private, "{A}b").await, None, "keys are compared byte by byte");
    put(XmlKind::Private, "{a}b", None).await.unwrap();
    put(XmlKind::Private, "{a}b", None).await.unwrap();
    assert_eq!(get(XmlKind::Private, "{a}b").await, None);
    assert_eq!(get(XmlKind::Private, "").await.as_deref(), Some("<other/>"));

    let nobody = AccountId(i64::MAX);
    assert_eq!(store.xml(nobody, XmlKind::VCard, "").await.unwrap(), None);
    let refused = store.put_xml(nobody, XmlKind::VCard, "", Some(b"<vCard/>".to_vec()), 1_000).await;
    assert!(matches!(refused, Err(Error::NotFound)));
    store.put_xml(nobody, XmlKind::VCard, "", None, 1_000).await.unwrap();
}

pub(super) async fn the_bytes_of_a_kind_are_bounded_together(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let other = account(store, "nurse@example.org").await;
    let put = |id, kind, key: &'static str, size| store.put_xml(id, kind, key, Some(vec![b'x'; size]), 10);
    put(id, XmlKind::Private, "a", 6).await.unwrap();
    assert!(matches!(put(id, XmlKind::Private, "b", 5).await, Err(Error::Full(_))));
    assert_eq!(store.xml(id, XmlKind::Private, "b").await.unwrap(), None);
    put(id, XmlKind::Private, "b", 4).await.unwrap();
    // What a document replaces does not count against it.
    put(id, XmlKind::Private, "a", 5).await.unwrap();
    assert!(matches!(put(id, XmlKind::Private, "a", 7).await, Err(Error::Full(_))));
    assert_eq!(store.xml(id, XmlKind::Private, "a").await.unwrap().map(|document| document.len()), Some(5));
    // Other kinds and other accounts have room of their own.
    put(id, XmlKind::VCard, "", 10).await.unwrap();
    put(other, XmlKind::Private, "a", 10).await.unwrap();
    store.put_xml(id, XmlKind::Private, "a", None, 10).await.unwrap();
    put(id, XmlKind::Private, "c", 6).await.unwrap();
}

pub(super) async fn a_secret_is_made_once(store: &dyn Store) {
    assert_eq!(store.secret("decoy", [1; 32]).await.unwrap(), [1; 32]);
    assert_eq!(store.secret("decoy", [2; 32]).await.unwrap(), [1; 32]);
    assert_eq!(store.secret("dialback", [3; 32]).await.unwrap(), [3; 32]);
    // Two that are asked for at once are the same one.
    let (one, other) = (store.secret("both", [4; 32]), store.secret("both", [5; 32]));
    assert_eq!(other.await.unwrap(), one.await.unwrap());
}
