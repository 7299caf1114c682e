//! The `drctl` binary.

fn main() {}
