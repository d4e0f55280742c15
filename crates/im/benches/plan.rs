//! What the plan costs for one message: reading the child index, and deciding.

#![allow(missing_docs, reason = "the macro makes a public function")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use stonechat_im::classify::{Classification, message_type};
use stonechat_im::plan::{Address, Archiving, Carbons, Counting, Recipient, SessionState, plan, plan_sent};
use stonechat_im::reference::origin_id;
use stonechat_im::urgency::{Urgency, urgency};
use stonechat_stanza::{MessageType, Stanza, ns};
use stonechat_xml::Element;

fn plans(criterion: &mut Criterion) {
    let message = Stanza::message(
        MessageType::Chat,
        [
            Element::new("body", ns::CLIENT).with_text("Wherefore art thou, Romeo?"),
            Element::new("active", ns::CHAT_STATES),
            Element::new("request", ns::RECEIPTS),
            Element::new("markable", ns::CHAT_MARKERS),
            Element::new("origin-id", ns::STANZA_ID).with_attribute("id", "5f2c"),
        ],
    );
    let state =
        |priority| SessionState { priority: Some(priority), carbons: Carbons::Enabled, counting: Counting::Resumable };
    let sessions = [state(0), state(5)];
    let account = |address| Recipient::Account { sessions: &sessions, address, archiving: Archiving::On };
    let classification = Classification::of(&message);
    criterion.bench_function("classify a chat message with five children", |bencher| {
        bencher.iter(|| Classification::of(black_box(&message)));
    });
    criterion.bench_function("plan to the bare address, two sessions", |bencher| {
        bencher.iter(|| plan(MessageType::Chat, black_box(classification), black_box(account(Address::Bare))));
    });
    criterion.bench_function("classify and plan to a full address", |bencher| {
        bencher.iter(|| {
            let message = black_box(&message);
            plan(message_type(message), Classification::of(message), black_box(account(Address::Session(1))))
        });
    });
    criterion.bench_function("classify and plan the sender's half", |bencher| {
        bencher.iter(|| {
            let message = black_box(&message);
            plan_sent(message_type(message), Classification::of(message), &sessions, Some(0), Archiving::On)
        });
    });
    criterion.bench_function("read an origin-id", |bencher| bencher.iter(|| origin_id(black_box(&message))));
    criterion.bench_function("urgency of a chat message", |bencher| {
        bencher.iter(|| urgency(black_box(&message)) == Urgency::Now)
    });
    let forwarded = Element::new("forwarded", ns::FORWARD).with_child(
        Element::new("message", ns::CLIENT).with_attribute("type", "chat").with_children(message.elements()),
    );
    let carbon = Stanza::message(MessageType::Chat, [Element::new("received", ns::CARBONS).with_child(forwarded)]);
    criterion
        .bench_function("urgency of a carbon", |bencher| bencher.iter(|| urgency(black_box(&carbon)) == Urgency::Now));
    let keys = (0..20).map(|device: u32| {
        Element::new("key", ns::OMEMO_AXOLOTL).with_attribute("rid", device.to_string()).with_text("MwohBe".repeat(20))
    });
    let encrypted = Stanza::message(
        MessageType::Chat,
        [Element::new("encrypted", ns::OMEMO_AXOLOTL)
            .with_child(Element::new("header", ns::OMEMO_AXOLOTL).with_children(keys))
            .with_child(Element::new("payload", ns::OMEMO_AXOLOTL).with_text("xYz0".repeat(80)))],
    );
    criterion.bench_function("classify an encrypted message", |bencher| {
        bencher.iter(|| Classification::of(black_box(&encrypted)));
    });
}

criterion_group!(benches, plans);
criterion_main!(benches);
