//! The command `locker`.

mod bench;
mod check;
mod container;
mod cron;
mod exec;
mod exec_guardian;
mod exec_late;
mod exec_lost;
mod force;
mod hold;
mod hold_end;
mod inherited;
mod lead;
mod lead_faults;
mod local;
mod metrics_file;
mod migration;
mod misconfiguration;
mod outages;
mod period;
mod run;
mod subcommands;
mod systemd;
mod terminal;
mod times;
mod unreachable;
