//! The evidence of drills: written on this host, and found again here or in a vault.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::ServiceError;
use super::host::{Service, archive};
use crate::catalog::DrillRow;
use crate::config::VaultName;
use crate::drill::evidence::Evidence;
use crate::drill::report;
use crate::record::RunId;
use crate::vault::Id;

/// Evidence that was found again.
#[derive(Debug, Clone)]
pub struct Found {
    /// What it says.
    pub evidence: Evidence,
    /// SHA-256 of its text as it was found: to be compared with the one in the drill's record.
    pub digest: Id,
    /// Where it was found.
    pub place: String,
}

impl Service {
    /// Where evidence is kept on this host.
    fn evidence_folder(&self) -> PathBuf {
        self.state.join("drills")
    }

    pub(super) fn evidence_path(&self, drill: RunId, ending: &str) -> PathBuf {
        self.evidence_folder().join(format!("drill-{drill}.{ending}"))
    }

    /// Writes the evidence and its page, durably: first the text, which is what counts.
    pub(super) fn keep(&self, evidence: &Evidence) -> Result<(String, PathBuf, PathBuf), ServiceError> {
        let text = evidence.canonical()?;
        let folder = self.evidence_folder();
        let failed = |source| ServiceError::State { op: "keep evidence in", path: folder.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let (json, html) =
            (self.evidence_path(evidence.facts.id, "json"), self.evidence_path(evidence.facts.id, "html"));
        write_durably(&json, text.as_bytes()).map_err(failed)?;
        write_durably(&html, report::html(evidence)?.as_bytes()).map_err(failed)?;
        Ok((text, json, html))
    }

    /// The evidence of a drill: on this host, else in the vault that it restored from. `None`: in neither place is any that
    /// can be read.
    pub async fn evidence(&self, drill: &DrillRow) -> Result<Option<Found>, ServiceError> {
        let path = self.evidence_path(drill.id, "json");
        let read = |text: &[u8], place: String| {
            let evidence = serde_json::from_slice::<Evidence>(text).ok()?;
            Some(Found { evidence, digest: Id::of(text), place })
        };
        if let Some(found) = fs::read(&path).ok().and_then(|text| read(&text, path.display().to_string())) {
            return Ok(Some(found));
        }
        let Ok(name) = drill.vault.parse::<VaultName>() else { return Ok(None) };
        let vault = self.vaults.open(&name).await?;
        let text = archive(&vault).evidence(drill.id).await?;
        Ok(text.and_then(|text| read(text.as_bytes(), format!("in vault {name}"))))
    }
}

/// Replaces a file: what is there is the old text or the new one, whatever happens.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}
