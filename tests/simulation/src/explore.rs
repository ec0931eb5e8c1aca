//! Goes through every small world.

use crate::choices::Choices;
use crate::run::{Cast, run};
use crate::script::Size;
use crate::shrink::Failure;
use crate::small::Small;

/// All small worlds, or those up to the first that failed.
#[derive(Clone, Debug)]
pub struct Explored {
    /// How many there were.
    pub worlds: u64,
    /// How many things happened in them.
    pub steps: u64,
    /// The first that failed.
    pub failure: Option<Failure>,
}

/// Goes through every small world whose first choices are these.
#[must_use]
pub fn explore(cast: &Cast, small: Small, beginning: &[usize]) -> Explored {
    let mut explored = Explored { worlds: 0, steps: 0, failure: None };
    let mut next = Some(beginning.to_vec());
    while let Some(sequence) = next.filter(|sequence| sequence.starts_with(beginning)) {
        let mut choices = Choices::given(sequence);
        let ended = run(cast, Size::Small(small), &mut choices, false);
        explored.worlds += 1;
        explored.steps += ended.steps as u64;
        if ended.violation.is_some() {
            explored.failure = Some(Failure { sequence: choices.sequence(), ended });
            break;
        }
        next = choices.following();
    }
    explored
}

/// Goes through every small world, on as many threads as there are cores.
///
/// # Errors
/// If the component cannot be loaded.
pub fn explore_all(
    cast: impl Fn() -> wasmtime::Result<Cast> + Sync,
    small: Small,
    progress: impl Fn(u64) + Sync,
) -> wasmtime::Result<Explored> {
    let (cast, next) = (&cast, &std::sync::atomic::AtomicUsize::new(0));
    let parts = crate::campaign::on_all_cores(|_| -> wasmtime::Result<Explored> {
        let cast = cast()?;
        let mut all = Explored { worlds: 0, steps: 0, failure: None };
        loop {
            let first = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if first >= small.scripts().len() || all.failure.is_some() {
                return Ok(all);
            }
            let part = explore(&cast, small, &[first]);
            progress(part.worlds);
            all = all.and(part);
        }
    });
    let nothing = Explored { worlds: 0, steps: 0, failure: None };
    parts.into_iter().try_fold(nothing, |all, part| Ok(all.and(part?)))
}

impl Explored {
    fn and(self, other: Self) -> Self {
        Self {
            worlds: self.worlds + other.worlds,
            steps: self.steps + other.steps,
            failure: self.failure.or(other.failure),
        }
    }
}
