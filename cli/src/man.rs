//! `locker man`: what `man` reads.

use anyhow::Result;
use clap::CommandFactory;

use crate::args::Args;
use crate::exit_code::{CliError, Exit};

/// The manual page of `locker`, or of one of its subcommands.
pub(crate) fn man(command: Option<&str>) -> Result<Vec<u8>> {
    let mut locker = Args::command();
    locker.build();
    let about = match command {
        None => locker,
        Some(name) => {
            let found = locker.find_subcommand(name).cloned();
            found.ok_or_else(|| CliError(Exit::Usage, format!("there is no command {name:?}: see locker --help")))?
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(about).render(&mut page)?;
    Ok(page)
}
