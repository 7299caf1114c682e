//! Keeping segments few: every lookup may have to ask each of them.

use std::borrow::Borrow;

use super::segment::{Segment, SegmentError};

/// Segments that an index may have before they are merged.
const MANY: usize = 8;

/// Merges the smallest segments until there are at most eight.
///
/// One that is larger than all the smaller ones together stays as it is when it can, so that a large index is not
/// rewritten for every small one: each entry is merged about as often as the index doubles. When `merge` fails, all that
/// were given come back, and lookups are slower.
pub fn compact<S: Borrow<Segment>>(
    mut segments: Vec<S>,
    merge: impl FnOnce(&[&Segment]) -> Result<S, SegmentError>,
) -> (Vec<S>, Result<(), SegmentError>) {
    if segments.len() <= MANY {
        return (segments, Ok(()));
    }
    let len = |segment: &S| segment.borrow().len();
    segments.sort_by_key(len);
    let least = segments.len() - MANY + 1;
    let mut small = 0;
    let mut sum = 0;
    for segment in &segments {
        if small >= least && len(segment) > sum {
            break;
        }
        sum += len(segment);
        small += 1;
    }
    match merge(&segments[..small].iter().map(Borrow::borrow).collect::<Vec<_>>()) {
        Ok(merged) => {
            segments.drain(..small);
            segments.push(merged);
            (segments, Ok(()))
        }
        Err(error) => (segments, Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, pack};
    use super::*;
    use crate::vault::{Id, Index};

    fn segments(sizes: &[u64]) -> Vec<Segment> {
        let mut next = 0;
        let mut segment = |size: u64| {
            let contents = pack(next, next..next + size);
            next += size;
            Segment::build(&[Id::of(&next.to_le_bytes())], &[contents]).unwrap()
        };
        sizes.iter().map(|size| segment(*size)).collect()
    }

    fn sizes(segments: &[Segment]) -> Vec<u64> {
        let mut sizes: Vec<u64> = segments.iter().map(Segment::len).collect();
        sizes.sort_unstable();
        sizes
    }

    #[test]
    fn eight_stay_and_nine_do_not() {
        let eight = [1, 2, 4, 8, 16, 32, 64, 128];
        let (kept, done) = compact(segments(&eight), |_| panic!("nothing to merge"));
        assert!(done.is_ok());
        assert_eq!(sizes(&kept), eight);
        let (kept, done) = compact(segments(&[5, 7, 20, 40, 80, 160, 320, 640, 1280]), Segment::merge_in_memory);
        assert!(done.is_ok());
        assert_eq!(sizes(&kept), [12, 20, 40, 80, 160, 320, 640, 1280]);
    }

    #[test]
    fn many_small_ones_become_one_beside_the_large() {
        let (kept, done) = compact(segments(&[[10; 40].as_slice(), &[5000]].concat()), Segment::merge_in_memory);
        assert!(done.is_ok());
        assert_eq!(sizes(&kept), [400, 5000]);
        assert_eq!(kept.iter().map(|segment| segment.covers().count()).sum::<usize>(), 41);
        let index = Index::new(kept);
        assert!((0..5400).all(|n| index.contains(key(n))));
    }

    #[test]
    fn a_failed_merge_loses_nothing() {
        let (kept, done) = compact(segments(&[10; 12]), |_| Err(SegmentError::TooLarge));
        assert!(matches!(done, Err(SegmentError::TooLarge)));
        assert_eq!(sizes(&kept), [10; 12]);
    }
}
