//! Whether there is an order in which a history of concurrent requests to one key could have happened, each of them at one
//! moment between its request and its answer.
//!
//! This is the search of Wing and Gong: take any event as the first that began before every other had ended, see whether the
//! reference allows its answer, and go on with the rest; if that leads nowhere, take another. As Lowe has added, what was
//! found to lead nowhere is remembered: the set of events that were taken, and what they left under the key.

use std::collections::HashSet;
use std::fmt::Write;

use super::reference::{Event, Key};

/// So many events fit into the set of those that were taken.
const MOST: usize = 64;

/// The events of one key in an order in which they could have happened, if there is one.
pub(super) fn order(history: &[Event]) -> Option<Vec<&Event>> {
    assert!(history.len() <= MOST, "{} events are more than {MOST}", history.len());
    let mut search = Search { history, order: Vec::new(), in_vain: HashSet::new() };
    search.go_on(0, &Key::default()).then_some(search.order)
}

struct Search<'a> {
    history: &'a [Event],
    order: Vec<&'a Event>,
    in_vain: HashSet<(u64, Key)>,
}

impl Search<'_> {
    /// Looks for an order of the events that are not in `taken`, which have left `key`.
    fn go_on(&mut self, taken: u64, key: &Key) -> bool {
        let history = self.history;
        let rest = || history.iter().enumerate().filter(|(number, _)| taken & (1 << number) == 0);
        let Some(first_told) = rest().map(|(_, event)| event.told).min() else { return true };
        if self.in_vain.contains(&(taken, key.clone())) {
            return false;
        }
        for (number, event) in rest().filter(|(_, event)| event.asked <= first_told) {
            let Ok(next) = key.after(event) else { continue };
            self.order.push(event);
            if self.go_on(taken | (1 << number), &next) {
                return true;
            }
            self.order.pop();
            if next == *key {
                // What leaves no trace could as well happen now: if that leads nowhere, nothing does.
                break;
            }
        }
        self.in_vain.insert((taken, key.clone()));
        false
    }
}

/// The history of each key must have an order; else it is told, for people to read.
pub(super) fn check(history: &[Event]) -> Result<(), String> {
    let keys: HashSet<&str> = history.iter().map(|event| event.key.as_str()).collect();
    for key in keys {
        let mut events: Vec<_> = history.iter().filter(|event| event.key == key).cloned().collect();
        events.sort_by_key(|event| event.asked);
        if order(&events).is_none() {
            return Err(told(key, &events));
        }
    }
    Ok(())
}

fn told(key: &str, events: &[Event]) -> String {
    let mut text = format!("there is no order in which this could have happened to {key:?}:");
    for Event { client, request, answer, asked, told, .. } in events {
        let micros = |moment: std::time::Instant| (moment - events[0].asked).as_micros();
        let (from, to) = (micros(*asked), micros(*told));
        _ = write!(text, "\n{from:>8} to {to:>8} us, client {client}: {request:?} => {answer:?}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::reference::{Answer, Request, Seen};
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn set(value: &str) -> Request {
        Request::Set { value: value.to_owned(), ttl: TTL, wait: Duration::ZERO }
    }

    fn delete(value: &str) -> Request {
        Request::Delete { value: value.to_owned() }
    }

    fn stored(revision: u64) -> Answer {
        Answer::Stored { revision, ttl: TTL }
    }

    fn found(value: &str, revision: u64) -> Answer {
        Answer::Found(Seen { value: Some(value.to_owned()), revision, ttl: Some(TTL) })
    }

    /// What each client asked when, and was told when, in microseconds.
    fn history(events: Vec<(u64, u64, Request, Answer)>) -> Vec<Event> {
        let start = Instant::now();
        let at = |us| start + Duration::from_micros(us);
        let event = |(client, (asked, told, request, answer))| Event {
            client,
            key: "key".to_owned(),
            request,
            answer,
            asked: at(asked),
            told: at(told),
        };
        events.into_iter().enumerate().map(event).collect()
    }

    #[test]
    fn what_happened_at_the_same_time_may_have_happened_in_any_order() {
        let events = history(vec![
            (0, 100, set("a"), stored(2)),
            (0, 100, set("b"), stored(1)),
            (0, 100, delete("b"), Answer::Deleted),
            (0, 100, Request::Get, found("a", 2)),
        ]);
        let order = order(&events).unwrap();
        assert_eq!(order.iter().map(|event| event.client).collect::<Vec<_>>(), [1, 2, 0, 3]);
    }

    #[test]
    fn what_ended_before_another_began_happened_before_it() {
        let read_before_it_was_written = vec![(0, 10, Request::Get, found("a", 1)), (20, 30, set("a"), stored(1))];
        assert!(order(&history(read_before_it_was_written)).is_none());
        let at_the_same_time = vec![(0, 25, Request::Get, found("a", 1)), (20, 30, set("a"), stored(1))];
        assert!(order(&history(at_the_same_time)).is_some());
    }

    #[test]
    fn of_two_who_were_both_granted_the_key_one_is_wrong() {
        let both = vec![(0, 100, set("a"), stored(1)), (0, 100, set("b"), stored(2))];
        assert!(order(&history(both.clone())).is_none());
        let in_turn = [both, vec![(0, 100, delete("a"), Answer::Deleted)]].concat();
        assert!(order(&history(in_turn)).is_some());
    }

    #[test]
    fn a_deletion_in_two_steps_is_found_out() {
        // The last one saw "a", and then deleted what lay there: "b".
        let events = history(vec![
            (0, 10, set("a"), stored(1)),
            (20, 30, delete("a"), Answer::Deleted),
            (40, 50, set("b"), stored(2)),
            (15, 60, delete("a"), Answer::Deleted),
        ]);
        let why = check(&events).unwrap_err();
        assert!(why.contains("client 3: Delete { value: \"a\" } => Deleted"), "{why}");
    }

    #[test]
    fn keys_have_nothing_to_do_with_each_other() {
        let mut events = history(vec![(0, 10, set("a"), stored(1)), (20, 30, set("b"), stored(1))]);
        assert!(check(&events).is_err());
        events[1].key = "another".to_owned();
        check(&events).unwrap();
    }

    #[test]
    fn a_hard_history_is_searched_soon() {
        // Of all orders of so many, which are more than 10^20, none is right.
        let mut events = vec![(0, 100, set("a"), stored(1))];
        events.extend((0..20).map(|_| (0, 100, Request::Get, found("a", 1))));
        events.push((0, 100, Request::Get, found("b", 2)));
        assert!(order(&history(events)).is_none());
    }
}
