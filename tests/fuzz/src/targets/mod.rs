//! The targets.

mod jid;
mod sasl;
mod stream;
mod tokenizer;

pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) corpus: &'static [&'static str],
    pub(crate) run: fn(&[u8]),
}

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "tokenizer", corpus: tokenizer::CORPUS, run: tokenizer::run },
    Target { name: "jid", corpus: jid::CORPUS, run: jid::run },
    Target { name: "sasl", corpus: sasl::CORPUS, run: sasl::run },
    Target { name: "stream", corpus: stream::CORPUS, run: stream::run },
];
