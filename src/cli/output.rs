//! The one place that prints.
//!
//! Standard output carries the result: lines for people, or with `--json` one JSON document. Standard error carries
//! the rest: notes, warnings, progress and the error; with `--json` each is one line with one JSON object. Notes and
//! warnings are escaped here; what goes to standard output is escaped by whoever builds the line, cell by cell.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use anstream::ColorChoice;
use serde::Serialize;
use serde_json::json;

use super::error::{Failure, Report};
use super::escape;

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines and tables.
    Human,
    /// One JSON document.
    Json,
}

/// How much is said besides the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Results, warnings and errors only.
    Quiet,
    /// Notes and progress as well.
    Normal,
    /// The log goes to standard error and would tear a progress bar.
    Logging,
}

/// Where everything is printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    talk: Talk,
    out_colour: bool,
    err_colour: bool,
}

/// The few things that colour is used for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paint {
    /// Errors, what is gone.
    Red,
    /// What is new.
    Green,
    /// Warnings, what changed.
    Yellow,
    /// Hints.
    Cyan,
    /// Headings.
    Bold,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
            Self::Bold => "1",
        }
    }

    fn on(self, text: &str, wanted: bool) -> Cow<'_, str> {
        if wanted { Cow::Owned(format!("\x1b[{}m{text}\x1b[0m", self.code())) } else { Cow::Borrowed(text) }
    }
}

impl Output {
    /// Colour where a terminal shows it and the user did not refuse it (NO_COLOR, TERM=dumb).
    pub(crate) fn new(format: Format, talk: Talk) -> Self {
        let colour = |choice: ColorChoice| choice != ColorChoice::Never && format == Format::Human;
        Self {
            format,
            talk,
            out_colour: colour(anstream::AutoStream::choice(&io::stdout())),
            err_colour: colour(anstream::AutoStream::choice(&io::stderr())),
        }
    }

    /// For people or for programs.
    pub(crate) fn format(self) -> Format {
        self.format
    }

    /// How much is said.
    pub(crate) fn talk(self) -> Talk {
        self.talk
    }

    /// Colours text for standard output, where colour is wanted.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> Cow<'_, str> {
        paint.on(text, self.out_colour)
    }

    /// Whether standard output shows colours.
    pub(crate) fn colours(self) -> bool {
        self.out_colour
    }

    /// Prints a result: `document` for programs, or what `human` writes for people.
    pub(crate) fn result<T: Serialize>(
        self,
        document: &T,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = self.stdout();
        let written = match self.format {
            Format::Json => {
                serde_json::to_writer(&mut out, document).map_err(io::Error::from).and_then(|()| writeln!(out))
            }
            Format::Human => human(&mut out),
        };
        written.and_then(|()| out.flush()).map_err(Failure::output)
    }

    /// Standard output for results that are too large to be held; the caller flushes it.
    pub(crate) fn stdout(self) -> BufWriter<Stdout> {
        BufWriter::with_capacity(64 << 10, io::stdout())
    }

    /// Something worth knowing that is no problem. Silent when quiet.
    pub(crate) fn note(self, text: &str) {
        if self.talk != Talk::Quiet {
            self.tell("note", Paint::Bold, text);
        }
    }

    /// Something that the user should act on.
    pub(crate) fn warn(self, text: &str) {
        self.tell("warning", Paint::Yellow, text);
    }

    fn tell(self, kind: &str, paint: Paint, text: &str) {
        self.err_line(&match self.format {
            Format::Json => json!({ kind: text }).to_string(),
            Format::Human => format!("{}: {}", paint.on(kind, self.err_colour), escape::text(text)),
        });
    }

    /// What has to be read before a question is answered: to where the question goes, and to nowhere in JSON.
    pub(crate) fn question(self, human: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        match self.format {
            Format::Human => human(&mut io::stderr().lock()).map_err(Failure::output),
            Format::Json => Ok(()),
        }
    }

    /// Asks a question that is answered with y or n; `None` when nobody is there to answer.
    pub(crate) fn ask(self, question: &str) -> Option<bool> {
        if self.format == Format::Json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let mut terminal = io::stderr().lock();
        write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush()).ok()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// The error that ends the run.
    pub(crate) fn error(self, report: &Report<'_>) {
        match self.format {
            Format::Json => self.err_line(&json!({ "error": report }).to_string()),
            Format::Human => {
                let head = Paint::Red.on("error", self.err_colour);
                self.err_line(&format!("{head}: {}", escape::text(&report.to_string())));
                for line in report.details.iter().flat_map(|detail| detail.lines()) {
                    self.err_line(&format!("  {}", escape::text(line)));
                }
                if let Some(hint) = report.hint {
                    self.err_line(&format!("{}: {}", Paint::Cyan.on("hint", self.err_colour), escape::text(hint)));
                }
            }
        }
    }

    /// One line on standard error.
    pub(crate) fn err_line(self, line: &str) {
        // Nobody can be told that standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// Whether a progress bar would be seen.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// The width of the terminal behind standard output; none when it is no terminal.
pub(crate) fn terminal_width() -> Option<u16> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(out).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paint_only_where_wanted() {
        assert_eq!(Paint::Red.on("gone", true), "\x1b[31mgone\x1b[0m");
        assert_eq!(Paint::Red.on("gone", false), "gone");
    }

    #[test]
    fn json_is_never_coloured() {
        let out = Output::new(Format::Json, Talk::Normal);
        assert!(!out.colours());
        assert_eq!(out.paint(Paint::Green, "new"), "new");
    }
}
