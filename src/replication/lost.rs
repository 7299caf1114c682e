//! What is lost of a snapshot, in words and by path.

use std::collections::HashMap;

use crate::look::Walk;
use crate::vault::index::Index;
use crate::vault::{BlobKey, BlobType, Id, Vault, chain};

/// Blobs that cannot be had, each with the reason.
pub(super) type Lost = HashMap<BlobKey, String>;

/// Paths that are named; the check of the vault names all.
const NAMED: usize = 20;

/// The first paths of a snapshot that need what is lost.
pub(super) async fn paths(source: &Vault, index: &Index, root: Id, lost: &Lost) -> Vec<String> {
    let mut walk = Walk::new(source, index, root, b"");
    let mut paths = Vec::new();
    while paths.len() < NAMED {
        let Some(entry) = walk.next().await else { break };
        match entry {
            Ok(node) => {
                let data = node.content.runs().iter().any(|run| lost.contains_key(&BlobKey::data(run.id)));
                let tree = node.subtree.is_some_and(|id| lost.contains_key(&BlobKey::tree(id)));
                if data || tree {
                    paths.push(String::from_utf8_lossy(walk.path()).into_owned());
                }
            }
            // The folder itself was named when its parent was read, unless it is the root.
            Err(error) if paths.is_empty() => paths.push(format!("/ ({})", chain(&error))),
            Err(_) => {}
        }
    }
    paths
}

/// One line: how much, where, and one reason.
pub(super) fn in_words(lost: &Lost, paths: &[String]) -> String {
    let first = lost.iter().min_by_key(|(key, _)| **key);
    let reason = first.map_or_else(String::new, |(key, why)| {
        let kind = match key.kind {
            BlobType::Data => "data",
            BlobType::Tree => "tree",
        };
        format!("; {kind} {}: {why}", key.id.short())
    });
    let count = lost.len();
    let blobs = if count == 1 { "1 blob is lost".to_owned() } else { format!("{count} blobs are lost") };
    let more = if paths.len() > 3 { " and more" } else { "" };
    let hit = paths.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    format!("not copied: {blobs}, which {hit}{more} need{reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_in_one_line() {
        let key = |n| BlobKey::data(Id([n; 32]));
        let one = Lost::from([(key(1), "it is gone".to_owned())]);
        let told = in_words(&one, &["/a".to_owned()]);
        assert_eq!(told, "not copied: 1 blob is lost, which /a need; data 01010101: it is gone");
        let two = Lost::from([(key(2), "x".to_owned()), (key(1), "y".to_owned())]);
        let paths: Vec<String> = (0..5).map(|n| format!("/{n}")).collect();
        let told = in_words(&two, &paths);
        assert_eq!(told, "not copied: 2 blobs are lost, which /0, /1, /2 and more need; data 01010101: y");
    }
}
