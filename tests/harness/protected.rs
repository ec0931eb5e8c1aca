//! What a lock protects.

use std::collections::HashSet;
use std::time::Instant;

use locker_host::Lease;

/// What a lock protects. It remembers all that it has seen.
#[derive(Default)]
pub(crate) struct Protected {
    fences: HashSet<u64>,
    highest: u64,
    /// Until when the last holder may work, unless it has left.
    inside: Option<(u64, Instant)>,
    /// What must never be.
    pub(crate) repeated: Vec<String>,
    /// What must not be, where the store keeps what it has confirmed.
    pub(crate) overlaps: Vec<String>,
    /// How often a holder that came too late was sent away.
    pub(crate) refused: usize,
}

impl Protected {
    /// Lets a holder in, if its fence is not behind.
    pub(crate) fn enter(&mut self, lease: &Lease) -> bool {
        if !self.fences.insert(lease.fence) {
            self.repeated.push(format!("fence {} was granted twice", lease.fence));
        }
        if lease.fence < self.highest {
            self.refused += 1;
            return false;
        }
        self.highest = lease.fence;
        let before = self.inside.replace((lease.fence, lease.deadline));
        if let Some((fence, _)) = before.filter(|(_, deadline)| Instant::now() < *deadline) {
            self.overlaps.push(format!("{fence} was still inside when {} came", lease.fence));
        }
        true
    }

    /// A holder works on, unless a later one has been here.
    pub(crate) fn write(&mut self, lease: &Lease) -> bool {
        let accepted = lease.fence >= self.highest;
        self.refused += usize::from(!accepted);
        accepted
    }

    pub(crate) fn leave(&mut self, lease: &Lease) {
        self.inside.take_if(|(fence, _)| *fence == lease.fence);
    }

    /// How many were granted the lock.
    pub(crate) fn grants(&self) -> usize {
        self.fences.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use locker_host::Token;

    use super::*;

    fn lease(fence: u64, millis: u64) -> Lease {
        let ttl = Duration::from_millis(millis);
        Lease { token: Token::from(String::new()), fence, ttl, deadline: Instant::now() + ttl }
    }

    #[test]
    fn it_notices_two_at_a_time_and_fences_that_come_twice() {
        let (first, second, mut protected) = (lease(1, 60_000), lease(2, 60_000), Protected::default());
        assert!(protected.enter(&first) && protected.enter(&second));
        assert_eq!((protected.overlaps.len(), protected.repeated.len()), (1, 0));
        protected.leave(&second);
        protected.enter(&second);
        assert_eq!((protected.overlaps.len(), protected.repeated.len()), (1, 1));
    }

    #[test]
    fn it_refuses_who_comes_too_late_and_minds_nobody_whose_time_is_up() {
        let (late, next, mut protected) = (lease(1, 0), lease(2, 60_000), Protected::default());
        assert!(protected.enter(&late) && protected.enter(&next));
        assert!(!protected.write(&late) && protected.write(&next));
        assert_eq!((protected.overlaps.len(), protected.refused), (0, 1));
    }
}
