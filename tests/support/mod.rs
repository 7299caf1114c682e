//! What integration tests stand on: a home of their own, peers, a real S3 server, hostile trees, faults.

pub(crate) mod compare;
pub(crate) mod fuse;
pub(crate) mod hostile;
pub(crate) mod house;
pub(crate) mod kill;
pub(crate) mod memory;
pub(crate) mod peers;
pub(crate) mod proxy;
pub(crate) mod s3;
pub(crate) mod small;
pub(crate) mod trace;
pub(crate) mod vaults;

/// Numbers that look random and repeat: a failing test prints its seed.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that differs from run to run.
    pub(crate) fn fresh_seed() -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(std::process::id())
    }

    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Incompressible bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

#[test]
fn numbers_repeat_by_seed() {
    let (mut a, mut b, mut c) = (Numbers::seeded(1), Numbers::seeded(1), Numbers::seeded(2));
    assert_eq!(a.bytes(33), b.bytes(33));
    assert_ne!(a.bytes(33), c.bytes(33));
    assert!((0..1000).all(|_| a.below(7) < 7));
}
