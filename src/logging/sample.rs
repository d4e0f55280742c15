//! Which lines are written when many of one kind come (abuse case 147).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// A while.
const WHILE: Duration = Duration::from_secs(10);
/// Lines of one kind that are written in it.
const LINES: u32 = 200;

/// Counts lines by the place in the code that they come from: there are only so many of those.
#[derive(Debug, Default)]
pub(super) struct Sample(Mutex<HashMap<Identifier, Kind>>);

/// Lines from one place.
#[derive(Debug)]
struct Kind {
    /// The event's name.
    name: String,
    /// When the while began.
    since: Instant,
    written: u32,
    left_out: u64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Written,
    LeftOut,
}

impl Kind {
    fn line(&mut self, now: Instant) -> Line {
        if now.saturating_duration_since(self.since) >= WHILE {
            self.since = now;
            self.written = 0;
        }
        if self.written < LINES {
            self.written = self.written.saturating_add(1);
            Line::Written
        } else {
            self.left_out = self.left_out.saturating_add(1);
            Line::LeftOut
        }
    }
}

impl Sample {
    fn kinds(&self) -> MutexGuard<'_, HashMap<Identifier, Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was left out since this was asked last, by the event's name.
    pub(super) fn left_out(&self, now: Instant) -> Vec<(String, u64)> {
        let mut told = Vec::new();
        for kind in self.kinds().values_mut() {
            // What is quiet now is told of; what goes on is, too, but not at every line.
            if kind.left_out > 0 {
                told.push((kind.name.clone(), std::mem::take(&mut kind.left_out)));
            }
        }
        self.kinds().retain(|_, kind| now.saturating_duration_since(kind.since) < WHILE);
        told.sort_unstable();
        told
    }
}

/// Reads the event's name.
#[derive(Default)]
struct Name(Option<String>);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.0 = Some(value.to_owned());
        }
    }
    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}

impl<S> Filter<S> for &'static Sample {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        // Never `always`: what is refused is forgotten with the next question alone.
        Interest::sometimes()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Levels are ordered by how talkative they are.
        if *metadata.level() > Level::INFO {
            return true;
        }
        let now = Instant::now();
        let mut kinds = self.kinds();
        let kind = kinds.entry(metadata.callsite()).or_insert_with(|| {
            let mut name = Name::default();
            event.record(&mut name);
            let name = name.0.unwrap_or_else(|| metadata.target().to_owned());
            Kind { name, since: now, written: 0, left_out: 0 }
        });
        kind.line(now) == Line::Written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abuse_147_of_many_lines_of_one_kind_some_are_written_and_the_rest_is_counted() {
        let began = Instant::now();
        let mut kind = Kind { name: "x".to_owned(), since: began, written: 0, left_out: 0 };
        let lines: Vec<Line> = (0..LINES + 5).map(|_| kind.line(began)).collect();
        assert_eq!(lines.iter().filter(|line| **line == Line::Written).count(), 200);
        assert_eq!((lines.last(), kind.left_out), (Some(&Line::LeftOut), 5));
        assert_eq!(kind.line(began + WHILE), Line::Written, "the next while is another");
        assert_eq!(kind.left_out, 5, "and nothing is forgotten");
    }
}
