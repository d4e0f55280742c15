//! What an address costs: parsing is on the way of every stanza, twice.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use stonechat_jid::Jid;

fn parsing(criterion: &mut Criterion) {
    let texts = [
        ("bare", "juliet@capulet.example"),
        ("full", "juliet@capulet.example/balcony.d41d8cd9"),
        ("mixed case", "Juliet@Capulet.Example/Balcony"),
        ("non-ASCII", "jülía@bücher.example/Büro"),
        ("emoji resource", "juliet@capulet.example/🎉👩‍🚀"),
    ];
    let mut group = criterion.benchmark_group("parse");
    for (name, text) in texts {
        group.bench_function(name, |bencher| bencher.iter(|| Jid::parse(black_box(text))));
    }
    // The context rules of RFC 5892 look at the whole label for each such digit: the dearest text of one stanza.
    let digits = format!("capulet.example/{}", "٣".repeat(511));
    group.bench_function("1022 bytes of digits in context", |bencher| bencher.iter(|| Jid::parse(black_box(&digits))));
    // The least that any address can cost.
    group.bench_function("allocation alone", |bencher| {
        bencher.iter(|| Arc::<str>::from(black_box("juliet@capulet.example/balcony.d41d8cd9")))
    });
    group.finish();
}

#[expect(clippy::expect_used, reason = "a constant of this file")]
fn using(criterion: &mut Criterion) {
    let full = Jid::parse("juliet@capulet.example/balcony.d41d8cd9").expect("an address");
    criterion
        .bench_function("clone and to_bare", |bencher| bencher.iter(|| black_box(black_box(&full).clone()).to_bare()));
}

criterion_group!(benches, parsing, using);
criterion_main!(benches);
