//! What is shipped around the program: the image, the unit, the workflow, the scripts. A mistake there shows up nowhere else
//! before an operator meets it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::house::House;
use crate::support::peers::required;

fn top(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(top(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A Dockerfile's instructions by stage: (keyword, rest), continued lines joined.
fn stages(dockerfile: &str) -> Vec<Vec<(String, String)>> {
    let lines: Vec<&str> = dockerfile.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let mut stages: Vec<Vec<(String, String)>> = Vec::new();
    for line in lines.join("\n").replace("\\\n", " ").lines().filter(|line| !line.trim().is_empty()) {
        let (keyword, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        if keyword == "FROM" {
            stages.push(Vec::new());
        }
        let stage = stages.last_mut().expect("a Dockerfile starts with FROM");
        stage.push((keyword.to_owned(), rest.trim().to_owned()));
    }
    stages
}

fn all<'a>(stage: &'a [(String, String)], keyword: &'a str) -> impl Iterator<Item = &'a str> {
    stage.iter().filter(move |(key, _)| key == keyword).map(|(_, rest)| rest.as_str())
}

/// The last instruction of its kind, which is the one that counts.
fn last<'a>(stage: &'a [(String, String)], keyword: &'a str) -> &'a str {
    all(stage, keyword).last().unwrap_or_else(|| panic!("the image has no {keyword}"))
}

#[test]
fn the_image_is_built_apart_and_runs_unprivileged() {
    let stages = stages(&read("Dockerfile"));
    let [build, image] = &stages[..] else { panic!("{} stages", stages.len()) };

    let version = read("Cargo.toml").lines().find_map(|line| line.strip_prefix("rust-version = ").map(str::to_owned));
    let version = version.unwrap().replace('"', "");
    assert_eq!(last(build, "FROM"), format!("rust:{version}-bookworm AS build"));
    assert!(
        all(build, "RUN").any(|run| run.contains("cargo install --locked")),
        "the lock file must hold for the image"
    );
    let profile = last(build, "ARG").strip_prefix("PROFILE=").unwrap();
    assert!(read("Cargo.toml").contains(&format!("[profile.{profile}]")), "no profile {profile}");

    assert!(last(image, "FROM").ends_with("-slim"));
    let user = last(image, "USER");
    assert!(
        user.split(':').all(|id| id.parse::<u32>().unwrap() > 0),
        "{user}: by number, so that a cluster can prove it is not root"
    );
    for keyword in ["ENTRYPOINT", "CMD"] {
        let words: Vec<String> = serde_json::from_str(last(image, keyword)).unwrap();
        assert!(!words.is_empty(), "{keyword} is not in the form that needs no shell");
    }
    let health = last(image, "HEALTHCHECK");
    let (_, command) = health.split_once("CMD ").unwrap();
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    assert_eq!(command[0], "drctl");
    assert!(all(image, "COPY").any(|copy| copy.starts_with("--from=build ")));
}

#[test]
fn all_that_the_image_is_built_from_reaches_the_builder() {
    let ignore = read(".dockerignore");
    assert!(ignore.lines().any(|line| line == "*"), "the list is of what is let in");
    let let_in: BTreeSet<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut copied = BTreeSet::new();
    for stage in stages(&read("Dockerfile")) {
        for copy in all(&stage, "COPY").filter(|copy| !copy.starts_with("--from=")) {
            let mut sources: Vec<String> = copy.split_whitespace().map(str::to_owned).collect();
            sources.pop();
            copied.extend(sources);
        }
    }
    for source in &copied {
        assert!(top(source).exists(), "COPY of {source}, which is not there");
        assert!(let_in.contains(source.as_str()), ".dockerignore keeps {source} out");
    }
    // files outside src/ that the sources embed must be copied too
    for (file, embedded) in embedded(&top("src")) {
        let outside =
            embedded.strip_prefix(top("")).unwrap_or_else(|_| panic!("{} embeds {embedded:?}", file.display()));
        let first = outside.iter().next().unwrap().to_str().unwrap();
        // what only tests embed is not part of the program
        if first == "tests" || file.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        assert!(
            copied.contains(first),
            "{} embeds {}, which the Dockerfile does not copy",
            file.display(),
            outside.display()
        );
    }
}

/// What `include_str!` and `include_bytes!` name below this folder: (file, what it embeds).
fn embedded(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(embedded(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for part in text.split("include_").skip(1) {
                let Some((_, rest)) = part.split_once("!(\"") else { continue };
                let Some((name, _)) = rest.split_once('"') else { continue };
                let target = path.parent().unwrap().join(name);
                let target = target.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", target.display()));
                found.push((path.clone(), target));
            }
        }
    }
    found
}

#[test]
fn what_a_source_embeds_is_found() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("src/a")).unwrap();
    fs::write(root.path().join("page.html"), "").unwrap();
    fs::write(root.path().join("src/a/mod.rs"), "const PAGE: &str = include_str!(\"../../page.html\");").unwrap();
    let found = embedded(&root.path().join("src"));
    assert_eq!(found, [(root.path().join("src/a/mod.rs"), root.path().join("page.html").canonicalize().unwrap())]);
}

#[test]
fn the_unit_confines_the_service() {
    let unit = read("deploy/drctl.service");
    let lines: BTreeSet<&str> = unit.lines().collect();
    for needed in
        ["NoNewPrivileges=yes", "ProtectSystem=strict", "UMask=0077", "StateDirectory=drctl", "Restart=on-failure"]
    {
        assert!(lines.contains(needed), "{needed}");
    }
    let state = lines.iter().find_map(|line| line.strip_prefix("Environment=DRCTL_STATE_DIR=")).unwrap();
    assert!(lines.contains(format!("ReadWritePaths={state}").as_str()), "the state folder cannot be written");
    let start = lines.iter().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert!(start.starts_with("/usr/local/bin/drctl serve "), "{start}");
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
        assert!(line.split_once('=').is_some_and(|(_, value)| !value.is_empty()), "{line}");
    }
}

#[test]
fn workflows_pin_their_actions_and_check_what_ci_checks() {
    let workflow = read(".github/workflows/ci.yml");
    let used: Vec<&str> = workflow.lines().filter_map(|line| line.trim().strip_prefix("- uses: ")).collect();
    assert!(!used.is_empty());
    for action in used {
        let (_, version) = action.split_once("@v").unwrap_or_else(|| panic!("{action} has no version"));
        assert_eq!(version.split('.').count(), 3, "{action} may move");
    }
    for needed in [
        "cargo fmt --all --check",
        "cargo clippy --locked --all-targets -- -D warnings",
        "cargo doc --locked --no-deps",
        "scripts/test",
    ] {
        assert!(workflow.contains(needed), "the workflow does not run {needed}");
        assert!(read(".ci/run").contains(needed), ".ci/run does not run {needed}");
    }
    for needed in ["cargo-deny-action@", "docker build"] {
        assert!(workflow.contains(needed), "the workflow does not have {needed}");
    }
    let manifest = read("Cargo.toml");
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap().trim_end_matches('"');
    assert!(workflow.contains(&format!("RUST_VERSION: \"{version}.")), "the workflow builds with another Rust");
}

#[test]
fn scripts_parse_and_can_be_run() {
    let mut scripts: Vec<PathBuf> = fs::read_dir(top("scripts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.extend([top(".ci/run"), top("benches/peers"), top("benches/growth")]);
    for script in scripts {
        assert_eq!(
            fs::metadata(&script).unwrap().permissions().mode() & 0o111,
            0o111,
            "{} is not executable",
            script.display()
        );
        let text = fs::read_to_string(&script).unwrap();
        let parse = match text.lines().next().unwrap() {
            "#!/usr/bin/env bash" => Command::new("bash").arg("-n").arg(&script).output(),
            "#!/usr/bin/env python3" => {
                let parse = "import ast, sys; ast.parse(open(sys.argv[1]).read())";
                Command::new("python3").args(["-c", parse]).arg(&script).output()
            }
            other => panic!("{}: {other}", script.display()),
        };
        let parse = parse.unwrap();
        assert!(parse.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&parse.stderr));
    }
}

#[test]
fn the_comparison_with_peers_measures_every_step_of_each_on_any_folder() {
    let house = House::new();
    let source = house.path("work/source");
    fs::create_dir_all(source.join("sub")).unwrap();
    for n in 0..120 {
        fs::write(source.join(format!("sub/{n}")), format!("content {n}")).unwrap();
    }
    let peers = required("restic-0.18").parent().unwrap().parent().unwrap().to_owned();
    let call = house.call(top("benches/peers")).env("DRCTL_PEERS", peers).args(["--rounds", "1", "--only", "drctl"]);
    let call = call.args(["--only", "restic", "--drctl", env!("CARGO_BIN_EXE_drctl")]).arg(&source);
    let told = call.ok().text();
    assert!(told.contains("120 files") && told.contains("restic 0.18"), "{told}");
    let steps =
        ["first backup", "nothing changed", "1% changed", "empty folder", "damaged: all read", "damaged: by times"];
    for row in steps.into_iter().chain(["all data read", "most was forgotten", "memory"]) {
        let line = told.lines().find(|line| line.contains(row)).unwrap_or_else(|| panic!("no {row} in {told}"));
        let figures: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [ours, theirs, ratio] = figures[figures.len() - 3..] else { panic!("{line}") };
        assert!(ours > 0.0 && theirs > 0.0 && (ours / theirs - ratio).abs() < 0.05, "{line}");
    }
    // The folder is as it was.
    assert_eq!(fs::read_to_string(source.join("sub/7")).unwrap(), "content 7");
    assert_eq!(fs::read_dir(source.join("sub")).unwrap().count(), 120);
}

#[test]
fn the_licences_that_the_manifest_names_are_here() {
    assert!(read("Cargo.toml").contains("license = \"MIT OR Apache-2.0\""));
    assert!(read("LICENSE-MIT").contains("Permission is hereby granted, free of charge"));
    assert!(read("LICENSE-APACHE").contains("Version 2.0, January 2004"));
}
