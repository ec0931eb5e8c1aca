//! `locker lock`: takes a lock and prints its token.

use anyhow::Result;
use locker_host::{LockOptions, Locker, Token};

use crate::acquire::{Acquired, acquire};
use crate::exit_code::Exit;
use crate::output::Report;
use crate::signals::Signals;
use crate::token::read_token;

pub(crate) async fn lock(
    locker: &Locker,
    name: &str,
    mut options: LockOptions,
    token: Option<String>,
    report: Report,
) -> Result<Exit> {
    if let Some(token) = token {
        options = options.token(Token::from(read_token(token)?));
    }
    match acquire(locker, name, locker.lock(name, options), &mut Signals::listen()?, report).await? {
        Acquired::Granted(lease) => {
            if let Err(error) = report.granted(name, &lease) {
                // Without its token, the lock could not be released.
                locker.unlock(name, &lease.token).await?;
                return Err(error);
            }
            Ok(Exit::Done)
        }
        Acquired::Held(holder) => {
            report.held(name, &holder)?;
            Ok(Exit::Held)
        }
        Acquired::Interrupted(signal) => Ok(Exit::Signal(signal)),
    }
}
