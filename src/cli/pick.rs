//! Finds the snapshot that the user means.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::args::select::Latest;
use super::context::Context;
use super::error::{Failure, chain};
use super::output::Output;
use super::time;
use crate::look::{self, Filter, Spec, Which};
use crate::service::host::archive;
use crate::vault::Vault;
use crate::vault::snapshot::SnapshotFile;

/// Reads what was typed for a snapshot.
pub(crate) fn spec(text: &str) -> Result<Spec, Failure> {
    text.parse()
        .map_err(|error: look::BadSpec| Failure::usage(error.to_string()).hint("`drctl snapshots` lists what there is"))
}

/// What counts when "latest" is looked for.
#[derive(Debug, Default)]
pub(crate) struct Among {
    filter: Filter,
    at: Option<Timestamp>,
    unsigned: Unsigned,
}

/// Whether `latest` may be a snapshot that no signed record vouches for: another tool's, or a forger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Unsigned {
    /// Only in a vault in which no record vouches for any.
    #[default]
    PassedOver,
    /// The user said so.
    Allowed,
}

impl Among {
    /// What passes the filter, of any time.
    pub(crate) fn of(filter: Filter) -> Self {
        Self { filter, at: None, unsigned: Unsigned::PassedOver }
    }

    /// What the options say; `specs` is what they are said about.
    pub(crate) fn options(latest: &Latest, specs: &[&Spec], context: &Context) -> Result<Self, Failure> {
        if latest.at.is_some() && specs.iter().all(|spec| spec.which != Which::Latest) {
            return Err(Failure::usage("--at chooses among snapshots, and an id already names one")
                .hint("write \"latest\" instead of the id, or leave out --at"));
        }
        let at = latest.at.as_deref().map(|text| time::parse(text, &context.now())).transpose();
        let at = at.map_err(|error| Failure::usage(error.to_string()))?;
        let unsigned = if latest.unsigned { Unsigned::Allowed } else { Unsigned::PassedOver };
        Ok(Self { filter: Filter::from(&latest.filter), at, unsigned })
    }
}

/// The snapshot that is meant, and a word on which one `latest` turned out to be.
pub(crate) async fn find(vault: &Vault, spec: &Spec, among: &Among, out: Output) -> Result<SnapshotFile, Failure> {
    match &spec.which {
        Which::Id(prefix) => vault.find_snapshot(prefix).await.map_err(Failure::of),
        Which::Latest => {
            let all = all(vault, out).await?;
            let newest = look::latest(&all, &among.filter, among.at).ok_or_else(|| none(all.len(), among))?;
            let found = vouched(vault, &all, newest, among, out).await?;
            let (id, when, host) = (found.id.short(), shown(found.snapshot.time), &found.snapshot.hostname);
            out.note(&format!("latest is {id} of {when} on {host}"));
            Ok(found)
        }
    }
}

/// The newest snapshot that a signed record vouches for. `newest` is the newest of all, which is taken in a vault of
/// another tool's snapshots.
async fn vouched(
    vault: &Vault,
    all: &[SnapshotFile],
    newest: &SnapshotFile,
    among: &Among,
    out: Output,
) -> Result<SnapshotFile, Failure> {
    if among.unsigned == Unsigned::Allowed {
        return Ok(newest.clone());
    }
    let otherwise = "name the snapshot by its id, or take any with --unsigned";
    let audit = archive(vault).audit().await.map_err(|error| Failure::of(error).hint(otherwise))?;
    let Some(vouched) = audit.vouched() else {
        out.note("this vault holds no records of drctl's backups, so nothing vouches for its snapshots but its key");
        return Ok(newest.clone());
    };
    let signed: Vec<SnapshotFile> = all.iter().filter(|file| vouched.contains(&file.id)).cloned().collect();
    let found = look::latest(&signed, &among.filter, among.at).ok_or_else(|| {
        Failure::plain("no signed record vouches for any snapshot that fits").hint(format!(
            "the newest is {} of {}; {otherwise}",
            newest.id.short(),
            shown(newest.snapshot.time)
        ))
    })?;
    if found.id != newest.id {
        let (id, when) = (newest.id.short(), shown(newest.snapshot.time));
        out.warn(&format!("{id} of {when} is newer, but no signed record vouches for it; {otherwise}"));
    }
    Ok(found.clone())
}

/// All snapshots that can be read; each of the others is warned of.
pub(crate) async fn all(vault: &Vault, out: Output) -> Result<Vec<SnapshotFile>, Failure> {
    let list = vault.snapshots().await.map_err(Failure::of)?;
    for (id, error) in &list.damaged {
        out.warn(&format!("snapshot {} cannot be read and is left out: failed to {}", id.short(), chain(error)));
    }
    Ok(list.whole)
}

fn none(count: usize, among: &Among) -> Failure {
    match count {
        0 => Failure::plain("there is no snapshot in this vault that can be read")
            .hint("if there should be some, look at the warnings and run `drctl check`"),
        count => {
            let when = among.at.map(|at| format!(" and is of {} or before", shown(at))).unwrap_or_default();
            Failure::plain(format!("of {count} snapshots none fits{when}"))
                .hint("look at them with `drctl snapshots`, then change --at, --host, --tag or --path")
        }
    }
}

fn shown(moment: Timestamp) -> String {
    time::show(moment, &TimeZone::system())
}
