//! `drctl man` and `drctl completions`: texts made from the definition of the command line.

use std::io::Write;

use clap::CommandFactory;

use super::args::Cli;
use super::args::completions::Completions;
use super::args::man::Man;
use super::error::Failure;
use super::exit::Exit;
use super::output::Output;

/// Prints the manual page, or writes a page per command into a folder.
pub(crate) fn run(args: &Man, out: Output) -> Result<Exit, Failure> {
    match &args.dir {
        None => {
            let mut stdout = out.stdout();
            let page = clap_mangen::Man::new(Cli::command());
            page.render(&mut stdout).and_then(|()| stdout.flush()).map_err(Failure::output)?;
        }
        Some(folder) => clap_mangen::generate_to(Cli::command(), folder).map_err(|error| {
            Failure::because(format!("failed to write the pages into {}", folder.display()), error)
                .hint("make the folder first, or name another one")
        })?,
    }
    Ok(Exit::Done)
}

/// Prints the completions for a shell.
pub(crate) fn completions(args: &Completions, out: Output) -> Result<Exit, Failure> {
    // clap_complete panics when it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "drctl", &mut script);
    let mut stdout = out.stdout();
    stdout.write_all(&script).and_then(|()| stdout.flush()).map_err(Failure::output)?;
    Ok(Exit::Done)
}
