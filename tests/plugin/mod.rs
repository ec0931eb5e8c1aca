//! Plugins, and programs that try to break out.

mod linker;
mod sandbox_escape;
