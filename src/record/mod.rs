//! Immutable records of finished runs, in the vault.
