//! Which Redis keys and channels belong to a lock. `docs/protocol.md` specifies them.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use super::slot::{SLOTS, hash_tag, slot, slot_of};

/// Separates what belongs to Locker from names and values: neither contains control characters, so nothing collides.
pub(super) const SEPARATOR: char = '\u{1f}';

/// The keys of one lock. All of them are in one hash slot.
pub(super) struct Keys<'a> {
    pub(super) lock: String,
    pub(super) queue: String,
    pub(super) slot: u16,
    prefix: &'a str,
    name: &'a str,
    tag: u32,
}

impl<'a> Keys<'a> {
    pub(super) fn new(prefix: &'a str, name: &'a str) -> Self {
        let lock = [prefix, name].concat();
        let slot = slot_of(&lock);
        let tag = tag_of(slot);
        Self { lock, queue: of_slot(prefix, "queue", tag, &[name]), slot, prefix, name, tag }
    }

    pub(super) fn fence(&self) -> String {
        of_slot(self.prefix, "fence", self.tag, &[])
    }

    pub(super) fn grace(&self) -> String {
        of_slot(self.prefix, "grace", self.tag, &[self.name])
    }

    /// The mark of a withdrawn value.
    pub(super) fn withdrawn(&self, value: &str) -> String {
        of_slot(self.prefix, "withdrawn", self.tag, &[self.name, SEPARATOR.encode_utf8(&mut [0; 4]), value])
    }

    /// The mark of a value whose votes count for a later call.
    pub(super) fn resumed(&self, value: &str) -> String {
        of_slot(self.prefix, "resumed", self.tag, &[self.name, SEPARATOR.encode_utf8(&mut [0; 4]), value])
    }

    /// The key under which a client reports.
    pub(super) fn client(&self, id: &str) -> String {
        of_slot(self.prefix, "client", self.tag, &[id])
    }

    /// The channel on which a client is notified.
    pub(super) fn channel(&self, id: &str) -> String {
        of_slot(self.prefix, "wake", self.tag, &[id])
    }
}

/// The channel on which the holders of locks learn that these were taken from them.
pub(super) fn revocations(prefix: &str) -> String {
    format!("{prefix}{SEPARATOR}revoked")
}

fn of_slot(prefix: &str, what: &str, tag: u32, rest: &[&str]) -> String {
    // The separator, braces and a tag of 6 digits have 9 bytes.
    let length = prefix.len() + what.len() + 9 + rest.iter().map(|part| part.len()).sum::<usize>();
    let mut key = String::with_capacity(length);
    key.push_str(prefix);
    key.push(SEPARATOR);
    key.push_str(what);
    // Writing to a text cannot fail.
    _ = write!(key, "{{{tag}}}");
    key.extend(rest.iter().copied());
    key
}

/// The smallest number that hashes into a slot. The search goes on where the last one ended, and is as long as it has to be: a
/// process that uses one lock need not fill the whole table.
fn tag_of(slot_wanted: u16) -> u32 {
    static TAGS: Mutex<(Vec<u32>, u32)> = Mutex::new((Vec::new(), 0));
    const UNKNOWN: u32 = u32::MAX;
    let mut tags = TAGS.lock().unwrap_or_else(PoisonError::into_inner);
    let (known, next) = &mut *tags;
    known.resize(usize::from(SLOTS), UNKNOWN);
    while known[usize::from(slot_wanted)] == UNKNOWN {
        let tag = &mut known[usize::from(slot(next.to_string().as_bytes()))];
        *tag = (*tag).min(*next);
        *next += 1;
    }
    known[usize::from(slot_wanted)]
}

/// The name of a lock that no caller uses, in a slot if one is given. Without one, all of these names are in the same slot, so that they share one
/// fence counter.
pub(super) fn unused_name(prefix: &str, slot: Option<u16>, random: u64) -> String {
    match slot {
        // All locks are in one slot.
        _ if hash_tag(prefix).is_some() => format!("locker-check-{random:016x}"),
        Some(slot) => format!("{{{}}}locker-check-{random:016x}", tag_of(slot)),
        None => format!("{{locker-check}}{random:016x}"),
    }
}

/// A glob pattern for all keys under a prefix.
pub(super) fn pattern(prefix: &str) -> String {
    let mut pattern = String::new();
    for char in prefix.chars() {
        if "*?[]^-\\".contains(char) {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern + "*"
}

/// The name of the lock whose key this is, if it is a lock's.
pub(super) fn name(prefix: &str, key: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
    (!name.contains(SEPARATOR)).then(|| name.to_owned())
}

/// A prefix must not open a hash tag that it does not close: names would decide where it ends.
pub(super) fn is_valid_prefix(prefix: &str) -> bool {
    !prefix.chars().any(char::is_control) && (!prefix.contains('{') || hash_tag(prefix).is_some())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NAMES: [&str; 12] = ["a", "a b", "{tag}", "a{tag}b", "{}", "{}{x}", "}", "{", "a}b", "a{b", "}{", "{{x}}"];

    fn all(prefix: &str, name: &str) -> Vec<String> {
        let keys = Keys::new(prefix, name);
        let others = [keys.withdrawn("value"), keys.client("c0ffee"), keys.channel("c0ffee")];
        [keys.fence(), keys.grace(), keys.lock, keys.queue].into_iter().chain(others).collect()
    }

    #[test]
    fn all_keys_of_a_lock_are_in_its_slot_and_under_its_prefix() {
        for prefix in ["lock:", "", "{app}:", "a}b"] {
            for name in NAMES {
                for key in all(prefix, name) {
                    assert_eq!(slot_of(&key), Keys::new(prefix, name).slot, "{prefix:?} {name:?} {key:?}");
                    assert!(key.starts_with(prefix));
                }
            }
        }
    }

    #[test]
    fn a_tag_is_the_smallest_number_of_its_slot_in_whatever_order_slots_are_asked_for() {
        for wanted in [9000, 3, SLOTS - 1, 0, 3] {
            let tag = tag_of(wanted);
            assert_eq!(slot(tag.to_string().as_bytes()), wanted);
            assert!((0..tag).all(|smaller| slot(smaller.to_string().as_bytes()) != wanted));
        }
    }

    #[test]
    fn the_keys_of_different_names_do_not_collide() {
        let keys: Vec<_> = NAMES
            .iter()
            .flat_map(|name| {
                let keys = Keys::new("lock:", name);
                [keys.withdrawn("v"), keys.grace(), keys.lock, keys.queue]
            })
            .collect();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }

    #[test]
    fn only_a_locks_own_key_has_a_name() {
        for name in NAMES {
            let (keys, lock) = (all("lock:", name), format!("lock:{name}"));
            let mut others = keys.iter().filter(|key| **key != lock);
            assert_eq!(super::name("lock:", lock.as_bytes()).as_deref(), Some(name));
            assert!(others.all(|key| super::name("lock:", key.as_bytes()).is_none()));
        }
        assert_eq!(super::name("lock:", b"other:a"), None);
        assert_eq!(super::name("lock:", b"lock:\xff"), None);
    }

    #[test]
    fn an_unused_name_is_in_the_slot_that_was_asked_for() {
        for slot in [0, 5, SLOTS - 1] {
            assert_eq!(Keys::new("lock:", &unused_name("lock:", Some(slot), 7)).slot, slot);
        }
        let slot = |random| Keys::new("lock:", &unused_name("lock:", None, random)).slot;
        assert_eq!(slot(1), slot(2));
        assert_eq!(Keys::new("{app}:", &unused_name("{app}:", Some(5), 7)).slot, slot_of("{app}:"));
    }

    #[test]
    fn a_prefix_may_have_a_whole_tag_but_not_half_of_one() {
        assert!(is_valid_prefix("lock:") && is_valid_prefix("") && is_valid_prefix("{app}:") && is_valid_prefix("a}"));
        assert!(!is_valid_prefix("{") && !is_valid_prefix("{}") && !is_valid_prefix("a{b") && !is_valid_prefix("a\n"));
    }
}
