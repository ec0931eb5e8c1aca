//! Patterns for keys and channels.

/// Whether a text matches a pattern of `*`, `?`, `[...]` and `\`.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [b'?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
        [b'[', rest @ ..] => match (text, class(rest)) {
            ([byte, text @ ..], Some((members, rest))) => is_member(members, *byte) && matches(rest, text),
            _ => false,
        },
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            text.first() == Some(literal) && matches(rest, &text[1..])
        }
    }
}

/// The members of a class, and the pattern after it.
fn class(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = pattern.iter().position(|byte| *byte == b']')?;
    Some((&pattern[..end], &pattern[end + 1..]))
}

fn is_member(members: &[u8], byte: u8) -> bool {
    match members {
        [b'^', members @ ..] => !is_member(members, byte),
        [first, b'-', last, rest @ ..] => (*first..=*last).contains(&byte) || is_member(rest, byte),
        [b'\\', first, rest @ ..] | [first, rest @ ..] => *first == byte || is_member(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_on_a_server() {
        for (pattern, text, so) in [
            ("lock:*", "lock:a", true),
            ("lock:*", "loc", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a]x", "ax", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), so, "{pattern} {text}");
        }
    }
}
