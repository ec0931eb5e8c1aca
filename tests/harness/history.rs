//! The grants of one lock, as their callers saw them.

use std::time::Instant;

#[derive(Default)]
pub(crate) struct History(Vec<Grant>);

#[derive(Clone, Copy)]
struct Grant {
    called: Instant,
    granted: Instant,
    fence: u64,
}

impl History {
    /// Adds a grant that has just been answered.
    pub(crate) fn add(&mut self, called: Instant, fence: u64) {
        self.0.push(Grant { called, granted: Instant::now(), fence });
    }

    /// The fences that are lower than one that was granted before their call began. Without any, fences are in an order in which the grants
    /// could have happened one after the other.
    pub(crate) fn inversions(&self) -> Vec<u64> {
        let mut grants = self.0.clone();
        grants.sort_by_key(|grant| std::cmp::Reverse(grant.fence));
        let mut first_higher = None::<Instant>;
        let mut inversions = Vec::new();
        for Grant { called, granted, fence } in grants {
            if first_higher.is_some_and(|first| first < called) {
                inversions.push(fence);
            }
            first_higher = Some(first_higher.map_or(granted, |first| first.min(granted)));
        }
        inversions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_call_with_a_lower_fence_is_an_inversion_and_a_concurrent_one_is_not() {
        let (mut history, concurrent) = (History::default(), Instant::now());
        history.add(concurrent, 2);
        history.add(concurrent, 1);
        assert_eq!(history.inversions(), Vec::<u64>::new());
        history.add(Instant::now(), 3);
        history.add(Instant::now(), 0);
        assert_eq!(history.inversions(), [0]);
    }
}
