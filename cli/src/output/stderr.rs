//! Messages on standard error that never hold up the process: a pipe may be full, and have no reader.

use std::io::Write;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

enum Order {
    Write(String),
    /// Answers when everything before it was written.
    Flush(Sender<()>),
}

/// To the thread that writes. It is started by the first message.
static WRITER: Mutex<Option<Sender<Order>>> = Mutex::new(None);

/// Writes a line, in the background.
pub(crate) fn write_later(line: String) {
    let mut writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    if writer.is_none() {
        *writer = start();
    }
    match &*writer {
        // The thread ends with the process only.
        Some(writer) => _ = writer.send(Order::Write(line)),
        // Where no thread can be started, no command can either, so nothing is held up.
        None => _ = writeln!(std::io::stderr(), "{line}"),
    }
}

/// Waits until all messages are written, for a short time at most.
pub(crate) fn drain() {
    const LONGEST: Duration = Duration::from_secs(1);
    let writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(writer) = &*writer else { return };
    let (written, is_written) = channel();
    if writer.send(Order::Flush(written)).is_ok() {
        _ = is_written.recv_timeout(LONGEST);
    }
}

fn start() -> Option<Sender<Order>> {
    let (writer, orders) = channel();
    let write = move || {
        for order in orders {
            // If this fails, it cannot be reported.
            match order {
                Order::Write(line) => _ = writeln!(std::io::stderr(), "{line}"),
                Order::Flush(written) => _ = written.send(()),
            }
        }
    };
    std::thread::Builder::new().name("locker-stderr".to_owned()).spawn(write).ok().map(|_| writer)
}
