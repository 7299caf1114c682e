//! Counting what a server was asked: that is what it charges for, beside bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Requests, each attempt for itself. A folder of this machine is asked none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Objects, or parts of them, written.
    pub puts: u64,
    /// Objects, or parts of them, read or looked up.
    pub gets: u64,
    /// Pages of listings.
    pub lists: u64,
    /// Deletions, of up to a thousand objects each.
    pub deletes: u64,
}

impl Requests {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.puts + self.gets + self.lists + self.deletes
    }

    /// What was asked since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            puts: self.puts - before.puts,
            gets: self.gets - before.gets,
            lists: self.lists - before.lists,
            deletes: self.deletes - before.deletes,
        }
    }

    /// How many that would be for 10^12 bytes; nothing where no byte went over the line, or nobody was asked.
    pub fn per_terabyte(&self, bytes: u64) -> Option<u64> {
        let (all, bytes) = (u128::from(self.all()), u128::from(bytes));
        let rate = (all * 1_000_000_000_000).checked_div(bytes)?;
        (all > 0).then(|| u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

/// Counts as they are sent.
#[derive(Debug, Default)]
pub(super) struct Meter {
    puts: AtomicU64,
    gets: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
}

impl Meter {
    /// One more, by method and query: S3 lists with a GET of the bucket, and deletes many objects with a POST to it.
    pub(super) fn count(&self, method: &str, query: &str) {
        let counter = match method {
            "GET" if query.contains("list-type=") => &self.lists,
            "GET" | "HEAD" => &self.gets,
            "DELETE" => &self.deletes,
            "POST" if query.starts_with("delete") => &self.deletes,
            _ => &self.puts,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Requests {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            puts: read(&self.puts),
            gets: read(&self.gets),
            lists: read(&self.lists),
            deletes: read(&self.deletes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_what_they_do() {
        let meter = Meter::default();
        let sent = [
            ("GET", "list-type=2&prefix=data"),
            ("GET", ""),
            ("HEAD", ""),
            ("PUT", ""),
            ("PUT", "partNumber=1&uploadId=x"),
            ("POST", "uploads"),
            ("POST", "delete"),
            ("DELETE", ""),
        ];
        for (method, query) in sent {
            meter.count(method, query);
        }
        let found = meter.read();
        assert_eq!(found, Requests { puts: 3, gets: 2, lists: 1, deletes: 2 });
        assert_eq!((found.all(), found.since(&Requests { gets: 1, ..Requests::default() }).gets), (8, 1));
    }

    #[test]
    fn a_rate_needs_bytes_and_somebody_who_was_asked() {
        let asked = Requests { puts: 66, ..Requests::default() };
        assert_eq!(asked.per_terabyte(1 << 30), Some(61_467));
        assert_eq!(asked.per_terabyte(0), None);
        assert_eq!(Requests::default().per_terabyte(1), None);
        assert_eq!(asked.per_terabyte(1), Some(66_000_000_000_000));
    }
}
