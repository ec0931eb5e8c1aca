//! Builds the component from the guest crate, so that the host carries exactly the lock logic of this source tree. A package
//! of the host has no guest beside it, and carries the component.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "wasm32-wasip2";

/// What cargo sets for this build and the build of the component must not see: it is for another target, and sharing
/// a target directory with the cargo that waits for us would never end.
const SCRUBBED_ENV: [&str; 7] = [
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("cargo::error={why}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {name}"));
    let (host, out) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
    println!("cargo::rustc-check-cfg=cfg(packaged)");
    let root = host.parent().ok_or("the host crate has no folder above it")?;
    if !root.join("guest").exists() {
        println!("cargo::rustc-cfg=packaged");
        println!("cargo::rerun-if-changed=component.wasm");
        return copy(&host.join("component.wasm"), &out);
    }
    for input in ["guest", "wit", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    require_target()?;
    let target_dir = out.join("guest");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(root).args(["build", "--package", "locker-guest", "--profile", "component", "--target", TARGET]);
    cargo.arg("--target-dir").arg(&target_dir);
    for variable in SCRUBBED_ENV {
        cargo.env_remove(variable);
    }
    let built = cargo.output().map_err(|error| format!("cannot start cargo for the component: {error}"))?;
    if !built.status.success() {
        return Err(format!(
            "the component did not build: {}",
            String::from_utf8_lossy(&built.stderr).replace('\n', " ")
        ));
    }
    copy(&target_dir.join(TARGET).join("component").join("locker_guest.wasm"), &out)
}

fn copy(component: &Path, out: &Path) -> Result<(), String> {
    std::fs::copy(component, out.join("locker.wasm"))
        .map_err(|error| format!("cannot copy {}: {error}", component.display()))?;
    Ok(())
}

fn require_target() -> Result<(), String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let folder = asked.map_err(|error| format!("cannot ask rustc for its targets: {error}"))?.stdout;
    if Path::new(String::from_utf8_lossy(&folder).trim()).exists() {
        return Ok(());
    }
    Err(format!("the Rust target {TARGET} is not installed; run: rustup target add {TARGET}"))
}
