//! A time at which a task is woken, for deadlines that move away before they come.
//!
//! Nearly every message moves a connection's deadlines (silence, an unfinished element). The timer behind this stays where
//! it is meanwhile, and is set anew only when it rings too early or must ring earlier: the timer wheel is shared by all
//! connections, and entering it costs a lock.

use std::future::pending;
use std::pin::Pin;
use std::time::Instant;
use tokio::time::{Sleep, sleep_until};

/// See the module. It takes no memory until it is first set.
#[derive(Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Resolves when the deadline has come; never without one. May be dropped and asked anew at any time.
    pub(crate) async fn ring(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else { return pending().await };
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            sleep.as_mut().await;
            if sleep.deadline() >= deadline {
                return;
            }
            // It rang for a deadline that has moved since.
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_however_that_moved() {
        let begun = tokio::time::Instant::now();
        let at = |seconds| Some((begun + Duration::from_secs(seconds)).into_std());
        let mut alarm = Alarm::default();
        assert_eq!(alarm.ring(at(20)).now_or_never(), None);
        assert_eq!(alarm.ring(at(30)).now_or_never(), None, "it moved away");
        alarm.ring(at(10)).await;
        assert_eq!(begun.elapsed().as_secs(), 10, "it came nearer");
        assert_eq!(alarm.ring(at(40)).now_or_never(), None, "it has rung, and is for another deadline now");
        alarm.ring(at(50)).await;
        assert_eq!(begun.elapsed().as_secs(), 50);
        alarm.ring(at(45)).await;
        assert_eq!(begun.elapsed().as_secs(), 50, "what has passed rings at once");
        assert_eq!(alarm.ring(None).now_or_never(), None);
    }
}
