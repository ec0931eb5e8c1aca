//! Runs programs that use locks: components for the world `wasi:cli/command` that may import `locker:locker/locker`.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{Config, Engine, ResourceLimiter, Store};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

use super::{LockerCtx, add_to_linker};
use crate::component::compilation_cache;
use crate::{Error, ErrorKind};

/// Runs programs that use locks: components for the world `wasi:cli/command`, in any language, that may import
/// `locker:locker/locker`.
///
/// Each program runs in a sandbox of its own. It has the locks of its [`LockerCtx`], and of the rest of the world what its
/// `WasiCtx` (of `wasmtime-wasi` 48) grants it: nothing, if that is not said. One that loops gives way to the other tasks of
/// its thread every 10 ms; run programs on a runtime of several threads, so that each has its share.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), locker_host::Error> {
/// use locker_host::{Locker, LockerCtx, Memory, ProgramExit, Runner, Scope};
/// use wasmtime_wasi::WasiCtx;
///
/// let locker = Locker::new(Memory::default())?; // or Redis::connect("redis://localhost").await?
/// let runner = Runner::new()?;
/// # if let Some(file) = None::<&str> {
/// let program = runner.load(&std::fs::read("report.wasm").unwrap())?;
/// let locks = LockerCtx::new(&locker, Scope::new("report")?);
/// let ended = program.run(locks.clone(), WasiCtx::builder().inherit_stdout().build()).await;
/// locks.release_all().await;
/// assert!(matches!(ended, ProgramExit::Exited(0)));
/// # }
/// # Ok(())
/// # }
/// ```
pub struct Runner {
    linker: Linker<State>,
    memory: usize,
    time: Option<Duration>,
}

/// A program that a [`Runner`] has loaded. It can run many times, also at the same time.
pub struct Program {
    command: CommandPre<State>,
    memory: usize,
    time: Option<Duration>,
}

/// How a [`Program`] ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProgramExit {
    /// It ended by itself, with this exit code.
    Exited(i32),
    /// It trapped, or wanted more memory than it may have.
    Trapped(Error),
    /// It was stopped when its time was up.
    TimedOut,
}

impl fmt::Display for ProgramExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "it exited with {code}"),
            Self::Trapped(error) => f.write_str(error.message()),
            Self::TimedOut => f.write_str("it was stopped: its time is up"),
        }
    }
}

/// How long a program runs before it gives way to others.
const YIELD_INTERVAL: Duration = Duration::from_millis(10);

impl Runner {
    /// A runner whose programs may each have 256 MiB of memory, and run as long as they like.
    ///
    /// # Errors
    /// [`ErrorKind::Fault`] if this machine cannot run WebAssembly.
    pub fn new() -> Result<Self, Error> {
        Self::link().map_err(|cause| Error::fault("programs cannot be run", cause))
    }

    /// The memory that an instance of a program may have, in bytes: its linear memories and tables, taken together. 256 MiB by
    /// default, which suits interpreters like Python's, and lets a few of them run on a small machine.
    #[must_use]
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// How long a program may run, waiting included. There is no limit by default: a program that never ends
    /// costs the others no more than its share.
    #[must_use]
    pub fn max_time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Compiles a program. A big one takes some seconds, and keeps the thread busy.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if this is no component, does not export `wasi:cli/run`, or imports what
    /// is not here.
    pub fn load(&self, component: &[u8]) -> Result<Program, Error> {
        let loaded = || {
            let component = compilation_cache::component(self.linker.engine(), component)?;
            CommandPre::new(self.linker.instantiate_pre(&component)?)
        };
        let command = loaded().map_err(|cause| {
            Error::new(ErrorKind::Invalid, format!("this is no program that can run here: {cause:#}")).of_sandbox(cause)
        })?;
        Ok(Program { command, memory: self.memory, time: self.time })
    }

    fn link() -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        add_to_linker(&mut linker, |state: &mut State| &mut state.locks)?;
        // A thread, since a program that loops may keep all others of the runtime busy.
        let engine = engine.weak();
        std::thread::Builder::new().name("locker-epochs".to_owned()).spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(YIELD_INTERVAL);
            }
        })?;
        Ok(Self { linker, memory: 256 << 20, time: None })
    }
}

impl Program {
    /// Runs the program to its end, with these locks, and with what `wasi` grants it. Dropping the future stops it.
    ///
    /// The locks that it still holds stay held: release them with [`LockerCtx::release_all`] on a clone of `locks`.
    pub async fn run(&self, locks: LockerCtx, wasi: WasiCtx) -> ProgramExit {
        let state = State { locks, wasi, table: ResourceTable::new(), left: self.memory };
        let mut store = Store::new(self.command.engine(), state);
        store.limiter(|state| state);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let running = async {
            let program = self.command.instantiate_async(&mut store).await?;
            program.wasi_cli_run().call_run(&mut store).await
        };
        let ended = match self.time {
            Some(time) => timeout(time, running).await,
            None => Ok(running.await),
        };
        match ended {
            Ok(Ok(Ok(()))) => ProgramExit::Exited(0),
            Ok(Ok(Err(()))) => ProgramExit::Exited(1),
            Ok(Err(error)) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => ProgramExit::Exited(exit.0),
                None => ProgramExit::Trapped(Error::fault("it was stopped", error)),
            },
            Err(_) => ProgramExit::TimedOut,
        }
    }
}

struct State {
    locks: LockerCtx,
    wasi: WasiCtx,
    table: ResourceTable,
    /// Bytes of memory that it may still ask for.
    left: usize,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Bytes that an element of a table takes, at most.
const ELEMENT: usize = 16;

/// Counts all memories and tables together: a component may have many of them.
impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current).saturating_mul(ELEMENT))
    }

    fn instances(&self) -> usize {
        1000
    }

    fn tables(&self) -> usize {
        1000
    }

    fn memories(&self) -> usize {
        100
    }
}

impl State {
    fn grow(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(true)
            }
            None => wasmtime::bail!("it wants {bytes} bytes more memory, and may have {}", self.left),
        }
    }
}
