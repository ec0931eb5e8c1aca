//! One key of a store, as the contract of the cache has it: what a real one must agree with.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// What a client asks of a key.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// With a wait it happens when the caller leaves the queue.
    Set {
        value: String,
        ttl: Duration,
        wait: Duration,
    },
    Extend {
        value: String,
        ttl: Duration,
    },
    Replace {
        value: String,
        by: String,
        ttl: Duration,
    },
    Delete {
        value: String,
    },
    Vote {
        value: String,
        revision: u64,
        ttl: Duration,
        since: u64,
    },
    WithdrawVote {
        value: String,
        revisions: RangeInclusive<u64>,
    },
    Get,
}

/// What it is told.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Stored { revision: u64, ttl: Duration },
    Occupied(Seen),
    Extended { revision: u64, ttl: Duration },
    Deleted,
    Outdated(u64),
    Withdrawn,
    Found(Seen),
    Absent,
    Different,
    Failed(String),
}

/// What lies under a key, as far as a client gets to see it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) value: Option<String>,
    pub(super) revision: u64,
    pub(super) ttl: Option<Duration>,
}

/// A request and its answer, and when the client sent the one and had the other. In between, at one moment, it happened.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) client: usize,
    pub(super) key: String,
    pub(super) request: Request,
    pub(super) answer: Answer,
    pub(super) asked: Instant,
    pub(super) told: Instant,
}

/// What may lie under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Key {
    held: Option<Held>,
    last_revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    value: String,
    revision: u64,
    /// The revision of the last vote for it that a later candidate asked for, or 0.
    resumed: u64,
    ttl: Duration,
    /// When it expires: between these moments, since its time to live began between two.
    earliest: Instant,
    latest: Instant,
}

/// Servers count whole milliseconds, and so do those who ask them.
const ROUNDING: Duration = Duration::from_millis(4);

impl Key {
    pub(super) fn last_revision(&self) -> u64 {
        self.last_revision
    }

    /// What lies there after an event, or why the event cannot have happened. Around the moment when a value expires, it may
    /// be there or not: then the answer tells.
    pub(super) fn after(&self, event: &Event) -> Result<Self, String> {
        let live = self.held.as_ref().filter(|held| event.asked <= held.latest + ROUNDING);
        let free = self.held.as_ref().is_none_or(|held| event.told + ROUNDING >= held.earliest);
        let holding = |value: &str| live.filter(|held| held.value == value).ok_or("it does not hold this value");
        let held_by_other =
            |value: &str| live.filter(|held| held.value != value).ok_or("it does not hold another value");
        match (&event.request, &event.answer) {
            (Request::Set { value, ttl, .. }, Answer::Stored { revision, ttl: left }) => match holding(value) {
                Ok(held) if held.revision == *revision => held.agrees(*left, event).map(|()| self.clone()),
                _ if !free => Err("it is taken".to_owned()),
                _ if *revision <= self.last_revision => Err("the revision does not rise".to_owned()),
                _ => self.holds(value, *revision, *ttl, *left, event),
            },
            (Request::Set { value, .. }, Answer::Occupied(seen)) => {
                held_by_other(value)?.looks_like(seen, event).map(|()| self.clone())
            }
            (Request::Extend { value, ttl }, Answer::Extended { revision, ttl: left }) => {
                if holding(value)?.revision != *revision {
                    return Err("the revision changed".to_owned());
                }
                self.holds(value, *revision, *ttl, *left, event)
            }
            (Request::Replace { value, by, ttl }, Answer::Extended { revision, ttl: left }) => {
                if holding(value).or_else(|_| holding(by))?.revision != *revision {
                    return Err("the revision changed".to_owned());
                }
                self.holds(by, *revision, *ttl, *left, event)
            }
            (Request::Replace { value, by, .. }, Answer::Different) => {
                held_by_other(value).and(held_by_other(by)).map(|_| self.clone()).map_err(str::to_owned)
            }
            (Request::Delete { value }, Answer::Deleted) => {
                holding(value).map(|_| self.without()).map_err(str::to_owned)
            }
            (Request::Vote { value, revision, ttl, since }, Answer::Stored { revision: stored, ttl: left }) => {
                match holding(value) {
                    Ok(held) if held.revision == *stored && held.revision < *since => {
                        let held = Held { resumed: *revision, ..held.clone() };
                        held.agrees(*left, event)?;
                        Ok(Self { held: Some(held), last_revision: self.last_revision.max(*revision) })
                    }
                    Ok(held) if held.revision == *stored && stored >= revision => {
                        held.agrees(*left, event).map(|()| self.clone())
                    }
                    Err(_) if !free => Err("it is taken".to_owned()),
                    _ if stored != revision || *revision <= self.last_revision => {
                        Err("the revision is wrong".to_owned())
                    }
                    _ => self.holds(value, *revision, *ttl, *left, event),
                }
            }
            (Request::Vote { value, .. }, Answer::Occupied(seen)) => {
                held_by_other(value)?.looks_like(seen, event).map(|()| self.clone())
            }
            (Request::Vote { value, revision, since, .. }, Answer::Outdated(seen)) => match holding(value) {
                _ if seen < revision => Err("the revision is not outdated".to_owned()),
                Ok(held) if held.revision >= *since => Ok(self.clone()),
                _ if free => Ok(self.without()),
                _ => Err("it is taken".to_owned()),
            },
            (Request::WithdrawVote { value, revisions }, Answer::Withdrawn) => {
                let is_vote = |held: &Held| revisions.contains(&held.revision) && held.resumed <= *revisions.end();
                let withdrawn = holding(value).is_ok_and(is_vote);
                let held = self.held.clone().filter(|_| !withdrawn);
                Ok(Self { held, last_revision: self.last_revision.max(*revisions.end()) })
            }
            (Request::Extend { value, .. } | Request::Delete { value }, Answer::Different) => {
                held_by_other(value).map(|_| self.clone()).map_err(str::to_owned)
            }
            (Request::Get, Answer::Found(seen)) => {
                live.ok_or("nothing lies there")?.looks_like(seen, event).map(|()| self.clone())
            }
            (
                Request::Extend { .. } | Request::Replace { .. } | Request::Delete { .. } | Request::Get,
                Answer::Absent,
            ) => {
                if free {
                    Ok(self.without())
                } else {
                    Err("something lies there".to_owned())
                }
            }
            (_, Answer::Failed(why)) => Err(format!("it failed: {why}")),
            _ => Err("this is no answer".to_owned()),
        }
    }

    fn without(&self) -> Self {
        Self { held: None, last_revision: self.last_revision }
    }

    fn holds(&self, value: &str, revision: u64, ttl: Duration, left: Duration, event: &Event) -> Result<Self, String> {
        let (earliest, latest) = (event.asked + ttl, event.told + ttl);
        // It counts for the value. A later grant has a higher revision.
        let resumed = self.held.as_ref().filter(|held| held.value == value).map_or(0, |held| held.resumed);
        let held = Held { value: value.to_owned(), revision, resumed, ttl, earliest, latest };
        held.agrees(left, event)?;
        Ok(Self { last_revision: self.last_revision.max(revision), held: Some(held) })
    }
}

impl Held {
    fn looks_like(&self, seen: &Seen, event: &Event) -> Result<(), String> {
        if seen.value.as_ref().is_some_and(|value| *value != self.value) {
            return Err("another value lies there".to_owned());
        }
        if seen.revision != self.revision {
            return Err("its revision is another".to_owned());
        }
        self.agrees(seen.ttl.ok_or("it must expire")?, event)
    }

    /// Whether so much time may be left. It is counted from before the request was sent, so that it is never too much; some
    /// stores take the time of the request off for that.
    fn agrees(&self, left: Duration, event: &Event) -> Result<(), String> {
        let took = event.told - event.asked;
        if left > self.ttl || event.asked + left > self.latest + ROUNDING {
            return Err("more time is left than it was given".to_owned());
        }
        if event.told + left + took + ROUNDING < self.earliest {
            return Err("less time is left than it was given".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_millis(100);

    /// A moment of a clock that the tests set.
    fn event(start: Instant, ms: u64, request: Request, answer: Answer) -> Event {
        let asked = start + Duration::from_millis(ms);
        Event { client: 0, key: String::new(), request, answer, asked, told: asked + Duration::from_millis(1) }
    }

    fn set(value: &str) -> Request {
        Request::Set { value: value.to_owned(), ttl: TTL, wait: Duration::ZERO }
    }

    fn stored(revision: u64, ttl: Duration) -> Answer {
        Answer::Stored { revision, ttl }
    }

    #[test]
    fn what_has_surely_expired_is_free_and_what_has_surely_not_is_taken() {
        let start = Instant::now();
        let key = Key::default().after(&event(start, 0, set("a"), stored(7, TTL))).unwrap();
        for (ms, gone, there) in [(50, false, true), (100, true, true), (150, true, false)] {
            let left = TTL.saturating_sub(Duration::from_millis(ms));
            let seen = Answer::Found(Seen { value: None, revision: 7, ttl: Some(left) });
            assert_eq!(key.after(&event(start, ms, Request::Get, Answer::Absent)).is_ok(), gone, "{ms}");
            assert_eq!(key.after(&event(start, ms, Request::Get, seen)).is_ok(), there, "{ms}");
        }
    }

    #[test]
    fn a_revision_that_does_not_rise_is_wrong_also_after_a_deletion() {
        let start = Instant::now();
        let key = Key::default().after(&event(start, 0, set("a"), stored(7, TTL))).unwrap();
        let key = key.after(&event(start, 1, Request::Delete { value: "a".into() }, Answer::Deleted)).unwrap();
        assert!(key.after(&event(start, 2, set("a"), stored(7, TTL))).is_err());
        assert!(key.after(&event(start, 2, set("a"), stored(8, TTL))).is_ok());
    }

    #[test]
    fn a_time_that_is_too_long_or_too_short_is_wrong() {
        let start = Instant::now();
        for (left, right) in [(TTL + Duration::from_nanos(1), false), (TTL, true), (TTL / 2, false)] {
            assert_eq!(Key::default().after(&event(start, 0, set("a"), stored(7, left))).is_ok(), right, "{left:?}");
        }
        let key = Key::default().after(&event(start, 0, set("a"), stored(7, TTL))).unwrap();
        assert!(key.after(&event(start, 50, set("a"), stored(7, TTL))).is_err(), "its time to live was not kept");
        assert!(key.after(&event(start, 50, set("a"), stored(7, TTL / 2))).is_ok());
    }
}
