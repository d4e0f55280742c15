//! A time at which a task is woken, for deadlines that move away before they come.
//!
//! Nearly every message moves a connection's deadlines (silence, an unfinished element). The timer behind this stays where
//! it is meanwhile, and is set anew only when it rings too early or must ring earlier: the timer wheel is shared by all
//! connections, and entering it costs a lock.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::time::{Sleep, sleep_until};

/// See the module. It takes no memory until it is first set.
#[derive(Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when the deadline has come; never without one.
    pub(crate) fn poll_ring(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else { return Poll::Pending };
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
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
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_however_that_moved() {
        let begun = tokio::time::Instant::now();
        let at = |seconds| Some((begun + Duration::from_secs(seconds)).into_std());
        let mut alarm = Alarm::default();
        let ring = async |alarm: &mut Alarm, deadline| poll_fn(|cx| alarm.poll_ring(deadline, cx)).await;
        assert_eq!(ring(&mut alarm, at(20)).now_or_never(), None);
        assert_eq!(ring(&mut alarm, at(30)).now_or_never(), None, "it moved away");
        ring(&mut alarm, at(10)).await;
        assert_eq!(begun.elapsed().as_secs(), 10, "it came nearer");
        assert_eq!(ring(&mut alarm, at(40)).now_or_never(), None, "it has rung, and is for another deadline now");
        ring(&mut alarm, at(50)).await;
        assert_eq!(begun.elapsed().as_secs(), 50);
        ring(&mut alarm, at(45)).await;
        assert_eq!(begun.elapsed().as_secs(), 50, "what has passed rings at once");
        assert_eq!(ring(&mut alarm, None).now_or_never(), None);
    }
}
