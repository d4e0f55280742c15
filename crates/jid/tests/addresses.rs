//! Tables of addresses and of texts that are none, at both levels (RFC 7622; abuse cases 69 and 98).

use stonechat_jid::{BareJid, Domain, Error, FullJid, Jid, Level, prepare_local, prepare_resource};

#[track_caller]
fn routes(text: &str, prepared: &str) {
    assert_eq!(Jid::parse(text).as_ref().map(Jid::as_str), Ok(prepared), "{text:?}");
}

#[track_caller]
fn refused(text: &str, error: Error) {
    assert_eq!(Jid::parse(text), Err(error), "{text:?}");
}

#[test]
fn rfc7622_3_1_only_the_first_separators_split() {
    let table = [
        ("example", None, "example", None),
        ("a@example", Some("a"), "example", None),
        ("example/r", None, "example", Some("r")),
        ("a@example/r", Some("a"), "example", Some("r")),
        ("example/r@s", None, "example", Some("r@s")),
        ("example/r/s", None, "example", Some("r/s")),
        ("a@example/r@s/t", Some("a"), "example", Some("r@s/t")),
        ("a@example//", Some("a"), "example", Some("/")),
        ("a@example/ ", Some("a"), "example", Some(" ")),
        (r"a\20b@example", Some(r"a\20b"), "example", None),
        ("jülía@bücher.example/Büro", Some("jülía"), "bücher.example", Some("Büro")),
    ];
    for (text, local, domain, resource) in table {
        let jid = Jid::parse(text).expect(text);
        assert_eq!((jid.local(), jid.domain(), jid.resource()), (local, domain, resource), "{text:?}");
        assert_eq!(jid.is_bare(), resource.is_none(), "{text:?}");
        assert_eq!(jid.is_domain(), local.is_none() && resource.is_none(), "{text:?}");
        assert_eq!(jid.to_full().is_some(), resource.is_some(), "{text:?}");
    }
}

#[test]
fn abuse_69_malformed_addresses_are_refused() {
    for text in ["", "@", "/", "@/", "a@", "a@/r", "/r"] {
        assert!(Jid::parse(text).is_err(), "{text:?}");
    }
    refused("@example", Error::Local);
    refused("@example/r", Error::Local);
    refused("example/", Error::Resource);
    refused("a@example/", Error::Resource);
    refused("a@b@example", Error::Domain);
    for domain in [
        ".",
        "..",
        ".example",
        "a..example",
        "example..",
        "exa mple",
        "example:5222",
        "-a.example",
        "a-.example",
        "a,b",
        "a\0b",
    ] {
        refused(domain, Error::Domain);
    }
    refused("a@example/\u{7}", Error::Resource);
    refused("a@example/\u{7f}", Error::Resource);
    refused("a@example/\n", Error::Resource);
}

#[test]
fn abuse_69_no_part_is_longer_than_1023_bytes() {
    for level in [Level::Routing, Level::Creating] {
        for (length, fits) in [(1023, true), (1024, false), (5000, false)] {
            let expected = if fits { Ok(length) } else { Err(Error::TooLong) };
            let part = "a".repeat(length);
            assert_eq!(prepare_local(&part, level).map(|part| part.len()), expected);
            assert_eq!(prepare_resource(&part, level).map(|part| part.len()), expected);
            assert_eq!(
                Jid::parse_at(&format!("{part}@example"), level).map(|jid| jid.local().unwrap().len()),
                expected
            );
            assert_eq!(
                Jid::parse_at(&format!("example/{part}"), level).map(|jid| jid.resource().unwrap().len()),
                expected
            );
        }
    }
    // 16 labels of 63 bytes with their dots are 1023 bytes.
    let longest = vec!["a".repeat(63); 16].join(".");
    assert_eq!(Domain::parse(&longest).map(|domain| domain.as_str().len()), Ok(1023));
    assert_eq!(Domain::parse(&format!("{longest}b")), Err(Error::TooLong));
    refused(&"a".repeat(64), Error::Domain);
    // Counted in bytes, after preparation.
    assert_eq!(prepare_resource(&"é".repeat(511), Level::Routing).map(|part| part.len()), Ok(1022));
    assert_eq!(prepare_resource(&"é".repeat(512), Level::Routing), Err(Error::TooLong));
    assert_eq!(prepare_resource(&"e\u{301}".repeat(511), Level::Routing).map(|part| part.len()), Ok(1022));
    assert_eq!(prepare_local(&"e\u{301}".repeat(512), Level::Routing), Err(Error::TooLong));
    // One that only grows in preparation: U+0130 becomes three bytes.
    assert_eq!(prepare_local(&"İ".repeat(511), Level::Routing), Err(Error::TooLong));
}

#[test]
fn rfc7622_3_3_1_excluded_characters_in_localparts() {
    for c in [
        '"', '&', '\'', ':', '<', '>', ' ', '\t', '\0', '\u{7f}', '\u{a0}', '\u{2003}', '＠', '／', '＂', '＆', '：',
        '＜',
    ] {
        for around in ["a", "ü"] {
            let local = format!("{around}{c}b");
            refused(&format!("{local}@example"), Error::Local);
            for level in [Level::Routing, Level::Creating] {
                assert_eq!(prepare_local(&local, level), Err(Error::Local), "{local:?} {level:?}");
            }
        }
    }
    assert_eq!(prepare_local("a@b", Level::Routing), Err(Error::Local));
    assert_eq!(prepare_local("a/b", Level::Routing), Err(Error::Local));
    assert_eq!(prepare_local("", Level::Routing), Err(Error::Local));
    assert_eq!(prepare_resource("", Level::Routing), Err(Error::Resource));
    routes("!#$%()*+,-.;=?[\\]^_`{|}~0@example", "!#$%()*+,-.;=?[\\]^_`{|}~0@example");
}

#[test]
fn case_and_width_are_mapped_in_localparts_only() {
    routes("JuLiEt@Capulet.EXAMPLE/Balcony", "juliet@capulet.example/Balcony");
    routes("JÜLIET@example/BÜRO", "jüliet@example/BÜRO");
    routes("ｊｕｌｉｅｔ@example", "juliet@example");
    routes("ΣΑΣ@example", "σασ@example");
    routes("a@example/ＡＢ", "a@example/ＡＢ");
}

#[test]
fn composed_and_decomposed_forms_are_one_address() {
    for (decomposed, composed) in [
        ("jose\u{301}@example", "josé@example"),
        ("a@example/jose\u{301}", "a@example/josé"),
        ("a@bu\u{308}cher.example", "a@bücher.example"),
        ("a@example/\u{212b}", "a@example/å".to_uppercase().replace("A@EXAMPLE", "a@example").as_str()),
        ("\u{1112}\u{1161}\u{11ab}@example", "한@example"),
        ("a@example/\u{1112}\u{1161}\u{11ab}", "a@example/한"),
    ] {
        routes(decomposed, composed);
        routes(composed, composed);
    }
}

#[test]
fn rfc7622_3_2_forms_of_domains() {
    let table = [
        ("example.", "example"),
        ("EXAMPLE.", "example"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("XN--BCHER-KVA.Example", "bücher.example"),
        ("BÜCHER.example", "bücher.example"),
        ("bücher。example。", "bücher.example"),
        ("straße.example", "straße.example"),
        ("xn--strae-oqa.example", "straße.example"),
        ("ｅｘａｍｐｌｅ", "example"),
        ("_xmpp_.example", "_xmpp_.example"),
        ("a_b.bücher.example", "a_b.bücher.example"),
        ("a--b.example", "a--b.example"),
        ("localhost", "localhost"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1.", "192.0.2.1"),
        ("１９２.0.2.1", "192.0.2.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8:0:0:0:0:0:1]", "[2001:db8::1]"),
        ("[::FFFF:192.0.2.1]", "[::ffff:192.0.2.1]"),
        ("שלום.example", "שלום.example"),
        ("1a.example", "1a.example"),
        ("0xg", "0xg"),
    ];
    for (text, prepared) in table {
        routes(text, prepared);
        routes(&format!("a@{text}/r"), &format!("a@{prepared}/r"));
        assert_eq!(Domain::parse(text).as_ref().map(Domain::as_str), Ok(prepared), "{text:?}");
    }
}

#[test]
fn texts_that_are_no_domain() {
    let table = [
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[::1]a",
        "[::1]:5222",
        "[fe80::1%eth0]",
        "[192.0.2.1]",
        "[::g]",
        "256.0.0.1",
        "1.2.3",
        "127.1",
        "127.0.0.01",
        "2130706433",
        "0x7f.0.0.1",
        "0x7f000001",
        "0X7F.1",
        "example.1",
        "example.0x",
        "xn--",
        "xn--a",
        "xn--bcher-kva\u{fc}",
        "xn--example-.com",
        "a\u{ff0f}b",
        "a\u{ff20}b",
        "a\u{2488}b",
        "\u{ad}",
        "a.\u{ad}.b",
        "\u{301}a",
        "a\u{202e}b",
        "a\u{fffd}b",
        "aש.example",
    ];
    for text in table {
        assert_eq!(Domain::parse(text), Err(Error::Domain), "{text:?}");
        assert_eq!(Jid::parse(&format!("a@{text}")), Err(Error::Domain), "{text:?}");
    }
    let too_long_as_a_label = format!("{}.example", "ü".repeat(60));
    assert_eq!(Domain::parse(&too_long_as_a_label), Err(Error::Domain));
}

#[test]
fn a_labels_for_dns() {
    for (text, ascii) in [
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("Straße.example", "xn--strae-oqa.example"),
        ("example.", "example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
    ] {
        assert_eq!(Domain::parse(text).and_then(|domain| domain.to_ascii()).as_deref(), Ok(ascii), "{text:?}");
    }
}

/// What PRECIS refuses and an older server routes, unassigned code points included, can be addressed.
#[test]
fn routing_takes_what_either_profile_takes() {
    let table = [
        // OpaqueString takes symbols as they are.
        ("a@example/🎉", "a@example/🎉"),
        ("a@example/☺", "a@example/☺"),
        // PRECIS refuses joiners between emoji and variation selectors; stringprep maps them to nothing.
        ("a@example/👩\u{200d}🚀", "a@example/👩🚀"),
        ("a@example/❤\u{fe0f}", "a@example/❤"),
        ("a@example/soft\u{ad}hyphen", "a@example/softhyphen"),
        // Identifiers have no symbols in PRECIS.
        ("☺@example", "☺@example"),
        ("🎉@example", "🎉@example"),
        ("ﬁsh@example", "fish@example"),
        ("№5@example", "no5@example"),
        // Newer than either knows: they pass as they are, and upper case stays another address.
        ("𞤀𞤁@example", "𞤀𞤁@example"),
        ("𞤢𞤣@example", "𞤢𞤣@example"),
        ("a@example/🤖🥲", "a@example/🤖🥲"),
        // Known to PRECIS, while the small letter it maps to is not.
        ("Ꭰ@example", "ꭰ@example"),
        ("ẞ@example", "ß@example"),
        // PRECIS keeps what stringprep folds; it goes first.
        ("ß@example", "ß@example"),
        ("ς@example", "ς@example"),
        // OpaqueString has one space.
        ("a@example/b\u{a0}c", "a@example/b c"),
        ("a@example/שלום abc", "a@example/שלום abc"),
        ("שלום@example", "שלום@example"),
    ];
    for (text, prepared) in table {
        routes(text, prepared);
        routes(prepared, prepared);
    }
}

#[test]
fn routing_refuses_what_both_profiles_refuse() {
    for text in ["a\u{202e}b", "a\u{e000}", "a\u{fdd0}", "\u{2028}", "a\u{85}", "\u{e0041}"] {
        refused(&format!("a@example/{text}"), Error::Resource);
        refused(&format!("{text}@example"), Error::Local);
    }
    // Nothing is left of them.
    refused("a@example/\u{ad}", Error::Resource);
    refused("\u{200d}@example", Error::Local);
    // What stands for no character, and what describes one, are no part of a name.
    for text in ["a\u{fffd}", "a\u{2ff0}b", "a\u{206a}b"] {
        refused(&format!("{text}@example"), Error::Local);
    }
    // Right-to-left among left-to-right in an identifier, wherever it begins (RFC 3454 §6, RFC 5893 §2).
    for text in ["aשb", "שaש", "1ש"] {
        refused(&format!("{text}@example"), Error::Local);
    }
}

/// What is created satisfies PRECIS and strict stringprep, with one result.
#[test]
fn creating_is_strict() {
    let created = [
        ("juliet", "juliet"),
        ("JÜLIET", "jüliet"),
        ("jose\u{301}", "josé"),
        ("ｊｕｌｉｅｔ", "juliet"),
        ("שלום", "שלום"),
        ("Ольга", "ольга"),
    ];
    for (text, prepared) in created {
        assert_eq!(prepare_local(text, Level::Creating).as_deref(), Ok(prepared), "{text:?}");
        assert_eq!(prepare_local(text, Level::Routing).as_deref(), Ok(prepared), "{text:?}");
    }
    for text in ["ß", "ẞ", "ς", "𞤀𞤁", "☺", "🎉", "ﬁsh", "a\u{ad}b", "\u{1112}\u{1161}\u{11ab}", "aשb"]
    {
        assert_eq!(prepare_local(text, Level::Creating), Err(Error::Local), "{text:?}");
    }
    for (text, prepared) in [("Büro", "Büro"), ("☺", "☺"), ("b\u{a0}c", "b c"), ("ß", "ß"), ("שלום", "שלום")]
    {
        assert_eq!(prepare_resource(text, Level::Creating).as_deref(), Ok(prepared), "{text:?}");
        assert_eq!(prepare_resource(text, Level::Routing).as_deref(), Ok(prepared), "{text:?}");
    }
    for text in ["🎉", "🤖", "👩\u{200d}🚀", "ＡＢ", "ﬁ", "soft\u{ad}hyphen", "ẞ", "שלום abc", "²"] {
        assert_eq!(prepare_resource(text, Level::Creating), Err(Error::Resource), "{text:?}");
    }
}

#[test]
fn creating_asks_for_host_names() {
    let long = format!("{}.example", vec!["a".repeat(63); 4].join("."));
    for text in ["a_b.example", "a@a_b.example/r", "a@a_b.bücher.example", long.as_str()] {
        assert!(Jid::parse(text).is_ok(), "{text:?}");
        assert_eq!(Jid::parse_at(text, Level::Creating), Err(Error::Domain), "{text:?}");
    }
    for text in ["a@example", "a@192.0.2.1", "a@[::1]", "a@bücher.example", "a@straße.example"] {
        assert_eq!(Jid::parse_at(text, Level::Creating), Jid::parse(text), "{text:?}");
    }
}

#[test]
fn abuse_98_a_room_with_a_long_or_foreign_name_is_created_only_if_every_server_can_address_it() {
    let domain = Domain::parse("rooms.example").unwrap();
    let create = |local: &str| BareJid::from_parts(local, &domain, Level::Creating);
    assert_eq!(create(&"a".repeat(1023)).map(|room| room.local().unwrap().len()), Ok(1023));
    assert_eq!(create(&"a".repeat(1024)), Err(Error::TooLong));
    assert_eq!(create("ﬁsh"), Err(Error::Local));
    assert_eq!(create(""), Err(Error::Local));
    assert_eq!(create("Tea").as_ref().map(BareJid::as_str), Ok("tea@rooms.example"));
}

#[test]
fn parts_and_wholes_are_the_same_address() {
    let domain = Domain::parse("XN--BCHER-KVA.example").unwrap();
    let bare = BareJid::from_parts("Jülia", &domain, Level::Creating).unwrap();
    assert_eq!(bare, BareJid::parse("jülia@bücher.example").unwrap());
    let full = bare.with_resource("Büro", Level::Routing).unwrap();
    assert_eq!(full, FullJid::parse("jülia@bücher.example/Büro").unwrap());
    assert_eq!((full.local(), full.domain(), full.resource()), (Some("jülia"), "bücher.example", "Büro"));
    assert_eq!(full.to_bare(), bare);
    assert_eq!(bare.to_domain(), domain);
    assert_eq!(BareJid::from_domain(&domain), BareJid::parse("bücher.example").unwrap());
    assert_eq!(Jid::from(&domain).as_str(), "bücher.example");
    assert_eq!(bare.with_resource("", Level::Routing), Err(Error::Resource));
    assert_eq!(BareJid::parse("a@example/r"), Err(Error::Resource));
    assert_eq!(FullJid::parse("a@example"), Err(Error::Resource));
}

/// A bare address that shares the text of a full one behaves in every way as one that was parsed.
#[test]
fn a_bare_address_is_its_own_whatever_it_shares() {
    use std::collections::{BTreeMap, HashMap};
    for resource in ["r".to_owned(), "r".repeat(1023)] {
        let full = Jid::parse(&format!("juliet@example/{resource}")).unwrap();
        let shared = full.to_bare();
        let parsed = BareJid::parse("juliet@example").unwrap();
        assert_eq!(shared, parsed);
        assert_eq!(shared.as_str(), "juliet@example");
        assert_eq!(shared.to_string(), "juliet@example");
        assert_eq!(format!("{shared:?}"), "\"juliet@example\"");
        assert!(shared.as_jid().is_bare() && !shared.as_jid().is_domain());
        assert_eq!(shared.as_jid().resource(), None);
        assert_eq!(shared.as_jid().to_bare(), parsed);
        assert_eq!(shared.as_jid().to_full(), None);
        assert!(full.same_bare(shared.as_jid()) && !full.same_bare(&Jid::parse("romeo@example").unwrap()));
        assert_eq!(shared.cmp(&parsed), std::cmp::Ordering::Equal);
        assert_eq!(shared.with_resource("x", Level::Routing), FullJid::parse("juliet@example/x"));
        let hashed: HashMap<BareJid, u8> = [(shared.clone(), 1)].into_iter().collect();
        assert_eq!((hashed.get(&parsed), hashed.get("juliet@example")), (Some(&1), Some(&1)));
        let ordered: BTreeMap<BareJid, u8> = [(shared, 1)].into_iter().collect();
        assert_eq!((ordered.get(&parsed), ordered.get("juliet@example")), (Some(&1), Some(&1)));
    }
}
