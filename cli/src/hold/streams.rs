//! Standard output and standard error of a keeper. A reader of a pipe waits until no process has it open.

use std::fs::File;
use std::io::{Write, stderr, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use anyhow::Result;
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::unistd::{chdir, dup2_stderr, dup2_stdout};

use super::shell::Watch;

/// What the keeper has left of its streams.
pub(super) struct Streams {
    /// Standard error was a pipe, and is closed.
    is_closed: bool,
}

impl Streams {
    /// Gives up what others may wait for: pipes, and the working directory. A terminal, a file or a socket stays as standard error.
    pub(super) fn leave() -> Result<Self> {
        stdout().flush()?;
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        let kind = File::from(stderr().as_fd().try_clone_to_owned()?).metadata()?.file_type();
        let is_closed = kind.is_fifo();
        if is_closed {
            dup2_stderr(&nothing)?;
        }
        dup2_stdout(&nothing)?;
        chdir("/")?;
        Ok(Self { is_closed })
    }

    /// Makes the standard error of the shell that of this process, if it gave up its own. Writing to it never blocks.
    pub(super) fn find_stderr_of(self, shell: &Watch) {
        let path = format!("/proc/{}/fd/2", shell.id());
        if self.is_closed
            && let Ok(found) = File::options().append(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path)
            // Else the number may be that of another process.
            && !shell.has_ended()
        {
            // Without it, the message is lost.
            _ = dup2_stderr(found);
        }
    }
}
