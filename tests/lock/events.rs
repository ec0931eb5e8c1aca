//! What a program that embeds Locker hears of it: events and metrics.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use locker_host::{LockOptions, Locker, Memory};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use crate::harness::{Flaky, LONG, RedisServer, granted, held};

/// Runs on one thread, so that what is heard here is of this test alone.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// All values that were recorded, by metric.
#[derive(Clone, Default)]
struct Metrics(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

/// One metric of them.
struct Metric(Metrics, String);

impl Metrics {
    /// The metrics that come of something.
    fn of(test: impl Future<Output = ()>) -> BTreeMap<String, Vec<f64>> {
        let metrics = Self::default();
        metrics::with_local_recorder(&metrics, || run(test));
        std::mem::take(&mut *metrics.0.lock().unwrap())
    }

    fn metric(&self, key: &Key) -> Arc<Metric> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        Arc::new(Metric(self.clone(), format!("{}{}", key.name(), labels.collect::<String>())))
    }
}

impl Metric {
    fn add(&self, value: f64) {
        self.0.0.lock().unwrap().entry(self.1.clone()).or_default().push(value);
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.metric(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.metric(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.metric(key))
    }
}

impl CounterFn for Metric {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }
    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Metric {
    fn increment(&self, value: f64) {
        self.add(value);
    }
    fn decrement(&self, value: f64) {
        self.add(-value);
    }
    fn set(&self, _: f64) {}
}

impl HistogramFn for Metric {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

#[test]
fn grants_refusals_and_errors_are_counted() {
    let metrics = Metrics::of(async {
        let locker = Locker::new(Memory::default()).unwrap();
        granted(locker.lock("job", LONG).await);
        held(locker.lock("job", LONG).await);
        locker.lock("", LONG).await.unwrap_err();
        locker.unlock("", "token").await.unwrap_err();
    });
    let expected = [
        ("locker_attempts_total", 3),
        ("locker_errors_total operation=lock class=invalid", 1),
        ("locker_errors_total operation=unlock class=invalid", 1),
        ("locker_grants_total", 1),
        ("locker_held_total", 1),
        ("locker_wait_seconds", 1),
    ];
    let counted: Vec<_> = metrics.iter().map(|(name, values)| (name.as_str(), values.len())).collect();
    assert_eq!(counted, expected);
}

#[test]
fn losses_are_counted_and_holds_are_timed() {
    let metrics = Metrics::of(async {
        let store = Flaky::default();
        let (locker, other) = (store.locker(), store.locker());
        let guard = locker.hold("job", LockOptions::from(LONG / 60)).await.unwrap().granted().unwrap();
        other.unlock("job", guard.lease().token).await.unwrap();
        guard.lost().await;
    });
    assert_eq!(metrics["locker_lost_total reason=absent"], [1.0]);
    let held = &metrics["locker_hold_seconds"];
    assert!(held.len() == 1 && held[0] > 0.0 && held[0] < LONG.as_secs_f64(), "{held:?}");
}

#[test]
fn revocations_and_completed_periods_are_counted() {
    let metrics = Metrics::of(async {
        let locker = Locker::new(Memory::default()).unwrap();
        let guard = locker.hold("job", LONG).await.unwrap().granted().unwrap();
        guard.complete(2 * LONG).await.unwrap();
        locker.revoke("job", None).await.unwrap();
    });
    assert_eq!(metrics["locker_completed_total"], [1.0]);
    assert_eq!(metrics["locker_revoked_total"], [1.0]);
}

#[test]
fn terms_of_leaders_are_counted_and_timed() {
    let metrics = Metrics::of(async {
        let store = Flaky::default();
        let (locker, other) = (store.locker(), store.locker());
        let lost = locker.campaign("job", LockOptions::from(LONG / 60)).await.unwrap();
        other.unlock("job", lost.lease().token).await.unwrap();
        lost.lost().await;
        locker.lead("job", LONG, async |_| ()).await.unwrap();
    });
    assert_eq!(metrics["locker_terms_total"], [1.0, 1.0]);
    assert_eq!(metrics["locker_leading"], [1.0, -1.0, 1.0, -1.0]);
    assert_eq!(metrics["locker_term_seconds"].len(), 2);
}

thread_local! {
    /// The events of this thread, if a test records them.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.as_mut().map_or(Ok(bytes.len()), |log| log.write(bytes)))
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn events_name_the_lock_and_never_the_token() {
    // For all threads: what others say first would decide for this one whether it is worth hearing.
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    tracing::subscriber::set_global_default(subscriber.with_writer(|| Log).finish()).unwrap();
    LOG.set(Some(Vec::new()));
    let mut tokens = Vec::new();
    run(async {
        let mut server = RedisServer::start().await;
        let locker = server.locker();
        let guard = locker.hold("job", LockOptions::from(LONG / 60)).await.unwrap().granted().unwrap();
        tokens.push(guard.lease().token);
        held(locker.lock("job", LONG).await);
        server.kill();
        guard.lost().await;
        guard.release().await.unwrap_err();
    });
    let log = String::from_utf8(LOG.take().unwrap()).unwrap();
    for said in [
        "granted",
        "held by another",
        r#"lock="job""#,
        "failed",
        "class=\"unavailable\"",
        "lost: it could not be renewed",
        "released",
    ] {
        assert!(log.contains(said), "{said:?} in {log}");
    }
    assert!(tokens.iter().all(|token| !log.contains(token.as_str())), "{log}");
}
