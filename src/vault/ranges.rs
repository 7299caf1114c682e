//! Which bytes of which packs to fetch for a set of blobs: what lies near each other comes in one request.
//!
//! Only computes; it fetches nothing and opens nothing.

use super::blob::Located;
use super::id::Id;

/// Bytes fetched in one range, unless one blob is longer.
const RANGE: u64 = 8 << 20;
/// The same where asking costs nothing: what has just been read is still near the processor when it is opened.
const NEAR: u64 = 1 << 20;
/// Bytes between two wanted blobs that are fetched along rather than asked for apart.
const GAP: u64 = 128 << 10;

/// Things that lie near each other in one pack, fetched as one range.
#[derive(Debug)]
pub struct Group<T> {
    /// The pack.
    pub pack: Id,
    /// First byte of the range.
    pub start: u64,
    /// One behind its last byte.
    pub end: u64,
    /// By offset in the pack.
    pub items: Vec<T>,
}

impl<T> Group<T> {
    /// A sealed blob among the bytes of the range; none when they end before it does.
    pub fn sealed<'b>(&self, bytes: &'b [u8], at: &Located) -> Option<&'b [u8]> {
        let from = usize::try_from(u64::from(at.offset).checked_sub(self.start)?).ok()?;
        bytes.get(from..from.checked_add(at.length as usize)?)
    }
}

/// Groups what is sorted by pack and offset into ranges worth a request each; `place` says where a thing lies.
pub fn coalesce<T>(sorted: Vec<T>, place: impl Fn(&T) -> Located) -> Vec<Group<T>> {
    into_ranges(sorted, RANGE, place)
}

/// The same for a store that answers at once ([`Store::is_near`](crate::store::Store::is_near)).
pub fn coalesce_near<T>(sorted: Vec<T>, place: impl Fn(&T) -> Located) -> Vec<Group<T>> {
    into_ranges(sorted, NEAR, place)
}

fn into_ranges<T>(sorted: Vec<T>, range: u64, place: impl Fn(&T) -> Located) -> Vec<Group<T>> {
    let mut groups: Vec<Group<T>> = Vec::new();
    for item in sorted {
        let at = place(&item);
        let start = u64::from(at.offset);
        let end = start + u64::from(at.length);
        match groups.last_mut() {
            Some(group)
                if group.pack == at.pack && start <= group.end + GAP && end.max(group.end) - group.start <= range =>
            {
                group.end = group.end.max(end);
                group.items.push(item);
            }
            Some(_) | None => groups.push(Group { pack: at.pack, start, end, items: vec![item] }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pack: u8, offset: u32, length: u32) -> Located {
        Located { pack: Id([pack; 32]), offset, length, uncompressed: None }
    }

    #[test]
    fn near_blobs_are_one_range() {
        let blobs = vec![at(1, 0, 100), at(1, 100, 50), at(1, 100, 50), at(1, 5_000_000, 100), at(2, 0, 10)];
        let groups = coalesce(blobs, |at| *at);
        let shape: Vec<_> = groups.iter().map(|g| (g.pack.0[0], g.start, g.end, g.items.len())).collect();
        assert_eq!(shape, [(1, 0, 150, 3), (1, 5_000_000, 5_000_100, 1), (2, 0, 10, 1)]);
    }

    #[test]
    fn a_range_stays_within_its_bound() {
        let groups = coalesce((0..40).map(|n| at(1, n << 20, 1 << 20)).collect(), |at| *at);
        assert_eq!(groups.len(), 5);
        assert!(groups.iter().all(|g| g.end - g.start <= RANGE));
    }

    #[test]
    fn a_blob_is_cut_out_of_its_range_or_is_not_there() {
        let group = coalesce(vec![at(1, 10, 4), at(1, 14, 2)], |at| *at).remove(0);
        assert_eq!(group.sealed(b"abcdef", &group.items[1]), Some(&b"ef"[..]));
        assert_eq!(group.sealed(b"abcde", &group.items[1]), None);
        assert_eq!(group.sealed(b"abcdef", &at(1, 9, 2)), None);
    }
}
