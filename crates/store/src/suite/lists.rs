//! Block lists and registrations for push.

use super::account;
use crate::{AccountId, Error, PushRegistration, Store};
use stonechat_jid::Jid;

fn jids<const N: usize>(texts: [&str; N]) -> Vec<Jid> {
    texts.map(|text| Jid::parse(text).unwrap()).into()
}

pub(super) async fn a_block_list_is_changed_as_a_whole(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    let change = |add, remove, most| store.change_blocked(juliet, add, remove, most);
    assert_eq!(store.blocked(juliet).await.unwrap(), []);
    change(jids(["b@example.net/r", "example.com", "a@example.net"]), Vec::new(), 3).await.unwrap();
    assert_eq!(store.blocked(juliet).await.unwrap(), jids(["a@example.net", "b@example.net/r", "example.com"]));
    // What is there already takes no room; one more does.
    change(jids(["example.com"]), Vec::new(), 3).await.unwrap();
    let full = change(jids(["c@example.net", "d@example.net"]), jids(["example.com"]), 3).await;
    assert!(matches!(full, Err(Error::Full(_))));
    assert_eq!(store.blocked(juliet).await.unwrap().len(), 3, "nothing changed");
    assert!(store.blocked(juliet).await.unwrap().contains(&jids(["example.com"])[0]));
    change(jids(["c@example.net"]), jids(["example.com", "never@example.net"]), 3).await.unwrap();
    // One that is removed and added is there.
    change(jids(["a@example.net"]), jids(["a@example.net"]), 3).await.unwrap();
    assert_eq!(store.blocked(juliet).await.unwrap(), jids(["a@example.net", "b@example.net/r", "c@example.net"]));
    // Below a bound that was lowered, what does not grow is not refused.
    change(Vec::new(), jids(["c@example.net"]), 0).await.unwrap();
    change(jids(["e@example.net"]), jids(["a@example.net"]), 0).await.unwrap();
    assert_eq!(store.blocked(juliet).await.unwrap(), jids(["b@example.net/r", "e@example.net"]));
    assert_eq!(store.blocked(nurse).await.unwrap(), []);
    let nobody = AccountId(i64::MAX);
    assert_eq!(store.blocked(nobody).await.unwrap(), []);
    for (add, remove) in [(jids(["a@example.net"]), Vec::new()), (Vec::new(), jids(["a@example.net"]))] {
        assert!(matches!(store.change_blocked(nobody, add, remove, 3).await, Err(Error::NotFound)));
    }
}

pub(super) fn registration(service: &str, node: &str, secret: Option<&str>) -> PushRegistration {
    PushRegistration {
        service: Jid::parse(service).unwrap(),
        node: node.into(),
        options: secret.map(|secret| secret.as_bytes().to_vec()),
        resource: "phone".into(),
    }
}

pub(super) async fn xep0357_a_registration_is_one_of_service_and_node(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    let put = |service, node, secret| store.put_push(juliet, registration(service, node, secret), 4);
    for (service, node) in [("push.example", "b"), ("push.example", "a"), ("push.example", ""), ("push.example/x", "a")]
    {
        put(service, node, Some("1")).await.unwrap();
    }
    assert!(matches!(put("other.example", "a", None).await, Err(Error::Full(_))));
    put("push.example", "a", None).await.unwrap();
    let all = store.push_registrations(juliet).await.unwrap();
    let expected = [
        registration("push.example", "", Some("1")),
        registration("push.example", "a", None),
        registration("push.example", "b", Some("1")),
        registration("push.example/x", "a", Some("1")),
    ];
    assert_eq!(all, expected);
    store.put_push(nurse, registration("push.example", "a", None), 4).await.unwrap();
    let service = |text| Jid::parse(text).unwrap();
    store.remove_push(juliet, service("push.example"), Some("b".into())).await.unwrap();
    store.remove_push(juliet, service("push.example"), Some("b".into())).await.unwrap();
    // No node is a node of its own; none that is named means all.
    store.remove_push(juliet, service("push.example"), Some(String::new())).await.unwrap();
    assert_eq!(store.push_registrations(juliet).await.unwrap(), [expected[1].clone(), expected[3].clone()]);
    store.remove_push(juliet, service("push.example"), None).await.unwrap();
    assert_eq!(store.push_registrations(juliet).await.unwrap(), [expected[3].clone()]);
    assert_eq!(store.push_registrations(nurse).await.unwrap().len(), 1);
    let nobody = AccountId(i64::MAX);
    assert_eq!(store.push_registrations(nobody).await.unwrap(), []);
    let refused = store.put_push(nobody, registration("push.example", "a", None), 4).await;
    assert!(matches!(refused, Err(Error::NotFound)));
    store.remove_push(nobody, service("push.example"), None).await.unwrap();
}
