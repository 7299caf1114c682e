//! Plans, carried out: the dispatcher over a clock turned by hand, and the daemon as a process.

mod commands;
mod copies_and_drills;
mod daemon;
mod host;
mod prunes;
mod simulated;
