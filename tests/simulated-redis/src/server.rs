//! One server.

use std::sync::{Arc, Mutex, PoisonError};

use redis::{Arg, Cmd, RedisResult, Value};

use crate::call::Call;
use crate::client::{Client, ClientId};
use crate::cluster::Request;
use crate::command::{ALLOW_BUSY, Command, DENY_OOM, LOADING, NO_AUTH, READ, STALE, WRITE, keys_of};
use crate::pushes::{Broadcast, Push};
use crate::script::Engine;
use crate::state::State;
use crate::value::{Reply, closed, result};
use crate::version::Version;

/// A server: data, connections, scripts and a clock that only the world sets. It does nothing by itself.
pub struct Server {
    pub(crate) state: State,
    engine: Arc<Mutex<Engine>>,
}

/// Whether a server does what it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It does.
    #[default]
    Serving,
    /// It loads its data.
    Loading,
    /// A script of another client does not end.
    Busy,
    /// A replica has lost its primary, and does not answer from old data.
    Stale,
    /// It cannot save its data, and refuses writes.
    Unsaved,
    /// It refuses writes without enough replicas.
    NoReplicas,
}

impl Server {
    /// An empty server. The seed determines all that is random about it.
    #[must_use]
    pub fn new(version: Version, seed: u64) -> Self {
        Self { state: State::new(version, seed), engine: Engine::of(version) }
    }

    /// Accepts a connection. It speaks RESP3 from the beginning, and is logged in if the default user needs no password.
    pub fn connect(&mut self) -> ClientId {
        self.state.last_client += 1;
        let id = ClientId(self.state.last_client);
        let default = self.state.users.get("default");
        let user = default.filter(|user| user.enabled && user.needs_no_password).map(|_| "default".to_owned());
        self.state.clients.insert(id, Client { user, ..Client::default() });
        id
    }

    /// Ends a connection, and its subscriptions with it.
    pub fn disconnect(&mut self, client: ClientId) {
        self.state.clients.remove(&client);
    }

    /// Whether a connection exists.
    #[must_use]
    pub fn is_connected(&self, client: ClientId) -> bool {
        self.state.clients.contains_key(&client)
    }

    /// Runs a command for a client, as one step at the server's present time.
    ///
    /// # Errors
    /// What the server answers instead of a value, or a broken pipe if the connection does not exist any more.
    pub fn call(&mut self, client: ClientId, command: &[Vec<u8>]) -> RedisResult<Value> {
        if !self.is_connected(client) {
            return Err(closed());
        }
        result(self.execute(client, command))
    }

    /// Runs a command of the redis crate: see [`Server::call`].
    ///
    /// # Errors
    /// As [`Server::call`].
    pub fn call_cmd(&mut self, client: ClientId, command: &Cmd) -> RedisResult<Value> {
        let words = command.args_iter().map(|word| match word {
            Arg::Simple(word) => word.to_vec(),
            _ => b"0".to_vec(),
        });
        self.call(client, &words.collect::<Vec<_>>())
    }

    fn execute(&mut self, client: ClientId, args: &[Vec<u8>]) -> Reply {
        let asked = self.state.clients.get_mut(&client).map(|client| std::mem::take(&mut client.asking));
        let asking = asked.unwrap_or_default();
        let command = Command::find(self.state.version, args)?;
        self.state.admit(client, command, args, asking)?;
        let Self { state, engine } = self;
        let engine = || engine.lock().unwrap_or_else(PoisonError::into_inner);
        let mut call = Call { state, client, args, scripted: false };
        let reply = match command.name {
            "eval" => engine().eval(&mut call, asking),
            "evalsha" => engine().eval_known(&mut call, asking),
            "script|load" => engine().load(&mut call),
            _ => (command.run)(&mut call),
        };
        self.state.commit_for(client);
        reply
    }

    /// The messages to subscribers since the last call, in order. Each client gets them after the replies to its earlier calls.
    pub fn take_pushes(&mut self) -> Vec<Push> {
        std::mem::take(&mut self.state.outbox)
    }

    /// What this node of a cluster published since the last call: the world gives it to all other nodes.
    pub fn take_broadcasts(&mut self) -> Vec<Broadcast> {
        std::mem::take(&mut self.state.broadcasts)
    }

    /// Delivers a message that another node of the cluster published.
    pub fn deliver(&mut self, message: &Broadcast) {
        self.state.deliver(&message.channel, &message.message);
    }
}

impl State {
    /// Checks whether a client's command may run, in the order in which Redis does.
    fn admit(&mut self, client: ClientId, command: &Command, args: &[Vec<u8>], asking: bool) -> Result<(), String> {
        match self.user(client) {
            Some((name, user)) => {
                user.check(command, args).map_err(|denied| denied.text(self.version, name, command.name))?;
            }
            None if command.is(NO_AUTH) => {}
            None => return Err("NOAUTH Authentication required.".into()),
        }
        self.route(client, command, args, asking).map_err(|(text, _)| text)?;
        if self.is_out_of_memory() && command.is(DENY_OOM) {
            return Err(OUT_OF_MEMORY.into());
        }
        if command.is(WRITE) {
            self.admit_write()?;
        }
        match self.condition {
            Condition::Stale if !command.is(STALE) => Err(STALE_REPLICA.into()),
            Condition::Loading if !command.is(LOADING) => {
                Err(format!("LOADING {} is loading the dataset in memory", self.version.title()))
            }
            Condition::Busy if !command.is(ALLOW_BUSY) => Err(format!(
                "BUSY {} is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                self.version.title()
            )),
            _ => Ok(()),
        }
    }

    /// A replica leaves that to its primary.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.memory_is_full && !self.is_replica()
    }

    pub(crate) fn admit_write(&self) -> Result<(), String> {
        match self.condition {
            Condition::Unsaved => Err(format!(
                "MISCONF {0} is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the {0} logs for details about the RDB error.",
                self.version.title()
            )),
            Condition::NoReplicas => Err("NOREPLICAS Not enough good replicas to write.".into()),
            _ if self.is_replica() => Err("READONLY You can't write against a read only replica.".into()),
            _ => Ok(()),
        }
    }

    /// Checks whether this node serves the keys of a command. The second text is for scripts.
    pub(crate) fn route(
        &self,
        client: ClientId,
        command: &Command,
        args: &[Vec<u8>],
        asking: bool,
    ) -> Result<(), (String, String)> {
        let Some(cluster) = self.cluster.as_ref().filter(|_| command.has_keys()) else { return Ok(()) };
        let client = self.clients.get(&client);
        let reads = command.is(READ) || command.name.starts_with("eval");
        let may_read_here = reads && client.is_some_and(|client| client.read_only);
        let request = Request { keys: keys_of(command, args), asking, may_read_here };
        let exists = |key: &[u8]| {
            let entry = self.keyspace.get(&(0, key.to_vec()));
            entry.is_some_and(|entry| entry.expires.is_none_or(|expires| self.now_ms() <= expires))
        };
        let routed = cluster.route(&request, exists);
        routed
            .map_err(|redirection| (cluster.text(&redirection), redirection.text_in_script(self.version, command.name)))
    }
}

pub(crate) const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
pub(crate) const STALE_REPLICA: &str =
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
