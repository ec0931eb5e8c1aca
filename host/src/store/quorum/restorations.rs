//! Restorations that may still reach a member.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::time::now;

/// A restoration may arrive after the release of its lock, also on a member that has deleted it: a second one after the first. A release
/// has to withdraw the value there.
#[derive(Clone, Default)]
pub(super) struct Restorations(Arc<Mutex<HashMap<Place, State>>>);

/// A member, a key and a value.
type Place = (usize, String, String);

#[derive(Default)]
struct State {
    /// How many extensions and grants may still restore the value.
    expected: usize,
    /// Until when a restoration that was sent may bring the value back.
    sent: Option<Instant>,
}

/// The members on which a grant or an extension may still restore a value. Dropping this says that it does so no more.
pub(super) struct Expected {
    all: Restorations,
    places: Vec<Place>,
}

impl Restorations {
    /// A value that is to be restored on these members, or may be when they answer.
    pub(super) fn expect(&self, members: impl Iterator<Item = usize>, key: &str, value: &str) -> Expected {
        let places: Vec<_> = members.map(|member| (member, key.to_owned(), value.to_owned())).collect();
        let (mut table, now) = (self.table(), now());
        table.retain(|_, state| state.expected > 0 || state.is_sent(now));
        places.iter().for_each(|place| table.entry(place.clone()).or_default().expected += 1);
        drop(table);
        Expected { all: self.clone(), places }
    }

    /// Whether a member may be asked to restore a value, or has been and the request may be on its way.
    pub(super) fn may_arrive(&self, member: usize, key: &str, value: &str) -> bool {
        let table = self.table();
        // Usually there is nothing to look for.
        let state = || table.get(&(member, key.to_owned(), value.to_owned()));
        !table.is_empty() && state().is_some_and(|state| state.expected > 0 || state.is_sent(now()))
    }

    /// The restorations that are expected or may be on their way.
    pub(super) fn remembered(&self) -> Vec<String> {
        let (table, now) = (self.table(), now());
        let states = table.iter().filter(|(_, state)| state.expected > 0 || state.is_sent(now));
        states.map(|((member, key, _), _)| format!("a restoration of {key:?} on member {member}")).collect()
    }

    fn end(&self, places: &[Place]) {
        let mut table = self.table();
        for place in places {
            let Some(state) = table.get_mut(place) else { continue };
            state.expected -= 1;
            if state.expected == 0 && state.sent.is_none() {
                table.remove(place);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Place, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_sent(&self, now: Instant) -> bool {
        self.sent.is_some_and(|until| until > now)
    }
}

impl Expected {
    /// A member is asked to restore the value of a lease that ends then.
    pub(super) fn send(&self, member: usize, until: Instant) {
        let mut table = self.all.table();
        for place in self.places.iter().filter(|(of, ..)| *of == member) {
            if let Some(state) = table.get_mut(place) {
                state.sent = state.sent.max(Some(until));
            }
        }
    }

    /// A member has answered that it lacks nothing.
    pub(super) fn settle(&mut self, member: usize) {
        let settled: Vec<_> = self.places.extract_if(.., |(of, ..)| *of == member).collect();
        self.all.end(&settled);
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.all.end(&self.places);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_restoration_may_arrive_until_the_member_has_answered_that_it_lacks_nothing() {
        let restorations = Restorations::default();
        let mut expected = restorations.expect([0, 1].into_iter(), "key", "value");
        assert!(restorations.may_arrive(0, "key", "value") && !restorations.may_arrive(2, "key", "value"));
        expected.settle(0);
        assert!(!restorations.may_arrive(0, "key", "value") && restorations.may_arrive(1, "key", "value"));
        drop(expected);
        assert!(restorations.table().is_empty());
    }

    #[test]
    fn a_restoration_that_was_sent_may_arrive_until_its_lease_ends() {
        let restorations = Restorations::default();
        let expected = restorations.expect([0, 1].into_iter(), "key", "value");
        expected.send(0, now() + Duration::from_secs(60));
        expected.send(1, now());
        drop(expected);
        assert_eq!([0, 1].map(|member| restorations.may_arrive(member, "key", "value")), [true, false]);
        drop(restorations.expect([0].into_iter(), "key", "another"));
        assert_eq!(restorations.table().len(), 1);
    }
}
