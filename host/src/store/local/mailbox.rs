//! Sockets: how processes that share a store tell each other that something changed.
//!
//! A process that waits has one datagram socket in the folder of the store. The socket of a process that has ended refuses datagrams, so
//! that a dead waiter is noticed at once. Sockets are bound and removed under the lock of the store.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use nix::errno::Errno;

use super::folder::Folder;

/// The socket of this process.
pub(super) struct Mailbox {
    pub(super) address: u64,
    socket: UnixDatagram,
}

/// What a process tells a waiter of another one, by the number that it has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The lock may be the waiter's: look.
    Look(u64),
    /// The waiter is the head of its queue, and the lock expires then.
    Head(u64, u64),
    Withdrawn(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Alive,
    Dead,
}

/// A socket without a name, to send from.
pub(super) struct Sender(UnixDatagram);

/// More messages than this may not fit into the buffer of a socket, which has 10 at least.
pub(super) const MAY_OVERFLOW: usize = 8;
/// How many sockets of others one sweep looks at.
const SWEPT: usize = 32;

impl Message {
    const LENGTH: usize = 17;

    fn encode(self) -> [u8; Self::LENGTH] {
        let (kind, id, expires) = match self {
            Self::Look(id) => (0, id, 0),
            Self::Head(id, expires) => (1, id, expires),
            Self::Withdrawn(id) => (2, id, 0),
        };
        let mut bytes = [kind; Self::LENGTH];
        bytes[1..9].copy_from_slice(&id.to_le_bytes());
        bytes[9..].copy_from_slice(&expires.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (id, expires) = (u64::from_le_bytes(*id), u64::from_le_bytes(rest.try_into().ok()?));
        match kind {
            0 => Some(Self::Look(id)),
            1 => Some(Self::Head(id, expires)),
            2 => Some(Self::Withdrawn(id)),
            _ => None,
        }
    }
}

impl Mailbox {
    pub(super) fn bind(folder: &Folder, address: u64) -> io::Result<Self> {
        let path = folder.file(name(address));
        let socket = UnixDatagram::bind(&path)?;
        let mailbox = Self { address, socket };
        folder.share(&path)?;
        mailbox.socket.set_nonblocking(true)?;
        Ok(mailbox)
    }

    /// Whether others can still find it.
    pub(super) fn is_bound(&self, folder: &Folder) -> bool {
        folder.metadata(&name(self.address)).is_ok()
    }

    pub(super) fn remove(self, folder: &Folder) {
        _ = fs::remove_file(folder.file(name(self.address)));
    }

    /// The messages that have come.
    pub(super) fn receive(&self) -> Vec<Message> {
        let (mut messages, mut bytes) = (Vec::new(), [0; Message::LENGTH]);
        while let Ok(length) = self.socket.recv(&mut bytes) {
            messages.extend(Message::decode(&bytes[..length]));
        }
        messages
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Sender {
    pub(super) fn new() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    pub(super) fn send(&self, folder: &Folder, address: u64, message: Message) -> Delivery {
        let (bytes, path) = (message.encode(), folder.file(name(address)));
        let sent = self.0.send_to(&bytes, &path).or_else(|error| match error.kind() {
            // Messages that a stopped process does not read fill the buffer of their sender, too. A new sender's is empty.
            io::ErrorKind::WouldBlock => Self::new()?.0.send_to(&bytes, &path),
            _ => Err(error),
        });
        bury(folder, &name(address), sent.map(|_| ()))
    }

    /// Whether the process with this mailbox lives.
    pub(super) fn probe(&self, folder: &Folder, address: u64) -> Delivery {
        self.probe_file(folder, &name(address))
    }

    fn probe_file(&self, folder: &Folder, name: &str) -> Delivery {
        // A socket that is connected takes datagrams from its peer only; this one receives none.
        bury(folder, name, UnixDatagram::unbound().and_then(|socket| socket.connect(folder.file(name))))
    }

    /// Removes sockets of processes that have ended, some at a time.
    pub(super) fn sweep(&self, folder: &Folder) {
        let Ok(files) = fs::read_dir(folder.file(".")) else { return };
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        for name in names.filter(|name| is_name(name)).take(SWEPT) {
            self.probe_file(folder, &name);
        }
    }
}

/// Removes the socket if it refused: its process has ended.
fn bury(folder: &Folder, name: &str, sent: io::Result<()>) -> Delivery {
    let error = sent.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw);
    match error {
        Some(Errno::ECONNREFUSED) => _ = fs::remove_file(folder.file(name)),
        Some(Errno::ENOENT) => {}
        // A full buffer is one of a process that lives. If the system fails, the waiter looks by itself.
        _ => return Delivery::Alive,
    }
    Delivery::Dead
}

fn name(address: u64) -> String {
    format!("s{address:016x}")
}

fn is_name(name: &str) -> bool {
    name.strip_prefix('s').is_some_and(|rest| rest.len() == 16 && u64::from_str_radix(rest, 16).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        for message in [Message::Look(1), Message::Head(2, u64::MAX), Message::Withdrawn(3)] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::decode(&[0; 5]), None);
        assert_eq!(Message::decode(&[9; Message::LENGTH]), None);
    }
}
