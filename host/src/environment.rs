//! What a process gets from its system, besides time that passes.

use crate::random::Random;
use crate::time::WallClock;

/// The random bits and the time of day of a process. The default ones are the system's.
///
/// A [`Locker`](crate::Locker) and its stores that have the same simulated environment are one process of a simulation. On a
/// current-thread runtime of tokio whose clock is paused, the seed then determines all that they do.
///
/// ```
/// use locker_host::simulation::Environment;
/// use locker_host::{Limits, Locker, Memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), locker_host::Error> {
/// let token = async || {
///     let environment = Environment::simulated(7, 1_770_000_000_000_000);
///     let memory = Memory::default().environment(&environment);
///     let locker = Locker::with_environment(memory, Limits::default(), &environment)?;
///     let lease = locker.lock("job", std::time::Duration::from_secs(30)).await?.granted().expect("the lock is free");
///     Ok::<_, locker_host::Error>(lease.token)
/// };
/// assert_eq!(token().await?.as_str(), token().await?.as_str());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub(crate) random: Random,
    pub(crate) clock: WallClock,
}

impl Environment {
    /// The environment of a process whose random bits follow from `seed`, and whose clock shows `unix_micros` now, in microseconds since 1970.
    #[must_use]
    pub fn simulated(seed: u64, unix_micros: u64) -> Self {
        Self { random: Random::seeded(seed), clock: WallClock::starting_at(unix_micros) }
    }
}
