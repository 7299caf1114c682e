//! What is backed up: files, command output, SQLite databases.

pub mod command;
pub mod files;
pub mod sqlite;
