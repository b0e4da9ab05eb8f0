//! Waiting on an OS thread: for a future, and no longer than until a deadline.
//!
//! Without a runtime, whose timers would wake one of its workers for each wait.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for `future` until a moment; `None` once that has come. The future may not need a runtime: no timers, no sockets.
pub fn wait<T>(future: impl Future<Output = T>, until: Instant) -> Option<T> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return None;
        }
        std::thread::park_timeout(rest);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn hears_of_what_another_thread_sends() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || sender.send(7));
        let late = Instant::now() + Duration::from_secs(60);
        assert_eq!(wait(receiver, late), Some(Ok(7)));
    }

    #[test]
    fn waits_no_longer_than_it_may() {
        let soon = Instant::now() + Duration::from_millis(1);
        assert_eq!(wait(std::future::pending::<()>(), soon), None);
        assert!(Instant::now() >= soon);
        assert_eq!(wait(std::future::ready(1), soon), Some(1), "what is there counts, however late");
    }
}
