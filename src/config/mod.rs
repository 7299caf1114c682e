//! `drctl.toml`, schedules and runbooks: strict raw types, then domain types; errors name file, line, key and fix.
