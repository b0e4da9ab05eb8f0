//! Waiting longer after each failure, never in step with others.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Delays that double from `first` to `most`, each with up to a quarter taken off at random, so that a hundred clients of a
/// server that comes back do not come back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The time to wait after one more failure.
    pub fn delay(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.most);
        full - spread(full / 4)
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Anywhere up to `most`: for what many would otherwise do in the same moment.
pub fn spread(most: Duration) -> Duration {
    most.mul_f64(random_fraction())
}

/// A number in 0..1. `RandomState` is seeded by the system and differs at each call: enough for jitter.
fn random_fraction() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_most_and_starts_anew_after_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(300));
        for full in [100, 200, 300, 300] {
            let delay = backoff.delay();
            assert!(delay > ms(full * 3 / 4 - 1) && delay <= ms(full), "{delay:?} of {full}");
        }
        backoff.reset();
        assert!(backoff.delay() <= ms(100));
    }
}
