//! The token of `unlock` and `extend`.

use std::io::Read;

use anyhow::{Context, Result};

/// The token as given, or from standard input for `-`, so that it need not show in a list of processes.
pub(crate) fn read_token(token: String) -> Result<String> {
    if token != "-" {
        return Ok(token);
    }
    const MAX_TOKEN: u64 = 4096;
    let mut input = String::new();
    std::io::stdin().take(MAX_TOKEN).read_to_string(&mut input).context("cannot read the token from standard input")?;
    Ok(input.trim_end_matches(['\r', '\n']).to_owned())
}
