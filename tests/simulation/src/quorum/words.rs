//! Answers of a quorum in words that are the same each time: deadlines are instants of this machine.

use locker_host::CacheError;
use locker_host::cache::{ExtendOutcome, SetOutcome};

pub(crate) fn set(answer: &Result<SetOutcome, CacheError>) -> String {
    match answer {
        Ok(SetOutcome::Stored(stored)) => format!("stored with {}", stored.revision),
        Ok(SetOutcome::Occupied(entry)) => format!("{} has it with {}", entry.value, entry.revision),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn extended(answer: &Result<ExtendOutcome, CacheError>) -> String {
    match answer {
        Ok(ExtendOutcome::Extended(stored)) => format!("extended, with {}", stored.revision),
        Ok(ExtendOutcome::Absent) => "absent".to_owned(),
        Ok(ExtendOutcome::Different) => "different".to_owned(),
        Err(error) => error.to_string(),
    }
}
