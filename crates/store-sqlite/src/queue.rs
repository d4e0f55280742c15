//! A bounded queue between the callers, who never wait, and the threads of the store, who do.
//!
//! The standard channels have a bound, but neither a length to show nor a way to take all that is there at once, which is
//! what group commit lives on.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use stonechat_store::{Error, Result};

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    bound: usize,
}

struct State<T> {
    items: VecDeque<T>,
    /// Threads asleep in [`Queue::take`]: nobody is woken when there is none, which spares a system call.
    asleep: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(bound: usize) -> Queue<T> {
        Queue {
            state: Mutex::new(State { items: VecDeque::new(), asleep: 0, closed: false }),
            ready: Condvar::new(),
            bound,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // No code runs under this lock that could leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one at the end; never waits.
    pub(crate) fn push(&self, item: T) -> Result<()> {
        self.offer(item).map_err(|(_, error)| error)
    }

    /// The same, giving back what is refused.
    pub(crate) fn offer(&self, item: T) -> std::result::Result<(), (T, Error)> {
        self.push_within(self.bound, item)
    }

    /// The same without a bound.
    pub(crate) fn push_anyway(&self, item: T) -> std::result::Result<(), (T, Error)> {
        self.push_within(usize::MAX, item)
    }

    fn push_within(&self, bound: usize, item: T) -> std::result::Result<(), (T, Error)> {
        let mut state = self.state();
        if state.closed {
            return Err((item, Error::Closed));
        }
        if state.items.len() >= bound {
            return Err((item, Error::Overloaded));
        }
        state.items.push_back(item);
        let wake = state.asleep > 0;
        drop(state);
        if wake {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits until there is something, then moves at most `most` to `into`. `false` when the queue was closed and is empty.
    pub(crate) fn take(&self, into: &mut VecDeque<T>, most: usize) -> bool {
        let mut state = self.state();
        while state.items.is_empty() {
            if state.closed {
                return false;
            }
            state.asleep = state.asleep.saturating_add(1);
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep = state.asleep.saturating_sub(1);
        }
        let count = state.items.len().min(most);
        into.extend(state.items.drain(..count));
        true
    }

    /// Refuses what comes from now on; what is there is still taken.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.ready.notify_all();
    }

    pub(crate) fn len(&self) -> usize {
        self.state().items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_past_the_bound_and_after_the_close_but_hands_out_what_it_took() {
        let queue = Queue::new(2);
        queue.push(1).unwrap();
        queue.push(2).unwrap();
        assert!(matches!(queue.push(3), Err(Error::Overloaded)));
        let mut taken = VecDeque::new();
        assert!(queue.take(&mut taken, 1));
        queue.push(4).unwrap();
        queue.close();
        assert!(matches!(queue.push(5), Err(Error::Closed)));
        assert!(queue.take(&mut taken, 10));
        assert!(!queue.take(&mut taken, 10));
        assert_eq!(taken, [1, 2, 4]);
    }
}
