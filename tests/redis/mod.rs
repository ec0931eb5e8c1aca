//! Redis in its topologies, its faults, and quorums.

mod check;
mod cluster;
mod faults;
mod fidelity;
mod keys;
mod outage;
mod partitions;
mod protocol;
mod queue;
mod quorum;
mod refusals;
mod replicas;
mod sentinel;
mod server_faults;
mod tls;
