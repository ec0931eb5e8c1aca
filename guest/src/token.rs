//! Tokens: what proves that a caller holds a lock.
//!
//! A token is 128 random bits as 32 hexadecimal digits, after the owner's label and a colon if there is a label. The
//! random part has a fixed length and comes last, so no token is a prefix of another. Tokens are only ever compared whole.
//!
//! When the work under a lock is completed, a record takes the place of the token: the token, `!`, and the milliseconds for which
//! the lock stays taken from then on. It ends in fewer digits than a token, so it is no token.

use alloc::string::String;

use crate::cache::Error;

const RANDOM_BYTES: usize = 16;
const MOST_DECIMALS: usize = 20;
/// Separates a token from the time for which it is recorded as completed.
const COMPLETED: u8 = b'!';
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Makes a new token.
///
/// # Errors
/// [`Error::Unavailable`] if there are no random bytes to be had.
pub fn mint(owner: Option<&str>) -> Result<String, Error> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|_| Error::Unavailable(String::from("the host gives no random bytes")))?;
    let mut token = with_label(owner);
    for byte in random {
        token.push(char::from(DIGITS[usize::from(byte >> 4)]));
        token.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    Ok(token)
}

/// The token of an owner with this random part.
#[must_use]
pub fn of(owner: &str, random: &str) -> String {
    let mut token = with_label(Some(owner));
    token.push_str(random);
    token
}

/// The beginning of a token.
fn with_label(owner: Option<&str>) -> String {
    let mut token = String::with_capacity(owner.map_or(0, |label| label.len() + 1) + 2 * RANDOM_BYTES);
    if let Some(label) = owner {
        token.push_str(label);
        token.push(':');
    }
    token
}

/// The record that the work under `token` is completed, and that the lock is taken for `ttl_ms` milliseconds from then on.
#[must_use]
pub fn completed(token: &str, ttl_ms: u64) -> String {
    let mut record = String::with_capacity(token.len() + 1 + MOST_DECIMALS);
    record.push_str(token);
    record.push(char::from(COMPLETED));
    push_decimals(&mut record, ttl_ms);
    record
}

/// The token in a stored value and, if the value is a record of completed work, the milliseconds for which it was to be kept.
#[must_use]
pub fn split_completed(value: &str) -> (&str, Option<u64>) {
    let completed = || {
        let (token, record) = value.split_at_checked(value.bytes().rposition(|byte| byte == COMPLETED)?)?;
        split(token)?;
        Some((token, Some(decimals(record.get(1..)?)?)))
    };
    completed().unwrap_or((value, None))
}

// By hand: the formatting and parsing of the standard library would double the size of the component.
fn push_decimals(text: &mut String, number: u64) {
    if number >= 10 {
        push_decimals(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

fn decimals(text: &str) -> Option<u64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let append = |number: u64, byte| number.checked_mul(10)?.checked_add(digit(byte)?);
    if text.is_empty() { None } else { text.bytes().try_fold(0, append) }
}

/// The label and the random part of what has the form of a token.
#[must_use]
pub fn split(token: &str) -> Option<(Option<&str>, &str)> {
    let (label, random) = token.split_at_checked(token.len().checked_sub(2 * RANDOM_BYTES)?)?;
    if !random.bytes().all(|byte| DIGITS.contains(&byte)) {
        return None;
    }
    if label.is_empty() {
        return Some((None, random));
    }
    label.strip_suffix(':').filter(|label| !label.is_empty()).map(|label| (Some(label), random))
}

/// Whether the random part of a token cannot have been chosen at random: it has few different digits, or repeats itself. One of
/// 10^12 random ones does.
#[must_use]
pub fn is_guessable(random: &str) -> bool {
    const LEAST_DIFFERENT: u32 = 6;
    // A bit for each digit.
    let seen = random.bytes().fold(0_u32, |seen, digit| seen | 1 << (digit % 32));
    let different = seen.count_ones();
    let repeats = random.split_at_checked(random.len() / 2).is_some_and(|(first, second)| first == second);
    different < LEAST_DIFFERENT || repeats
}

/// The owner's label in a stored value, if it is a token with one. Never gives away any of the random part.
#[must_use]
pub fn owner(value: &str) -> Option<&str> {
    split(value)?.0
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tokens_never_repeat() {
        let tokens: HashSet<String> = (0..10_000).map(|_| mint(None).unwrap()).collect();
        assert_eq!(tokens.len(), 10_000);
    }

    #[test]
    fn a_token_is_128_bits_in_print() {
        let token = mint(None).unwrap();
        assert_eq!(token.len(), 32);
        assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn the_owner_can_be_read_back_whatever_it_looks_like() {
        for label in ["backup", "job:7", "a b", "鎖", ":", "0123456789abcdef0123456789abcdef"] {
            assert_eq!(owner(&mint(Some(label)).unwrap()), Some(label));
        }
        assert_eq!(owner(&mint(None).unwrap()), None);
    }

    #[test]
    fn a_record_of_completed_work_is_no_token_and_no_token_is_a_record() {
        for label in [None, Some("me"), Some("a!5"), Some("!"), Some("5f3a9c1e7b2d4806f1e2d3c4b5a69788!5")] {
            let token = mint(label).unwrap();
            assert_eq!(split_completed(&token), (&token[..], None));
            for kept in [1, u64::MAX] {
                let record = completed(&token, kept);
                assert_eq!(split_completed(&record), (&token[..], Some(kept)));
                assert_eq!(split(&record), None);
            }
        }
        for foreign in
            ["", "!", "!5", "x!5", "5f3a9c1e7b2d4806f1e2d3c4b5a69788!", "5f3a9c1e7b2d4806f1e2d3c4b5a69788!+5"]
        {
            assert_eq!(split_completed(foreign), (foreign, None), "{foreign:?}");
        }
    }

    #[test]
    fn what_cannot_be_random_is_guessable() {
        for guessable in ["0".repeat(32), "0123456789abcdef".repeat(2), "01234".repeat(6) + "01"] {
            assert!(is_guessable(&guessable), "{guessable}");
        }
        for _ in 0..1000 {
            assert!(!is_guessable(&mint(None).unwrap()));
        }
    }

    #[test]
    fn a_strangers_value_has_no_owner_and_is_not_shown() {
        for value in
            ["", "secret", "me:secret", ":0123456789abcdef0123456789abcdef", "a:0123456789ABCDEF0123456789ABCDEF"]
        {
            assert_eq!(owner(value), None, "{value:?}");
        }
    }
}
