//! What the simulation proves, and that it would notice.

mod small_worlds;
