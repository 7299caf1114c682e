//! The `drctl` binary: everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    drctl::cli::main()
}
