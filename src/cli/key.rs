//! `drctl key`: lists, adds, removes and changes keys.

use std::io::ErrorKind;

use serde_json::json;

use super::args::key::{Action, Key, NewKey};
use super::context::Context;
use super::error::{Failure, chain};
use super::exit::Exit;
use super::rotate;
use super::secret::{self, KeySource, Purpose};
use super::table::{Align, Listing};
use super::time;
use crate::config::SecretRef;
use crate::vault::key::{KdfCost, Secret};
use crate::vault::{FileType, Id, KeyInfo, Vault};

/// Digits of an id that name a key to be removed, at least: a number that was meant otherwise must not fit one.
const SHORTEST: usize = 4;

/// Runs the command.
pub(crate) async fn run(args: Key, context: &Context) -> Result<Exit, Failure> {
    match args.action {
        Action::List => list(context).await,
        Action::Add(new) => add(&new, context).await,
        Action::Remove { id } => remove(&id, context).await,
        Action::Passwd(new) => passwd(&new, context).await,
        Action::Rotate(args) => Box::pin(rotate::run(args, context)).await,
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let vault = context.open(Purpose::Read).await?;
    let keys = vault.keys().await.map_err(Failure::of)?;
    let damaged = vault.damaged_keys().await.map_err(Failure::of)?;
    let document = json!({
        "keys": keys.iter().map(|key| json!({
            "id": key.id, "current": key.current, "created": key.file.created, "user": key.file.username,
            "host": key.file.hostname,
        })).collect::<Vec<_>>(),
        "damaged": damaged.iter().map(|(id, error)| json!({ "id": id, "why": chain(error) })).collect::<Vec<_>>(),
    });
    let zone = context.now().time_zone().clone();
    context.out.result(&document, |out| {
        let columns = [("Key", Align::Left), ("Made", Align::Left), ("User", Align::Left), ("Host", Align::Left)];
        let mut table = Listing::new(context.out, &columns);
        for KeyInfo { id, file, current } in &keys {
            let mark = if *current { " (in use)" } else { "" };
            table.row(&[
                format!("{}{mark}", id.short()).into(),
                file.created.map_or_else(String::new, |at| time::show(at, &zone)).into(),
                file.username.clone().unwrap_or_default().into(),
                file.hostname.clone().unwrap_or_default().into(),
            ]);
        }
        table.print(out)
    })?;
    for (id, error) in &damaged {
        context.out.warn(&format!("key {} cannot be read: failed to {}", id.short(), chain(error)));
    }
    Ok(if damaged.is_empty() { Exit::Done } else { Exit::Partial })
}

async fn ids(vault: &Vault) -> Result<Vec<Id>, Failure> {
    let listed = vault.list(FileType::Key).await.map_err(Failure::of)?;
    Ok(listed.into_iter().map(|(id, _)| id).collect())
}

async fn add(new: &NewKey, context: &Context) -> Result<Exit, Failure> {
    let vault = context.open(Purpose::Write).await?;
    let password = new_password(new, context)?;
    let added = vault.add_key(&password, KdfCost::default()).await;
    let id = added.map_err(Failure::of)?;
    context.out.result(&json!({ "added": id }), |out| writeln!(out, "added key {}", id.short()))?;
    Ok(Exit::Done)
}

async fn remove(prefix: &str, context: &Context) -> Result<Exit, Failure> {
    if prefix.len() < SHORTEST {
        return Err(Failure::usage(format!("{prefix:?} is too short for a key that is removed"))
            .hint(format!("give at least {SHORTEST} digits of the id, as `drctl key list` shows it")));
    }
    let vault = context.open(Purpose::Write).await?;
    let id = by_prefix(prefix, &ids(&vault).await?)?;
    vault.remove_key(&id).await.map_err(Failure::of)?;
    context.out.result(&json!({ "removed": id }), |out| {
        writeln!(out, "removed key {}", id.short())?;
        writeln!(out, "who has kept a copy of the vault, or of its master key, can still read what is in it now")
    })?;
    Ok(Exit::Done)
}

fn by_prefix(prefix: &str, ids: &[Id]) -> Result<Id, Failure> {
    let fitting: Vec<&Id> = ids.iter().filter(|id| id.to_string().starts_with(prefix)).collect();
    match fitting.as_slice() {
        [id] if !prefix.is_empty() => Ok(**id),
        [] => Err(Failure::plain(format!("no key's id begins with {prefix:?}")).hint("`drctl key list` shows them")),
        several => {
            let named: Vec<String> = several.iter().take(4).map(|id| id.short()).collect();
            let what = format!("{} keys have an id that begins with {prefix:?}: {}", several.len(), named.join(", "));
            Err(Failure::plain(what).hint("give more digits of the id"))
        }
    }
}

async fn passwd(new: &NewKey, context: &Context) -> Result<Exit, Failure> {
    let vault = context.open(Purpose::Write).await?;
    let old = vault.key_id();
    let password = new_password(new, context)?;
    let changed = vault.change_password(&password, KdfCost::default()).await;
    let id = changed.map_err(Failure::of)?;
    context.out.result(&json!({ "added": id, "removed": old }), |out| {
        writeln!(out, "changed the password: key {} takes the place of {}", id.short(), old.short())
    })?;
    Ok(Exit::Done)
}

/// The password that a new key file is to have.
pub(super) fn new_password(new: &NewKey, context: &Context) -> Result<Secret, Failure> {
    match (&new.generate_key, &new.new_key_file) {
        (Some(path), _) if path.exists() => Err(Failure::plain(format!("{} is there already", path.display()))
            .hint("to use the key in it, give it with --new-key-file instead")),
        (Some(path), _) => {
            let generated = secret::generate(&context.env);
            secret::write_key_file(path, &generated)?;
            Ok(generated)
        }
        (None, Some(path)) => {
            let source = KeySource::From(SecretRef::File(path.clone()));
            let obtained = secret::obtain(&source, Purpose::Write, context.shared_key(), context.out, "");
            let is_missing = || std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
            obtained.map_err(|failure| match is_missing() {
                true => failure.advise(
                    "give a file that holds the new key with --new-key-file FILE, or make one with --generate-key FILE",
                ),
                false => failure,
            })
        }
        (None, None) => {
            secret::ask_new("give the new one with --new-key-file FILE, or make one with --generate-key FILE")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_enough_of_its_id() {
        let ids = [Id([0x7c; 32]), Id([0x7d; 32])];
        assert_eq!(by_prefix("7c7c", &ids).ok(), Some(ids[0]));
        for (prefix, hint) in [("7", "more digits"), ("", "more digits"), ("ff", "key list")] {
            let failure = by_prefix(prefix, &ids).expect_err(prefix);
            assert!(failure.report().hint.is_some_and(|text| text.contains(hint)), "{prefix}");
        }
        assert!(by_prefix("", &ids[..1]).is_err(), "nothing typed names no key, even where there is only one");
    }
}
