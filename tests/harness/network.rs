//! A network of hosts that can be partitioned. Each host is a network namespace, connected to a bridge in another one: nothing leaves the machine.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use nix::sched::{CloneFlags, setns};
use tokio::runtime::Runtime;

/// The hosts of one test. Each test has its own, so that all can have the same addresses.
pub(crate) struct Network {
    switch: Host,
    hosts: AtomicU8,
    /// What was cut since all was whole: the namespace of a sender, and the address of a receiver.
    cuts: Mutex<Vec<(PathBuf, String)>>,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self { switch: Host::start(String::new(), None), hosts: AtomicU8::new(0), cuts: Mutex::default() }
    }

    /// Adds a host.
    pub(crate) fn host(&self) -> Arc<Host> {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new(Host::start(format!("10.77.0.{number}"), Some(&self.switch)))
    }

    /// Loses all that one host sends to another, without a word. What the other one sends still arrives.
    pub(crate) fn cut(&self, from: &Host, to: &Host) {
        // No host has this hardware address. A route that is a black hole would let the sender know.
        from.ip(&format!("neighbour replace {} lladdr 02:00:00:00:00:00 dev eth0 nud permanent", to.address));
        self.cuts.lock().unwrap().push((from.namespace(), to.address.clone()));
    }

    /// Cuts two groups of hosts off from each other.
    pub(crate) fn partition(&self, side: &[&Host], other: &[&Host]) {
        for one in side {
            for two in other {
                self.cut(one, two);
                self.cut(two, one);
            }
        }
    }

    /// All hosts reach each other again.
    pub(crate) fn heal(&self) {
        for (namespace, address) in self.cuts.lock().unwrap().drain(..) {
            ip(&namespace, &format!("neighbour delete {address} dev eth0"));
        }
    }
}

/// A network namespace, which lasts until this is dropped or the test ends.
pub(crate) struct Host {
    address: String,
    /// It ends with its standard input.
    keeper: Child,
}

impl Host {
    fn start(address: String, switch: Option<&Self>) -> Self {
        let switch = switch.map(|host| host.keeper.id().to_string()).unwrap_or_default();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/host.sh");
        let mut command = Command::new("unshare");
        command.args(["--net", "sh"]).arg(script).args([&address, &switch]);
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare is needed");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let connected = line == "connected\n";
        assert!(
            connected,
            "network namespaces are needed: run this as root, with ip, nsenter and unshare, which tests/setup installs"
        );
        Self { address, keeper }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A command that runs on this host, and has the process id of what it runs.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        inside(&self.namespace(), program)
    }

    /// A runtime whose tasks use the network from here.
    pub(crate) fn runtime(&self) -> Runtime {
        let namespace = File::open(self.namespace()).unwrap();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || setns(&namespace, CloneFlags::CLONE_NEWNET).expect("only root enters a namespace"))
            .build()
            .unwrap()
    }

    fn namespace(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.keeper.id()).into()
    }

    fn ip(&self, words: &str) {
        ip(&self.namespace(), words);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        _ = self.keeper.kill();
        _ = self.keeper.wait();
    }
}

fn inside(namespace: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.display())).arg(program);
    command
}

fn ip(namespace: &Path, words: &str) {
    let ran = inside(namespace, "ip").args(words.split(' ')).status().unwrap();
    assert!(ran.success(), "ip {words}: {ran}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_cut_loses_what_one_host_sends_and_not_what_it_receives() {
        let network = Network::new();
        let (server, client) = (network.host(), network.host());
        let address = (server.address().to_owned(), 1);
        let (at_server, at_client) = (server.runtime(), client.runtime());
        // Only the threads of a runtime are on its host, not the one that blocks on it.
        let listener = at_server.block_on(at_server.spawn(TcpListener::bind(address.clone()))).unwrap().unwrap();
        let mut sent = at_client.block_on(at_client.spawn(TcpStream::connect(address))).unwrap().unwrap();
        let (mut received, _) = at_server.block_on(listener.accept()).unwrap();
        network.cut(&server, &client);
        at_client.block_on(sent.write_all(b"?")).unwrap();
        assert_eq!(at_server.block_on(received.read_u8()).unwrap(), b'?');
        at_server.block_on(received.write_all(b"!")).unwrap();
        at_client.block_on(async { timeout(Duration::from_millis(200), sent.read_u8()).await }).unwrap_err();
        network.heal();
        assert_eq!(at_client.block_on(sent.read_u8()).unwrap(), b'!');
    }
}
