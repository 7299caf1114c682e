//! Finds the snapshot that the user means.

use std::collections::BTreeSet;

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

/// What marks a plan's snapshots.
const PLAN_TAG: &str = "plan=";

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
    plan: Option<String>,
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
        Self { filter, at: None, unsigned: Unsigned::PassedOver, plan: None }
    }

    /// The same, but of this plan only.
    pub(crate) fn of_plan(mut self, plan: &str) -> Self {
        let tag = format!("{PLAN_TAG}{plan}");
        if self.filter.tags.is_empty() {
            self.filter.tags.push(Vec::new());
        }
        self.filter.tags.iter_mut().for_each(|set| set.push(tag.clone()));
        self.plan = Some(plan.to_owned());
        self
    }

    /// What the options say; `specs` is what they are said about.
    pub(crate) fn options(latest: &Latest, specs: &[&Spec], context: &Context) -> Result<Self, Failure> {
        if latest.at.is_some() && specs.iter().all(|spec| spec.which != Which::Latest) {
            return Err(Failure::usage("--at chooses among snapshots, and an id already names one")
                .hint("write \"latest\" instead of the id, or leave out --at"));
        }
        let filter = Filter::from(&latest.filter);
        let chooses = !(filter.hosts.is_empty() && filter.tags.is_empty() && filter.paths.is_empty());
        if chooses && specs.iter().all(|spec| spec.which != Which::Latest) {
            return Err(Failure::usage("a filter chooses among snapshots, and an id already names one")
                .hint("write \"latest\" instead of the id, or leave out --host, --tag and the like"));
        }
        let at = latest.at.as_deref().map(|text| time::parse(text, &context.now())).transpose();
        let at = at.map_err(|error| Failure::usage(error.to_string()))?;
        let unsigned = if latest.unsigned { Unsigned::Allowed } else { Unsigned::PassedOver };
        Ok(Self { filter, at, unsigned, plan: None })
    }
}

/// The snapshot that is meant, and a word on which one `latest` turned out to be.
pub(crate) async fn find(vault: &Vault, spec: &Spec, among: &Among, out: Output) -> Result<SnapshotFile, Failure> {
    match &spec.which {
        Which::Id(prefix) => {
            let found = vault.find_snapshot(prefix).await.map_err(Failure::of)?;
            if !found.snapshot.is_complete() {
                out.warn(&format!("snapshot {} is partial: {}", found.id.short(), lacks(&found)));
            }
            Ok(found)
        }
        Which::Latest => {
            let all = all(vault, out).await?;
            let newest = look::latest(&all, &among.filter, among.at).ok_or_else(|| none(&all, among))?;
            let found = vouched(vault, &all, newest, among, out).await?;
            let (id, when, host) = (found.id.short(), shown(found.snapshot.time), &found.snapshot.hostname);
            let paths = found.snapshot.paths.join(", ");
            out.note(&format!("latest is {id} of {when} on {host}, of {paths}"));
            if !found.snapshot.is_complete() {
                let alike = |file: &&SnapshotFile| {
                    file.snapshot.is_complete()
                        && (&file.snapshot.hostname, &file.snapshot.paths) == (host, &found.snapshot.paths)
                };
                let complete: Vec<SnapshotFile> = all.iter().filter(alike).cloned().collect();
                let instead = match look::latest(&complete, &among.filter, among.at) {
                    Some(file) => {
                        format!("the newest complete one is {} of {}", file.id.short(), shown(file.snapshot.time))
                    }
                    None => "there is no complete one of the same paths".to_owned(),
                };
                out.warn(&format!("{id} is partial: {}; {instead}", lacks(&found)));
            }
            Ok(found)
        }
    }
}

fn lacks(file: &SnapshotFile) -> String {
    match file.snapshot.problems {
        1 => "one thing could not be backed up".to_owned(),
        count => format!("{count} things could not be backed up"),
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

/// Why there is no latest snapshot.
fn none(all: &[SnapshotFile], among: &Among) -> Failure {
    if all.is_empty() {
        return Failure::plain("there is no snapshot in this vault that can be read")
            .hint("if there should be some, look at the warnings and run `drctl check`");
    }
    let of_plan = among.plan.as_ref().map(|plan| format!(" and is of plan {plan:?}")).unwrap_or_default();
    let before = among.at.map(|at| format!(" and is of {} or before", shown(at))).unwrap_or_default();
    let failure = Failure::plain(format!("of {} snapshots none fits{of_plan}{before}", all.len()));
    let fitting = all.iter().filter(|file| among.filter.admits(&file.snapshot));
    match (fitting.map(|file| file.snapshot.time).min(), &among.plan) {
        (Some(oldest), _) => failure
            .hint(format!("the oldest that fits otherwise is of {}; list them with `drctl snapshots`", shown(oldest))),
        (None, Some(_)) => {
            let tags = all.iter().flat_map(|file| &file.snapshot.tags);
            let plans: BTreeSet<&str> = tags.filter_map(|tag| tag.strip_prefix(PLAN_TAG)).collect();
            let there =
                if plans.is_empty() { "none".to_owned() } else { plans.into_iter().collect::<Vec<_>>().join(", ") };
            failure.hint(format!("plans with snapshots in this vault: {there}; list them with `drctl snapshots`"))
        }
        (None, None) => failure.hint("look at them with `drctl snapshots`, then change --at, --host, --tag or --path"),
    }
}

fn shown(moment: Timestamp) -> String {
    time::show(moment, &TimeZone::system())
}
