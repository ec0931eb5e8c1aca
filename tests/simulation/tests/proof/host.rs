//! The whole host on the seams for simulations: virtual time, a simulated server, seeds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use locker_host::simulation::Environment;
use locker_host::{Limits, LockOptions, Locker, LostReason, Memory, Quorum, QuorumMember, Token, UnlockOutcome};
use locker_simulation::{HostWorld, in_host_world};
use rstest::rstest;
use tokio::time::{sleep, sleep_until, timeout};

const URL: &str = "redis://simulated";
const TTL: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(60 * 60);
const SEEDS: u64 = 20;

/// Two processes contend for a lock, which one holds for a while and the other asks for again and again. Connections break meanwhile.
async fn contention(world: HostWorld) -> Vec<String> {
    let [first, second] = [0, 1].map(|number| world.process(number, URL).unwrap());
    let holder = async {
        let guard = first.locker.hold("job", TTL).await.unwrap().granted().unwrap();
        sleep(Duration::from_secs(50)).await;
        first.disconnect();
        sleep(Duration::from_secs(50)).await;
        assert!(guard.is_held());
        guard.release().await.unwrap();
    };
    let other = async {
        sleep(Duration::from_secs(1)).await;
        while second.locker.lock("job", TTL).await.unwrap().granted().is_none() {
            sleep(Duration::from_secs(7)).await;
            second.disconnect();
        }
    };
    tokio::join!(biased; holder, other);
    world.trace()
}

#[test]
fn a_seed_determines_all_requests() {
    let mut traces = Vec::new();
    for seed in 0..SEEDS {
        let trace = in_host_world(seed, contention).unwrap();
        assert_eq!(Some(&trace), in_host_world(seed, contention).as_ref());
        traces.push(trace);
    }
    assert!(traces[0].iter().any(|line| line.contains("is disconnected")) && traces[0].len() > 50, "{traces:#?}");
    traces.dedup();
    assert_eq!(traces.len(), usize::try_from(SEEDS).unwrap());
}

#[rstest]
#[case::one_server(URL)]
#[case::a_cluster("redis+cluster://simulated")]
#[case::sentinels("redis+sentinel://simulated/main")]
fn a_lease_expires_by_virtual_time(#[case] url: &str) {
    in_host_world(0, async |world| {
        let [first, second] = [0, 1].map(|number| world.process(number, url).unwrap());
        let lease = first.locker.lock("job", TTL).await.unwrap().granted().unwrap();
        let held = second.locker.lock("job", TTL).await.unwrap();
        assert!(held.granted().is_none());
        // The server counts from when the request arrived.
        sleep_until((lease.deadline + Duration::from_secs(1)).into()).await;
        let later = second.locker.lock("job", TTL).await.unwrap().granted().unwrap();
        assert!(later.fence > lease.fence && later.deadline >= lease.deadline + TTL);
    })
    .unwrap();
}

#[test]
fn a_lock_is_renewed_for_hours_of_virtual_time() {
    let started = Instant::now();
    in_host_world(0, async |world| {
        let process = world.process(0, URL).unwrap();
        let guard = process.locker.hold("job", TTL).await.unwrap().granted().unwrap();
        sleep(10 * HOUR).await;
        assert!(guard.is_held());
        assert!(world.trace().len() > 3600);
        guard.release().await.unwrap();
    })
    .unwrap();
    assert!(started.elapsed() < HOUR / 60);
}

#[test]
fn a_hold_ends_by_virtual_time_and_its_guard_is_told() {
    in_host_world(0, async |world| {
        let process = world.process(0, URL).unwrap();
        let options = LockOptions::from(TTL).max_hold(HOUR);
        let guard = process.locker.hold("job", options).await.unwrap().granted().unwrap();
        assert!(matches!(timeout(2 * HOUR, guard.lost()).await, Ok(LostReason::MaxHold)));
        let left = guard.lease().deadline.saturating_duration_since(tokio::time::Instant::now().into_std());
        assert!(left < TTL);
    })
    .unwrap();
}

#[test]
fn a_hold_of_a_lock_that_its_token_has_for_longer_ends_in_time() {
    in_host_world(0, async |world| {
        let process = world.process(0, URL).unwrap();
        let token = Token::from("5f3a9c1e7b2d4806f1e2d3c4b5a69788".to_owned());
        process.locker.lock("job", LockOptions::from(10 * HOUR).token(token.clone())).await.unwrap().granted().unwrap();
        let options = LockOptions::from(TTL).token(token).max_hold(HOUR);
        let guard = process.locker.hold("job", options).await.unwrap().granted().unwrap();
        assert!(matches!(timeout(2 * HOUR, guard.lost()).await, Ok(LostReason::MaxHold)));
    })
    .unwrap();
}

#[test]
fn a_waiter_is_told_of_its_lock_as_soon_as_it_is_released() {
    in_host_world(0, async |world| {
        let [first, second] = [0, 1].map(|number| world.process(number, URL).unwrap());
        let guard = first.locker.hold("job", TTL).await.unwrap().granted().unwrap();
        let wait = LockOptions::from(TTL).wait(HOUR);
        let (granted, released) = tokio::join!(
            biased;
            async {
                let lease = second.locker.lock("job", wait).await.unwrap().granted().unwrap();
                (lease, tokio::time::Instant::now())
            },
            async {
                sleep(HOUR / 2).await;
                guard.release().await.unwrap();
                tokio::time::Instant::now()
            }
        );
        assert!(granted.1 <= released + Duration::from_millis(2), "{:#?}", world.trace());
        assert!(granted.0.deadline > (released + TTL - Duration::from_secs(1)).into_std());
    })
    .unwrap();
}

#[test]
fn a_waiter_whose_lock_was_revoked_before_it_knew_waits_on() {
    in_host_world(0, async |world| {
        let [first, second] = [0, 1].map(|number| world.process(number, URL).unwrap());
        let guard = first.locker.hold("job", TTL).await.unwrap().granted().unwrap();
        let waits = second.locker.hold("job", LockOptions::from(TTL).wait(HOUR));
        let other = async {
            sleep(Duration::from_millis(900)).await;
            second.hang(Duration::from_secs(2));
            guard.release().await.unwrap();
            first.locker.revoke("job", None).await.unwrap()
        };
        let (waiter, revoked) = tokio::join!(biased; waits, other);
        let (waiter, holder) = (waiter.unwrap().granted().unwrap(), second.locker.inspect("job").await.unwrap());
        assert_eq!(revoked, UnlockOutcome::Released);
        assert_eq!(holder.map(|holder| holder.fence), Some(waiter.fence()), "{:#?}", world.trace());
    })
    .unwrap();
}

#[test]
fn a_waiter_whose_lock_was_revoked_after_a_lost_answer_waits_on() {
    in_host_world(0, async |world| {
        let [first, second] = [0, 1].map(|number| world.process(number, URL).unwrap());
        let guard = first.locker.hold("job", TTL).await.unwrap().granted().unwrap();
        let waits = second.locker.hold("job", LockOptions::from(TTL).wait(HOUR));
        let seen = async |what: &str| {
            let is_there = || world.trace().iter().any(|line| line.contains("p1 ") && line.contains(what));
            while !is_there() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let other = async {
            sleep(Duration::from_millis(900)).await;
            guard.release().await.unwrap();
            // The waiter asks for its lock, and leaves a mark, since a report had no answer before.
            seen("is told job").await;
            second.disconnect();
            seen(" stored ").await;
            second.hang(Duration::from_secs(1));
            first.locker.revoke("job", None).await.unwrap()
        };
        let lost = async {
            sleep(Duration::from_millis(400)).await;
            second.hang(Duration::from_millis(300));
            sleep(Duration::from_millis(300)).await;
            second.disconnect();
        };
        let (waiter, revoked, ()) = tokio::join!(biased; timeout(TTL, waits), other, lost);
        assert_eq!(revoked, UnlockOutcome::Released);
        assert!(waiter.unwrap().unwrap().granted().is_some(), "{:#?}", world.trace());
    })
    .unwrap();
}

#[test]
fn a_waiter_is_served_when_a_lease_ends_although_its_process_watches_the_lock() {
    in_host_world(0, async |world| {
        let [first, second] = [0, 1].map(|number| world.process(number, URL).unwrap());
        let lease = first.locker.lock("job", Duration::from_secs(3)).await.unwrap().granted().unwrap();
        let mut watch = second.locker.watch("job");
        assert!(watch.changed().await.unwrap().is_some());
        let waits = async {
            sleep(Duration::from_millis(1)).await;
            let granted = second.locker.lock("job", LockOptions::from(TTL).wait(HOUR)).await;
            (granted.unwrap().granted().unwrap(), tokio::time::Instant::now().into_std())
        };
        let (_, (_, granted)) = tokio::join!(biased; watch.changed(), waits);
        assert!(granted < lease.deadline + Duration::from_secs(1), "{:#?}", world.trace());
    })
    .unwrap();
}

#[test]
fn all_waiters_of_a_process_report_until_a_report_was_answered() {
    in_host_world(0, async |world| {
        let [first, second] = [0, 1].map(|number| world.process(number, URL).unwrap());
        let _guard = first.locker.hold("job", TTL).await.unwrap().granted().unwrap();
        let waits = || second.locker.lock("job", LockOptions::from(TTL).wait(TTL));
        _ = timeout(Duration::from_millis(100), async { tokio::join!(waits(), waits()) }).await;
        let trace = world.trace();
        let replies: Vec<_> = trace.iter().filter_map(|line| line.split_once(" queued ")).collect();
        let reports = replies.iter().filter(|(_, fields)| fields.split(' ').count() == 6);
        assert_eq!((replies.len(), reports.count()), (2, 2), "{trace:#?}");
    })
    .unwrap();
}

/// A process whose store is made of memory, in a quorum or not.
fn waiters(locker: impl Fn(&Environment) -> Locker) {
    in_host_world(0, async |_| {
        let environment = Environment::simulated(0, 1_000_000);
        let locker = locker(&environment);
        let lease = locker.lock("job", TTL).await.unwrap().granted().unwrap();
        assert!((1_000_000..2_000_000).contains(&lease.fence), "{}", lease.fence);
        let next = locker.lock("job", LockOptions::from(TTL).wait(HOUR)).await.unwrap().granted().unwrap();
        assert!(next.fence > lease.fence && next.deadline > lease.deadline + TTL / 2);
        locker.close().await;
    })
    .unwrap();
}

#[test]
fn a_waiter_of_a_memory_store_wakes_when_the_lease_expires() {
    waiters(|environment| {
        Locker::with_environment(Memory::default().environment(environment), Limits::default(), environment).unwrap()
    });
}

#[test]
fn a_waiter_of_a_quorum_wakes_when_the_lease_expires() {
    waiters(|environment| {
        let member = |_| Arc::new(Memory::default().environment(environment)) as Arc<dyn QuorumMember>;
        let quorum = Quorum::new((0..3).map(member).collect()).unwrap().environment(environment);
        Locker::with_environment(quorum, Limits::default(), environment).unwrap()
    });
}
