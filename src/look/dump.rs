//! Writes a file, or a folder as a tar archive, into any writer.
//!
//! Pieces are fetched a few at a time ahead of the writer, so memory does not grow with the file. A file that is
//! damaged ends the dump of that file with an error. A folder goes on: a file whose pieces are known to be missing is
//! left out, one that breaks off in the middle is filled up with zeros, and both are reported, so that the archive stays
//! readable and nothing damaged passes for whole.

use std::collections::HashMap;
use std::io::Write;

use futures::{StreamExt, TryStreamExt};

use super::error::{LookError, shown};
use super::tar::{self, Member};
use super::walk::Walk;
use crate::monitor::{Monitor, Problem};
use crate::vault::index::Index;
use crate::vault::tree::{Node, NodeKind, Run};
use crate::vault::{BlobKey, Id, Vault};

/// Pieces in flight; each is at most 8 MiB.
const AHEAD: usize = 6;
/// Hard links that are remembered; beyond these, each further one becomes a copy.
const LINKS_MAX: usize = 100_000;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DumpSummary {
    /// Members of the archive.
    pub members: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Entries that are missing or damaged, each reported to the monitor.
    pub problems: u64,
}

/// Writes the content of one file.
pub async fn dump_file(
    vault: &Vault,
    index: &Index,
    path: &[u8],
    node: &Node,
    out: &mut (dyn Write + Send),
    monitor: &dyn Monitor,
) -> Result<u64, LookError> {
    if node.kind != NodeKind::File {
        return Err(LookError::NoContent { path: shown(path), kind: node.kind });
    }
    monitor.total(1, node.size);
    let mut written = 0;
    let done = write_content(vault, index, path, node, out, monitor, &mut written).await;
    done?;
    if written != node.size {
        return Err(LookError::Length { path: shown(path), found: written, size: node.size });
    }
    Ok(written)
}

async fn write_content(
    vault: &Vault,
    index: &Index,
    path: &[u8],
    node: &Node,
    out: &mut (dyn Write + Send),
    monitor: &dyn Monitor,
    written: &mut u64,
) -> Result<(), LookError> {
    // A piece that is there many times in a row, as a hole's is, is fetched once.
    let load = |run: Run| async move {
        let loaded = vault.load_blob(index, BlobKey::data(run.id)).await;
        loaded.map(|piece| (piece, run.count)).map_err(|source| (run.id, source))
    };
    let mut pieces = futures::stream::iter(node.content.runs().iter().copied().map(load)).buffered(AHEAD);
    let blob = |at, (id, source)| LookError::Blob { path: shown(path), at, id, source: Box::new(source) };
    while let Some((piece, count)) = pieces.try_next().await.map_err(|failed| blob(*written, failed))? {
        for _ in 0..count {
            out.write_all(&piece).map_err(LookError::Write)?;
            *written += piece.len() as u64;
            monitor.advance(0, piece.len() as u64);
        }
    }
    Ok(())
}

/// Writes a folder and all that is in it as a tar archive. Members are named by their path in the snapshot, without
/// `base` in front of it.
pub async fn dump_folder(
    vault: &Vault,
    index: &Index,
    root: Id,
    base: &[u8],
    out: &mut (dyn Write + Send),
    monitor: &dyn Monitor,
) -> Result<DumpSummary, LookError> {
    let mut archive = Archive { vault, index, out, monitor, links: HashMap::new(), summary: DumpSummary::default() };
    let mut walk = Walk::new(vault, index, root, base);
    while let Some(entry) = walk.next().await {
        match entry {
            Ok(node) => archive.member(walk.path(), &node).await?,
            Err(error) => archive.problem(walk.path(), &error),
        }
    }
    archive.out.write_all(&tar::END).map_err(LookError::Write)?;
    Ok(archive.summary)
}

struct Archive<'a> {
    vault: &'a Vault,
    index: &'a Index,
    out: &'a mut (dyn Write + Send),
    monitor: &'a dyn Monitor,
    links: HashMap<(u64, u64), Vec<u8>>,
    summary: DumpSummary,
}

impl Archive<'_> {
    async fn member(&mut self, path: &[u8], node: &Node) -> Result<(), LookError> {
        let name = path.strip_prefix(b"/").unwrap_or(path);
        let size = match self.stored_size(node) {
            Ok(size) => size,
            Err(id) => {
                self.report(path, format!("blob {} is not in the vault's index; left out", id.short()));
                return Ok(());
            }
        };
        if size != node.size && node.kind == NodeKind::File {
            self.report(path, format!("its pieces hold {size} bytes, the file had {}", node.size));
        }
        let link_key = (node.inode, node.device_id);
        let linkable = node.kind == NodeKind::File && node.links > 1;
        let first = if linkable { self.links.get(&link_key).cloned() } else { None };
        let size = if first.is_some() { 0 } else { size };
        let Some(header) = tar::header(&Member { path: name, node, size, hard_link: first.as_deref() }) else {
            self.monitor.note(&format!("{}: a socket has no place in an archive", shown(path)));
            return Ok(());
        };
        self.out.write_all(&header).map_err(LookError::Write)?;
        self.summary.members += 1;
        if size > 0 {
            self.content(path, node, size).await?;
        }
        if linkable && first.is_none() && self.links.len() < LINKS_MAX {
            self.links.insert(link_key, name.to_vec());
        }
        self.monitor.advance(1, 0);
        Ok(())
    }

    /// What the pieces of a file hold together, or the first piece that is nowhere.
    fn stored_size(&self, node: &Node) -> Result<u64, Id> {
        node.content.runs().iter().try_fold(0_u64, |sum, run| match self.index.get(BlobKey::data(run.id)) {
            Some(located) => Ok(sum.saturating_add(located.plain_len().saturating_mul(run.count.into()))),
            None => Err(run.id),
        })
    }

    async fn content(&mut self, path: &[u8], node: &Node, size: u64) -> Result<(), LookError> {
        let mut written = 0;
        match write_content(self.vault, self.index, path, node, self.out, self.monitor, &mut written).await {
            Ok(()) => (),
            Err(error @ LookError::Write(_)) => return Err(error),
            Err(error) => self.problem(path, &error),
        }
        self.summary.bytes += written;
        let missing = size.saturating_sub(written) + tar::padding(size) as u64;
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), missing), self.out).map_err(LookError::Write)?;
        Ok(())
    }

    fn problem(&mut self, path: &[u8], error: &LookError) {
        let mut why = error.to_string();
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            why = format!("{why}: {cause}");
            next = cause.source();
        }
        self.report(path, why);
    }

    fn report(&mut self, path: &[u8], why: String) {
        self.summary.problems += 1;
        self.monitor.problem(&Problem { what: shown(path), why });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::testing::Bed;
    use super::*;
    use crate::monitor::{Collected, Silent};

    #[tokio::test]
    async fn a_file_is_its_pieces_one_after_another() {
        let bed = Bed::new().await;
        let pieces: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; 1000]).collect();
        let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let node = bed.file("f", &slices).await;
        let mut out = Vec::new();
        let bytes = dump_file(&bed.vault, &bed.index, b"/f", &node, &mut out, &Silent).await.expect("whole");
        assert_eq!((bytes, out), (20_000, pieces.concat()));
    }

    #[tokio::test]
    async fn what_is_not_whole_is_an_error() {
        let bed = Bed::new().await;
        let mut node = bed.file("f", &[b"one", b"two"]).await;
        let whole = node.content.clone();
        node.content = whole.iter().take(1).chain([Id([5; 32])]).chain(whole.iter().skip(1)).collect();
        let mut out = Vec::new();
        let error = dump_file(&bed.vault, &bed.index, b"/f", &node, &mut out, &Silent).await.expect_err("a hole");
        assert_eq!(error.to_string(), "read /f at byte 3 (blob 05050505)");
        node.content = whole;
        node.size = 7;
        let error = dump_file(&bed.vault, &bed.index, b"/f", &node, &mut out, &Silent).await.expect_err("too short");
        assert_eq!(error.to_string(), "read /f: its pieces hold 6 bytes, the file had 7");
        node.kind = NodeKind::Fifo;
        assert!(dump_file(&bed.vault, &bed.index, b"/f", &node, &mut out, &Silent).await.is_err());
    }

    #[tokio::test]
    async fn a_folder_becomes_an_archive_and_says_what_it_lacks() {
        let bed = Bed::new().await;
        let mut linked = bed.file("linked", &[b"abc"]).await;
        (linked.links, linked.inode) = (2, 42);
        let mut again = linked.clone();
        again.name = b"zz".to_vec();
        let mut lost = bed.file("lost", &[b"x"]).await;
        lost.content = [Id([5; 32])].into_iter().collect();
        let mut link = Node::new(*b"sym", NodeKind::Symlink);
        link.linktarget = b"linked".to_vec();
        let socket = Node::new(*b"sock", NodeKind::Socket);
        let home = bed.dir("home", vec![linked, again, lost, link, socket, bed.file("empty", &[]).await]).await;
        let root = bed.tree(vec![home]).await;
        let mut out = Vec::new();
        let heard = Collected::default();
        let summary = dump_folder(&bed.vault, &bed.index, root, b"", &mut out, &heard).await.expect("an archive");
        assert_eq!(summary, DumpSummary { members: 5, bytes: 3, problems: 1 });
        assert_eq!(heard.problems.lock().expect("one thread")[0].what, "/home/lost");
        assert!(heard.notes.lock().expect("one thread")[0].contains("/home/sock"));

        let mut archive = ::tar::Archive::new(out.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().expect("an archive") {
            let mut entry = entry.expect("readable");
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("text");
            let link = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
            seen.push((String::from_utf8_lossy(&entry.path_bytes()).into_owned(), content, link));
        }
        let member = |path: &str, content: &str, link: Option<&str>| {
            (path.to_owned(), content.to_owned(), link.map(str::to_owned))
        };
        let expected = [
            member("home/", "", None),
            member("home/empty", "", None),
            member("home/linked", "abc", None),
            member("home/sym", "", Some("linked")),
            member("home/zz", "", Some("home/linked")),
        ];
        assert_eq!(seen, expected);
    }
}
