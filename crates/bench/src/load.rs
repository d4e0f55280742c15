//! The kinds of load, one file each.

pub(crate) mod archive;
pub(crate) mod chat;
pub(crate) mod idle;
pub(crate) mod login;
pub(crate) mod offline;
pub(crate) mod presence;
