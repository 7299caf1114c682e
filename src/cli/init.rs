//! `drctl init`: makes a vault.

use serde_json::json;

use super::args::init::{ChunkerName, Init};
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::secret::{self, KeySource, Purpose};
use crate::vault::{InitOptions, NewChunker, Vault};

/// Runs the command.
///
/// A generated key is durable before the vault is made: a crash in between leaves a key without a vault, which a second
/// run is pointed to, never a vault without a key.
pub(crate) async fn run(args: Init, context: &Context) -> Result<Exit, Failure> {
    let target = context.target()?;
    let store = context.store(&target).await?;
    let password = match (&args.generate_key, &target.key) {
        (Some(path), _) => {
            let generated = secret::generate(&context.env);
            secret::write_key_file(path, &generated)?;
            generated
        }
        (None, KeySource::Ask) => secret::ask_new()?,
        (None, KeySource::File(_) | KeySource::Command(_) | KeySource::Env(_)) => {
            context.password(&target, Purpose::Write)?
        }
    };
    let chunker = match args.chunker {
        ChunkerName::Gear => NewChunker::Gear,
        ChunkerName::Rabin => NewChunker::Rabin,
    };
    let options = InitOptions { chunker, ..InitOptions::default() };
    let made = Vault::init(store, &password, &options, &context.env).await;
    let vault = made.map_err(|error| {
        // The key of a vault that does not exist would only be in the way of the next try.
        if let Some(path) = &args.generate_key
            && let Err(kept) = std::fs::remove_file(path)
        {
            context.out.warn(&format!("the new key file {} could not be removed again: {kept}", path.display()));
        }
        Failure::because("failed to make the vault", error)
    })?;
    let document = json!({
        "vault": { "url": vault.store().url(), "id": vault.id(), "format": vault.version() },
        "key_file": args.generate_key,
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
