//! Bad input gets an error that names the thing, the cause and the way out, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use drctl::vault::lock::LockKind;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::support::compare::assert_same_tree;
use crate::support::house::{Call, House, Outcome};
use crate::support::vaults::{cheap_vault, files, open};

/// A vault with two snapshots of a small source.
struct Scene {
    house: House,
    source: PathBuf,
    vault: PathBuf,
}

/// The content of every file below a folder.
fn picture(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(folder).into_keys().map(|path| (path.clone(), fs::read(folder.join(path)).unwrap())).collect()
}

impl Scene {
    fn new() -> Self {
        let house = House::new();
        let (source, vault) = (house.path("work/source"), cheap_vault(&house.path("vault")));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "content").unwrap();
        let scene = Self { house, source, vault };
        for _ in 0..2 {
            scene.call(&["backup", "--force", "--path"]).arg(&scene.source).ok();
        }
        scene
    }

    fn call(&self, args: &[&str]) -> Call {
        self.house.drctl(["--vault"]).arg(&self.vault).args(args)
    }

    /// Runs a call twice, for people and for programs: both end with `code`; message and causes contain all of `names`,
    /// and the hint contains `way_out`. Nothing in the house's vault, source and work folder changes.
    #[track_caller]
    fn refuses(&self, make: impl Fn() -> Call, code: i32, names: &[&str], way_out: &str) {
        let before = (picture(&self.vault), picture(&self.house.path("work")));
        let human = make().ends(code);
        let program = make().arg("--json").ends(code);
        assert!(before == (picture(&self.vault), picture(&self.house.path("work"))), "something changed: {human}");
        let error = error(&program);
        assert_eq!(error["exit_code"], code);
        let causes = error["causes"].as_array().unwrap().iter().map(|cause| cause.as_str().unwrap());
        let text = std::iter::once(error["message"].as_str().unwrap()).chain(causes).collect::<Vec<_>>().join(": ");
        let hint = error["hint"].as_str().unwrap_or_default();
        for name in names {
            assert!(text.contains(name), "{name:?} is not in {text:?}");
            assert!(human.stderr.contains(name), "{name:?} is not in {human}");
        }
        assert!(hint.contains(way_out) || text.contains(way_out), "{way_out:?} is neither in {hint:?} nor in {text:?}");
        for outcome in [&human, &program] {
            assert!(outcome.stdout.is_empty(), "an error is no result: {outcome}");
            assert!(!outcome.stderr.contains("panicked") && !outcome.stderr.contains(House::PASSWORD), "{outcome}");
        }
    }
}

fn error(outcome: &Outcome) -> Value {
    let line = outcome.stderr.lines().rev().find(|line| line.starts_with("{\"error\""));
    let document: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("no error: {outcome}"))).unwrap();
    document["error"].clone()
}

#[test]
fn a_vault_that_is_not_there_already_there_or_not_opened_by_the_key() {
    let scene = Scene::new();
    let none = scene.house.path("work/none");
    for args in [&["snapshots"][..], &["check"], &["restore", "latest", "--to", "out"], &["backup", "--path", "source"]]
    {
        let make = || scene.house.drctl(args).arg("--vault").arg(&none);
        scene.refuses(make, 10, &[none.to_str().unwrap(), "find a vault"], "drctl init");
        assert!(!none.exists());
    }
    scene.refuses(|| scene.call(&["init"]), 1, &["there is one already"], "another address");
}

#[test]
fn a_wrong_key() {
    let scene = Scene::new();
    let wrong = scene.house.path("wrong");
    fs::write(&wrong, "guess").unwrap();
    fs::set_permissions(&wrong, PermissionsExt::from_mode(0o600)).unwrap();
    for args in [&["snapshots"][..], &["backup", "--path", "source"], &["restore", "latest", "--to", "out"]] {
        let make = || scene.call(args).arg("--key-file").arg(&wrong);
        scene.refuses(make, 12, &[scene.vault.to_str().unwrap(), "fits none of 1"], "which key file");
    }
    let missing = || scene.call(&["snapshots", "--key-file", "nowhere"]);
    scene.refuses(missing, 2, &["nowhere", "No such file"], "--key-file");
    fs::write(&wrong, "").unwrap();
    scene.refuses(|| scene.call(&["snapshots"]).arg("--key-file").arg(&wrong), 2, &["wrong", "empty"], "");
}

#[test]
fn a_key_file_that_others_can_read_is_refused_for_writers_only() {
    let scene = Scene::new();
    let key = scene.house.key_file();
    fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let name = key.to_str().unwrap();
    let id = scene.call(&["snapshots", "--json"]).ok().json()["snapshots"][0]["id"].as_str().unwrap().to_owned();
    for args in [&["backup", "--path", "source"][..], &["forget", &id], &["prune"]] {
        scene.refuses(|| scene.call(args), 2, &[name, "open to everyone (mode 0644)"], "chmod 600");
    }
    let restored = scene.call(&["restore", "latest", "--to", "out"]).ok();
    assert!(restored.stderr.contains("warning") && restored.stderr.contains("open to everyone"), "{restored}");
    let allowed = scene.call(&["backup", "--path", "source", "--allow-shared-key"]).ok();
    assert!(allowed.stderr.contains("open to everyone"), "{allowed}");
}

#[test]
fn paths_times_and_ids_that_fit_nothing() {
    let scene = Scene::new();
    let backup = || scene.call(&["backup", "--path", "not/there", "--path", "nor/there"]);
    scene.refuses(backup, 1, &["work/not/there", "No such file"], "");
    let list = || scene.call(&["backup", "--files-from", "no list"]);
    scene.refuses(list, 2, &["no list", "No such file"], "");
    for time in ["yesterdy", "2026-13-01", "-3h"] {
        let restore = || scene.call(&["restore", "latest", "--to", "out", &format!("--at={time}")]);
        scene.refuses(restore, 2, &[time, "is not a time"], "2h ago");
        scene.refuses(|| scene.call(&["backup", "--path", "source", &format!("--time={time}")]), 2, &[time], "2h ago");
    }
    let early = || scene.call(&["restore", "latest", "--to", "out", "--at", "2001-01-01"]);
    scene.refuses(early, 1, &["of 2 snapshots none fits", "2001"], "the oldest that fits otherwise is of 20");
    let unknown = || scene.call(&["restore", "orders", "--to", "out"]);
    scene.refuses(unknown, 1, &["none fits and is of plan \"orders\""], "plans with snapshots in this vault: none");
    let nothing = || scene.call(&["restore", "latest", "--to", "out", "--dry-run", "--include", "*.nope"]);
    scene.refuses(nothing, 1, &["nothing in the snapshot fits"], "drctl find");
    let no_new = || scene.call(&["key", "add"]);
    scene.refuses(no_new, 2, &["no terminal"], "--new-key-file");

    let snapshots = scene.call(&["snapshots", "--json"]).ok().json();
    let ids: Vec<&str> =
        snapshots["snapshots"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    let none = ["00000000", "ffffffff"].into_iter().find(|no| !ids.iter().any(|id| id.starts_with(no))).unwrap();
    let call = || scene.call(&["restore", none, "--to", "out"]);
    scene.refuses(call, 1, &[none, "find a snapshot"], "drctl snapshots");
    scene.refuses(|| scene.call(&["forget", none]), 1, &[none], "drctl snapshots");
    scene.refuses(|| scene.call(&["ls", "latest:/nowhere"]), 1, &["/nowhere"], "drctl ls");
    scene.refuses(|| scene.call(&["restore", "latest:/nowhere", "--to", "out"]), 1, &["/nowhere"], "drctl ls");
}

#[test]
fn an_id_that_fits_several() {
    let scene = Scene::new();
    // Seventeen snapshots, and sixteen digits that an id may begin with.
    for _ in 0..15 {
        scene.call(&["backup", "--quiet", "--path"]).arg(&scene.source).ok();
    }
    let mut count = BTreeMap::new();
    for snapshot in scene.call(&["snapshots", "--json"]).ok().json()["snapshots"].as_array().unwrap() {
        *count.entry(snapshot["id"].as_str().unwrap()[..1].to_owned()).or_insert(0) += 1;
    }
    let (digit, fits) = count.into_iter().max_by_key(|(_, fits)| *fits).unwrap();
    let names = [&*format!("choose among {fits} snapshots"), &*format!("{digit:?}")];
    scene.refuses(|| scene.call(&["restore", &digit, "--to", "out"]), 1, &names, "more digits");
    // What is removed has to be named plainly: a digit that was meant as a count must not fit.
    scene.refuses(|| scene.call(&["forget", &digit]), 2, &[&*format!("{digit:?}"), "too short"], "at least 4 digits");
}

#[test]
fn targets_that_are_missing_or_not_empty() {
    let scene = Scene::new();
    scene.refuses(|| scene.call(&["restore", "latest"]), 2, &["where to restore to"], "--to DIR");
    scene.refuses(|| scene.call(&["restore", "latest", "--to", "source"]), 2, &["source", "not empty"], "--overwrite");
    let mirror = || scene.call(&["restore", "latest", "--to", "source", "--delete"]);
    scene.refuses_usage(mirror, &["--overwrite"]);
    let file = || scene.call(&["restore", "latest", "--to", "source/file"]);
    scene.refuses(file, 1, &["source/file"], "--to DIR");
    let relative = || scene.call(&["restore", "latest", "--path", "source/file", "--to", "out"]);
    let absolute = scene.house.path("work/source/file");
    scene.refuses(relative, 1, &["no such path"], absolute.to_str().unwrap());

    // A folder stands where a file belongs: a rehearsal says so, too, and nothing of it goes.
    let out = scene.house.path("work/in the way");
    let place = out.join(absolute.strip_prefix("/").unwrap());
    fs::create_dir_all(place.join("mine")).unwrap();
    for rehearsal in [true, false] {
        let call = scene.call(&["restore", "latest", "--overwrite", "--to"]).arg(&out);
        let refused = if rehearsal { call.arg("--dry-run") } else { call }.ends(3);
        assert!(refused.text().contains("stands in its place, and goes only with --delete"), "{refused}");
        assert!(place.join("mine").exists());
    }
}

#[test]
fn flags_that_nobody_knows() {
    let scene = Scene::new();
    scene.refuses_usage(|| scene.call(&["backup", "--pth", "source"]), &["--pth", "--path"]);
    scene.refuses_usage(|| scene.call(&["snapshot"]), &["snapshot", "snapshots"]);
    scene.refuses_usage(|| scene.call(&["backup"]), &["--path"]);
    scene.refuses_usage(|| scene.call(&["backup", "--path", "source", "--host", ""]), &["--host"]);
    scene.refuses_usage(|| scene.call(&["check", "--read-data-subset", "0%"]), &["more than 0%"]);
    scene.refuses_usage(|| scene.call(&["backup", "--path", "source", "--limit-upload", "fast"]), &["fast"]);
    scene.refuses(|| scene.house.drctl(["snapshots"]), 2, &["no vault was given"], "--vault");
    scene.refuses(|| scene.house.drctl(["snapshots", "--vault", "primray"]), 2, &["primray"], "./primray");
}

impl Scene {
    /// Refused before anything is tried: code 2, and standard error contains all of `names`.
    #[track_caller]
    fn refuses_usage(&self, make: impl Fn() -> Call, names: &[&str]) {
        let before = (picture(&self.vault), picture(&self.house.path("work")));
        let outcome = make().ends(2);
        assert!(before == (picture(&self.vault), picture(&self.house.path("work"))), "something changed: {outcome}");
        for name in names {
            assert!(outcome.stderr.contains(name), "{name:?} is not in {outcome}");
        }
    }
}

#[test]
fn a_vault_that_others_have_locked() {
    let scene = Scene::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let held = runtime.block_on(async {
        let vault = open(&scene.vault).await;
        vault.lock(LockKind::Exclusive, std::time::Duration::ZERO).await.unwrap()
    });
    let names = ["exclusive lock", &*format!("pid {}", std::process::id())];
    for args in [&["backup", "--path", "source"][..], &["check"], &["prune"]] {
        scene.refuses(|| scene.call(args), 11, &names, "--retry-lock");
    }
    scene.call(&["restore", "latest", "--to", "out"]).ok();
    // Whoever waits for it can be stopped.
    for args in [&["backup", "--path", "source"][..], &["prune"], &["index", "rebuild"]] {
        let mut child = scene.call(args).args(["--retry-lock", "1h"]).spawn();
        let listens = || {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            u64::from_str_radix(caught.trim(), 16).unwrap() & 2 != 0
        };
        while !listens() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{args:?}");
    }
    runtime.block_on(held.release());
    scene.call(&["backup", "--path", "source"]).ok();
}

#[test]
fn a_full_disk() {
    if !rustix::process::geteuid().is_root() {
        return; // a small file system can only be mounted by root
    }
    let scene = Scene::new();
    let small = Mounted::new(&scene.house, "small", "size=2m");
    fs::write(scene.source.join("large"), crate::support::Numbers::seeded(1).bytes(6 << 20)).unwrap();
    let full = || scene.call(&["backup", "--path"]).arg(&scene.source);
    full().ok();

    // The target of a restore.
    let target = small.at.join("out");
    let restored = scene.call(&["restore", "latest", "--json", "--to"]).arg(&target).run();
    assert_eq!(restored.code, Some(3), "{restored}");
    assert!(restored.text().contains("No space left"), "{restored}");
    fs::remove_dir_all(&target).unwrap();

    // The vault itself: what is there stays of use, and the backup can be repeated once there is room.
    let vault = small.at.join("vault");
    scene.house.call("cp").args(["-a", "--"]).arg(cheap_vault(&scene.house.path("empty"))).arg(&vault).ok();
    let backup = || scene.house.drctl(["backup", "--json", "--path"]).arg(&scene.source).arg("--vault").arg(&vault);
    let failed = backup().ends(1);
    let error = error(&failed);
    let text = format!("{} {}", error["message"], error["causes"]);
    assert!(text.contains("no space left") && error["hint"].as_str().unwrap().contains("free space"), "{failed}");
    scene.house.drctl(["check", "--vault"]).arg(&vault).ok();
    scene.house.call("mount").args(["-o", "remount,size=32m"]).arg(&small.at).ok();
    backup().ok();
    scene.house.drctl(["check", "--read-data", "--no-cache", "--vault"]).arg(&vault).ok();
}

#[test]
fn a_full_vault_is_pruned_as_far_as_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        return; // a small file system can only be mounted by root
    }
    let scene = Scene::new();
    let small = Mounted::new(&scene.house, "small", "size=96m");
    let vault = small.at.join("vault");
    scene.house.call("cp").args(["-a", "--"]).arg(cheap_vault(&scene.house.path("empty"))).arg(&vault).ok();
    let drctl = |args: &[&str]| scene.house.drctl(args.iter().copied()).arg("--vault").arg(&vault).arg("--json");
    let mut numbers = crate::support::Numbers::seeded(8);
    let (gone, mixed) = (scene.source.join("gone"), scene.source.join("mixed"));
    for folder in [&gone, &mixed] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(gone.join("large"), numbers.bytes(20 << 20)).unwrap();
    for n in 0..40 {
        fs::write(mixed.join(format!("{n:02}")), numbers.bytes(700_000)).unwrap();
    }
    let back_up =
        |folder: &Path| drctl(&["backup", "--path", folder.to_str().unwrap()]).ok().json()["snapshot"].clone();
    let old = [back_up(&gone), back_up(&mixed)];
    for n in (0..40).step_by(2) {
        fs::remove_file(mixed.join(format!("{n:02}"))).unwrap();
    }
    back_up(&mixed);
    for snapshot in &old {
        drctl(&["forget", snapshot.as_str().unwrap()]).ok();
    }
    // Room for a lock and an index file, and for no pack.
    let stat = rustix::fs::statvfs(&small.at).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    fs::write(small.at.join("filler"), vec![1; usize::try_from(free).unwrap() - (3 << 20)]).unwrap();

    let prune = ["prune", "--max-unused", "0"];
    let first = drctl(&prune).ends(3).json();
    let number = |of: &serde_json::Value, path: &str| of.pointer(path).unwrap().as_u64().unwrap();
    assert!(number(&first, "/no_room_for") > 0 && number(&first, "/packs_written") == 0, "{first}");
    assert_eq!((number(&first, "/figures/repack_packs"), number(&first, "/figures/rewrite")), (0, 0), "{first}");
    assert!(number(&first, "/figures/freed") >= 20 << 20, "{first}");
    assert!(number(&first, "/figures/unused_after") >= 13 << 20, "{first}");
    let check = || drctl(&["check", "--read-data", "--no-cache"]).ok();
    check();

    // What it has freed is room for the rest; a bound on what is rewritten is kept.
    let bounded = drctl(&[&prune[..], &["--max-repack", "1KiB"]].concat()).ok().json();
    assert_eq!((number(&bounded, "/figures/rewrite"), number(&bounded, "/no_room_for")), (0, 0), "{bounded}");
    let second = drctl(&prune).ok().json();
    assert!(number(&second, "/no_room_for") == 0 && number(&second, "/packs_written") > 0, "{second}");
    assert_eq!(number(&second, "/figures/unused_after"), 0, "{second}");
    check();
    let target = scene.house.path("restored");
    drctl(&["restore", "latest", "--to", target.to_str().unwrap()]).ok();
    assert_same_tree(&mixed, &target.join(mixed.strip_prefix("/").unwrap()));
}

/// A file system of its own, for as long as it lives.
pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
}

impl Mounted {
    /// Only root can.
    pub(crate) fn new(house: &House, name: &str, options: &str) -> Self {
        let at = house.path(name);
        fs::create_dir_all(&at).unwrap();
        house.call("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at).ok();
        Self { at }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Answers every request with 403, over TLS when there is a configuration for it.
fn refusing_server(tls: Option<Arc<rustls::ServerConfig>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut tcp in listener.incoming().flatten() {
            let tls = tls.clone();
            std::thread::spawn(move || match tls {
                None => refuse(&mut tcp),
                Some(tls) => {
                    let mut session = rustls::ServerConnection::new(tls).unwrap();
                    refuse(&mut rustls::Stream::new(&mut session, &mut tcp));
                }
            });
        }
    });
    at
}

fn refuse(stream: &mut (impl Read + Write)) {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(len) if len > 0 => head.extend_from_slice(&piece[..len]),
            _ => return,
        }
    }
    let body = "<Error><Code>AccessDenied</Code><Message>Not for you</Message></Error>";
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
}

fn s3(scene: &Scene, url: &str, args: &[&str]) -> Call {
    let call = scene.house.drctl(args).args(["--vault", url]);
    call.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "hush-hush").env("AWS_REGION", "us-east-1")
}

#[test]
fn a_store_that_answers_403() {
    let scene = Scene::new();
    let url = format!("s3://bucket/team?endpoint=http://{}", refusing_server(None));
    for args in [&["snapshots"][..], &["backup", "--path", "source"], &["init"]] {
        scene.refuses(|| s3(&scene, &url, args), 1, &["s3://bucket/team", "access denied"], "credentials");
    }
}

#[test]
fn a_certificate_that_is_not_trusted() {
    let scene = Scene::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");
    let certificate = CertificateDer::from_pem_file(format!("{folder}/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{folder}/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let url = format!("s3://bucket/team?endpoint=https://{}", refusing_server(Some(Arc::new(config))));
    let names = ["s3://bucket/team", "certificate is not trusted"];
    scene.refuses(|| s3(&scene, &url, &["snapshots"]), 1, &names, "--ca-file");
    // With the authority named the server is talked to, and says what it says.
    let authority = format!("{folder}/authority.pem");
    let trusting = || s3(&scene, &url, &["snapshots", "--ca-file", &authority]);
    scene.refuses(trusting, 1, &["access denied"], "credentials");
}

#[test]
fn nobody_at_the_address() {
    let scene = Scene::new();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("s3://bucket/team?endpoint=http://{gone}");
    scene.refuses(|| s3(&scene, &url, &["snapshots"]), 1, &["cannot be reached", "Connection refused"], "endpoint");
    let garbage = || scene.house.drctl(["snapshots", "--vault", "ftp://host/vault"]);
    scene.refuses(garbage, 2, &["ftp://host/vault"], "file://");
    // Nothing is sent to a host that cannot be one, and nothing goes into a folder that was meant to be a bucket.
    for (address, why) in [
        (format!("s3://bucket/team?endpoint=http://{gone}&path_style=false"), "--s3-path-style"),
        ("s3://a%20b/team".to_owned(), "no bucket's name"),
        ("s3://bucket/team?region=eu%20central".to_owned(), "no region"),
        ("s3:bucket/team".to_owned(), "s3://bucket/prefix"),
    ] {
        for args in [&["snapshots"][..], &["init"]] {
            scene.refuses(|| s3(&scene, &address, args), 2, &[why], "correct the address");
        }
    }
}

#[test]
fn a_server_that_does_not_speak_tls() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("s3://bucket/team?endpoint=https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut tcp in listener.incoming().flatten() {
            let _ = tcp.read(&mut [0; 64]).and_then(|_| tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    scene.refuses(|| s3(&scene, &url, &["snapshots"]), 2, &["does not speak TLS"], "correct the address");
}

#[test]
fn a_vault_that_is_only_half_made() {
    let scene = Scene::new();
    let half = cheap_vault(&scene.house.path("half"));
    fs::remove_file(half.join("config")).unwrap();
    let call = || scene.house.drctl(["snapshots", "--vault"]).arg(&half);
    scene.refuses(call, 1, &[half.to_str().unwrap(), "cut short"], "drctl init");
}
