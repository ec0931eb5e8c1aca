//! Random bits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The random bits of the system; in a simulation, those that follow from a seed, of which each is drawn once by all clones together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Random(Option<Arc<Mutex<fastrand::Rng>>>);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)))))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that draws them")]
    pub(crate) fn fill(&self, bytes: &mut [u8]) -> Result<(), getrandom::Error> {
        match &self.0 {
            Some(seeded) => seeded.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes),
            None => getrandom::fill(bytes)?,
        }
        Ok(())
    }

    /// 0 if the system has no random bits: for numbers that need not be secret.
    pub(crate) fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes).map_or(0, |()| u64::from_le_bytes(bytes))
    }

    /// An interval that is up to a tenth shorter, so that locks that were taken together are not always renewed together.
    pub(crate) fn up_to_a_tenth_less(&self, interval: Duration) -> Duration {
        interval.mul_f64(1.0 - self.fraction() / 10.0)
    }

    /// A duration between `shortest` and twice that.
    pub(crate) fn up_to_twice(&self, shortest: Duration) -> Duration {
        shortest.mul_f64(1.0 + self.fraction())
    }

    /// At least 0 and less than 1.
    fn fraction(&self) -> f64 {
        (self.u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_all_bits_and_the_system_does_not_repeat_them() {
        let draw = |random: Random| [random.u64(), random.clone().u64()];
        assert_eq!(draw(Random::seeded(1)), draw(Random::seeded(1)));
        assert_ne!(draw(Random::seeded(1)), draw(Random::seeded(2)));
        assert_ne!(draw(Random::default()), draw(Random::default()));
        let [first, second] = draw(Random::seeded(1));
        assert_ne!(first, second);
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        let (random, second) = (Random::default(), Duration::from_secs(1));
        for _ in 0..1000 {
            assert!((0.9..=1.0).contains(&random.up_to_a_tenth_less(second).as_secs_f64()));
            assert!((1.0..=2.0).contains(&random.up_to_twice(second).as_secs_f64()));
        }
    }
}
