//! Quoting for a POSIX shell, and restic's way to name a repository.

use std::borrow::Cow;
use std::path::{Component, Path};

use crate::config::VaultConfig;

/// One word for a shell.
pub(super) fn quote(word: &str) -> Cow<'_, str> {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '=' | '@' | '%' | '+' | ',');
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// A program and its arguments.
pub(super) fn command(words: &[&str]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// A path within the target.
pub(super) fn in_target(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) | Component::ParentDir => None,
        })
        .collect();
    if parts.is_empty() { "\"$TARGET\"".into() } else { format!("\"$TARGET\"/{}", quote(&parts.join("/"))) }
}

/// A block of commands, with a fence that nothing in it can close.
pub(super) fn fence(lines: &str) -> String {
    let longest = lines.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let marks = "`".repeat(longest.max(2) + 1);
    format!("{marks}sh\n{lines}\n{marks}\n")
}

/// The repository as restic names it.
pub(super) fn repository(vault: &VaultConfig) -> String {
    let Some(rest) = vault.url.strip_prefix("s3://") else {
        return vault.url.strip_prefix("file://").unwrap_or(&vault.url).to_owned();
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let asked = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "endpoint");
    let endpoint = asked.map(|(_, value)| value.into_owned()).or_else(|| vault.endpoint.clone());
    let endpoint = endpoint.unwrap_or_else(|| "https://s3.amazonaws.com".into());
    format!("s3:{}/{}", endpoint.trim_end_matches('/'), place.trim_matches('/'))
}
