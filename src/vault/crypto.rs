//! Sealing: AES-256-CTR with Poly1305-AES, as restic's format has it.

/// Bytes that sealing adds: a 16-byte IV before, a 16-byte MAC after.
pub const OVERHEAD: usize = 32;
