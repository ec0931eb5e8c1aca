//! Compiled code, which can be kept for the next time.

use wasmtime::Engine;
use wasmtime::component::Component;

#[cfg(feature = "compilation-cache")]
pub use folder::set_compilation_cache_dir;

/// Compiles a component, or finds that this has been done.
pub(crate) fn component(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    #[cfg(feature = "compilation-cache")]
    if let Some(folder) = folder::open() {
        return folder.component(engine, bytes);
    }
    Component::from_binary(engine, bytes)
}

#[cfg(feature = "compilation-cache")]
mod folder {
    use std::fs::{self, DirBuilder, File};
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::io::{Result, Write};
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::time::{Duration, SystemTime};

    use sha2::{Digest, Sha256};
    use tempfile::NamedTempFile;
    use wasmtime::Engine;
    use wasmtime::component::Component;

    static FOLDER: OnceLock<PathBuf> = OnceLock::new();

    /// Keeps compiled code in this folder, for this whole process and those after it. Without it, the component is compiled
    /// once in each process, which takes some ten milliseconds, and a program each time it is loaded, which may take seconds.
    ///
    /// Call this before anything else of this crate. The folder is made if it is not there. It is used only if no other
    /// user can write to it, since its files are executed. Each file is bound to one component, one version of wasmtime and one
    /// kind of machine; what does not fit, or cannot be read or written, is compiled as if there were no folder. What was not
    /// used for a month is removed.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path().join("code");
    /// locker_host::set_compilation_cache_dir(&folder);
    /// locker_host::Locker::new(locker_host::Memory::default()).unwrap();
    /// assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    /// ```
    pub fn set_compilation_cache_dir(folder: impl Into<PathBuf>) {
        // The first to say so decides.
        _ = FOLDER.set(folder.into());
    }

    /// How long unused code is kept.
    const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    /// How often it is noted that it is used.
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// A folder that only this user can write to.
    #[derive(Clone, Copy)]
    pub(super) struct Folder(&'static Path);

    /// The folder, if one was named and it can be trusted.
    pub(super) fn open() -> Option<Folder> {
        let folder = Folder(FOLDER.get()?);
        folder.is_ours().then_some(folder)
    }

    impl Folder {
        fn is_ours(self) -> bool {
            // That it is there already is as good.
            _ = DirBuilder::new().recursive(true).mode(0o700).create(self.0);
            let others_write = 0o022;
            fs::metadata(self.0).is_ok_and(|folder| {
                folder.is_dir() && folder.uid() == nix::unistd::geteuid().as_raw() && folder.mode() & others_write == 0
            })
        }

        pub(super) fn component(self, engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
            let file = self.0.join(name(engine, bytes));
            // SAFETY: no other user can have written this file, and this one writes only what wasmtime has serialized, as a whole.
            // It checks that the code is for this engine.
            if let Ok(component) = unsafe { Component::deserialize_file(engine, &file) } {
                note_use(&file);
                return Ok(component);
            }
            let component = Component::from_binary(engine, bytes)?;
            // Compiled it is, whether it can be kept or not.
            _ = self.keep(&file, &component.serialize()?);
            Ok(component)
        }

        fn keep(self, file: &Path, code: &[u8]) -> Result<()> {
            self.forget_unused()?;
            let mut whole = NamedTempFile::new_in(self.0)?;
            whole.write_all(code)?;
            whole.persist(file)?;
            Ok(())
        }

        fn forget_unused(self) -> Result<()> {
            for file in fs::read_dir(self.0)? {
                let file = file?;
                if age(&file.metadata()?)? > MONTH {
                    fs::remove_file(file.path())?;
                }
            }
            Ok(())
        }
    }

    /// What the file is called that has the code of a component for an engine.
    fn name(engine: &Engine, bytes: &[u8]) -> String {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        format!("{:x}-{:x}.code", Sha256::digest(bytes), hasher.finish())
    }

    /// That this fails does no harm: it is compiled again some day.
    #[expect(clippy::disallowed_methods, reason = "times of files are real")]
    fn note_use(file: &Path) {
        _ = File::open(file).and_then(|file| match age(&file.metadata()?)? > DAY {
            true => file.set_modified(SystemTime::now()),
            false => Ok(()),
        });
    }

    #[expect(clippy::disallowed_methods, reason = "times of files are real")]
    fn age(file: &fs::Metadata) -> Result<Duration> {
        Ok(SystemTime::now().duration_since(file.modified()?).unwrap_or_default())
    }
}
