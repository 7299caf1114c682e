//! The SQLite cache of what the vaults know.
