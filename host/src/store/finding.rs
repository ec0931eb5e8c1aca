//! What a check of a store found.

use super::CacheError;

/// How good a [`Finding`] is. The worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Locks work, and something may cost them more than it must; or it is unknown.
    Warning,
    /// Locks do not work, or may have two holders.
    Failure,
}

impl Status {
    /// The status in a word: `ok`, `warning` or `failure`.
    ///
    /// ```
    /// assert_eq!(locker_host::Status::Failure.name(), "failure");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// What a check of a store found about one subject: see [`Locker::check`](crate::Locker::check).
///
/// ```
/// use locker_host::{Finding, Status};
///
/// let finding = Finding::failed("Redis at db:6379", "login", "refuses the password; correct it in the URL");
/// assert_eq!((finding.status, &finding.found[..]), (Status::Failure, "refuses the password"));
/// assert_eq!(finding.remedy.as_deref(), Some("correct it in the URL"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The store or the server that this is about, without a password.
    pub store: String,
    /// What was looked at, in a word or two.
    pub subject: String,
    /// How good it is.
    pub status: Status,
    /// What was found, in one line.
    pub found: String,
    /// What to do about it, in one line.
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding. Control characters in it are replaced, since it may quote a server and be shown on a terminal.
    ///
    /// ```
    /// use locker_host::{Finding, Status};
    ///
    /// let finding = Finding::new("my store", "disk", Status::Warning, "1 MiB is free").remedy("free some space");
    /// assert_eq!(finding.remedy.as_deref(), Some("free some space"));
    /// ```
    #[must_use]
    pub fn new(store: impl Into<String>, subject: impl Into<String>, status: Status, found: impl Into<String>) -> Self {
        Self { store: store.into(), subject: subject.into(), status, found: shown(found.into()), remedy: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(shown(remedy.into()));
        self
    }

    /// Adds what to do about it, unless it has that.
    pub(crate) fn or_remedy(self, remedy: &str) -> Self {
        if self.remedy.is_some() { self } else { self.remedy(remedy) }
    }

    /// A failure with the message of an error. What follows the first `; ` is the remedy, as in the messages of this library.
    #[must_use]
    pub fn failed(store: impl Into<String>, subject: impl Into<String>, message: &str) -> Self {
        match message.split_once("; ") {
            Some((found, remedy)) => Self::new(store, subject, Status::Failure, found).remedy(remedy),
            None => Self::new(store, subject, Status::Failure, message),
        }
    }

    /// A failure with an error of the store, which usually begins with the name of the store.
    pub(crate) fn of_error(store: &str, subject: &str, error: &CacheError) -> Self {
        let message = error.to_string();
        let message = message.strip_prefix(store).map_or(&message[..], str::trim_start);
        Self::failed(store, subject, message)
    }
}

fn shown(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}") } else { text }
}
