//! Vaults.

use super::Context;
use crate::config::places::describe;
use crate::config::raw;
use crate::config::vault::{CredentialsRef, Limits, PruneOptions, SecretRef, VaultConfig};
use crate::units::{Percent, Span};

/// 5%: rewriting the last few percent costs more traffic than it saves space.
/// Few backups take longer.
const GRACE: Span = Span::from_hours(24);
/// Rewriting the last few percent costs more traffic than it saves space.
const MAX_UNUSED: Percent = match Percent::new(5) {
    Some(percent) => percent,
    None => unreachable!(),
};

impl Context<'_> {
    pub(super) fn vault(&mut self, path: &str, raw: raw::Vault) -> Option<VaultConfig> {
        let url = self.url(&format!("{path}.url"), &raw.url);
        let credentials = match raw.credentials {
            None => Some(CredentialsRef::Environment),
            Some(credentials) => self.credentials(&format!("{path}.credentials"), credentials),
        };
        let key = self.secret(&format!("{path}.key"), raw.key);
        for (name, url) in [("endpoint", &raw.endpoint), ("proxy", &raw.proxy)] {
            if let Some((_, rest)) = url.as_deref().and_then(|url| url.split_once("://")) {
                self.no_credentials(
                    &format!("{path}.{name}"),
                    rest,
                    "leave them out; a proxy that needs them can be given in HTTPS_PROXY",
                );
            }
        }
        Some(VaultConfig {
            url: url?,
            region: raw.region,
            endpoint: raw.endpoint,
            path_style: raw.path_style,
            ca_file: raw.ca_file.map(|file| self.rebase(path, &file)),
            proxy: raw.proxy,
            credentials: credentials?,
            key: key?,
            limits: Limits { upload: raw.limits.upload, download: raw.limits.download },
            prune: PruneOptions {
                by: raw.prune.by.unwrap_or_default(),
                max_unused: raw.prune.max_unused.unwrap_or(MAX_UNUSED),
                max_repack: raw.prune.max_repack,
                grace: raw.prune.grace.unwrap_or(GRACE),
            },
        })
    }

    /// A URL, or a path relative to the file. What is refused is not repeated: it may hold a secret.
    fn url(&mut self, key: &str, url: &str) -> Option<String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            if url.is_empty() {
                self.error(key, format!("{} is empty", describe(key)), "write it like \"s3://bucket/prefix\"");
                return None;
            }
            if url.split_once(':').is_some_and(|(word, _)| !word.contains('/')) {
                let what = format!("{} looks like an address and is none", describe(key));
                self.error(key, what, "write it like \"s3://bucket/prefix\"; put ./ before it if a folder is meant");
                return None;
            }
            return Some(self.rebase(key, url.as_ref()).to_string_lossy().into_owned());
        };
        self.no_credentials(key, rest, "refer to them with `credentials`; a URL ends up in logs")?;
        let schemes = ["s3", "file", "memory"];
        if !schemes.contains(&scheme) {
            let what = format!("{} has a scheme that this version does not know", describe(key));
            self.error(key, what, "write it like \"s3://bucket/prefix\" or \"file:///folder\"");
            return None;
        }
        Some(url.to_owned())
    }

    fn no_credentials(&mut self, key: &str, rest: &str, fix: &str) -> Option<()> {
        if rest.split('/').next().unwrap_or_default().contains('@') {
            self.error(key, format!("{} holds credentials", describe(key)), fix);
            return None;
        }
        Some(())
    }

    fn secret(&mut self, path: &str, raw: raw::Secret) -> Option<SecretRef> {
        let file = raw.file.map(|file| SecretRef::File(self.rebase(path, &file)));
        let command = match raw.command {
            None => None,
            Some(command) => Some(SecretRef::Command(self.command(&format!("{path}.command"), command)?)),
        };
        self.exactly_one(path, vec![("file", file), ("env", raw.env.map(SecretRef::Env)), ("command", command)])
    }

    fn credentials(&mut self, path: &str, raw: raw::Credentials) -> Option<CredentialsRef> {
        if raw.environment == Some(false) {
            let what = format!("`environment = false` says nothing in {}", describe(path));
            self.error(&format!("{path}.environment"), what, "remove it");
            return None;
        }
        let keys = match (raw.access_key, raw.secret_key, raw.session_token) {
            (None, None, None) => None,
            (Some(access), Some(secret), token) => {
                let access_key = self.secret(&format!("{path}.access_key"), access);
                let secret_key = self.secret(&format!("{path}.secret_key"), secret);
                let session_token = match token {
                    None => None,
                    Some(token) => Some(self.secret(&format!("{path}.session_token"), token)?),
                };
                Some(CredentialsRef::Keys { access_key: access_key?, secret_key: secret_key?, session_token })
            }
            (None, _, _) => {
                self.error(path, format!("{} has no `access_key`", describe(path)), "add it beside `secret_key`");
                return None;
            }
            (_, None, _) => {
                self.error(path, format!("{} has no `secret_key`", describe(path)), "add it beside `access_key`");
                return None;
            }
        };
        let choices = vec![
            ("profile", raw.profile.map(CredentialsRef::Profile)),
            ("environment", raw.environment.map(|_| CredentialsRef::Environment)),
            ("access_key", keys),
        ];
        self.exactly_one(path, choices)
    }
}
