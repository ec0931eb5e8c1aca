//! What every store must do: granting, waiting, holding, releasing.

mod check;
mod compilation_cache;
mod complete;
mod component;
mod contention;
mod events;
mod expiry;
mod extend;
mod fence;
mod grant;
mod hold;
mod late;
mod lead;
mod limits;
mod list;
mod orphans;
mod outages;
mod queue;
mod release;
mod resume;
mod revoke;
mod wait;
mod watch;
