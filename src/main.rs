//! The `drctl` binary: everything it does is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: drctl::cli::LargePages = drctl::cli::LargePages;

fn main() -> ExitCode {
    drctl::cli::main()
}
