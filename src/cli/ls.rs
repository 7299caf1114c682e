//! `drctl ls`: lists what is in a snapshot.

use std::io::{self, Write};

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::args::ls::Ls;
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::output::Format;
use super::pick::{self, Among};
use super::secret::Purpose;
use super::snapshots::Shown;
use super::stream::LongDocument;
use super::{escape, node};
use crate::look::{Found, Walk, locate};
use crate::vault::tree::Node;

/// Runs the command.
pub(crate) async fn run(args: Ls, context: &Context) -> Result<Exit, Failure> {
    let spec = pick::spec(&args.snapshot)?;
    let among = Among::options(&args.latest, &[&spec], context)?;
    let vault = context.open(Purpose::Read).await?;
    let file = pick::find(&vault, &spec, &among, context.out).await?;
    let index = context.index(&vault).await?;
    let path = format!("{}/{}", spec.path, args.path.as_deref().unwrap_or_default());
    let found = locate(&vault, &index, file.snapshot.tree, path.as_bytes()).await.map_err(Failure::of)?;

    let mut out = context.out.stdout();
    let head = json!({ "snapshot": Shown::new(&file) });
    let mut list = List::begin(&args, context, &head, &mut out).map_err(Failure::output)?;
    if let Found::Entry { path, node } = &found {
        list.entry(path, node).map_err(Failure::output)?;
    }
    let mut problems = Vec::new();
    if let Some((root, base)) = found.folder() {
        let mut walk = Walk::new(&vault, &index, root, base);
        while let Some(entry) = walk.next().await {
            match entry {
                Ok(node) => {
                    list.entry(walk.path(), &node).map_err(Failure::output)?;
                    if args.no_recursive {
                        walk.skip();
                    }
                }
                Err(error) => {
                    let text = format!("failed to {}", super::error::chain(&error));
                    context.out.warn(&text);
                    problems.push(text);
                }
            }
        }
    }
    list.end(&problems).map_err(Failure::output)?;
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Partial })
}

/// The listing, in the form that was asked for.
enum List<'a> {
    Short(&'a mut (dyn Write + Send)),
    Long(&'a mut (dyn Write + Send), TimeZone),
    Json(LongDocument<'a>),
}

impl<'a> List<'a> {
    fn begin(args: &Ls, context: &Context, head: &Value, out: &'a mut (dyn Write + Send)) -> io::Result<Self> {
        let head = head.as_object().cloned().unwrap_or_default();
        match (context.out.format(), args.long) {
            (Format::Json, _) => LongDocument::begin(out, &head, "entries").map(Self::Json),
            (Format::Human, true) => Ok(Self::Long(out, TimeZone::system())),
            (Format::Human, false) => Ok(Self::Short(out)),
        }
    }

    fn entry(&mut self, path: &[u8], node: &Node) -> io::Result<()> {
        match self {
            Self::Short(out) => writeln!(out, "{}", escape::name(path)),
            Self::Long(out, zone) => writeln!(out, "{}", node::long_line(path, node, zone)),
            Self::Json(document) => document.item(&node::Entry::new(path, node)),
        }
    }

    fn end(self, problems: &[String]) -> io::Result<()> {
        match self {
            Self::Short(out) | Self::Long(out, _) => out.flush(),
            Self::Json(document) => {
                document.end(&json!({ "problems": problems }).as_object().cloned().unwrap_or_default())
            }
        }
    }
}
