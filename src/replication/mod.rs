//! Copies in other vaults.
