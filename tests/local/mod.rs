//! Processes that share a local store: what they do to each other when they end, stop, or find the files changed.

mod damage;
mod files;
mod process;
mod processes;
mod reboot;

use process::Process;
