//! `locker component` and `locker wit`: give out the component and its contract.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::exit_code::{CliError, Exit};
use crate::output::print;

pub(crate) fn component(output: Option<&Path>) -> Result<()> {
    match output {
        Some(path) => {
            std::fs::write(path, locker_host::COMPONENT).with_context(|| format!("cannot write {}", path.display()))
        }
        None if std::io::stdout().is_terminal() => {
            bail!(CliError(
                Exit::Usage,
                "the component is binary: name a file with -o FILE, or send it somewhere".to_owned()
            ))
        }
        None => print(locker_host::COMPONENT),
    }
}
