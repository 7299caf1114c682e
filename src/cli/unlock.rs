//! `drctl unlock`: removes locks that dead processes left behind.

use serde_json::json;

use super::args::unlock;
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::secret::Purpose;
use crate::vault::lock::{Lock, Unlock};

/// Runs the command.
pub(crate) async fn run(args: unlock::Unlock, context: &Context) -> Result<Exit, Failure> {
    let vault = context.open(Purpose::Write).await?;
    let which = if args.all { Unlock::All } else { Unlock::Stale };
    let removed = vault.unlock(which).await.map_err(Failure::of)?;
    let left = vault.locks().await.map_err(Failure::of)?;
    let shown =
        |lock: &Option<Lock>| lock.as_ref().map_or_else(|| "an unreadable lock".to_owned(), ToString::to_string);
    let left: Vec<String> = left.into_iter().map(|(_, lock)| shown(&lock.ok())).collect();
    let gone: Vec<String> = removed.iter().map(|(_, lock)| shown(lock)).collect();
    context.out.result(&json!({ "removed": gone, "left": left }), |out| {
        for lock in &gone {
            writeln!(out, "removed {}", super::escape::text(lock))?;
        }
        for lock in &left {
            writeln!(out, "left {}", super::escape::text(lock))?;
        }
        if gone.is_empty() && left.is_empty() { writeln!(out, "there are no locks") } else { Ok(()) }
    })?;
    Ok(Exit::Done)
}
