//! What is kept, and why.

/// A tier: which part of the past a snapshot stands for. A snapshot may serve several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// One a day, or oftener.
    Daily,
    /// One a week.
    Weekly,
    /// One a month.
    Monthly,
}
