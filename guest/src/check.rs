//! What callers may pass. All of it is checked before the store is touched.

use alloc::string::String;

use crate::cache::Error;
use crate::token;

/// A lock's name: 1 to 512 bytes without control characters.
///
/// # Errors
/// [`Error::Invalid`] if it is not.
pub fn name(name: &str) -> Result<(), Error> {
    text(name, 512, "a lock's name must be 1 to 512 bytes without control characters")
}

/// An owner's label: 1 to 128 bytes without control characters.
///
/// # Errors
/// [`Error::Invalid`] if it is not.
pub fn owner(label: &str) -> Result<(), Error> {
    text(label, 128, "an owner label must be 1 to 128 bytes without control characters")
}

/// A token as a caller gives it back. Any printable text may be one, but for a record of completed work; whether it holds the lock, the store
/// decides.
///
/// # Errors
/// [`Error::Invalid`] if it cannot be one.
pub fn token(token: &str) -> Result<(), Error> {
    const RULE: &str = "a token must be 1 to 512 bytes without control characters; it is what `lock` answered";
    text(token, 512, RULE)?;
    if token::split_completed(token).1.is_some() { invalid(RULE) } else { Ok(()) }
}

/// The token to hold a lock with, of one that a caller chose: with the owner's label, if there is one.
///
/// # Errors
/// [`Error::Invalid`] if it has not the form of a token, if others could guess it, or if its label is not the owner's.
pub fn chosen_token(token: &str, owner: Option<&str>) -> Result<String, Error> {
    const RULE: &str = "a token must be 32 hexadecimal digits in lower case, chosen at random, after the owner's label and a colon if there is a label";
    let Some((label, random)) = token::split(token) else { return Err(Error::Invalid(String::from(RULE))) };
    label.map_or(Ok(()), self::owner)?;
    if token::is_guessable(random) {
        return Err(Error::Invalid(String::from(
            "this token could be guessed; choose its 32 hexadecimal digits at random",
        )));
    }
    match (label, owner) {
        (None, Some(owner)) => Ok(token::of(owner, random)),
        (Some(label), Some(owner)) if label != owner => {
            Err(Error::Invalid(String::from("the token has the label of another owner")))
        }
        _ => Ok(String::from(token)),
    }
}

/// A fence: 0 is that of foreign values.
///
/// # Errors
/// [`Error::Invalid`] if it is 0.
pub fn fence(fence: u64) -> Result<(), Error> {
    if fence == 0 {
        return invalid("the holder has no fence: the store has something under this name that is not a lock");
    }
    Ok(())
}

/// A time to live: at least one millisecond.
///
/// # Errors
/// [`Error::Invalid`] if it is 0.
pub fn ttl(ttl_ms: u64) -> Result<(), Error> {
    if ttl_ms == 0 {
        return invalid("a time to live must be at least 1 ms");
    }
    Ok(())
}

fn text(text: &str, longest: usize, rule: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > longest || text.chars().any(char::is_control) {
        return invalid(rule);
    }
    Ok(())
}

fn invalid(rule: &str) -> Result<(), Error> {
    Err(Error::Invalid(String::from(rule)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_1_to_512_bytes() {
        assert!(name("a").is_ok());
        assert!(name(&"n".repeat(512)).is_ok());
        assert!(name("").is_err());
        assert!(name(&"n".repeat(513)).is_err());
        assert!(name(&"é".repeat(257)).is_err(), "bytes count, not characters");
    }

    #[test]
    fn spaces_colons_braces_and_unicode_are_fine_in_a_name() {
        assert!(name("a b:{c}/ü-鎖 🔒").is_ok());
    }

    #[test]
    fn control_characters_are_refused_everywhere() {
        for bad in ["a\0", "\n", "tab\t", "\u{1f}", "\u{7f}", "\u{85}"] {
            assert!(name(bad).is_err() && owner(bad).is_err() && token(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_chosen_token_has_the_form_of_a_token_and_the_label_of_its_owner() {
        let random = "5f3a9c1e7b2d4806f1e2d3c4b5a69788";
        let labelled = format!("me:{random}");
        assert_eq!(chosen_token(random, None).as_deref(), Ok(random));
        for (token, owner) in [(random, Some("me")), (&labelled, Some("me")), (&labelled, None)] {
            assert_eq!(chosen_token(token, owner).as_deref(), Ok(&labelled[..]));
        }
        assert!(chosen_token(&labelled, Some("you")).is_err());
        for bad in ["", "t", &random[1..], &random.to_uppercase(), &format!("\n:{random}"), &"0".repeat(32)] {
            assert!(chosen_token(bad, None).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_time_at_all_is_refused() {
        assert!(ttl(0).is_err());
        assert!(ttl(1).is_ok());
    }
}
