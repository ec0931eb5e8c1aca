//! What a lock protects.

use std::collections::HashSet;
use std::time::Instant;

use locker_host::Lease;

/// What a lock protects. It remembers all that it has seen.
#[derive(Default)]
pub(crate) struct Protected {
    fences: HashSet<u64>,
    highest: u64,
    /// Until when whoever was let in last may work, unless it has left.
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
