//! Preparation of the three parts at both levels.

use crate::{Error, Jid, Level};

pub(crate) fn parse(_text: &str, _level: Level) -> Result<Jid, Error> {
    todo!()
}
