//! One call of a command, by a client or by a script.

use crate::client::ClientId;
use crate::keyspace::{Entry, Key};
use crate::number::{self, parse_integer};
use crate::state::State;
use crate::value::bulk;
use redis::Value;

pub(crate) struct Call<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) client: ClientId,
    /// The words of the command, its name included.
    pub(crate) args: &'a [Vec<u8>],
    /// Scripts see RESP2, clients RESP3.
    pub(crate) scripted: bool,
}

impl Call<'_> {
    pub(crate) fn arg(&self, at: usize) -> &[u8] {
        self.args.get(at).map(Vec::as_slice).unwrap_or_default()
    }

    /// A word in lower case.
    pub(crate) fn word(&self, at: usize) -> String {
        String::from_utf8_lossy(self.arg(at)).to_ascii_lowercase()
    }

    pub(crate) fn integer(&self, at: usize) -> Result<i64, String> {
        parse_integer(self.arg(at))
    }

    /// The key at a place.
    pub(crate) fn key(&self, at: usize) -> Key {
        (self.database(), self.arg(at).to_vec())
    }

    pub(crate) fn database(&self) -> u32 {
        self.state.clients.get(&self.client).map(|client| client.database).unwrap_or_default()
    }

    /// What is under the first key.
    pub(crate) fn entry(&mut self) -> Option<&Entry> {
        let key = self.key(1);
        self.state.entry(&key)
    }

    pub(crate) fn double(&self, number: f64) -> Value {
        if self.scripted { bulk(number::format(self.state.version, number)) } else { Value::Double(number) }
    }
}

/// The elements between two positions, which count from the end if they are negative.
pub(crate) fn range(length: usize, first: i64, last: i64) -> std::ops::Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let (first, last) = (place(first).max(0), place(last).min(length - 1));
    if first > last || first >= length {
        return 0..0;
    }
    let place = |at: i64| usize::try_from(at).unwrap_or_default();
    place(first)..place(last) + 1
}
