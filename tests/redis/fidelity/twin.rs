//! A real server and a simulated one that get the same requests.

use std::collections::HashMap;
use std::time::Duration;

use locker_host::simulation::scripts;
use locker_simulated_redis::{ClientId, Server, Version};
use redis::Value;

use super::replies::{agree, error_of, line, readable, text, time_of};
use super::wire::Wire;
use super::{CLIENTS, HOLDER, Step, words};
use crate::harness::RedisServer;

pub(super) struct Twin {
    _real: RedisServer,
    /// A connection that belongs to no client.
    control: Wire,
    wires: Vec<Wire>,
    version: Version,
    run_id: String,
    pub(super) simulated: Server,
    clients: Vec<ClientId>,
    observer: ClientId,
    /// The messages that the simulated server sent to each client.
    messages: Vec<Vec<Value>>,
    /// Whether a script failed after it wrote: at which time, only its reply would have said.
    has_unknown_time: bool,
    scripts: HashMap<&'static str, (&'static str, String)>,
}

impl Twin {
    pub(super) async fn start() -> Self {
        Self::of(RedisServer::start().await)
    }

    pub(super) fn of(real: RedisServer) -> Self {
        let mut control = Wire::connect(real.port());
        let info = text(&control.call(&words(&["INFO", "server"])));
        let version = Version::of(&info).expect("the simulation knows the server");
        let hashed = |(name, code)| (name, (code, redis::Script::new(code).get_hash().to_owned()));
        let mut simulated = Server::new(version, 0);
        Self {
            observer: simulated.connect(),
            wires: (0..CLIENTS).map(|_| Wire::connect(real.port())).collect(),
            _real: real,
            control,
            version,
            run_id: line(&info, "run_id:"),
            simulated,
            clients: Vec::new(),
            messages: Vec::new(),
            has_unknown_time: false,
            scripts: scripts().into_iter().map(hashed).collect(),
        }
    }

    /// Empties both servers.
    pub(super) fn reset(&mut self) {
        self.set_memory(false);
        for command in [["FLUSHALL", "SYNC"], ["SCRIPT", "FLUSH"]] {
            _ = self.control.call(&words(&command));
        }
        for wire in &mut self.wires {
            _ = wire.call(&words(&["RESET"]));
            _ = wire.call(&words(&["HELLO", "3"]));
            wire.messages.clear();
        }
        self.simulated = Server::new(self.version, 0);
        self.simulated.set_run_id(&self.run_id);
        self.observer = self.simulated.connect();
        self.clients = (0..CLIENTS).map(|_| self.simulated.connect()).collect();
        self.messages = vec![Vec::new(); CLIENTS];
        self.has_unknown_time = false;
    }

    /// Does the same to both servers, and compares what they answer.
    pub(super) fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            _ if self.has_unknown_time => Ok(()),
            Step::Call { client, words } => self.call(*client, words).map(drop),
            Step::Run { client, script, keys, args } => self.run(*client, script, keys, args),
            Step::Memory { full } => {
                self.set_memory(*full);
                Ok(())
            }
            Step::Expire(key) => {
                if self.call(0, &words(&["PEXPIRE", key, "1"]))? == Ok(Value::Int(1)) {
                    std::thread::sleep(Duration::from_millis(3));
                }
                Ok(())
            }
        }
    }

    fn set_memory(&mut self, full: bool) {
        _ = self.control.call(&words(&["CONFIG", "SET", "maxmemory", if full { "1" } else { "0" }]));
        self.simulated.set_memory_full(full);
    }

    /// Makes a user who needs no password, and logs clients in as this user.
    pub(super) fn log_in(&mut self, clients: &[usize], rules: &[&str]) -> Result<(), String> {
        let rules = [&["reset", "on", "nopass"], rules].concat();
        let made = self.control.call(&words(&[&["ACL", "SETUSER", "limited"], &rules[..]].concat()));
        assert_eq!(made, Value::Okay, "{rules:?}");
        self.simulated.set_user("limited", &rules)?;
        clients.iter().try_for_each(|client| self.call(*client, &words(&["AUTH", "limited", "x"])).map(drop))
    }

    fn run(&mut self, client: usize, script: &str, keys: &[String], args: &[String]) -> Result<(), String> {
        let (code, hash) = self.scripts[script].clone();
        let holder = self.holder(&keys[0]);
        let args = args.iter().map(|word| if word == HOLDER { &holder } else { word }.clone());
        let count = keys.len().to_string();
        let command: Vec<_> =
            words(&["EVALSHA", &hash, &count]).into_iter().chain(keys.to_vec()).chain(args.clone()).collect();

        let written = self.simulated.offset();
        match self.call(client, &command)? {
            Err(error) if error.starts_with("NOSCRIPT") => {
                if self.call(client, &words(&["SCRIPT", "LOAD", code]))?.is_ok() {
                    return self.run(client, script, keys, &args.collect::<Vec<_>>());
                }
            }
            Err(_) => self.has_unknown_time = self.simulated.offset() > written,
            Ok(_) => {}
        }
        Ok(())
    }

    /// The value that holds a lock.
    fn holder(&mut self, lock: &str) -> String {
        let command = [b"GET".to_vec(), lock.as_bytes().to_vec()];
        let stored = self.simulated.call(self.observer, &command).as_ref().map(text).unwrap_or_default();
        stored.split('\u{1f}').next().unwrap_or_default().to_owned()
    }

    /// Runs a command on both servers at the same time, and answers what both do.
    pub(super) fn call(&mut self, client: usize, command: &[String]) -> Result<Result<Value, String>, String> {
        let before = self.time();
        let heard = self.wires[client].messages.len();
        let real = self.wires[client].call(command);
        let came_first = self.wires[client].messages.len() > heard;
        self.simulated.set_clock(time_of(&real).unwrap_or(before));
        let request: Vec<_> = command.iter().map(|word| word.clone().into_bytes()).collect();
        let simulated = self.simulated.call(self.clients[client], &request);
        let (real, simulated) = (readable(error_of(real)), readable(simulated));
        let sends_to_itself = self.collect_messages().contains(&client);
        if came_first != (sends_to_itself && self.version.sends_messages_first()) {
            return Err(format!(
                "{command:?}: a message came {} the reply",
                if came_first { "before" } else { "after" }
            ));
        }
        if agree(command, &real, &simulated) {
            return Ok(real);
        }
        Err(format!("{command:?}:\n real      {real:?}\n simulated {simulated:?}"))
    }

    /// How much the real server has of a replicated history.
    pub(super) fn offset(&mut self, name: &str) -> u64 {
        line(&text(&self.ask(&["INFO", "replication"])), name).parse().unwrap()
    }

    /// Asks the real server something behind the clients' backs.
    pub(super) fn ask(&mut self, command: &[&str]) -> Value {
        self.control.call(&words(command))
    }

    /// Sets the simulated clock to the real one.
    pub(super) fn set_time(&mut self) -> u64 {
        let now = self.time();
        self.simulated.set_clock(now);
        now
    }

    fn time(&mut self) -> u64 {
        let Value::Array(time) = self.control.call(&words(&["TIME"])) else { panic!("the server has no time") };
        let [seconds, micros] = [0, 1].map(|part| text(&time[part]).parse::<u64>().unwrap());
        seconds * 1_000_000 + micros
    }

    /// Lets the real messages arrive that the simulated server sent, before more are sent. Answers the clients that get some.
    pub(super) fn collect_messages(&mut self) -> Vec<usize> {
        let mut clients = Vec::new();
        for push in self.simulated.take_pushes() {
            let client = self.clients.iter().position(|client| *client == push.client).unwrap();
            self.messages[client].push(push.value());
            self.wires[client].receive(self.messages[client].len());
            clients.push(client);
        }
        clients
    }

    pub(super) fn compare_messages(&mut self) -> Result<(), String> {
        if self.has_unknown_time {
            return Ok(());
        }
        for (wire, simulated) in self.wires.iter_mut().zip(&self.messages) {
            wire.drain();
            if wire.messages != *simulated {
                return Err(format!("messages:\n real      {:?}\n simulated {simulated:?}", wire.messages));
            }
        }
        Ok(())
    }
}
