//! What framing and validating costs: every byte of every peer goes through it once.

#![allow(missing_docs, clippy::panic, reason = "a benchmark of bytes that are known to be good")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::fmt::Write as _;
use std::hint::black_box;
use stonechat_xml::{Element, Framing, Item, Limits, Parser};

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.net' version='1.0' xml:lang='en' \
    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

const PRESENCE: &str = "<presence id='5d3c'><show>away</show><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' \
    node='https://gajim.org' ver='uQ7tG2qZPCbS9dCVfJQnvJ5sWqk='/></presence>";

const MESSAGE: &str = "<message to='juliet@example.com/balcony' type='chat' id='0c8d2f0e-7d1a-4b5e-9d57-0b2f5c1e7c11'>\
    <body>But, soft! what light through yonder window breaks? It is the east, &amp; Juliet is the sun.</body>\
    <active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>\
    <origin-id xmlns='urn:xmpp:sid:0' id='0c8d2f0e-7d1a'/></message>";

const PREFIXED: &str = "<db:result xmlns:db='jabber:server:dialback' from='capulet.example' to='montague.example'>\
    37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643</db:result>";

fn roster() -> String {
    let mut text = "<iq type='result' id='r'><query xmlns='jabber:iq:roster' ver='7'>".to_owned();
    for number in 0..200 {
        let _ = write!(
            text,
            "<item jid='friend{number}@example.org' name='Friend &lt;{number}&gt;' subscription='both'>\
             <group>Friends</group></item>"
        );
    }
    text + "</query></iq>"
}

fn block() -> String {
    let data = "bWFnbmlmaWNlbnQgYmxvY2sgb2YgZGF0YSB0aGF0IGdvZXMgaW4gYmFuZA".repeat(800);
    format!(
        "<iq type='set' to='a@b.example/c' id='1'><data xmlns='http://jabber.org/protocol/ibb' sid='s'>{data}</data></iq>"
    )
}

/// A parser inside a stream.
fn inside() -> Parser {
    let mut parser = Parser::new(Framing::Stream, Limits::CLIENT);
    match parser.next(&mut HEADER.as_bytes()) {
        Ok(Some(Item::Header(_))) => parser,
        other => panic!("{other:?}"),
    }
}

/// Feeds one element in pieces of that size.
fn feed(parser: &mut Parser, bytes: &[u8], piece: usize) -> Item {
    for part in bytes.chunks(piece) {
        let mut rest = part;
        if let Ok(Some(item)) = parser.next(&mut rest) {
            return item;
        }
    }
    panic!("no element");
}

fn parsing(criterion: &mut Criterion) {
    let (roster, block) = (roster(), block());
    let mut group = criterion.benchmark_group("frame");
    for (name, text, piece) in [
        ("presence", PRESENCE, usize::MAX),
        ("message", MESSAGE, usize::MAX),
        ("message in two reads", MESSAGE, MESSAGE.len() / 2),
        ("message byte by byte", MESSAGE, 1),
        ("element to be rewritten", PREFIXED, usize::MAX),
        ("roster of 200", &roster, usize::MAX),
        ("block of 48 KiB", &block, 16 * 1024),
    ] {
        let mut parser = inside();
        group.throughput(Throughput::Bytes(u64::try_from(text.len()).unwrap_or_default()));
        group.bench_function(name, |bencher| bencher.iter(|| feed(&mut parser, black_box(text.as_bytes()), piece)));
    }
    group.throughput(Throughput::Bytes(u64::try_from(HEADER.len()).unwrap_or_default()));
    group.bench_function("header", |bencher| bencher.iter(inside));
    group.finish();
}

fn trees(criterion: &mut Criterion) {
    let roster = roster();
    let mut group = criterion.benchmark_group("tree");
    for (name, text) in [("message", MESSAGE), ("roster of 200", &roster)] {
        group.throughput(Throughput::Bytes(u64::try_from(text.len()).unwrap_or_default()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| Element::parse(black_box(text.as_bytes()), "jabber:client"));
        });
    }
    group.finish();
}

criterion_group!(benches, parsing, trees);
criterion_main!(benches);
