//! `drctl check`: whether the vault is whole.

use std::sync::Arc;

use super::args::check::{Check, Subset};
use super::backup::seconds;
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use super::output::Paint;
use super::secret::Purpose;
use crate::check::{self, CheckError, Lock, Options, ReadData, Report};
use crate::units::ByteSize;

/// Runs the command. Damage ends it with exit code 1.
pub(crate) async fn run(args: Check, context: &Context) -> Result<Exit, Failure> {
    let vault = context.open(Purpose::Read).await?;
    let read_data = match (args.read_data, args.read_data_subset) {
        (true, _) => ReadData::All,
        (false, None) => ReadData::None,
        (false, Some(Subset::Percent(share))) => ReadData::Share { per_mille: (share * 10.0).ceil() as u16 },
        (false, Some(Subset::Part { part, of })) => ReadData::Part { part, of },
        (false, Some(Subset::Size(ByteSize(bytes)))) => ReadData::Bytes(bytes),
    };
    let lock = if args.no_lock { Lock::None } else { Lock::Shared { retry: context.lock_wait() } };
    let bar = Arc::new(context.bar());
    let report = check::run(&vault, Options { read_data, lock }, bar.clone(), context.stop.cancel()).await;
    bar.done();
    let report = report.map_err(|error| match error {
        CheckError::Cancelled => Failure::of(error).exits(Exit::Interrupted),
        CheckError::Vault(_) => Failure::of(error).hint("with read-only credentials, check with --no-lock"),
    })?;
    show(&report, context)?;
    Ok(if report.damage.is_empty() { Exit::Done } else { Exit::Failed })
}

fn show(report: &Report, context: &Context) -> Result<(), Failure> {
    context.out.result(report, |out| {
        for damage in &report.damage {
            let object = format!("{:?}", damage.object).to_lowercase();
            writeln!(
                out,
                "{} {object} {}: {}",
                context.out.paint(Paint::Red, "damaged"),
                damage.id,
                escape::text(&damage.why)
            )?;
            if damage.files_count > 0 {
                let snapshots: Vec<_> = damage.snapshots.iter().map(crate::vault::Id::short).collect();
                writeln!(
                    out,
                    "  hits {} files in {} snapshots ({})",
                    damage.files_count,
                    snapshots.len(),
                    snapshots.join(" ")
                )?;
                for file in damage.files.iter().take(10) {
                    writeln!(out, "    {}", escape::text(file))?;
                }
                if damage.files_count > 10 {
                    writeln!(out, "    and {} more", damage.files_count - 10)?;
                }
            } else if !damage.snapshots.is_empty() {
                writeln!(out, "  hits {} snapshots", damage.snapshots.len())?;
            }
        }
        writeln!(
            out,
            "{} snapshots, {} trees, {} packs checked; {} packs ({}) read back and verified, in {}",
            report.snapshots,
            report.trees,
            report.packs,
            report.packs_read,
            ByteSize(report.bytes_read),
            seconds(report.millis)
        )?;
        if report.orphan_packs > 0 {
            writeln!(
                out,
                "{} packs are named by no index: left by interrupted runs, the next backup or prune takes them",
                report.orphan_packs
            )?;
        }
        match report.damage.len() {
            0 => writeln!(out, "no damage found"),
            count => {
                writeln!(out, "DAMAGED: {count} objects. Do not prune; restore what is hit from a copy of this vault")
            }
        }
    })
}
