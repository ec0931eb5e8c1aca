//! A member of a quorum that is reached over a slow network.

use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use locker_host::cache::{DeleteOutcome, Entry, ExtendOutcome, Revocation, SetOutcome, Vote, VoteOutcome};

use locker_host::{Cache, CacheError, QuorumMember};
use tokio::time::sleep;

/// A member whose requests and answers take their time. A request arrives even if its caller goes away meanwhile.
pub(crate) struct Distant {
    member: Arc<dyn QuorumMember>,
    latency: Range<Duration>,
    hangs: AtomicBool,
    late: Mutex<Option<(Asked, Duration)>>,
    late_arrivals: Arc<AtomicUsize>,
}

/// What a member is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Vote,
    WithdrawVote,
    Other,
}

impl Distant {
    pub(crate) fn new(member: impl QuorumMember, latency: Range<Duration>) -> Arc<Self> {
        Arc::new(Self {
            member: Arc::new(member),
            latency,
            hangs: AtomicBool::default(),
            late: Mutex::default(),
            late_arrivals: Arc::default(),
        })
    }

    /// Gives no answers from now on.
    pub(crate) fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    /// Lets the next such request arrive late.
    pub(crate) fn delay_next(&self, asked: Asked, time: Duration) {
        *self.late.lock().unwrap() = Some((asked, time));
    }

    pub(crate) fn has_delayed(&self) -> bool {
        self.late.lock().unwrap().is_none()
    }

    /// How many late requests the member has answered.
    pub(crate) fn late_arrivals(&self) -> usize {
        self.late_arrivals.load(Ordering::SeqCst)
    }

    async fn carry<T, F>(&self, asked: Asked, request: impl FnOnce(Arc<dyn QuorumMember>) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let late = self.late.lock().unwrap().take_if(|(late, _)| *late == asked);
        let (there, back) = (late.map_or_else(|| self.takes(), |(_, time)| time), self.takes());
        let (request, late_arrivals) = (request(self.member.clone()), self.late_arrivals.clone());
        let carried = tokio::spawn(async move {
            pause(there).await;
            let answer = request.await;
            late_arrivals.fetch_add(usize::from(late.is_some()), Ordering::SeqCst);
            pause(back).await;
            answer
        });
        carried.await.unwrap()
    }

    fn takes(&self) -> Duration {
        let Range { start, end } = self.latency;
        start + (end - start).mul_f64(fastrand::f64())
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

#[async_trait]
impl Cache for Distant {
    async fn try_set(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<SetOutcome, CacheError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.carry(Asked::Other, |member| async move { member.try_set(&key, &value, ttl).await }).await
    }

    async fn extend_if_equal(&self, key: &str, value: &str, ttl: Duration) -> Result<ExtendOutcome, CacheError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.carry(Asked::Other, |member| async move { member.extend_if_equal(&key, &value, ttl).await }).await
    }

    async fn replace_if_equal(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        let (key, value, replacement) = (key.to_owned(), value.to_owned(), replacement.to_owned());
        let request = |member: Arc<dyn QuorumMember>| async move {
            member.replace_if_equal(&key, &value, &replacement, ttl).await
        };
        self.carry(Asked::Other, request).await
    }

    async fn delete_if_equal(&self, key: &str, value: &str) -> Result<DeleteOutcome, CacheError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.carry(Asked::Other, |member| async move { member.delete_if_equal(&key, &value).await }).await
    }

    async fn withdraw(&self, key: &str, value: &str) -> Result<(), CacheError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.carry(Asked::Other, |member| async move { member.withdraw(&key, &value).await }).await
    }

    async fn announce_revocation(&self, key: &str, revision: u64) -> Result<(), CacheError> {
        let key = key.to_owned();
        self.carry(Asked::Other, |member| async move { member.announce_revocation(&key, revision).await }).await
    }

    async fn listen_for_revocation(&self, key: &str, revision: u64) -> Option<Revocation> {
        let key = key.to_owned();
        self.carry(Asked::Other, |member| async move { member.listen_for_revocation(&key, revision).await }).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        let key = key.to_owned();
        self.carry(Asked::Other, |member| async move { member.get(&key).await }).await
    }

    async fn keys(&self) -> Result<Vec<String>, CacheError> {
        self.carry(Asked::Other, |member| async move { member.keys().await }).await
    }
}

#[async_trait]
impl QuorumMember for Distant {
    async fn watch(&self, key: &str, timeout: Duration) -> Result<(), CacheError> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        pause(self.takes()).await;
        self.member.watch(key, timeout).await?;
        pause(self.takes()).await;
        Ok(())
    }

    async fn vote(&self, key: &str, vote: Vote<'_>) -> Result<VoteOutcome, CacheError> {
        let (key, value) = (key.to_owned(), vote.value.to_owned());
        let Vote { ttl, revision, since, .. } = vote;
        let request = |member: Arc<dyn QuorumMember>| async move {
            member.vote(&key, Vote { value: &value, ttl, revision, since }).await
        };
        self.carry(Asked::Vote, request).await
    }

    async fn withdraw_vote(&self, key: &str, value: &str, votes: RangeInclusive<u64>) -> Result<(), CacheError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        let request = |member: Arc<dyn QuorumMember>| async move { member.withdraw_vote(&key, &value, votes).await };
        self.carry(Asked::WithdrawVote, request).await
    }

    async fn replace_vote(
        &self,
        key: &str,
        value: &str,
        replacement: &str,
        ttl: Duration,
    ) -> Result<ExtendOutcome, CacheError> {
        let (key, value, replacement) = (key.to_owned(), value.to_owned(), replacement.to_owned());
        let request =
            |member: Arc<dyn QuorumMember>| async move { member.replace_vote(&key, &value, &replacement, ttl).await };
        self.carry(Asked::Other, request).await
    }

    async fn restore(&self, key: &str, value: &str, ttl: Duration, revision: u64) -> Result<SetOutcome, CacheError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        let request = |member: Arc<dyn QuorumMember>| async move { member.restore(&key, &value, ttl, revision).await };
        self.carry(Asked::Other, request).await
    }
}
