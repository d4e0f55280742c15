//! The embedded store: one SQLite file in WAL mode.
//!
//! One thread writes. It takes what is queued, runs it in one transaction and answers after the commit (group commit), so
//! a synced commit is shared by all that wait for it. A few threads read, each with its own connection: a read sees every write
//! that was called before it, and nothing that is not committed. One more folds the log of writes into the file. Statements are
//! prepared ones only.
//!
//! Deliberately absent: protocol rules, and any SQL outside this crate.

mod accounts;
mod archive;
mod desk;
mod devices;
mod documents;
mod errors;
mod folding;
mod fresh;
mod lists;
mod lock;
mod migrate;
mod open;
mod queue;
mod reader;
mod residents;
mod rosters;
mod spool;
mod writer;

pub use open::{Durability, Options, SqliteStore, Statistics};
