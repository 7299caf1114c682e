//! `drctl adopt`: takes on a repository that another tool made.

use std::io::Write;

use serde_json::json;

use super::args::adopt::Adopt;
use super::context::Context;
use super::error::{Failure, chain};
use super::escape;
use super::exit::Exit;
use super::secret::Purpose;
use crate::monitor::Monitor;
use crate::units::ByteSize;
use crate::vault::layout::SETTINGS;
use crate::vault::{Adopted, Survey, Vault, Wish};

/// Damaged objects that are named.
const NAMED: usize = 20;

/// Runs the command.
pub(crate) async fn run(args: Adopt, context: &Context) -> Result<Exit, Failure> {
    let target = context.target()?;
    let purpose = if args.dry_run { Purpose::Read } else { Purpose::Write };
    // Uncached: what is adopted is what the store holds.
    let vault = context.open_uncached(&target, purpose).await?;
    let bar = context.bar();
    bar.stage("look at what is there");
    let survey = vault.survey(&bar).await;
    bar.done();
    let survey = survey.map_err(Failure::of)?;
    if survey.has_settings {
        return tell(Standing::Before, &vault, &survey, context);
    }
    if !survey.damaged.is_empty() {
        return Err(damaged(&survey));
    }
    if args.dry_run {
        return tell(Standing::Would, &vault, &survey, context);
    }
    if !args.yes {
        context.out.question(|out| announce(&vault, &survey, out))?;
        match context.out.ask("Adopt it?") {
            Some(true) => {}
            Some(false) => return Err(Failure::plain("not adopted; nothing was changed")),
            None => {
                return Err(Failure::usage("adopting has to be confirmed, and nobody is there to ask")
                    .hint("look at what would change with --dry-run, then confirm with --yes"));
            }
        }
    }
    let standing = match vault.adopt().await.map_err(Failure::of)? {
        Adopted::Now => Standing::Now,
        Adopted::Before => Standing::Before,
    };
    tell(standing, &vault, &survey, context)
}

/// How the repository stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Would,
    Now,
    Before,
}

fn damaged(survey: &Survey) -> Failure {
    let mut named: Vec<String> = survey.damaged.iter().take(NAMED).map(|error| chain(error)).collect();
    if let Some(more) = survey.damaged.len().checked_sub(NAMED).filter(|more| *more > 0) {
        named.push(format!("and {more} more"));
    }
    Failure::plain(format!("the repository is damaged ({} objects); nothing was changed", survey.damaged.len()))
        .details(named)
        .hint("`drctl check` says what it hits; drctl can read, restore and heal it without adopting it")
}

fn tell(standing: Standing, vault: &Vault, survey: &Survey, context: &Context) -> Result<Exit, Failure> {
    let added = if standing == Standing::Before { &[][..] } else { &[SETTINGS][..] };
    let document = json!({
        "adopted": standing == Standing::Now,
        "adopted_before": standing == Standing::Before,
        "dry_run": standing == Standing::Would,
        "vault": { "url": vault.store().url(), "id": vault.id(), "format": vault.version() },
        "snapshots": survey.snapshots,
        "written_by": survey.programs,
        "packs": survey.packs,
        "bytes": survey.bytes,
        "added": added,
        "cut_otherwise": survey.wishes.contains(&Wish::OtherCuts),
        "append_only": survey.wishes.contains(&Wish::AppendOnly),
    });
    context.out.result(&document, |out| match standing {
        Standing::Before => writeln!(out, "the repository has drctl's settings already: there is nothing to do"),
        Standing::Would => announce(vault, survey, out),
        Standing::Now => {
            writeln!(out, "adopted repository {} at {}", short(vault), vault.store().url())?;
            side_by_side(out)
        }
    })?;
    for wish in &survey.wishes {
        context.out.warn(match wish {
            Wish::OtherCuts => {
                "rustic was told to cut files otherwise here: what it stores and what drctl or restic store is not shared"
            }
            Wish::AppendOnly => {
                "rustic was told to delete nothing here; drctl and restic do not know that: do not let them forget or prune"
            }
        });
    }
    Ok(Exit::Done)
}

fn short(vault: &Vault) -> &str {
    vault.id().get(..8).unwrap_or_default()
}

/// What is there, and what will change.
fn announce(vault: &Vault, survey: &Survey, out: &mut dyn Write) -> std::io::Result<()> {
    let programs: Vec<String> = survey.programs.iter().map(|name| escape::text(name)).collect();
    let by = if programs.is_empty() { String::new() } else { format!(" by {}", programs.join(", ")) };
    writeln!(
        out,
        "repository {} at {}: format {}, {} snapshots{by}, {} in {} packs",
        short(vault),
        vault.store().url(),
        vault.version(),
        survey.snapshots,
        ByteSize(survey.bytes),
        survey.packs
    )?;
    writeln!(out, "to be added: the object {SETTINGS}; nothing of what is there is changed, moved or removed")?;
    writeln!(out, "later runs of drctl add snapshots and data as restic does, and what they did under drctl/")?;
    writeln!(
        out,
        "files are cut as until now, with the repository's own polynomial: what is stored is not stored again"
    )?;
    side_by_side(out)
}

fn side_by_side(out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "restic can go on at any time: both heed the same locks")?;
    writeln!(out, "rustic takes no locks: never let it write while anybody prunes")
}
