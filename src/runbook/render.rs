//! A runbook as a document that a person can follow by hand, without drctl.
//!
//! Restore steps become plain restic commands; checks become what a shell can do. Invariant: every value from the
//! configuration is quoted for the shell that it is pasted into, and no secret is printed, only where it comes from.

mod shell;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::plan::{Flaw, Graph};
use crate::config::{
    Action, Check, CredentialsRef, Criticality, DigestOf, Expect, OnError, Plan, PlanName, RestoreStep, Runbook,
    RunbookName, SecretRef, SnapshotChoice, Source, Step, VaultConfig, VaultName,
};
use crate::units::Span;
use shell::{command, fence, in_target, quote, repository};

/// What is to be recovered, and what from.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Its name.
    pub name: &'a PlanName,
    /// The plan.
    pub plan: &'a Plan,
    /// All vaults that are configured.
    pub vaults: &'a BTreeMap<VaultName, VaultConfig>,
}

/// Prints a runbook as Markdown. Refused when its steps can have no order.
pub fn markdown(name: &RunbookName, runbook: &Runbook, scene: Scene<'_>) -> Result<String, Vec<Flaw>> {
    let graph = Graph::of_runbook(runbook)?;
    let mut out = String::new();
    head(&mut out, name, runbook, scene);
    out += "\n## Before you begin\n\nYou need a machine with restic 0.14 or newer, and an empty folder with room for \
            everything.\n\n";
    out += &fence("export TARGET=/srv/restored\nmkdir -p \"$TARGET\"");
    out += "\nChoose the vault that is still there, and say where it is.\n";
    let copies = scene.plan.copies.iter().map(|copy| &copy.vault);
    for vault in std::iter::once(&scene.plan.vault).chain(copies) {
        if let Some(config) = scene.vaults.get(vault) {
            access(&mut out, vault, config);
        }
    }
    out += "\nSee what it holds, and note which snapshot you take: the newest need not be the one you want.\n\n";
    out += &fence(&command(&["restic", "snapshots", "--tag", &plan_tag(scene.name)]));
    out += "\n## Steps\n";
    let order = graph.waves().iter().flatten().copied();
    for (number, step) in order.filter_map(|at| runbook.steps.get(at)).enumerate() {
        self::step(&mut out, number + 1, step, scene);
    }
    out += "\n## Afterwards\n\nNote when the last step was done, and which snapshot it was. Back up the recovered place \
            before anything else.\n";
    Ok(out)
}

fn plan_tag(plan: &PlanName) -> String {
    format!("plan={plan}")
}

fn head(out: &mut String, name: &RunbookName, runbook: &Runbook, scene: Scene<'_>) {
    let _ = writeln!(out, "# Runbook {name}: recover {}\n\n{}", scene.name, prose(&runbook.description));
    if let Some(owner) = &scene.plan.owner {
        let _ = writeln!(out, "\nOwner: {}", prose(owner));
    }
    let mut promises = scene.plan.objective.iter().peekable();
    if promises.peek().is_some() {
        *out += "\n| when this is lost | back within | losing at most |\n|---|---|---|\n";
        for (disaster, promise) in promises {
            let _ = writeln!(out, "| {disaster} | {} | {} |", promise.rto, promise.rpo);
        }
    }
    let time = runbook.steps.iter().fold(Span::ZERO, |sum, step| sum.saturating_add(step.timeout));
    let _ = writeln!(out, "\n{} steps; at most {time} if each takes as long as it may.", runbook.steps.len());
}

fn access(out: &mut String, name: &VaultName, vault: &VaultConfig) {
    let region = vault.region.as_ref().map(|region| format!(" ({})", prose(region))).unwrap_or_default();
    let _ = writeln!(out, "\n### Vault {name}{region}\n");
    let mut lines = vec![format!("export RESTIC_REPOSITORY={}", quote(&repository(vault)))];
    lines.push(match &vault.key {
        SecretRef::File(path) => format!("export RESTIC_PASSWORD_FILE={}", quote(&path.to_string_lossy())),
        SecretRef::Command(words) => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            format!("export RESTIC_PASSWORD_COMMAND={}", quote(&command(&words)))
        }
        SecretRef::Env(_) => format!("export RESTIC_PASSWORD={}", secret(&vault.key)),
    });
    if !vault.is_local() {
        match &vault.credentials {
            CredentialsRef::Environment => lines.push("# the store's credentials come from the AWS environment".into()),
            CredentialsRef::Profile(profile) => lines.push(format!("export AWS_PROFILE={}", quote(profile))),
            CredentialsRef::Keys { access_key, secret_key, session_token } => {
                lines.push(format!("export AWS_ACCESS_KEY_ID={}", secret(access_key)));
                lines.push(format!("export AWS_SECRET_ACCESS_KEY={}", secret(secret_key)));
                lines.extend(session_token.iter().map(|it| format!("export AWS_SESSION_TOKEN={}", secret(it))));
            }
        }
        lines.extend(vault.region.iter().map(|region| format!("export AWS_DEFAULT_REGION={}", quote(region))));
        lines.extend(vault.ca_file.iter().map(|ca| format!("export RESTIC_CACERT={}", quote(&ca.to_string_lossy()))));
        lines.extend(vault.proxy.iter().map(|proxy| format!("export HTTPS_PROXY={}", quote(proxy))));
    }
    *out += &fence(&lines.join("\n"));
}

/// Reads a secret where it lies, when the line is run.
fn secret(reference: &SecretRef) -> String {
    match reference {
        SecretRef::File(path) => format!("\"$(cat {})\"", quote(&path.to_string_lossy())),
        SecretRef::Env(name) => format!("\"${{{name}}}\""),
        SecretRef::Command(words) => {
            format!("\"$({})\"", command(&words.iter().map(String::as_str).collect::<Vec<_>>()))
        }
    }
}

fn step(out: &mut String, number: usize, step: &Step, scene: Scene<'_>) {
    let _ = writeln!(out, "\n### {number}. {}\n", step.id);
    if let Some(description) = &step.description {
        let _ = writeln!(out, "{}\n", prose(description));
    }
    if !step.needs.is_empty() {
        let _ = writeln!(out, "After: {}.", step.needs.join(", "));
    }
    let failure = match (step.criticality, step.on_error) {
        (Criticality::Critical, OnError::Stop) => "Stop if it fails: the recovery has failed.",
        (Criticality::Critical, OnError::Continue) => {
            "If it fails the recovery has failed; go on with what does not need it."
        }
        (Criticality::Optional, OnError::Stop) => "Stop if it fails.",
        (Criticality::Optional, OnError::Continue) => "Go on if it fails, with what does not need it.",
    };
    let _ = writeln!(out, "At most {}. {failure}\n", step.timeout);
    *out += &match &step.action {
        Action::Restore(restore) => fence(&restore_command(restore, scene)),
        Action::Exec { command: words } | Action::Check(Check::Command(words)) => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            fence(&format!("cd \"$TARGET\" && DRCTL_SANDBOX=\"$TARGET\" {}", command(&words)))
        }
        Action::Check(Check::File { path, min_size }) => {
            let file = in_target(path);
            fence(&format!("test -f {file} && test \"$(stat -c %s {file})\" -ge {}", min_size.0))
        }
        Action::Check(Check::Sqlite { path, query, expect }) => {
            let expected = match expect {
                Expect::Equals(text) => format!("It must answer `{}`.", prose(text)),
                Expect::AtLeast(least) => format!("It must answer at least {least}."),
            };
            format!("{}\n{expected}\n", fence(&format!("sqlite3 -readonly {} {}", in_target(path), quote(query))))
        }
        Action::Check(Check::Digest { path, against }) => digest(path, against, scene),
    };
    *out += "\n- [ ] done at ____________\n";
}

fn restore_command(restore: &RestoreStep, scene: Scene<'_>) -> String {
    let plan = restore.plan.as_ref().unwrap_or(scene.name);
    let mut line = match &restore.snapshot {
        SnapshotChoice::Latest => command(&["restic", "restore", "latest", "--tag", &plan_tag(plan)]),
        SnapshotChoice::Id(id) => command(&["restic", "restore", id]),
    };
    for glob in &restore.include {
        let _ = write!(line, " --include {}", quote(glob));
    }
    let _ = write!(line, " --target {}", in_target(&restore.into));
    line
}

fn digest(path: &Path, against: &DigestOf, scene: Scene<'_>) -> String {
    let tree = in_target(path);
    match against {
        DigestOf::Manifest(list) => {
            let list = quote(&list.to_string_lossy()).into_owned();
            format!(
                "{}\nA manifest that begins with `drctl-manifest` is compared by `drctl runbook run` alone.\n",
                fence(&format!("cd {tree} && sha256sum --check --quiet {list}"))
            )
        }
        DigestOf::Sha256(digest) => format!(
            "The tree {tree} must have the digest `{digest}`. Only `drctl runbook run` computes it; by hand, compare a few \
             files that you know.\n"
        ),
        DigestOf::Source => match &scene.plan.source {
            Source::Files(files) => {
                let lines = files.paths.iter().map(|root| {
                    let relative = root.strip_prefix("/").unwrap_or(root);
                    format!(
                        "diff --recursive --brief --no-dereference {} {}",
                        quote(&root.to_string_lossy()),
                        in_target(relative)
                    )
                });
                format!(
                    "Where the source still exists; what changed there since the snapshot differs rightly.\n\n{}",
                    fence(&lines.collect::<Vec<_>>().join("\n"))
                )
            }
            Source::Command { .. } | Source::Sqlite { .. } => {
                "The source cannot be compared byte by byte: it has gone on since.\n".into()
            }
        },
    }
}

/// Text of an operator, so that none of it is taken for Markdown's or HTML's marks.
fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '&') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests;
