//! Tokens: what proves that a caller holds a lock.
//!
//! A token is 128 random bits as 32 hexadecimal digits, after the owner's label and a colon if there is a label. The
//! random part has a fixed length and comes last, so no token is a prefix of another. Tokens are only ever compared whole.

use alloc::string::String;

use crate::cache::Error;

const RANDOM_BYTES: usize = 16;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Makes a new token.
///
/// # Errors
/// [`Error::Unavailable`] if there are no random bytes to be had.
pub fn mint(owner: Option<&str>) -> Result<String, Error> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|_| Error::Unavailable(String::from("the host gives no random bytes")))?;
    let mut token = String::with_capacity(owner.map_or(0, |label| label.len() + 1) + 2 * RANDOM_BYTES);
    if let Some(label) = owner {
        token.push_str(label);
        token.push(':');
    }
    for byte in random {
        token.push(char::from(DIGITS[usize::from(byte >> 4)]));
        token.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    Ok(token)
}

/// The owner's label in a stored value, if it is a token with one. Never gives away any of the random part.
#[must_use]
pub fn owner(value: &str) -> Option<&str> {
    let (label, random) = value.split_at_checked(value.len().checked_sub(2 * RANDOM_BYTES)?)?;
    let minted = random.bytes().all(|byte| DIGITS.contains(&byte));
    label.strip_suffix(':').filter(|label| minted && !label.is_empty())
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
    fn a_strangers_value_has_no_owner_and_is_not_shown() {
        for value in
            ["", "secret", "me:secret", ":0123456789abcdef0123456789abcdef", "a:0123456789ABCDEF0123456789ABCDEF"]
        {
            assert_eq!(owner(value), None, "{value:?}");
        }
    }
}
