//! What a stanza costs on its way through: from the frame to the typed head, and out again.

#![allow(missing_docs, clippy::panic, reason = "a benchmark of bytes that are known to be good")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use stonechat_stanza::{Accepted, ContentNamespace, Keep, ns};
use stonechat_xml::{Frame, Framing, Item, Limits, Parser};

const MESSAGE: &str = "<message from='romeo@example.net/orchard' to='juliet@example.com/balcony' type='chat' \
    id='0c8d2f0e-7d1a-4b5e-9d57-0b2f5c1e7c11'><body>But, soft! what light through yonder window breaks? It is the east, \
    &amp; Juliet is the sun.</body><active xmlns='http://jabber.org/protocol/chatstates'/>\
    <request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='0c8d2f0e-7d1a'/></message>";

fn frame(xml: &str) -> Frame {
    let mut parser = Parser::new(Framing::Stream, Limits::CLIENT);
    let mut header: &[u8] = b"<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>";
    assert!(matches!(parser.next(&mut header), Ok(Some(Item::Header(_)))));
    match parser.next(&mut xml.as_bytes()) {
        Ok(Some(Item::Frame(frame))) => frame,
        other => panic!("{other:?}"),
    }
}

fn stanzas(criterion: &mut Criterion) {
    let arrived = frame(MESSAGE);
    let accept = |frame| match Accepted::from_frame(frame, ContentNamespace::Client) {
        Ok(Accepted::Stanza(stanza)) => stanza,
        other => panic!("{other:?}"),
    };
    criterion.bench_function("accept a chat message", |bencher| {
        bencher.iter_batched(|| arrived.clone(), accept, BatchSize::SmallInput);
    });
    let stanza = accept(arrived.clone());
    let mut out = Vec::with_capacity(1_024);
    criterion.bench_function("write a chat message", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&stanza).write(ContentNamespace::Client, &mut out);
        });
    });
    criterion.bench_function("look for forged children", |bencher| {
        bencher.iter(|| {
            black_box(&stanza).clone().without_children(|_, child| match child.is("stanza-id", ns::STANZA_ID) {
                true => Keep::Removed,
                false => Keep::Kept,
            })
        });
    });
}

criterion_group!(benches, stanzas);
criterion_main!(benches);
