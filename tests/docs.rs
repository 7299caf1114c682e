//! What the documents say, held against the program and the sources.
//!
//! Blocks marked `console` are scripts: lines that begin with `$` are run, from top to bottom of a document, in a house of
//! their own. Of blocks marked `sh`, which need more than a house, the calls of drctl must at least be understood.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use drctl::backup::chunk::{Cutter, chunks};
use drctl::cli::Exit;
use drctl::clock::{Random, Seeded};

use crate::support::house::House;

const DOCUMENTS: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/failure-model.md",
    "docs/format.md",
    "docs/operator.md",
    "docs/performance.md",
    "docs/prune.md",
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(document: &str) -> String {
    fs::read_to_string(top().join(document)).unwrap()
}

/// The blocks of a document that are marked `kind`.
fn blocks(document: &str, kind: &str) -> Vec<String> {
    let (mut found, mut block) = (Vec::new(), None::<(bool, String)>);
    for line in text(document).lines() {
        match (line.trim_start().strip_prefix("```"), &mut block) {
            (Some(mark), None) => block = Some((mark == kind, String::new())),
            (Some(_), Some(_)) => found.extend(block.take().filter(|(wanted, _)| *wanted).map(|(_, text)| text)),
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "{document}: a block does not end");
    found
}

/// What stands between backticks in the running text.
fn quoted(document: &str) -> Vec<String> {
    let mut block = false;
    let mut words = Vec::new();
    for line in text(document).lines() {
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if !block {
            words.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

fn sources(folder: &Path, out: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// The names of all functions that are tests: after an attribute, or in a `proptest!`.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&top().join("src"), &mut files);
    sources(&top().join("tests"), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let mut test = false;
        for line in file.lines().map(str::trim) {
            if let Some((before, rest)) = line.split_once("fn ")
                && matches!(before.trim(), "" | "async" | "pub" | "pub async")
            {
                if test {
                    let name = rest.split(['(', '<']).next().unwrap();
                    names.insert(name.to_owned());
                }
                test = false;
            }
            test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        }
    }
    names
}

#[test]
fn every_test_that_a_document_names_exists() {
    let tests = tests();
    assert!(tests.contains("every_test_that_a_document_names_exists") && tests.len() > 300, "{} tests", tests.len());
    let is_name = |word: &str| {
        word.matches('_').count() > 2 && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let mut named = 0;
    for document in DOCUMENTS {
        for word in quoted(document).iter().filter(|word| is_name(word)) {
            assert!(tests.contains(word), "{document} names the test {word}, which there is not");
            named += 1;
        }
    }
    assert!(named > 50, "only {named} tests are named");
}

/// What a document's headings are called in links to them.
fn headings(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    headings.map(|it| it.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_file_that_a_document_names_exists() {
    for document in DOCUMENTS {
        let folder = top().join(document).parent().unwrap().to_owned();
        let text = text(document);
        let links =
            text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).filter(|to| !to.contains("://"));
        for link in links {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { top().join(document) } else { folder.join(file) };
            assert!(file.exists(), "{document} links to {link}");
            let mut headings = headings(&file).into_iter();
            assert!(heading.is_empty() || headings.any(|it| it == heading), "{document} links to {link}");
        }
        for word in quoted(document) {
            let path = word.split([' ', '*']).next().unwrap();
            let ours =
                ["src/", "tests/", "docs/", "fuzz/", "scripts/", "schedules/", "runbooks/", "examples/", "deploy/"];
            let source = path.ends_with(".rs") && path.contains('/');
            if source || ours.iter().any(|folder| path.starts_with(folder)) {
                let found = [top().join(path), top().join("src").join(path)].iter().any(|path| path.exists());
                assert!(found, "{document} names {path}");
            }
        }
    }
}

#[test]
fn the_table_of_exit_codes_is_that_of_the_program() {
    let guide = text("docs/operator.md");
    let (_, rest) = guide.split_once("<!-- generated: exit codes -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- end -->").unwrap();
    let rows = Exit::ALL.map(|exit| format!("| {} | {} |\n", exit.code(), exit.meaning()));
    assert_eq!(table, format!("| code | meaning |\n|---|---|\n{}", rows.concat()));
    let help = House::new().drctl(["--help"]).ok().text();
    for exit in Exit::ALL {
        assert!(help.contains(&format!("{:>3}  {}", exit.code(), exit.meaning())), "{} is not in --help", exit.code());
    }
}

#[test]
fn the_golden_cuts_of_the_format_are_where_it_says() {
    let format = text("docs/format.md");
    let (_, golden) = format.split_once("*Golden values.*").unwrap();
    let (golden, _) = golden.split_once("\n**Rabin**").unwrap();
    let lines = golden.lines().filter(|line| line.starts_with("    "));
    let numbers: Vec<usize> = lines.flat_map(str::split_whitespace).map(|n| n.parse().unwrap()).collect();
    let (short, long) = numbers.split_at(8);
    assert!(long.len() > 20, "{numbers:?}");
    for (lengths, secret) in [(short, [0; 32]), (long, *b"a secret of thirty-two bytes ...")] {
        let mut data = vec![0; lengths.iter().sum()];
        Seeded::new(1).fill(&mut data);
        let found: Vec<usize> = chunks(&data[..], Cutter::gear(&secret)).map(|chunk| chunk.unwrap().len()).collect();
        assert_eq!(found, lengths);
    }
}

/// A house with a home worth backing up.
fn home() -> House {
    let house = House::new();
    let documents = house.path("home/documents");
    fs::create_dir_all(documents.join("photos")).unwrap();
    fs::write(documents.join("letter.txt"), "Dear reader,\n").unwrap();
    fs::write(documents.join("photos/one.jpg"), [0xff; 70_000]).unwrap();
    house
}

#[test]
fn every_console_block_runs() {
    for document in DOCUMENTS {
        let calls = blocks(document, "console");
        let lines: Vec<&str> = calls.iter().flat_map(|block| block.lines()).collect();
        let commands: Vec<&str> = lines.iter().filter_map(|line| line.trim_start().strip_prefix("$ ")).collect();
        assert_eq!(commands.len(), lines.len(), "{document}: a console block has lines that are no commands");
        if commands.is_empty() {
            continue;
        }
        let mut script = String::from("set -eu\nunset DRCTL_KEY_FILE\ndrctl() { \"$DRCTL\" \"$@\"; }\n");
        for command in commands {
            script += &format!("echo {} >&2\n{command}\n", shlex::try_quote(&format!("+ {command}")).unwrap());
        }
        let house = home();
        // A configuration that a document shows is that of its calls.
        let me = house.path("home").display().to_string();
        let config = blocks(document, "toml").concat().replace("/home/me", &me);
        fs::write(house.path("home/drctl.toml"), config).unwrap();
        house.call("sh").args(["-c", &script]).env("DRCTL", env!("CARGO_BIN_EXE_drctl")).ok();
    }
}

#[test]
fn the_minimal_example_runs_as_its_comments_say() {
    let house = home();
    let example = text("examples/minimal/drctl.toml");
    // The bucket is a folder here, and whose machine it is does not matter.
    let (etc, vault) = (house.path("work").display().to_string(), house.path("vault").display().to_string());
    let here = |text: &str| {
        let text = text.replace("s3://my-backups/laptop", &vault).replace("/etc/drctl", &etc);
        text.replace("/home/me", &house.path("home").display().to_string())
    };
    fs::write(house.path("work/drctl.toml"), here(&example)).unwrap();
    let calls: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix("#   drctl ")).collect();
    assert!(calls.iter().any(|call| call.starts_with("init ")) && calls.contains(&"serve"), "{calls:?}");
    for call in calls {
        // A service goes on for ever; one round of it does not.
        let call = if call == "serve" { "serve --once".to_owned() } else { here(call) };
        house.call("env").args(["-u", "DRCTL_KEY_FILE", env!("CARGO_BIN_EXE_drctl")]).args(call.split(' ')).ok();
    }
    let listed = house.drctl(["snapshots", "--vault", "main", "--json"]).ok().json();
    assert!(!listed["snapshots"].as_array().unwrap().is_empty(), "{listed}");
}

#[test]
fn every_other_call_is_understood() {
    let house = House::new();
    let mut calls = 0;
    for document in DOCUMENTS {
        for line in blocks(document, "sh").iter().flat_map(|block| block.lines()) {
            let line = line.trim();
            let Some(call) = line.strip_prefix("drctl ").or_else(|| line.strip_prefix("cargo run --release -- "))
            else {
                continue;
            };
            let words = shlex::split(call).unwrap();
            let known = house.drctl(words.iter().map(String::as_str).chain(["--help"])).run().code == Some(0);
            assert!(known, "{document}: drctl does not understand: {call}");
            calls += 1;
        }
    }
    assert!(calls > 3, "only {calls} calls were found");
}

#[test]
fn scripts_that_documents_call_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    for document in DOCUMENTS {
        for line in blocks(document, "sh").iter().flat_map(|block| block.lines()).map(str::trim) {
            if let Some(script) = line.split_whitespace().next().filter(|word| word.starts_with("scripts/")) {
                let path: PathBuf = top().join(script);
                assert!(fs::metadata(&path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0), "{script}");
            }
        }
    }
}
