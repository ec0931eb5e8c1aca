//! The output of several plugins on one stream: whole lines, each with the name of its plugin in front.

use std::io::{Error, ErrorKind, Result, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Where the lines go.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Output,
    Error,
}

/// What a plugin writes to. Clones are of the same stream.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Mutex<Line>>);

struct Line {
    stream: Stream,
    prefix: String,
    /// What has come of the next line, with the prefix.
    begun: Vec<u8>,
}

/// Longer lines are broken: a plugin cannot fill the memory of its host.
const LONGEST: usize = 64 << 10;

impl Lines {
    pub(crate) fn new(stream: Stream, name: &str) -> Self {
        Self(Arc::new(Mutex::new(Line { stream, prefix: format!("{name}: "), begun: Vec::new() })))
    }

    fn put(&self, bytes: &[u8]) -> Result<()> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.split_inclusive(|byte| *byte == b'\n').flat_map(|part| part.chunks(LONGEST)).try_for_each(|part| {
            if line.begun.is_empty() {
                let Line { prefix, begun, .. } = &mut *line;
                begun.extend_from_slice(prefix.as_bytes());
            }
            line.begun.extend_from_slice(part);
            if part.ends_with(b"\n") || line.begun.len() > LONGEST { line.end() } else { Ok(()) }
        })
    }
}

impl Line {
    /// Writes the line, in one piece.
    fn end(&mut self) -> Result<()> {
        if !self.begun.ends_with(b"\n") {
            self.begun.push(b'\n');
        }
        let mut line = std::mem::take(&mut self.begun);
        let is_terminal = match self.stream {
            Stream::Output => std::io::IsTerminal::is_terminal(&std::io::stdout()),
            Stream::Error => std::io::IsTerminal::is_terminal(&std::io::stderr()),
        };
        if is_terminal {
            line = visible(&line);
        }
        match self.stream {
            Stream::Output => std::io::stdout().lock().write_all(&line),
            Stream::Error => std::io::stderr().lock().write_all(&line),
        }
    }
}

/// The line with its control characters escaped. On a terminal they could overwrite the prefix, and pass for others.
fn visible(line: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(line.len());
    for char in String::from_utf8_lossy(line).chars() {
        if char.is_control() && !matches!(char, '\n' | '\t') {
            text.extend(char.escape_default());
        } else {
            text.push(char);
        }
    }
    text.into_bytes()
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.begun.is_empty() {
            // The plugin has ended, so an error cannot be reported to it.
            _ = self.end();
        }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.put(&bytes).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => StreamError::Closed,
            _ => StreamError::LastOperationFailed(Error::into(error)),
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LONGEST)
    }
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Poll::Ready(self.put(bytes).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}
