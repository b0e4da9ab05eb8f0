//! When a second upstream is asked before the first has answered: a lost datagram or a server that stalls then costs a little more
//! than a usual answer, not a time-out.
//!
//! Owns how long a usual answer takes and how many questions may be asked twice. Must not know who is asked. Source: Dean and Barroso,
//! "The Tail at Scale" (hedged requests); RFC 6298 (a time from which on an answer is late).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How long one upstream's answers take: the mean and its deviation, in microseconds, as one word. 0: none has come yet.
#[derive(Debug, Default)]
pub(crate) struct Latency(AtomicU64);

/// Before anything is known of an upstream: Unbound's first guess.
const UNKNOWN: Duration = Duration::from_millis(376);
/// Less than this is the scheduler's doing, not the upstream's.
const LEAST: Duration = Duration::from_millis(20);
/// Half of a try's time: a second try is then still worth its while.
const MOST: Duration = Duration::from_secs(1);

impl Latency {
    /// RFC 6298 section 2, with its gains of 1/8 and 1/4.
    pub(crate) fn observe(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let next = |word: u64| {
            let (mean, deviation) = ((word >> 32) as u32, word as u32);
            let (mean, deviation) = match mean {
                0 => (took, took / 2),
                _ => (mean - mean / 8 + took / 8, deviation - deviation / 4 + mean.abs_diff(took) / 4),
            };
            Some(u64::from(mean.max(1)) << 32 | u64::from(deviation))
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The time by which nearly all answers (about 95 of 100) have come.
    pub(crate) fn patience(&self) -> Duration {
        let word = self.0.load(Ordering::Relaxed);
        if word == 0 {
            return UNKNOWN;
        }
        let (mean, deviation) = (word >> 32, word & u64::from(u32::MAX));
        Duration::from_micros(mean + 4 * deviation).clamp(LEAST, MOST)
    }
}

/// How many questions may still be asked twice: one for ten that are asked, so that upstreams which are slow for all get a tenth more
/// work and not twice as much.
#[derive(Debug)]
pub(crate) struct Budget {
    /// In tenths.
    left: AtomicU32,
}

/// What a second try costs, and what one question brings in.
const COST: u32 = 10;
const INCOME: u32 = 1;
/// Ten second tries: a burst after a quiet time.
const SAVINGS: u32 = 10 * COST;

impl Default for Budget {
    fn default() -> Self {
        Self { left: AtomicU32::new(SAVINGS) }
    }
}

impl Budget {
    pub(crate) fn earn(&self) {
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some((left + INCOME).min(SAVINGS)));
    }

    /// Whether there was enough for a second try.
    pub(crate) fn spend(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(COST)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience_after(took_ms: &[u64]) -> u128 {
        let latency = Latency::default();
        took_ms.iter().for_each(|took| latency.observe(Duration::from_millis(*took)));
        latency.patience().as_millis()
    }

    #[test]
    fn patience_follows_what_answers_take() {
        assert_eq!(patience_after(&[]), 376, "nothing is known");
        assert_eq!(patience_after(&[100]), 300, "one says little of the others");
        assert!((100..130).contains(&patience_after(&[100; 50])), "{}", patience_after(&[100; 50]));
        assert_eq!(patience_after(&[1; 50]), 20, "not every hiccup");
        assert_eq!(patience_after(&[5_000; 50]), 1_000, "not for ever");
        let spread = [20, 180].repeat(50);
        assert!((250..600).contains(&patience_after(&spread)), "{}", patience_after(&spread));
    }

    #[test]
    fn one_question_in_ten_may_be_asked_twice() {
        let budget = Budget::default();
        let burst = (0..100).filter(|_| budget.spend()).count();
        assert_eq!(burst, 10);
        let steady = (0..1_000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        assert_eq!(steady.count(), 100);
    }
}
