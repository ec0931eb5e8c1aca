//! Gives inputs to a target.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::mutation::Mutation;
use super::{allocations, panics};

/// How long each target gets random input by default, and how many inputs: the same on each machine that
/// is fast enough.
const USUALLY: (Duration, usize) = (Duration::from_millis(1500), 1000);
/// More than any input of a hundred kilobytes may take.
const MOST_MEMORY: usize = 32 << 20;
/// More than any input may take on a machine that has much else to do.
const MOST_TIME: Duration = Duration::from_secs(30);

/// Gives a target its corpus and what chance makes of it. The target panics if something is wrong.
pub(super) async fn fuzz(target: &str, judge: impl AsyncFnMut(&[u8])) {
    fuzz_part(target, 0, 1, judge).await;
}

/// Gives a target its corpus only.
pub(super) async fn replay_part(target: &str, part: usize, parts: usize, mut judge: impl AsyncFnMut(&[u8])) {
    let corpus = Corpus::of(target);
    for input in corpus.inputs.iter().skip(part).step_by(parts) {
        corpus.judge(input, &mut judge).await;
    }
}

/// Like [`fuzz`], for one of several parts of a target, each of which tries other inputs.
pub(super) async fn fuzz_part(target: &str, part: usize, parts: usize, mut judge: impl AsyncFnMut(&[u8])) {
    replay_part(target, part, parts, &mut judge).await;
    let corpus = Corpus::of(target);
    let time = std::env::var("LOCKER_FUZZ_SECONDS").ok().map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    // What fails without a change must not fail because of chance.
    let seed = if time.is_some() { fastrand::u64(..) } else { part.try_into().unwrap() };
    let (started, mut tried, mut mutation) = (Instant::now(), 0, Mutation::new(fastrand::Rng::with_seed(seed)));
    let (time, most) = time.map_or(USUALLY, |time| (time, usize::MAX));
    while started.elapsed() < time && tried < most {
        corpus.judge(&mutation.of_one(&corpus.inputs), &mut judge).await;
        tried += 1;
    }
    let (known, most) = (corpus.inputs.len(), corpus.most_memory.get() >> 10);
    println!("{target}: a corpus of {known}, and {tried} inputs that chance made of it, each with {most} kB at most");
}

/// What is known to be worth a try.
pub(super) struct Corpus {
    folder: PathBuf,
    pub(super) inputs: Vec<Vec<u8>>,
    /// What any input took until now.
    most_memory: Cell<usize>,
}

impl Corpus {
    pub(super) fn of(target: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "there is no corpus for {target}");
        let inputs = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        Self { folder, inputs, most_memory: Cell::new(0) }
    }

    pub(super) async fn judge(&self, input: &[u8], judge: &mut impl AsyncFnMut(&[u8])) {
        let _kept = Kept { corpus: self, input };
        let before = panics::so_far();
        allocations::forget();
        tokio::time::timeout(MOST_TIME, judge(input)).await.expect("it ends");
        // Also in detached tasks.
        assert_eq!(panics::so_far(), before, "something panicked");
        let most = allocations::most();
        assert!(most < MOST_MEMORY, "{most} bytes of memory were taken");
        self.most_memory.set(self.most_memory.get().max(most));
    }
}

/// Keeps an input if it fails.
struct Kept<'a> {
    corpus: &'a Corpus,
    input: &'a [u8],
}

thread_local! {
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        // What else is under way in the same test is dropped, too, but has not failed.
        if !std::thread::panicking() || FAILED.replace(true) {
            return;
        }
        let Self { corpus, input } = self;
        println!("the input was {}", input[..input.len().min(1000)].escape_ascii());
        if !corpus.inputs.iter().any(|known| known == input) {
            let mut hasher = DefaultHasher::new();
            input.hash(&mut hasher);
            let file = corpus.folder.join(format!("failed-{:016x}", hasher.finish()));
            println!("it is kept as {}: {:?}", file.display(), std::fs::write(&file, input));
        }
    }
}
