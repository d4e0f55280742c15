//! The parser over a corpus: what it hands out, what it refuses (abuse cases 1 to 22), and that cutting the bytes anywhere
//! changes nothing.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use stonechat_xml::{Element, Error, Framing, Item, Limit, Limits, Parser};

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='a.example' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// What a run over some bytes showed, for comparison.
#[derive(Debug, PartialEq)]
enum Seen {
    Header(String),
    Frame(String, String),
    Footer,
}

fn run(parts: &[&[u8]], limits: Limits) -> (Vec<Seen>, Option<Error>) {
    let mut parser = Parser::new(Framing::Stream, limits);
    let mut seen = Vec::new();
    for part in parts {
        let mut rest = *part;
        loop {
            match parser.next(&mut rest) {
                Ok(Some(Item::Header(header))) => {
                    seen.push(Seen::Header(header.attribute("to").map(|to| to.to_string()).unwrap_or_default()));
                }
                Ok(Some(Item::Frame(frame))) => seen.push(Seen::Frame(
                    String::from_utf8(frame.bytes().to_vec()).unwrap(),
                    frame.to_element().unwrap().to_xml(),
                )),
                Ok(Some(Item::Footer)) => seen.push(Seen::Footer),
                Ok(Some(Item::Whitespace(_))) => {}
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
            }
        }
        assert!(rest.is_empty(), "everything is consumed");
    }
    (seen, None)
}

fn whole(body: &str) -> (Vec<Seen>, Option<Error>) {
    run(&[format!("{HEADER}{body}").as_bytes()], Limits::CLIENT)
}

fn refusal(body: &str) -> Error {
    whole(body).1.unwrap_or_else(|| panic!("accepted: {body}"))
}

const ACCEPTED: &[&str] = &[
    "<message to='b@a.example' type='chat' id='1'><body>Hi &amp; &#x1F600; there</body><active xmlns='urn:x'/></message>",
    " \n <presence/>  <iq type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>\n",
    "<message><body><![CDATA[<not> & a tag]]]></body></message>",
    "<message><x:y xmlns:x='urn:one' x:a='1' a='2'/></message>",
    "<stream:features><a xmlns='urn:two'/></stream:features>",
    "<c:message xmlns:c='jabber:client'><c:body>prefixed</c:body></c:message>",
    "<message xmlns:p='urn:p'><p:q/></message>",
    "<message><body>é\u{10FFFD}𝄞 \t\r\n</body></message>",
    "<message a='x&#xA;y\tz'/>",
    "<a xmlns='urn:b'><c xmlns=''><d/></c></a>",
    "<ñandú xmlns='urn:n'/>",
    "<message><body>]] ></body></message></stream:stream>  trailing is ignored",
];

#[test]
fn every_cut_gives_the_same_items() {
    for body in ACCEPTED {
        let bytes = format!("{HEADER}{body}").into_bytes();
        let (seen, error) = run(&[&bytes], Limits::CLIENT);
        assert_eq!(error, None, "{body}");
        assert!(seen.len() >= 2, "{body}");
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(run(&single, Limits::CLIENT), run(&[&bytes], Limits::CLIENT), "{body} byte by byte");
        for cut in 0..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(run(&[a, b], Limits::CLIENT), run(&[&bytes], Limits::CLIENT), "{body} cut at {cut}");
        }
    }
}

#[test]
fn a_frame_that_leans_on_the_stream_root_is_rewritten_to_stand_alone() {
    let mut parser = Parser::new(Framing::Stream, Limits::SERVER);
    let bytes = "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
                 xmlns:stream='http://etherx.jabber.org/streams'>\
                 <db:result from='a' to='b'>key</db:result><message><db:x/></message>";
    let mut rest = bytes.as_bytes();
    assert!(matches!(parser.next(&mut rest), Ok(Some(Item::Header(_)))));
    let Ok(Some(Item::Frame(frame))) = parser.next(&mut rest) else { panic!("a frame") };
    assert!(frame.is("result", "jabber:server:dialback"));
    assert_eq!(frame.attribute("from").map(|from| from.to_string()).as_deref(), Some("a"));
    assert_eq!(frame.to_element().unwrap().text(), "key");
    let Ok(Some(Item::Frame(frame))) = parser.next(&mut rest) else { panic!("a frame") };
    assert_eq!(&frame.bytes()[..], b"<message><x xmlns='jabber:server:dialback'/></message>");
    assert_eq!(&*frame.children()[0].namespace, "jabber:server:dialback");
}

#[test]
fn children_are_indexed_with_their_namespaces_and_spans() {
    let mut parser = Parser::new(Framing::Stream, Limits::CLIENT);
    let bytes = format!("{HEADER}<message id='&lt;1'><body>x</body><y xmlns='urn:y'><z/></y></message>");
    let mut rest = bytes.as_bytes();
    parser.next(&mut rest).unwrap();
    let Ok(Some(Item::Frame(frame))) = parser.next(&mut rest) else { panic!("a frame") };
    let children: Vec<(String, String, &[u8])> = frame
        .children()
        .iter()
        .map(|c| {
            let bytes = &frame.bytes()[c.span.start as usize..c.span.end as usize];
            (c.namespace.to_string(), c.name.to_string(), bytes)
        })
        .collect();
    assert_eq!(
        children,
        [
            ("jabber:client".into(), "body".into(), &b"<body>x</body>"[..]),
            ("urn:y".into(), "y".into(), &b"<y xmlns='urn:y'><z/></y>"[..]),
        ]
    );
    assert_eq!(frame.attribute("id").map(|id| id.to_string()).as_deref(), Some("<1"));
    assert_eq!(parser.held(), 0);
}

#[test]
fn abuse_01_to_05_what_rfc6120_restricts() {
    for (body, restricted) in [
        ("<!DOCTYPE x>", true),
        ("<message><!ENTITY a 'b'></message>", true),
        ("<message>&foo;</message>", true),
        ("<message a='&foo;'/>", true),
        ("<!-- c --><message/>", true),
        ("<message><!-- c --></message>", true),
        ("<message><?php ?></message>", true),
        ("<?php ?>", true),
        ("<?xml version='1.0'?>", false),
    ] {
        let error = refusal(body);
        assert_eq!(matches!(error, Error::Restricted(_)), restricted, "{body}: {error:?}");
    }
    let (_, error) = run(&[b"<!DOCTYPE x [<!ENTITY a 'b'>]><stream/>"], Limits::CLIENT);
    assert!(matches!(error, Some(Error::Restricted(_))));
}

#[test]
fn abuse_06_to_12_and_20_what_is_not_well_formed() {
    for body in [
        "<message></presence>",
        "<message><a></message></a>",
        "<message a='1' a='2'/>",
        "<message xmlns:x='urn:1' xmlns:y='urn:1' x:a='' y:a=''/>",
        "<x:message/>",
        "<message x:a=''/>",
        "<message a=1/>",
        "<message a='<'/>",
        "<message a/>",
        "<message a='1'b='2'/>",
        "<1/>",
        "<a:b:c xmlns:a='urn:a'/>",
        "<:a/>",
        "<message>\u{1}</message>",
        "<message>\u{FFFE}</message>",
        "<message>&#0;</message>",
        "<message>&#x1;</message>",
        "<message>&#xD800;</message>",
        "<message>]]></message>",
        "<message xmlns:xml='urn:x'/>",
        "<message xmlns:xmlns='urn:x'/>",
        "<message xmlns:a=''/>",
        "<message xmlns:a='urn:\u{7f}'/>",
        "<message xmlns='http://www.w3.org/2000/xmlns/'/>",
        "</message>",
        "< message/>",
        "<message / >",
        "<message><![CDAT[]]></message>",
    ] {
        let error = refusal(body);
        assert!(matches!(error, Error::NotWellFormed(_)), "{body}: {error:?}");
    }
    for body in [&b"<message>\xc0\x80</message>"[..], b"<message>\xed\xa0\x80</message>", b"<message a='\xff'/>"] {
        let (_, error) = run(&[HEADER.as_bytes(), body], Limits::CLIENT);
        assert!(matches!(error, Some(Error::NotWellFormed(_))), "{body:?}: {error:?}");
    }
}

#[test]
fn abuse_10_other_encodings() {
    for bytes in
        [&b"\xfe\xff\x00<"[..], b"\xff\xfe<\x00", b"<\x00?\x00", b"<?xml version='1.0' encoding='ISO-8859-1'?>"]
    {
        assert_eq!(run(&[bytes], Limits::CLIENT).1, Some(Error::UnsupportedEncoding), "{bytes:?}");
    }
    for prolog in [
        "\u{feff}",
        "\u{feff}<?xml version='1.0' encoding='utf-8'?>",
        "<?xml version=\"1.0\" encoding='UTF-8' standalone='yes' ?>\n",
    ] {
        let bytes = format!("{prolog}<s xmlns='x'><a/>").into_bytes();
        for cut in 0..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            let (seen, error) = run(&[a, b], Limits::CLIENT);
            assert_eq!((seen.len(), error), (2, None), "{prolog:?} cut at {cut}");
        }
    }
    for bad in ["<?xml?>", "<?xml encoding='utf-8'?>", "<?xml version='1.1'?>", "<?xml version='1.0' foo='1'?>"] {
        assert!(run(&[bad.as_bytes()], Limits::CLIENT).1.is_some(), "{bad}");
    }
}

#[test]
fn abuse_13_14_15_limits_hold_while_reading() {
    let limits = Limits { bytes: 300, depth: 4, attributes: 3, namespaces: 4, name: 10, children: 2 };
    let header = "<s:s xmlns='c' xmlns:s='s'>";
    for (body, limit) in [
        ("<a><b><c><d><e/></d></c></b></a>", Limit::Depth),
        ("<a b='' c='' d='' e=''/>", Limit::Attributes),
        ("<a xmlns:b='b'><c xmlns:d='d'><e xmlns:f='f'/></c></a>", Limit::Namespaces),
        ("<abcdefghijk/>", Limit::Name),
        ("<a><b/><c/><d/></a>", Limit::Children),
    ] {
        let bytes = format!("{header}{body}");
        assert_eq!(run(&[bytes.as_bytes()], limits).1, Some(Error::LimitExceeded(limit)), "{body}");
        let single: Vec<&[u8]> = bytes.as_bytes().chunks(1).collect();
        assert_eq!(run(&single, limits).1, Some(Error::LimitExceeded(limit)), "{body}");
    }
    // Never more is held than the limit, whether the giant comes at once or in drips.
    for chunk in [1, 7, 4096] {
        for opening in ["<a>", "<a b='", "<a><![CDATA["] {
            let mut parser = Parser::new(Framing::Stream, limits);
            let mut input = header.as_bytes().to_vec();
            input.extend_from_slice(opening.as_bytes());
            input.extend(std::iter::repeat_n(b'x', 10_000));
            let mut failed = None;
            'feed: for part in input.chunks(chunk) {
                let mut rest = part;
                loop {
                    match parser.next(&mut rest) {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(error) => {
                            failed = Some(error);
                            break 'feed;
                        }
                    }
                }
                assert!(parser.held() <= 301.max(chunk), "held {}", parser.held());
            }
            assert_eq!(failed, Some(Error::LimitExceeded(Limit::Bytes)), "{opening} in parts of {chunk}");
        }
    }
}

#[test]
fn abuse_17_text_at_stream_level() {
    assert_eq!(refusal("hello"), Error::StreamLevelText);
    assert_eq!(refusal("<message/>x"), Error::StreamLevelText);
}

#[test]
fn abuse_22_a_refusal_does_not_depend_on_the_cut() {
    for body in [
        "<message>&foo;</message>",
        "<!--x-->",
        "<x:y/>",
        "<a></b>",
        "<a b='1' b='2'/>",
        "text",
        "<?xml version='1.0'?>",
    ] {
        let bytes = format!("{HEADER}{body}").into_bytes();
        let expected = run(&[&bytes], Limits::CLIENT).1;
        assert!(expected.is_some());
        for cut in 0..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(run(&[a, b], Limits::CLIENT).1, expected, "{body} cut at {cut}");
        }
    }
}

#[test]
fn elements_are_read_and_written_without_loss() {
    for xml in [
        "<a xmlns='urn:a'/>",
        "<a xmlns='urn:a' b='1' xml:lang='en'><c xmlns='urn:c'> x &lt; y </c>\n<d>&amp;</d></a>",
        "<a xmlns='urn:a' xmlns:p='urn:p' p:q='&apos;&#xA;'><e xmlns=''/></a>",
    ] {
        let element = Element::parse(xml.as_bytes(), "").unwrap();
        let again = Element::parse(element.to_xml().as_bytes(), "").unwrap();
        assert_eq!(element, again, "{xml}");
    }
    assert!(Element::parse(b"<a/><b/>", "").is_err());
    assert!(Element::parse(b"<a>", "").is_err());
    assert!(Element::parse(b"", "").is_err());
}

#[test]
fn framing_of_elements_takes_each_as_a_document() {
    let mut parser = Parser::new(Framing::Elements, Limits::CLIENT);
    let mut rest = &b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example'/>"[..];
    let Ok(Some(Item::Frame(frame))) = parser.next(&mut rest) else { panic!("a frame") };
    assert!(frame.is("open", "urn:ietf:params:xml:ns:xmpp-framing"));
}

#[test]
fn abuse_14_small_input_does_not_grow_large() {
    // A long namespace name that each of many elements would have to carry.
    let long = "u".repeat(8_000);
    let many = |element: &str| element.repeat(1_200);
    let header = format!("<s:s xmlns='c' xmlns:s='s' xmlns:p='{long}'>");
    let refused = run(&[header.as_bytes()], Limits::CLIENT).1;
    assert_eq!(refused, Some(Error::LimitExceeded(Limit::Name)));
    let header = "<s:s xmlns='c' xmlns:s='s'>";
    for body in
        [format!("<a xmlns:p='{long}'>{}</a>", many("<p:a/>")), format!("<a xmlns='{long}'>{}</a>", many("<b/>"))]
    {
        let refused = run(&[header.as_bytes(), body.as_bytes()], Limits::CLIENT).1;
        assert_eq!(refused, Some(Error::LimitExceeded(Limit::Name)));
    }
    // What is rewritten is bounded too.
    let uri = "u".repeat(200);
    let header = format!("<s:s xmlns='c' xmlns:s='s' xmlns:p='{uri}'>");
    let body = format!("<a>{}</a>", many("<p:a/>"));
    let refused = run(&[header.as_bytes(), body.as_bytes()], Limits { depth: 64, ..Limits::BEFORE_AUTHENTICATION }).1;
    assert!(matches!(refused, Some(Error::LimitExceeded(Limit::Bytes | Limit::Children))), "{refused:?}");
    let limits = Limits { bytes: 10_000, children: 10_000, ..Limits::BEFORE_AUTHENTICATION };
    let refused = run(&[header.as_bytes(), body.as_bytes()], limits).1;
    assert_eq!(refused, Some(Error::LimitExceeded(Limit::Bytes)));
}

#[test]
fn abuse_36_a_stream_within_a_stream_is_refused_as_soon_as_its_tag_is_read() {
    let plain = HEADER.trim_start_matches("<?xml version='1.0'?>");
    let other_prefix = "<s:stream xmlns:s='http://etherx.jabber.org/streams' to='a.example'>";
    for again in [plain, other_prefix, "<stream:stream/>"] {
        for before in ["", "<message/>", " "] {
            let bytes = format!("{HEADER}{before}{again}").into_bytes();
            for cut in [HEADER.len(), bytes.len() - 1] {
                let (a, b) = bytes.split_at(cut);
                let error = run(&[a, b], Limits::CLIENT).1;
                assert!(matches!(error, Some(Error::NotWellFormed(_))), "{again} behind {before:?}: {error:?}");
            }
        }
    }
    // The name alone is not enough, and deeper it is an element like any other.
    for body in ["<stream/>", "<s:stream xmlns:s='urn:s'/>", "<message><stream:stream/></message>"] {
        assert_eq!(whole(body).1, None, "{body}");
    }
    // Elements that are documents of their own have no root to repeat.
    let mut parser = Parser::new(Framing::Elements, Limits::CLIENT);
    let mut rest = &b"<a xmlns='urn:a'/><a xmlns='urn:a'/>"[..];
    assert!(matches!(parser.next(&mut rest), Ok(Some(Item::Frame(_)))));
    assert!(matches!(parser.next(&mut rest), Ok(Some(Item::Frame(_)))));
}

#[test]
fn abuse_18_white_space_is_a_keepalive_only_up_to_a_limit() {
    let limits = Limits { bytes: 300, ..Limits::CLIENT };
    for chunk in [1, 7, 1000] {
        let mut parser = Parser::new(Framing::Stream, limits);
        let mut feed = |text: &str| {
            for part in text.as_bytes().chunks(chunk) {
                let mut rest = part;
                while parser.next(&mut rest)?.is_some() {}
            }
            assert!(parser.held() <= 300);
            Ok::<_, Error>(())
        };
        feed("<s:s xmlns='c' xmlns:s='s'>").unwrap();
        // An element between the spaces makes a fresh start.
        for _ in 0..10 {
            feed(&format!("{}<a/>", " ".repeat(300))).unwrap();
        }
        feed(&"\n".repeat(300)).unwrap();
        assert_eq!(feed(" "), Err(Error::LimitExceeded(Limit::Bytes)));
    }
}

#[test]
fn abuse_08_an_attribute_stands_once_by_whatever_prefix() {
    for body in [
        "<message to='a' type='chat' to='a'/>",
        "<message xmlns:x='urn:1' xmlns:y='urn:1' x:a='1' y:a='2'/>",
        // The prefixes were declared further out, one of them anew.
        "<message xmlns:x='urn:1'><b xmlns:y='urn:1'><c x:a='' b='' y:a=''/></b></message>",
        "<message xmlns:s='http://etherx.jabber.org/streams' s:a='' stream:a=''/>",
        "<message xmlns='urn:a' xmlns='urn:a'/>",
        "<message xmlns:x='urn:a' xmlns:x='urn:b'/>",
    ] {
        assert!(matches!(refusal(body), Error::NotWellFormed(_)), "{body}");
    }
    // One local name in different namespaces, or in none, is not twice.
    assert_eq!(whole("<message xmlns:x='urn:1' xmlns:y='urn:2' x:a='1' y:a='2' a='3'/>").1, None);
}

#[test]
fn abuse_150_what_is_as_large_as_it_may_be_is_read_in_one_go_however_it_comes() {
    // Work that grew with the square of any of these would not come to its end.
    let attributes: String = (0..126).map(|number| format!(" a{number}=''")).collect();
    let shapes = [
        format!("<m>{}</m>", "x".repeat(262_100)),
        format!("<m>{}</m>", "<a/>".repeat(9_999)),
        format!("<m>{}</m>", "&amp;".repeat(50_000)),
        format!("<m a='{}'/>", "&lt;".repeat(60_000)),
        format!("<m>{}</m>", format!("<a{attributes}/>").repeat(280)),
        format!("<m>{}{}</m>", "<a>".repeat(60), "</a>".repeat(60)).repeat(400),
        format!("<m><![CDATA[{}]]></m>", "]".repeat(262_000)),
    ];
    for shape in shapes {
        let bytes = format!("{HEADER}{shape}").into_bytes();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let (seen, error) = run(&single, Limits::CLIENT);
        assert_eq!(error, None, "{}", &shape[..20]);
        assert!(seen.len() >= 2);
    }
}
