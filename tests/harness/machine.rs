//! A machine with its own files, users and processes, and the network of this one.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Command, Ran};

/// A machine that is yet to be started. Its folder `/mnt` is shared with other machines and with the test.
pub(crate) struct Machine {
    name: &'static str,
    files: TempDir,
    shared: PathBuf,
}

impl Machine {
    pub(crate) fn new(name: &'static str, shared: &Path) -> Self {
        // Programs of another user write there.
        std::fs::set_permissions(shared, Permissions::from_mode(0o777)).unwrap();
        Self { name, files: tempfile::tempdir().unwrap(), shared: shared.to_owned() }
    }

    /// Adds a file to `/etc` or `/usr`.
    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        let path = self.files.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(if content.starts_with("#!") { 0o755 } else { 0o644 }))
            .unwrap();
        self
    }

    /// Runs a script as the first process.
    pub(crate) async fn run(self, script: &str) -> Ran {
        self.start(&["sh", "-ec", script]).await
    }

    /// Boots with systemd, runs a script as a service, and powers off. Answers what the script wrote.
    pub(crate) async fn boot(self, script: &str) -> String {
        let output = format!("/mnt/{}.out", self.name);
        let unit = format!(
            "[Unit]\nSuccessAction=exit\nFailureAction=exit\n\
            [Service]\nType=oneshot\nExecStart=sh -e /etc/test.sh\nStandardOutput=file:{output}\nStandardError=inherit"
        );
        let shared = self.shared.clone();
        let machine = self.file("/etc/systemd/system/test.service", &unit).file("/etc/test.sh", script);
        let systemd = ["/lib/systemd/systemd", "--unit=test.service", "--default-standard-output=null"];
        let ran = machine.start(&systemd).await;
        let output = std::fs::read_to_string(shared.join(&output[5..])).unwrap_or_default();
        assert_eq!(ran.code, Some(0), "{ran:?}\n{output}");
        output
    }

    async fn start(self, first: &[&str]) -> Ran {
        let namespaces = ["--mount", "--uts", "--pid", "--fork", "--kill-child"];
        let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/machine.sh");
        let files = [setup.to_str().unwrap(), self.files.path().to_str().unwrap()];
        let command = Command::of("unshare".into(), &[&namespaces[..], &["sh"], &files, first].concat());
        let locker = Command::path("locker");
        let command = command.env("LOCKER", locker.to_str().unwrap()).env("NAME", self.name);
        command.env("SHARED", self.shared.to_str().unwrap()).run().await
    }
}
