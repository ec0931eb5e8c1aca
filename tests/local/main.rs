//! A process that shares a local store: it reads commands, and answers each with a line.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use locker_host::cache::SetOutcome;
use locker_host::{Cache, CacheError, Local, Locker};

type Answer = Result<String, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_default();
    let local = if path.is_empty() { Local::open_default() } else { Local::open(&path) };
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<_> = line.split(' ').collect();
        let answer = match &local {
            Ok(local) => execute(local, &words).await.unwrap_or_else(|error| failed(&*error)),
            Err(error) => failed(error),
        };
        println!("{answer}");
        _ = io::stdout().flush();
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> String {
    let kind = error.downcast_ref::<CacheError>().map_or("failed", |error| error.kind().name());
    format!("{kind}: {error}")
}

async fn execute(local: &Local, words: &[&str]) -> Answer {
    let millis = |text: &str| text.parse().map(Duration::from_millis);
    Ok(match words {
        ["set", key, value, ttl, wait] => {
            show(local.set_if_absent(key, value, Some(millis(ttl)?), millis(wait)?).await?)
        }
        ["delete", key, value] => format!("{:?}", local.delete_if_equal(key, value).await?),
        ["extend", key, value, ttl] => format!("{:?}", local.extend_if_equal(key, value, millis(ttl)?).await?),
        ["get", key] => {
            local.get(key).await?.map_or("absent".to_owned(), |entry| format!("{} {}", entry.value, entry.revision))
        }
        ["path"] => local.path().display().to_string(),
        ["queued", key] => local.queue_len(key).await?.to_string(),
        ["count", file, times] => count(local, Path::new(file), times.parse()?).await?,
        ["storm", seed] => storm(local, seed.parse()?).await?,
        ["pairs", times] => pairs(local, times.parse()?).await?,
        ["fill", file] => fill(Path::new(file))?,
        ["fill-with-locks", times] => fill_with_locks(local, times.parse()?).await?,
        ["open", path] => {
            Local::open(path)?.get("job").await?;
            "opened".to_owned()
        }
        ["fork"] => fork(local)?,
        ["tasks", tasks, times] => tasks_at_once(local, tasks.parse()?, times.parse()?).await?,
        ["names", times] => names(local, times.parse()?).await?,
        // A hand-off: when it was asked for, and when it had arrived.
        ["give", key, value] => {
            let given = micros()?;
            local.delete_if_equal(key, value).await?;
            given.to_string()
        }
        ["take", key, value] => {
            local.set_if_absent(key, value, Some(Duration::from_secs(60)), Duration::from_secs(60)).await?;
            micros()?.to_string()
        }
        _ => return Err(format!("no such command: {words:?}").into()),
    })
}

fn show(outcome: SetOutcome) -> String {
    match outcome {
        SetOutcome::Stored(stored) => format!("stored {}", stored.revision),
        SetOutcome::Occupied(entry) => format!("occupied {}", entry.value),
    }
}

/// Increments a number in a file under a lock, not atomically.
async fn count(local: &Local, file: &Path, times: u32) -> Answer {
    let locker = Locker::new(local.clone())?;
    for _ in 0..times {
        let options = locker_host::LockOptions::default().ttl(Duration::from_secs(60)).wait(Duration::from_secs(60));
        let lease = locker.lock("count", options).await?.granted().ok_or("the wait was too short")?;
        let before: u64 = std::fs::read_to_string(file)?.trim().parse()?;
        std::fs::write(file, (before + 1).to_string())?;
        locker.unlock("count", &lease.token).await?;
    }
    Ok("counted".to_owned())
}

/// Takes, extends and releases locks until the process is killed. A holder appends its fence to the file of the lock.
async fn storm(local: &Local, seed: u64) -> Answer {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let key = format!("storm{}", random.u8(..3));
        let value = format!("{seed}-{}", random.u64(..));
        let (ttl, wait) = (Duration::from_millis(random.u64(5..40)), Duration::from_millis(random.u64(..20)));
        if let SetOutcome::Stored(_) = local.set_if_absent(&key, &value, Some(ttl), wait).await? {
            if random.bool() {
                local.extend_if_equal(&key, &value, ttl).await?;
            }
            if random.u8(..4) > 0 {
                local.delete_if_equal(&key, &value).await?;
            }
        }
    }
}

/// Microseconds of a lock and its release.
async fn pairs(local: &Local, times: u32) -> Answer {
    let (started, ttl) = (Instant::now(), Some(Duration::from_secs(60)));
    let (mut worst, name) = (Duration::ZERO, std::process::id().to_string());
    for _ in 0..times {
        let one = Instant::now();
        local.try_set(&name, "value", ttl).await?;
        local.delete_if_equal(&name, "value").await?;
        worst = worst.max(one.elapsed());
    }
    Ok(format!(
        "{:.1} us, worst {:.1} us",
        started.elapsed().as_secs_f64() * 1e6 / f64::from(times),
        worst.as_secs_f64() * 1e6
    ))
}

/// Microseconds of a lock and its release, with many tasks at once.
async fn tasks_at_once(local: &Local, tasks: u32, times: u32) -> Answer {
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (local, name) = (local.clone(), format!("task{task}"));
        running.spawn(async move {
            for _ in 0..times {
                local.try_set(&name, "value", None).await?;
                local.delete_if_equal(&name, "value").await?;
            }
            Ok::<_, CacheError>(())
        });
    }
    running.join_all().await.into_iter().collect::<Result<(), _>>()?;
    Ok(format!("{:.1} us", started.elapsed().as_secs_f64() * 1e6 / f64::from(tasks * times)))
}

/// Locks and releases so many names.
async fn names(local: &Local, times: u32) -> Answer {
    for number in 0..times {
        let name = format!("order-{number}");
        local.try_set(&name, "value", Some(Duration::from_secs(60))).await?;
        local.delete_if_equal(&name, "value").await?;
    }
    Ok("locked".to_owned())
}

/// Fills a file system.
fn fill(file: &Path) -> Answer {
    let mut file = std::fs::File::create(file)?;
    while file.write(&[1; 1024]).is_ok_and(|written| written > 0) {}
    Ok("full".to_owned())
}

async fn fill_with_locks(local: &Local, times: u32) -> Answer {
    for number in 0..times {
        local.try_set(&format!("{number}"), &"value".repeat(100), Some(Duration::from_secs(60))).await?;
    }
    Ok("filled".to_owned())
}

/// What a forked child is told.
fn fork(local: &Local) -> Answer {
    let (mut reader, mut writer) = std::io::pipe()?;
    // SAFETY: the child ends without returning. Other threads of this program only wait.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => {
            drop(writer);
            nix::sys::wait::waitpid(child, None)?;
            Ok(std::io::read_to_string(&mut reader)?)
        }
        nix::unistd::ForkResult::Child => {
            let error = Local::open(local.path()).err().map_or("opened".to_owned(), |error| failed(&error));
            _ = writer.write_all(error.as_bytes());
            drop(writer);
            // SAFETY: ends the child, and runs nothing of the parent's.
            unsafe { nix::libc::_exit(0) }
        }
    }
}

/// Microseconds of the clock that all processes share.
fn micros() -> Result<i64, nix::Error> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() * 1_000_000 + time.tv_nsec() / 1000)
}
