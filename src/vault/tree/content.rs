//! The ids of a file's blobs, in order.
//!
//! Kept as runs: a hole of a terabyte is two million times the same id, and takes no more memory than one.
//! Invariant: two runs next to each other have different ids and none is empty, so equal lists are equal runs.

use crate::vault::Id;

/// So many times the same id in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Which blob.
    pub id: Id,
    /// How often; never zero.
    pub count: u32,
}

/// The blobs whose plaintexts, one after another, are a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    runs: Vec<Run>,
    len: u64,
}

impl Content {
    /// How many ids there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds an id.
    pub fn push(&mut self, id: Id) {
        self.push_run(Run { id, count: 1 });
    }

    /// Adds the same id several times.
    pub fn push_run(&mut self, run: Run) {
        if run.count == 0 {
            return;
        }
        self.len += u64::from(run.count);
        if let Some(last) = self.runs.last_mut()
            && last.id == run.id
        {
            let room = u32::MAX - last.count;
            last.count += run.count.min(room);
            if run.count <= room {
                return;
            }
            // More than 2^32 in a row begin another run, as every other list of that many does.
            self.runs.push(Run { id: run.id, count: run.count - room });
            return;
        }
        self.runs.push(run);
    }

    /// The runs in order: what to go through wherever one look at an id is as good as many.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// All ids in order.
    pub fn iter(&self) -> impl Iterator<Item = Id> {
        self.runs.iter().flat_map(|run| (0..run.count).map(|_| run.id))
    }
}

impl FromIterator<Run> for Content {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Self {
        let mut content = Self::default();
        runs.into_iter().for_each(|run| content.push_run(run));
        content.runs.shrink_to_fit();
        content
    }
}

impl FromIterator<Id> for Content {
    fn from_iter<I: IntoIterator<Item = Id>>(ids: I) -> Self {
        ids.into_iter().map(|id| Run { id, count: 1 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_list_in_runs_is_the_list(ids in prop::collection::vec(0u8..3, 0..40)) {
            let ids: Vec<Id> = ids.into_iter().map(|n| Id([n; 32])).collect();
            let content: Content = ids.iter().copied().collect();
            prop_assert_eq!(content.iter().collect::<Vec<_>>(), ids.clone());
            prop_assert_eq!((content.len(), content.is_empty()), (ids.len() as u64, ids.is_empty()));
            prop_assert!(content.runs().windows(2).all(|two| two[0].id != two[1].id));
            let again: Content = content.runs().iter().copied().collect();
            prop_assert_eq!(again, content);
        }
    }

    #[test]
    fn more_of_one_id_than_a_run_counts_are_two_runs() {
        let run = Run { id: Id([1; 32]), count: 3 << 30 };
        let content: Content = [run, run].into_iter().collect();
        assert_eq!(content.len(), 6 << 30);
        assert_eq!(content.runs().iter().map(|run| run.count).collect::<Vec<_>>(), [u32::MAX, (2 << 30) + 1]);
    }
}
