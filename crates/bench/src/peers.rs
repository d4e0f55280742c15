//! placeholder
use clap::Args;
use crate::Result;
#[derive(Debug, Args)]
pub(crate) struct Options {}
pub(crate) async fn run(_options: Options) -> Result<()> { Ok(()) }
