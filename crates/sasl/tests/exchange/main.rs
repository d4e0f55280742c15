//! Whole exchanges between the two sides, by mechanism and by abuse case.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod abuse;
mod agreement;
mod desk;
mod properties;
mod tokens;
