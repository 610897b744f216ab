//! How long to wait before the next attempt to connect: exponential with jitter.
//!
//! Pure: the caller brings the random number and does the waiting. The defaults are the stock
//! client's (1 s, doubling to 5 s, ±50 %), so that all clients of a dead node come back within
//! 0.5 to 1.5 s and not all in the same instant.

use std::time::Duration;

/// Doublings after which the delay has certainly reached any sensible maximum.
const DOUBLINGS_MAX: u32 = 16;

/// The bounds of the delay between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffOptions {
    /// The delay before the first retry, before jitter.
    pub initial: Duration,
    /// The largest delay before jitter.
    pub max: Duration,
    /// The share of the delay by which it varies to either side, 0 to 1.
    pub jitter: f64,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(5),
            jitter: 0.5,
        }
    }
}

/// The delays of one series of failed attempts.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    /// The bounds, fixed at construction.
    options: BackoffOptions,
    /// Delays given since the last success.
    attempt: u32,
}

impl Backoff {
    /// Starts a series.
    pub(crate) fn new(options: BackoffOptions) -> Self {
        Self {
            options,
            attempt: 0,
        }
    }

    /// The next delay. `random` is uniform in `[0, 1)`.
    pub(crate) fn next_delay(&mut self, random: f64) -> Duration {
        let doublings = self.attempt.min(DOUBLINGS_MAX);
        self.attempt = self.attempt.saturating_add(1);
        let base = self
            .options
            .initial
            .saturating_mul(1 << doublings)
            .min(self.options.max);
        let jitter = self.options.jitter.clamp(0.0, 1.0);
        base.mul_f64(1.0 + jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0))
    }

    /// Ends the series: a namespace was connected.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(random: f64, count: usize) -> Vec<u64> {
        let mut backoff = Backoff::new(BackoffOptions::default());
        (0..count)
            .map(|_| backoff.next_delay(random).as_millis() as u64)
            .collect()
    }

    #[test]
    fn delays_double_up_to_the_maximum() {
        assert_eq!(delays(0.5, 5), [1000, 2000, 4000, 5000, 5000]);
    }

    #[test]
    fn jitter_spreads_the_first_retry_over_half_to_one_and_a_half_seconds() {
        assert_eq!(delays(0.0, 1), [500]);
        assert_eq!(delays(1.0, 1), [1500]);
    }

    #[test]
    fn reset_starts_the_series_again() {
        let mut backoff = Backoff::new(BackoffOptions::default());
        backoff.next_delay(0.5);
        backoff.next_delay(0.5);
        backoff.reset();
        assert_eq!(backoff.next_delay(0.5), Duration::from_secs(1));
    }

    #[test]
    fn very_long_series_do_not_overflow() {
        let mut backoff = Backoff::new(BackoffOptions {
            initial: Duration::from_secs(3600),
            ..BackoffOptions::default()
        });
        for _ in 0..100 {
            assert!(backoff.next_delay(0.999) <= Duration::from_secs(8));
        }
    }
}
