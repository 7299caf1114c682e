//! Several sorted streams as one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Yields what the sources yield in ascending order, equal items once. Holds one item of each source.
pub(super) struct Merged<I: Iterator> {
    sources: Vec<I>,
    heads: BinaryHeap<Reverse<(I::Item, usize)>>,
}

impl<I: Iterator<Item: Ord>> Merged<I> {
    pub(super) fn of(sources: impl IntoIterator<Item = I>) -> Self {
        let mut sources: Vec<I> = sources.into_iter().collect();
        let heads =
            sources.iter_mut().enumerate().filter_map(|(n, source)| Some(Reverse((source.next()?, n)))).collect();
        Self { sources, heads }
    }
}

impl<I: Iterator<Item: Ord>> Merged<I> {
    fn pop(&mut self) -> Option<I::Item> {
        let mut head = self.heads.peek_mut()?;
        let Reverse((item, source)) = &mut *head;
        match self.sources.get_mut(*source).and_then(Iterator::next) {
            Some(next) => Some(std::mem::replace(item, next)),
            None => Some(std::collections::binary_heap::PeekMut::pop(head).0.0),
        }
    }
}

impl<I: Iterator<Item: Ord>> Iterator for Merged<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let item = self.pop()?;
        while self.heads.peek().is_some_and(|head| head.0.0 == item) {
            self.pop();
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_come_out_as_one_without_repeats() {
        let sources = [vec![1, 4, 4, 9], vec![], vec![2, 4, 10], vec![9]];
        let merged: Vec<i32> = Merged::of(sources.map(Vec::into_iter)).collect();
        assert_eq!(merged, [1, 2, 4, 9, 10]);
    }
}
