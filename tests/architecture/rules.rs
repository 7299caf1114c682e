//! The rules of the house, each a function from sources to what breaks it. ARCHITECTURE.md says why they hold.

use super::source::{Source, Token};

/// What breaks a rule, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// A lower layer never names a higher one.
    Layers,
    /// Ground and `plan.rs` decide without I/O.
    Pure,
    /// One file knows the names of stored objects.
    KeyLayout,
    /// SQL is spoken in two rooms.
    Sql,
    /// The library never prints.
    Printing,
    /// The vendor's client stays behind its boundary.
    Aws,
    /// A file that long holds two ideas.
    Length,
}

impl Rule {
    pub(crate) const ALL: [Self; 7] =
        [Self::Layers, Self::Pure, Self::KeyLayout, Self::Sql, Self::Printing, Self::Aws, Self::Length];

    fn broken_by(self, source: &Source) -> Vec<(usize, String)> {
        match self {
            Self::Layers => layers(source),
            Self::Pure => pure(source),
            Self::KeyLayout => key_layout(source),
            Self::Sql => sql(source),
            Self::Printing => printing(source),
            Self::Aws => aws(source),
            Self::Length => length(source),
        }
    }
}

/// All rules over all sources.
pub(crate) fn check(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for rule in Rule::ALL {
        for source in sources {
            for (line, what) in rule.broken_by(source) {
                found.push(Violation { rule, file: source.name.clone(), line, what });
            }
        }
    }
    found
}

/// Layers from the ground up. Memory stands between the data plane and the control plane, so that it is used from there up.
const LAYERS: [(&str, &[&str]); 7] = [
    ("ground", &["units", "objective", "clock", "monitor", "config"]),
    ("storage", &["store", "vault"]),
    ("the data plane", &["source", "backup", "restore", "look", "check", "prune", "heal", "journal"]),
    ("memory", &["catalog", "record", "audit"]),
    ("the control plane", &["schedule", "retention", "replication", "runbook", "drill", "fleet", "notify", "cost"]),
    ("the service", &["service"]),
    ("the faces", &["cli", "web"]),
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

fn layers(source: &Source) -> Vec<(usize, String)> {
    let Some(own) = source.module().first().copied() else {
        // lib.rs and main.rs stand above all; the map must know every room they open
        return declared(source)
            .filter(|(_, module)| layer(module).is_none())
            .map(|(line, module)| (line, format!("{module} has no layer: give it one in tests/architecture/rules.rs")))
            .collect();
    };
    let Some(rank) = layer(own) else { return Vec::new() };
    let mut broken = Vec::new();
    for named in source.paths() {
        let Some(target) = source.rooted(&named.path) else { continue };
        let Some(higher) = target.first().and_then(|module| layer(module)).filter(|it| *it > rank) else { continue };
        let (from, to) = (LAYERS[rank].0, LAYERS[higher].0);
        broken.push((named.line, format!("{own} ({from}) names {} ({to})", named.path.join("::"))));
    }
    broken
}

/// The modules that a file declares (`mod x;`, `mod x {`).
fn declared(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.tokens.windows(3).filter_map(|three| match (&three[0], &three[1], &three[2]) {
        ((_, Token::Word(key)), (line, Token::Word(name)), (_, Token::Mark(';' | '{'))) if key == "mod" => {
            Some((*line, name.as_str()))
        }
        _ => None,
    })
}

fn begins(path: &[String], with: &[&str]) -> bool {
    path.len() >= with.len() && path.iter().zip(with).all(|(a, b)| a == b)
}

fn pure(source: &Source) -> Vec<(usize, String)> {
    let module = source.module();
    let ground = module.first().is_some_and(|top| LAYERS[0].1.contains(top));
    let plan = module.last() == Some(&"plan") || module.contains(&"plan");
    if !(ground || plan) || source.name == "config/load.rs" {
        return Vec::new();
    }
    const EFFECTS: [&[&str]; 5] = [&["tokio"], &["object_store"], &["rusqlite"], &["std", "fs"], &["std", "env"]];
    named(source, |path| EFFECTS.iter().any(|effect| begins(path, effect)), "does I/O: only an effect file may name")
}

fn named(source: &Source, is_bad: impl Fn(&[String]) -> bool, why: &str) -> Vec<(usize, String)> {
    let bad = source.paths().into_iter().filter(|named| is_bad(&named.path));
    bad.map(|named| (named.line, format!("{why} {}", named.path.join("::")))).collect()
}

fn inside(source: &Source, rooms: &[&str]) -> bool {
    let module = source.module().join("/");
    rooms.iter().any(|room| module == *room || module.starts_with(&format!("{room}/")))
}

fn key_layout(source: &Source) -> Vec<(usize, String)> {
    if inside(source, &["vault/layout"]) {
        return Vec::new();
    }
    const KEYS: [&str; 6] = ["data/", "snapshots/", "index/", "locks/", "keys/", "drctl/"];
    // concat!("drctl/", env!("CARGO_PKG_VERSION")) is how the program calls itself
    let is_version = |after: &[(usize, Token)]| matches!(after, [(_, Token::Mark(',')), (_, Token::Word(name)), ..] if name == "env");
    let mut broken = Vec::new();
    for (at, (line, token)) in source.tokens.iter().enumerate() {
        let Token::Text(text) = token else { continue };
        if KEYS.iter().any(|key| text.starts_with(key)) && !is_version(&source.tokens[at + 1..]) {
            broken.push((*line, format!("the key {text:?} belongs into vault/layout.rs")));
        }
    }
    broken
}

fn sql(source: &Source) -> Vec<(usize, String)> {
    // the demo writes into a database as the operator's application would
    if inside(source, &["catalog", "source/sqlite", "cli/demo"]) {
        return Vec::new();
    }
    const STATEMENTS: [&str; 8] =
        ["SELECT ", "INSERT ", "UPDATE ", "DELETE FROM ", "CREATE TABLE ", "ALTER TABLE ", "DROP TABLE ", "PRAGMA "];
    let bad =
        source.texts().filter(|(_, text)| STATEMENTS.iter().any(|statement| text.trim_start().starts_with(statement)));
    let mut broken: Vec<_> = bad.map(|(line, text)| (line, format!("SQL outside its rooms: {text:?}"))).collect();
    broken.extend(named(source, |path| begins(path, &["rusqlite"]), "SQL outside its rooms:"));
    broken
}

fn printing(source: &Source) -> Vec<(usize, String)> {
    if inside(source, &["cli"]) || source.name == "main.rs" {
        return Vec::new();
    }
    const MACROS: [&str; 5] = ["println", "print", "eprintln", "eprint", "dbg"];
    const TERMINAL: [&str; 5] = ["anstream", "indicatif", "comfy_table", "rpassword", "clap"];
    let called = source.macros().filter(|(_, name)| MACROS.contains(name));
    let mut broken: Vec<_> = called.map(|(line, name)| (line, format!("only cli prints: {name}!"))).collect();
    let prints = |path: &[String]| {
        let stream = path.windows(2).any(|pair| pair[0] == "io" && matches!(pair[1].as_str(), "stdout" | "stderr"));
        stream || TERMINAL.contains(&path[0].as_str())
    };
    broken.extend(named(source, prints, "only cli prints:"));
    broken
}

fn aws(source: &Source) -> Vec<(usize, String)> {
    let admin = inside(source, &["store/s3_admin"]);
    let credentials = admin || inside(source, &["store/s3", "store/credentials", "store/error"]);
    let mut broken = Vec::new();
    if !admin {
        let sdk = |path: &[String]| begins(path, &["aws_sdk_s3"]);
        broken.extend(named(source, sdk, "only store/s3_admin names"));
    }
    if !credentials {
        let chain = |path: &[String]| matches!(path[0].as_str(), "aws_config" | "aws_credential_types");
        broken.extend(named(source, chain, "only the S3 client and its credentials name"));
    }
    broken
}

fn length(source: &Source) -> Vec<(usize, String)> {
    const MOST: usize = 600;
    let broken = (source.lines > MOST)
        .then(|| (source.lines, format!("{} lines without tests; {MOST} is the most: split it by idea", source.lines)));
    broken.into_iter().collect()
}
