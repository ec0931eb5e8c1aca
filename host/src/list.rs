//! All locks at a glance.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;

use crate::{Error, ErrorKind, Holder, Locker};

/// How many locks are asked after at a time.
const AT_A_TIME: usize = 64;

impl Locker {
    /// All locks that are held, by name. This looks at every key of the store: it is for people who want to know, not for
    /// deciding anything. Locks that are taken or released meanwhile may be among them or not.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), locker_host::Error> {
    /// use std::time::Duration;
    /// use locker_host::{Locker, Memory};
    ///
    /// let locker = Locker::new(Memory::default())?;
    /// let _lease = locker.lock("job", Duration::from_secs(30)).await?;
    /// assert!(locker.list().await?.contains_key("job"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind`].
    pub async fn list(&self) -> Result<BTreeMap<String, Holder>, Error> {
        let names: BTreeSet<String> = self.cache().keys().await?.into_iter().collect();
        let (mut names, mut asked, mut held) = (names.into_iter(), JoinSet::new(), BTreeMap::new());
        loop {
            while asked.len() < AT_A_TIME
                && let Some(name) = names.next()
            {
                let locker = self.clone();
                asked.spawn(async move {
                    let holder = locker.inspect(&name).await;
                    (name, holder)
                });
            }
            let Some(answer) = asked.join_next().await else { return Ok(held) };
            // Only a cancelled or panicked task has no answer, and nobody cancels these.
            let Ok((name, holder)) = answer else { continue };
            match holder {
                Ok(Some(holder)) => _ = held.insert(name, holder),
                Ok(None) => {}
                // Something that is no lock lies there.
                Err(error) if error.kind() == ErrorKind::Invalid => {}
                Err(error) => return Err(error),
            }
        }
    }
}
