//! Vaults that are one, keys that are one, copies that are none.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checks, Subject};
use crate::config::Severity;

impl Checks<'_> {
    pub(super) fn vaults(&mut self) {
        let config = self.config;
        let (mut urls, mut keys) = (BTreeMap::new(), BTreeMap::new());
        for (name, vault) in &config.vaults {
            // Two S3 servers can have buckets of one name.
            let place = (vault.url.trim_end_matches('/'), vault.endpoint.as_deref());
            if let Some(first) = urls.insert(place, name) {
                let what = format!("vaults `{first}` and `{name}` are one place, which could be pruned in two ways");
                self.error(&format!("vault.{name}.url"), what, "use one vault in both plans, or another prefix");
            } else if let Some(first) = keys.insert(&vault.key, name) {
                let what = format!("vaults `{first}` and `{name}` share their key: who reads one reads both");
                let fix = "give each vault a key of its own";
                self.add(Severity::Warning, &format!("vault.{name}.key"), what, fix);
            }
        }
    }

    pub(super) fn copies(&mut self, subject: &Subject<'_>) {
        let mut seen = BTreeSet::new();
        for (index, copy) in subject.plan.copies.iter().enumerate() {
            let path = format!("{}.copies.{index}.vault", subject.path);
            if copy.vault == subject.plan.vault {
                let what = format!("plan `{}` copies to vault `{}`, where it is already", subject.name, copy.vault);
                self.error(&path, what, "name another vault");
            } else if !seen.insert(&copy.vault) {
                let what = format!("plan `{}` copies to vault `{}` twice", subject.name, copy.vault);
                self.error(&path, what, "remove one of them");
            }
        }
    }
}
