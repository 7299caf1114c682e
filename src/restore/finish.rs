//! What comes after a window's files: hard links, then the attributes of folders that the walk has left.

use std::io;

use rustix::fs::FileType;

use super::job::{Restore, join};
use super::window::{Folder, Last};
use super::{Existing, Mode, place, remove};
use crate::vault::tree::Node;

/// Does what waited for the window's files, and those of the windows before. Nothing, where nothing is written.
pub(super) fn last(restore: &Restore, last: Last) {
    for (folder, node, first) in last.links {
        let path = join(&folder.path, &node.name);
        if restore.writes()
            && let Err(error) = link(restore, &folder, &node, &first)
        {
            restore.lost(&path, node.kind, format!("not linked to its first name: {error}"));
        }
        restore.monitor.advance(1, node.size);
    }
    for (folder, node) in last.left {
        if let Some(node) = node {
            for why in restore.attributes.apply(&folder.open, &node, true) {
                restore.problem(&folder.path, why);
            }
        }
    }
}

fn link(restore: &Restore, folder: &Folder, node: &Node, first: &[Vec<u8>]) -> io::Result<()> {
    let Some((name, way)) = first.split_last() else { return Ok(()) };
    let mut open = place::open_target(&restore.options.target)?;
    for part in way {
        open = place::open_dir(&open, part)?;
    }
    let stat = place::look(&open, name)?.ok_or(io::ErrorKind::NotFound)?;
    if let Some(there) = place::look(&folder.open, &node.name)? {
        if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) {
            return Ok(());
        }
        clear(restore, folder, &node.name)?;
    }
    place::make_link(&open, name, &folder.open, &node.name)
}

/// Removes what stands in the way. A folder with something in it is removed only where deleting was asked for.
pub(super) fn clear(restore: &Restore, folder: &Folder, name: &[u8]) -> io::Result<()> {
    let Some(stat) = place::look(&folder.open, name)? else { return Ok(()) };
    match (place::kind(&stat) == FileType::Directory, restore.options.existing) {
        (false, _) => place::unlink(&folder.open, name),
        (true, Existing::Mirror) => remove::all(&folder.open, name, Mode::Write).map(drop),
        (true, Existing::Overwrite | Existing::Refuse) => {
            refuse_full(folder, name)?;
            place::remove_dir(&folder.open, name)
        }
    }
}

/// Fails when this folder, which stands in the way, has something in it.
pub(super) fn refuse_full(folder: &Folder, name: &[u8]) -> io::Result<()> {
    if remove::names(&place::open_dir(&folder.open, name)?)?.is_empty() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::DirectoryNotEmpty,
        "a folder that has something in it stands in its place, and goes only with --delete",
    ))
}
