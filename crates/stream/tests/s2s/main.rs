//! Streams between servers: two machines against each other, and each against a peer that does not behave. RFC 6120,
//! XEP-0178, XEP-0185, XEP-0220, and the abuse cases L, under a clock of the test's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod initiating;
mod management;
mod pair;
mod pairs;
mod receiving;
