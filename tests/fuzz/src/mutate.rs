//! Makes inputs from a corpus.

/// Pieces that streams are made of: put in anywhere, they reach what random bytes never do.
const PIECES: &[&str] = &[
    "<",
    ">",
    "/>",
    "</",
    "<a>",
    "</a>",
    "<a xmlns='b'>",
    " c='d'",
    "xmlns:p='q'",
    "p:",
    "&amp;",
    "&#x41;",
    "&#0;",
    "&foo;",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<?xml version='1.0'?>",
    "<!DOCTYPE x>",
    "\u{feff}",
    "é",
    "𝄞",
    "\u{fffe}",
    "\0",
    "'",
    "\"",
    "@",
    "/",
    ".",
    "xn--bcher-kva",
    "ß",
    "Ａ",
    "\u{200d}",
    "n,,",
    "y,,",
    "p=tls-exporter,,",
    "n=user",
    "r=",
    ",c=biws",
    ",p=",
    "=2C",
    "=3D",
    "<stream:stream>",
    "</stream:stream>",
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHUAcA==</auth>",
    "<iq type='set' id='1'>",
    "</iq>",
    "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>",
    "</response>",
];

pub(crate) struct Mutator {
    state: u64,
    corpus: &'static [&'static str],
}

impl Mutator {
    pub(crate) fn new(seed: u64, corpus: &'static [&'static str]) -> Mutator {
        Mutator { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, corpus }
    }

    fn draw(&mut self, below: usize) -> usize {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        if below == 0 { 0 } else { (self.state % below as u64) as usize }
    }

    pub(crate) fn next(&mut self) -> Vec<u8> {
        let at = self.draw(self.corpus.len());
        let mut input = self.corpus[at].as_bytes().to_vec();
        for _ in 0..=self.draw(6) {
            let place = self.draw(input.len() + 1);
            match self.draw(6) {
                0 => {
                    let piece = PIECES[self.draw(PIECES.len())];
                    input.splice(place..place, piece.bytes());
                }
                1 => {
                    let end = (place + self.draw(12)).min(input.len());
                    input.drain(place..end);
                }
                2 if place < input.len() => input[place] = self.draw(256) as u8,
                3 => {
                    let end = (place + self.draw(24)).min(input.len());
                    let copy = input[place..end].to_vec();
                    let to = self.draw(input.len() + 1);
                    input.splice(to..to, copy);
                }
                4 => input.truncate(place),
                _ => {
                    let other = self.corpus[self.draw(self.corpus.len())].as_bytes();
                    let from = self.draw(other.len() + 1);
                    input.splice(place.., other[from..].iter().copied());
                }
            }
        }
        input.truncate(16 * 1024);
        input
    }
}
