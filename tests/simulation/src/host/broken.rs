//! All variants that must be caught.

use super::variants::{Flaw, Variant};

/// Scripts that are broken in one line.
const SCRIPTS: &[Variant] = &[];

/// Hosts that are broken in one order.
const HOSTS: &[Variant] = &[Variant::host("releases_nothing", Flaw::ReleasesNothing)];

/// All of them.
pub fn host_variants() -> impl Iterator<Item = &'static Variant> {
    SCRIPTS.iter().chain(HOSTS)
}
