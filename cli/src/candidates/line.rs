//! A line of bash up to the cursor, and what bash may insert there.

/// A line, split into words and without its quotes.
pub(super) struct Line {
    /// The last one is the word at the cursor.
    pub(super) words: Vec<String>,
    /// The quote that is open at the cursor.
    quote: Option<char>,
    /// The bytes of the last word that bash leaves in place. It replaces what follows.
    kept: usize,
}

impl Line {
    /// Splits a line as bash does. Bash replaces a word from the last of the characters in `breaks`, or from an open quote.
    pub(super) fn new(line: &str, breaks: &str) -> Self {
        let (mut words, mut word, mut kept, mut opened) = (Vec::new(), None::<String>, 0, None);
        let mut characters = line.chars();
        while let Some(character) = characters.next() {
            match (opened.map(|(quote, _)| quote), character) {
                (None, ' ' | '\t' | '\n') => {
                    words.extend(word.take());
                    kept = 0;
                }
                (None, '\'' | '"') => opened = Some((character, word.get_or_insert_default().len())),
                (Some(quote), _) if quote == character => opened = None,
                (None | Some('"'), '\\') => {
                    let next = characters.next();
                    // Within double quotes, it stands for itself before most characters.
                    let is_literal = opened.is_some() && next.is_some_and(|next| !"$`\"\\\n".contains(next));
                    word.get_or_insert_default().extend(is_literal.then_some('\\').into_iter().chain(next));
                }
                (quote, character) => {
                    let word = word.get_or_insert_default();
                    word.push(character);
                    if quote.is_none() && breaks.contains(character) {
                        kept = word.len();
                    }
                }
            }
        }
        words.push(word.unwrap_or_default());
        Self { words, quote: opened.map(|(quote, _)| quote), kept: opened.map_or(kept, |(_, start)| start) }
    }

    /// What bash is to insert for a value, quoted such that bash reads the value and executes none of it.
    pub(super) fn insertion(&self, value: &str) -> Option<String> {
        let rest = value.strip_prefix(self.words.last()?.get(..self.kept)?)?;
        let inserted: String = rest.chars().map(|character| self.quoted(character)).collect();
        // Bash ends the open quote, unless there is one at the end.
        let ending = self.quote.filter(|&quote| inserted.ends_with(quote));
        Some(inserted.chars().chain(ending).collect())
    }

    fn quoted(&self, character: char) -> String {
        let is_plain = character.is_ascii_alphanumeric() || !character.is_ascii() || "%+,-./:=@_".contains(character);
        match (self.quote, character) {
            (Some('\''), '\'') => r"'\''".to_owned(),
            // A backslash before it would stay.
            (Some('"'), '!') => r#""'!'""#.to_owned(),
            (Some('"'), '$' | '`' | '"' | '\\') => format!("\\{character}"),
            (None, _) if !is_plain => format!("\\{character}"),
            _ => character.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    const BREAKS: &str = " \t\n\"'@><=;|&(:";

    fn inserted(line: &str, value: &str) -> String {
        Line::new(line, BREAKS).insertion(value).unwrap()
    }

    #[test]
    fn words_lose_their_quotes() {
        let line = Line::new(r#"locker  lock 'a b'"c\$d\e"\ f "" 'g"#, BREAKS);
        assert_eq!(line.words, ["locker", "lock", r"a bc$d\e f", "", "g"]);
        assert_eq!(Line::new("locker ", BREAKS).words, ["locker", ""]);
    }

    #[test]
    fn a_value_is_quoted_as_the_word_is() {
        assert_eq!(inserted("locker lock ", "it's $a"), r"it\'s\ \$a");
        assert_eq!(inserted("locker lock 'it", "it's $a"), r"it'\''s $a");
        assert_eq!(inserted("locker lock \"it", "it's $a!b"), "it's \\$a\"'!'\"b");
    }

    #[test]
    fn a_quote_at_the_end_of_a_value_leaves_none_open() {
        assert_eq!(inserted("locker lock '", "a'"), r"a'\'''");
        assert_eq!(inserted("locker lock \"", "a\""), "a\\\"\"");
        assert_eq!(inserted("locker lock \"", "a!"), "a\"'!'\"\"");
    }

    #[test]
    fn what_bash_leaves_in_place_is_not_repeated() {
        assert_eq!(inserted("locker lock a:b", "a:b:c"), "b:c");
        assert_eq!(inserted(r"locker lock a\:b", "a:b:c"), "a:b:c");
        assert_eq!(inserted("locker lock --cache=re", "--cache=redis://"), "redis://");
        assert_eq!(inserted("locker lock a:'b", "a:b c"), "b c");
    }
}
