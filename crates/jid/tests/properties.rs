//! What holds of every text: preparation is at rest after one application, never panics, and one table-free path agrees with the long one.

use proptest::prelude::*;
use stonechat_jid::{Domain, Jid, Level, prepare_local, prepare_resource};

/// Characters that preparation does something to, among any others.
fn part() -> impl Strategy<Value = String> {
    let special = prop::sample::select(
        "aZ09-_. @/&'\"ßẞςΣİıſK\u{212b}ＡａＺ．＠／。´\u{301}\u{308}\u{323}\u{345}\u{ad}\u{200c}\u{200d}\u{fe0f}·l٣۴۵・ア\u{375}α׳אש\u{94d}क\u{1112}\u{1161}\u{11ab}한𞤀𞤢ꭰᏸᲐა🎉👩ﬁ№²\u{a0}\u{3000}\u{37a}\u{1fbd}\u{e000}\u{202e}\u{340}\u{fa10}"
            .chars()
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(prop_oneof![3 => special, 1 => any::<char>()], 1..12).prop_map(String::from_iter)
}

fn address() -> impl Strategy<Value = String> {
    let domain = prop_oneof![
        Just("example".to_owned()),
        Just("xn--bcher-kva.Example.".to_owned()),
        Just("[::FFFF:1.2.3.4]".to_owned()),
        part()
    ];
    (prop::option::of(part()), domain, prop::option::of(part())).prop_map(|(local, domain, resource)| {
        let local = local.map(|local| local + "@").unwrap_or_default();
        let resource = resource.map(|resource| format!("/{resource}")).unwrap_or_default();
        format!("{local}{domain}{resource}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_prepared_address_is_its_own_prepared_form(text in address()) {
        if let Ok(jid) = Jid::parse(&text) {
            let again = Jid::parse(jid.as_str());
            prop_assert_eq!(again.as_ref(), Ok(&jid));
            let again = again.unwrap();
            prop_assert_eq!((again.local(), again.domain(), again.resource()), (jid.local(), jid.domain(), jid.resource()));
            let bare = jid.to_bare();
            prop_assert_eq!(Jid::parse(bare.as_str()), Ok(bare.as_jid().clone()));
        }
    }

    #[test]
    fn what_is_created_can_be_routed_to_unchanged(text in address()) {
        if let Ok(jid) = Jid::parse_at(&text, Level::Creating) {
            prop_assert_eq!(Jid::parse(jid.as_str()), Ok(jid.clone()));
            prop_assert_eq!(Jid::parse_at(jid.as_str(), Level::Creating), Ok(jid.clone()));
            prop_assert_eq!(Jid::parse(&text), Ok(jid));
        }
    }

    #[test]
    fn parts_prepare_by_themselves_as_they_do_within(text in part()) {
        for level in [Level::Routing, Level::Creating] {
            let local = prepare_local(&text, level);
            let resource = prepare_resource(&text, level);
            if !text.contains(['@', '/']) {
                let whole = Jid::parse_at(&format!("{text}@example"), level);
                prop_assert_eq!(whole.as_ref().map(|jid| jid.local().unwrap()), local.as_deref());
            }
            let whole = Jid::parse_at(&format!("example/{text}"), level);
            prop_assert_eq!(whole.as_ref().map(|jid| jid.resource().unwrap()), resource.as_deref());
        }
    }

    #[test]
    fn a_labels_and_u_labels_are_one_domain(text in part()) {
        if let Ok(domain) = Domain::parse(&text) {
            let ascii = domain.to_ascii().unwrap();
            prop_assert!(ascii.is_ascii());
            prop_assert_eq!(Domain::parse(&ascii), Ok(domain.clone()));
            prop_assert_eq!(Domain::parse(domain.as_str()), Ok(domain));
        }
    }

    #[test]
    fn ascii_goes_the_short_way_to_the_same_place(text in "[ -~]{0,12}(@|)[A-Za-z0-9._-]{0,12}(/|)[ -~]{0,12}") {
        let whole = Jid::parse(&text);
        let (bare, resource) = text.split_once('/').map_or((text.as_str(), None), |(bare, resource)| (bare, Some(resource)));
        let (local, domain) = bare.split_once('@').map_or((None, bare), |(local, domain)| (Some(local), domain));
        let parts = (|| {
            let local = local.map(|local| prepare_local(local, Level::Routing)).transpose()?;
            let domain = Domain::parse(domain)?;
            let resource = resource.map(|resource| prepare_resource(resource, Level::Routing)).transpose()?;
            let local = local.map(|local| format!("{local}@")).unwrap_or_default();
            let resource = resource.map(|resource| format!("/{resource}")).unwrap_or_default();
            Ok(format!("{local}{domain}{resource}"))
        })();
        prop_assert_eq!(whole.map(|jid| jid.to_string()), parts);
    }
}
