//! What a server does as one step.

use std::time::Instant;

use redis::{Cmd, RedisResult, ServerErrorKind, Value, cmd};

use super::client::{Client, query};
use super::reply::Reply;

pub(super) struct Script {
    pub(super) code: &'static str,
    hash: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Reads,
    /// Its first argument is a use-by.
    Writes,
    /// The next one says how long a late request for the value is to be refused, in ms.
    Grants,
}

/// A script that is made of the named files, one after the other.
macro_rules! script {
    ($kind:ident, $($file:literal),+) => {
        std::sync::LazyLock::new(|| $crate::store::redis::script::Script::new(concat!($(include_str!(concat!("lua/", $file, ".lua")), "\n"),+), $crate::store::redis::script::Kind::$kind))
    };
}
pub(super) use script;

/// A script with what it is run on. The use-by comes before the arguments.
pub(super) struct Invocation<'a> {
    pub(super) script: &'a Script,
    pub(super) slot: u16,
    pub(super) keys: &'a [&'a str],
    pub(super) args: &'a [&'a str],
    pub(super) mark: Mark,
}

/// When a script that grants marks its value as withdrawn, so that copies of requests for it that come late are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// When an attempt was lost and may come late.
    IfRetried,
    /// An earlier request for the value was lost.
    Always,
    /// More requests for the value will follow.
    Never,
}

/// What differs from attempt to attempt.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// Until when the script may take effect, in the server's time.
    pub(super) use_by: u64,
    /// For how many ms late requests for a value that is granted are refused. 0 unless an earlier attempt may come late.
    pub(super) mark: u64,
}

impl Script {
    pub(super) fn new(code: &'static str, kind: Kind) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned(), kind }
    }

    /// What a server knows it by.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }
}

impl Invocation<'_> {
    /// Runs it, and makes it known to a server that does not know it yet. `sent` is an instant before that.
    pub(super) async fn run(&self, client: &dyn Client, terms: Terms, sent: Instant) -> RedisResult<Reply> {
        let command = self.command(terms);
        let value = match query(client, &command, Some(self.slot)).await {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                // Boxed to keep the common future small.
                Box::pin(self.load_and_run(client, &command)).await?
            }
            answer => answer?,
        };
        Reply::parse(value, sent)
    }

    fn command(&self, terms: Terms) -> Cmd {
        let texts = || self.keys.iter().chain(self.args);
        // Room for the numbers, too.
        let length = 128 + texts().map(|text| text.len()).sum::<usize>();
        let mut command = Cmd::with_capacity(texts().count() + 5, length);
        command.arg("EVALSHA");
        command.arg(&self.script.hash).arg(self.keys.len()).arg(self.keys);
        if self.script.kind != Kind::Reads {
            command.arg(terms.use_by);
        }
        if self.script.kind == Kind::Grants {
            command.arg(terms.mark);
        }
        command.arg(self.args);
        command
    }

    async fn load_and_run(&self, client: &dyn Client, command: &Cmd) -> RedisResult<Value> {
        // The redis crate's own way of doing this panics if the answer is not what it should be.
        let _: Value = query(client, cmd("SCRIPT").arg("LOAD").arg(self.script.code), None).await?;
        query(client, command, Some(self.slot)).await
    }
}
