//! Scripts that are changed on their way to the server.

use super::asked::Words;

#[derive(Clone, Debug)]
pub(super) struct Patch(Vec<Changed>);

#[derive(Clone, Debug)]
struct Changed {
    code: &'static str,
    hash: Vec<u8>,
    new_code: Vec<u8>,
    new_hash: Vec<u8>,
}

impl Patch {
    /// All scripts that have the text `from` get `to` instead.
    pub(super) fn new(from: &str, to: &str) -> Self {
        let scripts = locker_host::simulation::scripts().into_iter().filter(|(_, code)| code.contains(from));
        let changed = scripts.map(|(_, code)| {
            let new = code.replace(from, to);
            let hash = |code: &str| redis::Script::new(code).get_hash().as_bytes().to_vec();
            Changed { code, hash: hash(code), new_hash: hash(&new), new_code: new.into_bytes() }
        });
        Self(changed.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changed request, if it loads or runs a changed script.
    pub(super) fn applied(&self, words: &Words) -> Option<Words> {
        let loads = words.first()? == b"SCRIPT";
        let at = if loads { 2 } else { 1 };
        let word = words.get(at)?;
        let changed = self
            .0
            .iter()
            .find(|changed| if loads { changed.code.as_bytes() == word } else { changed.hash == *word })?;
        let mut words = words.clone();
        words[at].clone_from(if loads { &changed.new_code } else { &changed.new_hash });
        Some(words)
    }
}
