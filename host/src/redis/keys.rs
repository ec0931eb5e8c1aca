//! Which Redis keys belong to a key of the cache.

use std::sync::LazyLock;

/// Separates what is ours from what is a lock's name: names hold no control characters, so nothing collides.
const MARK: char = '\u{1f}';

/// The key of a lock: the prefix and its name.
pub(super) fn lock(prefix: &str, name: &str) -> String {
    format!("{prefix}{name}")
}

/// The key of a lock's fence.
pub(super) fn fence(prefix: &str, name: &str) -> String {
    beside(prefix, name, "fence")
}

/// The key of the line of those who wait for a lock. What their channels are called begins with it.
pub(super) fn line(prefix: &str, name: &str) -> String {
    beside(prefix, name, "line")
}

/// A key that belongs to a lock: under the same prefix and in the same cluster slot as the lock's own.
fn beside(prefix: &str, name: &str, what: &str) -> String {
    let lock = lock(prefix, name);
    if hash_tag(&lock).is_some() {
        // The first tag counts, whatever follows.
        format!("{lock}{MARK}{what}")
    } else if !lock.contains(['{', '}']) {
        format!("{prefix}{MARK}{what}{{{lock}}}")
    } else {
        // Such a key cannot be a tag, so some number that falls into the same slot has to be.
        let tag = TAGS[usize::from(slot(lock.as_bytes()))];
        format!("{prefix}{MARK}{what}{{{tag}}}{name}")
    }
}

const SLOTS: u16 = 16384;

/// The smallest number that falls into each slot. Looking for one takes a while, and whoever picks the names of locks must not
/// have that done each time.
static TAGS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let (mut tags, mut missing) = (vec![None; usize::from(SLOTS)], SLOTS);
    for tag in 0.. {
        if missing == 0 {
            break;
        }
        let place = &mut tags[usize::from(slot(tag.to_string().as_bytes()))];
        if place.is_none() {
            (*place, missing) = (Some(tag), missing - 1);
        }
    }
    tags.into_iter().flatten().collect()
});

/// What the names of locks are found with: a glob pattern for all keys under a prefix.
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

/// The name of the lock that a key under a prefix is of, if it is one of a lock's own.
pub(super) fn name(prefix: &str, key: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
    (!name.contains(MARK)).then(|| name.to_owned())
}

/// A prefix must not open a hash tag that it does not close: names would decide where it ends.
pub(super) fn is_fit(prefix: &str) -> bool {
    !prefix.chars().any(char::is_control) && (!prefix.contains('{') || hash_tag(prefix).is_some())
}

/// What Redis Cluster hashes instead of the whole key: what stands in the first braces, unless they are empty.
fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

/// The cluster slot of a key.
pub(super) fn slot_of(key: &str) -> u16 {
    slot(hash_tag(key).unwrap_or(key).as_bytes())
}

/// The slot of a key without a tag: CRC16/XMODEM modulo the number of slots.
fn slot(key: &[u8]) -> u16 {
    let crc = key.iter().fold(0_u16, |crc, byte| {
        (0..8)
            .fold(crc ^ (u16::from(*byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NAMES: [&str; 12] = ["a", "a b", "{tag}", "a{tag}b", "{}", "{}{x}", "}", "{", "a}b", "a{b", "}{", "{{x}}"];

    #[test]
    fn slots_are_those_of_redis() {
        // What CLUSTER KEYSLOT answers.
        assert_eq!((slot_of("123456789"), slot_of("foo"), slot_of("{foo}bar")), (0x31c3, 12182, 12182));
    }

    #[test]
    fn a_fence_and_a_line_lie_in_the_slot_of_their_lock_and_under_the_same_prefix() {
        for prefix in ["lock:", "", "{app}:", "a}b"] {
            for name in NAMES {
                for beside in [fence(prefix, name), line(prefix, name)] {
                    assert_eq!(slot_of(&beside), slot_of(&lock(prefix, name)), "{prefix:?} {name:?} {beside:?}");
                    assert!(beside.starts_with(prefix));
                }
            }
        }
    }

    #[test]
    fn a_fence_stays_where_it_was() {
        // What earlier versions have written.
        assert_eq!(fence("lock:", "a}b"), "lock:\u{1f}fence{1977}a}b");
    }

    #[test]
    fn no_two_keys_collide() {
        let keys = NAMES.iter().flat_map(|name| [lock("lock:", name), fence("lock:", name), line("lock:", name)]);
        assert_eq!(keys.collect::<HashSet<_>>().len(), 3 * NAMES.len());
    }

    #[test]
    fn a_fence_is_no_name() {
        for name in NAMES {
            assert_eq!(super::name("lock:", lock("lock:", name).as_bytes()).as_deref(), Some(name));
            assert_eq!(super::name("lock:", fence("lock:", name).as_bytes()), None);
        }
        assert_eq!(super::name("lock:", b"other:a"), None);
        assert_eq!(super::name("lock:", b"lock:\xff"), None);
    }

    #[test]
    fn a_prefix_may_have_a_whole_tag_but_not_half_of_one() {
        assert!(is_fit("lock:") && is_fit("") && is_fit("{app}:") && is_fit("a}"));
        assert!(!is_fit("{") && !is_fit("{}") && !is_fit("a{b") && !is_fit("a\n"));
    }
}
