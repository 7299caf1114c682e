use super::*;

fn sh(script: &str) -> Program {
    Program::new(&["/bin/sh".into(), "-c".into(), script.into()]).expect("not empty")
}

/// Reads to the end, then asks how it ended.
fn run(program: Program) -> (Vec<u8>, Result<String, CommandError>) {
    let mut output = program.start().expect("starts");
    let mut bytes = Vec::new();
    output.reader.read_to_end(&mut bytes).expect("a pipe");
    (bytes, (output.finish)())
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // a killed process that its new parent has not reaped yet is as good as gone
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn gone_soon(pid: &str) -> bool {
    let (_hold, wait) = mpsc::channel::<()>();
    (0..200).any(|_| !alive(pid) || wait.recv_timeout(Duration::from_millis(20)).is_ok())
}

#[test]
fn output_comes_through_whole_and_arguments_are_no_shell() {
    let (bytes, end) = run(Program::new(&["printf".into(), "%s".into(), "a $HOME; b".into()]).unwrap());
    assert_eq!(bytes, b"a $HOME; b");
    assert_eq!(end.unwrap(), "");
    let (bytes, end) = run(sh("head -c 3000000 /dev/zero; yes noise | head -c 300000 >&2"));
    assert_eq!(bytes.len(), 3_000_000);
    assert_eq!(end.unwrap(), ["noise"; 5].join(" | "));
}

#[test]
fn a_bad_end_is_told_with_the_last_words() {
    let (bytes, end) = run(sh("echo half; echo no such table >&2; exit 7"));
    assert_eq!(bytes, b"half\n");
    assert_eq!(
        end.unwrap_err().to_string(),
        "run \"/bin/sh\": it ended with exit code 7; its last words: no such table"
    );
    let (_, end) = run(sh("kill -TERM $$"));
    assert!(matches!(end, Err(CommandError::Signal { signal: 15, .. })), "{end:?}");
}

#[test]
fn a_program_that_is_late_is_killed_with_its_group() {
    let (bytes, end) = run(sh("sleep 600 & echo $!; wait").limit(Duration::from_millis(200)));
    assert_eq!(end.unwrap_err().to_string(), "run \"/bin/sh\": it was killed after 200ms");
    assert!(gone_soon(&String::from_utf8(bytes).unwrap()));
}

#[test]
fn a_child_that_holds_the_output_open_counts_as_running() {
    // the shell ends at once, and well; what it left behind still owes output
    let (bytes, end) = run(sh("sleep 600 & echo $!").limit(Duration::from_millis(200)));
    assert!(matches!(end, Err(CommandError::Timeout { .. })), "{end:?}");
    assert!(gone_soon(&String::from_utf8(bytes).unwrap()));
}

#[test]
fn dropping_the_output_or_stopping_kills_the_program() {
    let mut output = sh("echo $$; sleep 600").start().unwrap();
    let mut pid = [0; 32];
    let read = output.reader.read(&mut pid).unwrap();
    let pid = String::from_utf8(pid[..read].to_vec()).unwrap();
    assert!(alive(&pid));
    drop(output);
    assert!(gone_soon(&pid));

    let mut output = sh("sleep 600").start().unwrap();
    output.stopper.stop();
    assert_eq!(output.reader.read(&mut [0; 8]).unwrap(), 0);
    assert!(matches!((output.finish)(), Err(CommandError::Stopped { .. })));
    output.stopper.stop(); // after the end it does nothing
}

#[test]
fn folder_and_variables_reach_it_and_secrets_stay_inside() {
    let folder = tempfile::tempdir().unwrap();
    let program = sh("pwd; echo $PLAIN; echo \"bad password $TOKEN\" >&2; exit 1").in_folder(folder.path());
    let (bytes, end) = run(program.variable("PLAIN", "x y").secret_variable("TOKEN", "hunter2"));
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{}\nx y\n", folder.path().display()));
    let text = end.unwrap_err().to_string();
    assert!(text.ends_with("its last words: bad password ***"), "{text}");
}

#[test]
fn what_cannot_start_says_so() {
    assert!(matches!(Program::new(&[]), Err(CommandError::Empty)));
    assert!(matches!(Program::new(&[String::new()]), Err(CommandError::Empty)));
    let failed = Program::new(&["/no/such/program".into(), "--password=hunter2".into()]).unwrap();
    assert!(!format!("{failed:?}").contains("hunter2"));
    let error = failed.start().err().unwrap();
    assert_eq!(error.to_string(), "start \"/no/such/program\"");
    assert!(matches!(error, CommandError::Start { source, .. } if source.kind() == io::ErrorKind::NotFound));
}
