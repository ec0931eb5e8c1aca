//! The records of the data file: keys, values, and checksums.
//!
//! | key | value |
//! |---|---|
//! | `L` KEY | a lock: expiry, fence, weight, the value |
//! | `E` EXPIRY KEY | nothing: the locks by the time they expire |
//! | `Q` LENGTH KEY TICKET | a waiter: its process, its number there, time to live, weight, the value |
//!
//! Numbers in keys are big-endian, so that keys are in their order. Times are microseconds of the machine's clock.

use super::failure::Failure;

/// A value under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) expires: u64,
    pub(super) fence: u64,
    pub(super) value: String,
}

/// A caller in the queue for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) mailbox: u64,
    /// Its number in its process.
    pub(super) id: u64,
    /// In microseconds.
    pub(super) ttl: u64,
    pub(super) value: String,
}

/// Reserved for holders that take a part of a lock.
const WEIGHT: u32 = 1;

impl Lock {
    pub(super) fn encode(&self, key: &[u8]) -> Vec<u8> {
        encode(key, &[self.expires, self.fence], &self.value)
    }

    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, Failure> {
        let ([expires, fence], value) = decode(key, bytes)?;
        Ok(Self { expires, fence, value })
    }
}

impl Waiter {
    pub(super) fn encode(&self, key: &[u8]) -> Vec<u8> {
        encode(key, &[self.mailbox, self.id, self.ttl], &self.value)
    }

    pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, Failure> {
        let ([mailbox, id, ttl], value) = decode(key, bytes)?;
        Ok(Self { mailbox, id, ttl, value })
    }
}

pub(super) fn lock_key(key: &str) -> Vec<u8> {
    [b"L", key.as_bytes()].concat()
}

pub(super) fn expiry_key(expires: u64, key: &str) -> Vec<u8> {
    [b"E", &expires.to_be_bytes()[..], key.as_bytes()].concat()
}

/// What all waiters of a key begin with, and waiters of other keys do not.
pub(super) fn queue_prefix(key: &str) -> Vec<u8> {
    [b"Q", &(key.len() as u32).to_be_bytes()[..], key.as_bytes()].concat()
}

pub(super) fn waiter_key(key: &str, ticket: u64) -> Vec<u8> {
    [&queue_prefix(key)[..], &ticket.to_be_bytes()].concat()
}

/// The expiry and the key of a lock in the order of expiry.
pub(super) fn parse_expiry(bytes: &[u8]) -> Result<(u64, &str), Failure> {
    let rest = bytes.strip_prefix(b"E").and_then(|rest| rest.split_first_chunk());
    let (expires, key) = rest.ok_or_else(damaged)?;
    Ok((u64::from_be_bytes(*expires), text(key)?))
}

/// The ticket of a waiter, whose key ends with it.
pub(super) fn parse_ticket(bytes: &[u8]) -> Result<u64, Failure> {
    bytes.last_chunk().map(|ticket| u64::from_be_bytes(*ticket)).ok_or_else(damaged)
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Failure> {
    str::from_utf8(bytes).map_err(|_| damaged())
}

fn encode(key: &[u8], numbers: &[u64], value: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    bytes.extend(WEIGHT.to_le_bytes());
    bytes.extend(value.as_bytes());
    bytes.extend(checksum(&[key, &bytes]).to_le_bytes());
    bytes
}

fn decode<const N: usize>(key: &[u8], bytes: &[u8]) -> Result<([u64; N], String), Failure> {
    let (content, sum) = bytes.split_last_chunk().ok_or_else(damaged)?;
    if checksum(&[key, content]) != u64::from_le_bytes(*sum) {
        return Err(damaged());
    }
    let (mut numbers, mut rest) = ([0; N], content);
    for number in &mut numbers {
        let (bytes, others) = rest.split_first_chunk().ok_or_else(damaged)?;
        (*number, rest) = (u64::from_le_bytes(*bytes), others);
    }
    let value = rest.get(WEIGHT.to_le_bytes().len()..).ok_or_else(damaged)?;
    Ok((numbers, text(value)?.to_owned()))
}

pub(super) fn damaged() -> Failure {
    Failure::Damaged("a record has another content than was written".to_owned())
}

/// FNV-1a: it finds damage, not forgery.
pub(super) fn checksum(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xCBF2_9CE4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_of_a_record_is_noticed() {
        let waiter = Waiter { mailbox: 1, id: 2, ttl: 3, value: "token".to_owned() };
        let mut bytes = waiter.encode(b"key");
        assert_eq!(Waiter::decode(b"key", &bytes).unwrap(), waiter);
        assert!(Waiter::decode(b"another", &bytes).is_err());
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Waiter::decode(b"key", &bytes).is_err(), "{bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn queues_of_keys_that_begin_alike_are_different() {
        assert!(!waiter_key("ab", 1).starts_with(&queue_prefix("a")));
        assert_eq!(parse_ticket(&waiter_key("a", 7)).unwrap(), 7);
        assert_eq!(parse_expiry(&expiry_key(7, "a")).unwrap(), (7, "a"));
    }
}
