//! `drctl init`: makes a vault.

use std::path::Path;

use serde_json::json;

use super::args::init::{ChunkerName, Init};
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::replicate::{self, Key};
use super::secret::{self, KeySource, Purpose};
use crate::vault::settings::{Chunker, Sharing};
use crate::vault::{InitOptions, NewChunker, Vault, VaultError};

/// Runs the command.
///
/// A generated key is durable before the vault is made: a crash in between leaves a key without a vault, which a second
/// run is pointed to, never a vault without a key.
pub(crate) async fn run(args: Init, context: &Context) -> Result<Exit, Failure> {
    if args.native && args.chunker == ChunkerName::Rabin {
        return Err(Failure::usage(
            "init with --native and --chunker rabin: the one says that no other tool writes there, \
                                   the other is for a tool that does",
        ));
    }
    let target = context.target()?;
    let store = context.store(&target).await?;
    // Nobody should make a key, or type one, for a vault that cannot be made.
    Vault::may_be_made(&store).await.map_err(Failure::of)?;
    let same_chunks_as = chunker_of_another(&args, context).await?;
    let password = match (&args.generate_key, &target.key) {
        (Some(path), _) => {
            let generated = secret::generate(&context.env);
            secret::write_key_file(path, &generated)?;
            generated
        }
        (None, KeySource::Ask) => {
            secret::ask_new("make a key with --generate-key FILE, or give one with --key-file FILE")?
        }
        (None, KeySource::From(_)) => context.password(&target, Purpose::Write)?,
    };
    let chunker = match args.chunker {
        ChunkerName::Gear => NewChunker::Gear,
        ChunkerName::Rabin => NewChunker::Rabin,
    };
    let sharing = if args.native { Sharing::Native } else { Sharing::Shared };
    let options = InitOptions { chunker, same_chunks_as, sharing, ..InitOptions::default() };
    let made = Vault::init(store, &password, &options, &context.env).await;
    let vault = made.map_err(|error| {
        if let Some(path) = &args.generate_key {
            settle_key_file(path, &error, context);
        }
        Failure::of(error)
    })?;
    let document = json!({
        "vault": { "url": vault.store().url(), "id": vault.id(), "format": vault.version() },
        "key_file": args.generate_key.as_deref().map(Path::to_string_lossy),
    });
    context.out.result(&document, |out| {
        writeln!(out, "made vault {} at {}", vault.id().get(..8).unwrap_or_default(), vault.store().url())?;
        match &args.generate_key {
            Some(path) => writeln!(out, "its key is in {}", path.display()),
            None => Ok(()),
        }
    })?;
    context.out.warn(
        "without its key this vault cannot be read by anyone: keep a copy of the key somewhere that is not lost \
         together with this machine",
    );
    Ok(Exit::Done)
}

/// What the vault cuts files with whose copies the new one will hold.
async fn chunker_of_another(args: &Init, context: &Context) -> Result<Option<Chunker>, Failure> {
    let Some(vault) = &args.same_chunks_as else { return Ok(None) };
    let key = Key { file: args.same_chunks_key_file.clone(), command: None };
    let aws_profile = context.global.store.aws_profile.clone();
    let global = replicate::another(&context.global, vault.clone(), key, aws_profile);
    let other = replicate::other(context, global).open(Purpose::Read).await?;
    Ok(Some(*other.chunker()))
}

/// A generated key that no vault uses is removed; one that an unfinished vault may use is kept for the next try.
fn settle_key_file(path: &Path, error: &VaultError, context: &Context) {
    let shown = path.display();
    let unused = matches!(
        error,
        VaultError::VaultExists { .. }
            | VaultError::NotEmpty { .. }
            | VaultError::Occupied { .. }
            | VaultError::Unfinished { .. }
    );
    if !unused {
        context.out.note(&format!("the new key is kept: to go on, run this again with --key-file {shown}"));
    } else if let Err(kept) = std::fs::remove_file(path) {
        context.out.warn(&format!("{shown} holds a key that no vault uses, and could not be removed: {kept}"));
    }
}
