//! The grants of one lock and the writes to what it guards, as their callers saw them.

use std::time::Instant;

#[derive(Default)]
pub(crate) struct History {
    grants: Vec<Event>,
    holds: Vec<Hold>,
    accepted: Vec<Event>,
    refused: Vec<Event>,
}

/// A call that was answered.
#[derive(Clone, Copy)]
struct Event {
    called: Instant,
    answered: Instant,
    fence: u64,
}

struct Hold {
    fence: u64,
    from: Instant,
    to: Instant,
}

impl History {
    /// Adds a grant that has just been answered.
    pub(crate) fn add(&mut self, called: Instant, fence: u64) {
        self.grants.push(Event { called, answered: Instant::now(), fence });
    }

    /// Adds the time in which a caller relied on its lease.
    pub(crate) fn add_hold(&mut self, fence: u64, from: Instant, to: Instant) {
        if from < to {
            self.holds.push(Hold { fence, from, to });
        }
    }

    /// Adds a write that has just been answered.
    pub(crate) fn add_write(&mut self, called: Instant, fence: u64, accepted: bool) {
        let writes = if accepted { &mut self.accepted } else { &mut self.refused };
        writes.push(Event { called, answered: Instant::now(), fence });
    }

    /// The fences that are lower than one that was granted before their call began. Without any, fences are in an order in which the grants
    /// could have happened one after the other.
    pub(crate) fn inversions(&self) -> Vec<u64> {
        inversions(&self.grants, |_, _| false)
    }

    /// The fences that were granted more than once.
    pub(crate) fn repeated(&self) -> Vec<u64> {
        let mut fences: Vec<_> = self.grants.iter().map(|grant| grant.fence).collect();
        fences.sort_unstable();
        fences.array_windows().filter(|[one, next]| one == next).map(|[fence, _]| *fence).collect()
    }

    /// The fences of the writes that should have been refused, and of those that should not. Without any, writes are in an order in which a
    /// register that refuses lower fences could have answered them.
    pub(crate) fn wrong_writes(&self) -> Vec<u64> {
        // A register cannot tell holders with the same fence apart.
        let mut wrong = inversions(&self.accepted, |one, other| one.fence == other.fence);
        let higher = |refused: &Event| {
            self.accepted.iter().any(|write| write.fence > refused.fence && write.called < refused.answered)
        };
        wrong.extend(self.refused.iter().filter(|refused| !higher(refused)).map(|refused| refused.fence));
        wrong
    }

    /// The fences of callers that relied on their leases at the same time.
    pub(crate) fn overlaps(&self) -> Vec<[u64; 2]> {
        let mut holds: Vec<_> = self.holds.iter().collect();
        holds.sort_by_key(|hold| hold.from);
        let mut last = None::<&Hold>;
        let mut overlaps = Vec::new();
        for hold in holds {
            if let Some(last) = last.filter(|last| hold.from < last.to) {
                overlaps.push([last.fence, hold.fence]);
            }
            last = Some(last.filter(|last| last.to > hold.to).unwrap_or(hold));
        }
        overlaps
    }
}

/// The fences that come after a higher one, or after the same one unless these are equal.
fn inversions(events: &[Event], equal: fn(&Event, &Event) -> bool) -> Vec<u64> {
    let mut events = events.to_vec();
    events.sort_by_key(|event| std::cmp::Reverse(event.fence));
    let mut first_higher = None::<Instant>;
    let mut inversions = Vec::new();
    for equals in events.chunk_by(equal) {
        let late = equals.iter().filter(|event| first_higher.is_some_and(|first| first < event.called));
        inversions.extend(late.map(|event| event.fence));
        first_higher = equals.iter().map(|event| event.answered).chain(first_higher).min();
    }
    inversions
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_later_call_with_a_lower_fence_is_an_inversion_and_a_concurrent_one_is_not() {
        let (mut history, concurrent) = (History::default(), Instant::now());
        history.add(concurrent, 2);
        history.add(concurrent, 1);
        assert_eq!(history.inversions(), Vec::<u64>::new());
        history.add(Instant::now(), 3);
        history.add(Instant::now(), 0);
        history.add(Instant::now(), 3);
        assert_eq!((history.inversions(), history.repeated()), (vec![3, 0], vec![3]));
    }

    #[test]
    fn a_write_is_wrong_if_it_is_accepted_after_a_higher_one_or_refused_without_one() {
        let (mut history, first) = (History::default(), Instant::now());
        history.add_write(first, 2, true);
        history.add_write(first, 1, false);
        assert_eq!(history.wrong_writes(), Vec::<u64>::new());
        history.add_write(Instant::now(), 3, false);
        history.add_write(Instant::now(), 1, true);
        assert_eq!(history.wrong_writes(), [1, 3]);
    }

    #[test]
    fn two_holds_overlap_unless_one_ends_before_the_other_begins() {
        let (mut history, start) = (History::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        history.add_hold(1, at(0), at(5));
        history.add_hold(4, at(5), at(6));
        assert_eq!(history.overlaps(), Vec::<[u64; 2]>::new());
        history.add_hold(2, at(1), at(2));
        history.add_hold(3, at(3), at(4));
        assert_eq!(history.overlaps(), [[1, 2], [1, 3]]);
    }
}
