//! What callers may pass. All of it is checked before the store is touched.

use alloc::string::String;

use crate::cache::Error;

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

/// A token as a caller gives it back. Any printable text may be one; whether it holds the lock, the store decides.
///
/// # Errors
/// [`Error::Invalid`] if it cannot be one.
pub fn token(token: &str) -> Result<(), Error> {
    text(token, 512, "a token must be 1 to 512 bytes without control characters; it is what `lock` answered")
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
    fn no_time_at_all_is_refused() {
        assert!(ttl(0).is_err());
        assert!(ttl(1).is_ok());
    }
}
