//! Records on their way to a vault: `spool/<vault>/<run>` in the state folder.
//!
//! Every record goes through here, also when the vault can be reached: it is durable (file and folder synced) before
//! the run counts as recorded, and removed once the vault holds it. A crash leaves a file that is delivered again, which
//! the archive takes for what it is, or a temporary one that is swept up.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::entry::RunId;
use super::sign::Signed;
use super::sync_folder;

const TEMPORARY: &str = ".new-";

/// The spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{op} {} in the spool of records", path.display())]
pub struct SpoolError {
    /// What was tried.
    pub op: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// A spooled record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooled {
    /// The run.
    pub id: RunId,
    /// The signed record, or why the file holds none.
    pub content: Result<Signed, String>,
}

/// The folder of records that are not yet in their vaults.
#[derive(Debug, Clone)]
pub struct Spool {
    root: PathBuf,
}

impl Spool {
    /// The spool in a state folder.
    pub fn at(state: &Path) -> Self {
        Self { root: state.join("spool") }
    }

    /// Keeps a record for a vault. Durable when it returns.
    pub fn keep(&self, vault: &str, id: RunId, signed: &Signed) -> Result<(), SpoolError> {
        let folder = self.folder(vault);
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        sync_folder(&self.root).map_err(failed("sync", &self.root))?;
        let path = folder.join(id.to_string());
        let text = serde_json::to_vec(signed).map_err(|e| failed("write", &path)(e.into()))?;
        let mut file =
            tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&folder).map_err(failed("create", &path))?;
        file.write_all(&text).map_err(failed("write", &path))?;
        file.as_file().sync_all().map_err(failed("sync", &path))?;
        file.persist(&path).map_err(|lost| failed("name", &path)(lost.error))?;
        sync_folder(&folder).map_err(failed("sync", &folder))
    }

    /// What waits for a vault, oldest first.
    pub fn waiting(&self, vault: &str) -> Result<Vec<Spooled>, SpoolError> {
        let folder = self.folder(vault);
        let mut waiting = Vec::new();
        for name in names(&folder)? {
            let path = folder.join(&name);
            let Ok(id) = name.parse::<RunId>() else { continue };
            match fs::read(&path) {
                Ok(text) => {
                    waiting.push(Spooled { id, content: serde_json::from_slice(&text).map_err(|e| e.to_string()) });
                }
                // Another process delivered it meanwhile.
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("read", &path)(error)),
            }
        }
        waiting.sort_by_key(|spooled| spooled.id);
        Ok(waiting)
    }

    /// How many records wait for each vault; vaults without any are left out.
    pub fn counts(&self) -> Result<Vec<(String, usize)>, SpoolError> {
        let mut counts = Vec::new();
        for name in names(&self.root)? {
            let Some(vault) = hex::decode(&name).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else { continue };
            let count = names(&self.root.join(&name))?.iter().filter(|name| name.parse::<RunId>().is_ok()).count();
            if count > 0 {
                counts.push((vault, count));
            }
        }
        counts.sort();
        Ok(counts)
    }

    /// Forgets a record that its vault holds.
    pub fn remove(&self, vault: &str, id: RunId) -> Result<(), SpoolError> {
        let path = self.folder(vault).join(id.to_string());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Vaults given by address have names that are no file names.
    fn folder(&self, vault: &str) -> PathBuf {
        self.root.join(hex::encode(vault))
    }
}

fn names(folder: &Path) -> Result<Vec<String>, SpoolError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(none) if none.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", folder)(error)),
    };
    let names: Result<Vec<String>, io::Error> =
        entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect();
    names.map_err(failed("list", folder))
}

fn failed<'p>(op: &'static str, path: &'p Path) -> impl Fn(io::Error) -> SpoolError + 'p {
    move |source| SpoolError { op, path: path.to_owned(), source }
}
