use super::*;
use crate::config;

const CONFIG: &str = r#"
[vault.primary]
url = "s3://acme-eu/prod"
region = "eu-central-1"
credentials = { profile = "reader" }
key = { file = "/etc/drctl/primary key" }
[vault.dr]
url = "s3://acme-us/prod?endpoint=https%3A%2F%2Fs3.example.net%3A9000"
region = "us-east-1"
key = { env = "DR_KEY" }
credentials = { access_key = { env = "AK" }, secret_key = { command = ["pass", "show", "it's"] } }
[retention.gfs]
daily = { keep = "30d" }
[plan.orders]
owner = "payments <oncall>"
source = { kind = "files", paths = ["/srv/orders", "/srv/it's here"] }
schedule = { every = "1d" }
vault = "primary"
copies = [{ vault = "dr", max_lag = "4h" }]
retention = "gfs"
[plan.orders.objective]
region = { rto = "4h", rpo = "30h" }
[plan.orders.recover]
runbook = "back"
[runbook.back]
description = "Bring *orders* back."
[[runbook.back.step]]
id = "count"
kind = "check"
needs = ["restore"]
sqlite = { path = "srv/orders/a b.db", query = "select count(*) from \"order's\"", at_least = 7 }
timeout = "1m"
critical = false
on_error = "continue"
[[runbook.back.step]]
id = "restore"
kind = "restore"
include = ["*.db", "it's"]
into = "here"
timeout = "2h"
[[runbook.back.step]]
id = "fix"
kind = "exec"
needs = ["restore"]
command = ["/bin/sh", "-c", "echo ``` > x"]
[[runbook.back.step]]
id = "same"
kind = "check"
needs = ["fix"]
digest = { against = "source" }
"#;

fn rendered() -> String {
    let config = config::parse(Path::new("/etc/drctl.toml"), CONFIG).expect("sound");
    let (name, plan) = config.plans.first_key_value().unwrap();
    let (runbook, steps) = config.runbooks.first_key_value().unwrap();
    markdown(runbook, steps, Scene { name, plan, vaults: &config.vaults }).unwrap()
}

#[test]
fn a_person_can_follow_it_with_restic_alone() {
    let text = rendered();
    for line in [
        "# Runbook back: recover orders",
        "Bring \\*orders\\* back.",
        "Owner: payments \\<oncall\\>",
        "| region | 4h | 30h |",
        "export RESTIC_REPOSITORY=s3:https://s3.amazonaws.com/acme-eu/prod",
        "export RESTIC_PASSWORD_FILE='/etc/drctl/primary key'",
        "export AWS_PROFILE=reader",
        "export AWS_DEFAULT_REGION=eu-central-1",
        "export RESTIC_REPOSITORY=s3:https://s3.example.net:9000/acme-us/prod",
        "export RESTIC_PASSWORD=\"${DR_KEY}\"",
        r#"export AWS_SECRET_ACCESS_KEY="$(pass show 'it'\''s')""#,
        "restic snapshots --tag plan=orders",
        r#"restic restore latest --tag plan=orders --include '*.db' --include 'it'\''s' --target "$TARGET"/here"#,
        r#"sqlite3 -readonly "$TARGET"/'srv/orders/a b.db' 'select count(*) from "order'\''s"'"#,
        "It must answer at least 7.",
        r#"cd "$TARGET" && DRCTL_SANDBOX="$TARGET" /bin/sh -c 'echo ``` > x'"#,
        "````sh",
        r#"diff --recursive --brief --no-dereference '/srv/it'\''s here' "$TARGET"/'srv/it'\''s here'"#,
        "At most 2h. Stop if it fails: the recovery has failed.",
        "At most 1m. Go on if it fails, with what does not need it.",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\nis missing in\n{text}");
    }
    let at = |heading: &str| text.find(heading).expect(heading);
    assert!(at("### 1. restore") < at("### 2. count") && at("### 3. fix") < at("### 4. same"));
}

#[test]
fn a_shell_reads_every_quoted_word_as_it_was() {
    let words = ["", "plain", "two words", "it's", "$HOME `id` \"x\" \\", "-n", "a\nb", "*", "~", "!x", "ü"];
    let line = format!("printf '%s\\0' {}", command(&words));
    let output = std::process::Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
    let read: Vec<&[u8]> = output.stdout.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).collect();
    assert_eq!(read, words.map(str::as_bytes));
}

#[test]
fn steps_without_an_order_are_refused() {
    let mut config = config::parse(Path::new("/etc/drctl.toml"), CONFIG).unwrap();
    let (name, mut runbook) = config.runbooks.pop_first().unwrap();
    runbook.steps[1].needs.push("same".into());
    let (plan_name, plan) = config.plans.first_key_value().unwrap();
    let flaws = markdown(&name, &runbook, Scene { name: plan_name, plan, vaults: &config.vaults }).unwrap_err();
    assert!(flaws.iter().any(|flaw| matches!(flaw, Flaw::Cycle { .. })), "{flaws:?}");
}
