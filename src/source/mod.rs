//! What is backed up: files, command output, SQLite databases.

pub mod files;
