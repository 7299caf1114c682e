//! Repositories that somebody built to harm whoever restores them: nothing outside the target is touched.
//!
//! The trees are sealed with the vault's own writer, so that everything but their content is in order.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use drctl::vault::pack::PackBuilder;
use drctl::vault::snapshot::Snapshot;
use drctl::vault::{BlobType, Id, PackContents, Vault};
use serde_json::{Value, json};

use crate::support::house::{House, Outcome};
use crate::support::vaults::{cheap_vault, open, wait};

/// Builds one snapshot.
struct Forge {
    vault: Vault,
    packs: Vec<PackContents>,
}

impl Forge {
    async fn put(&mut self, kind: BlobType, plain: &[u8]) -> Id {
        let id = Id::of(plain);
        let mut sealer = self.vault.sealer(3);
        let mut pack = PackBuilder::new(kind);
        pack.add(&mut sealer, id, plain).unwrap();
        let pack = pack.finish(&sealer).unwrap();
        self.packs.push(self.vault.put_pack(pack).await.unwrap());
        id
    }

    /// `nodes` as they are: in this order, under these names.
    async fn tree(&mut self, nodes: &[Value]) -> Id {
        self.put(BlobType::Tree, json!({ "nodes": nodes }).to_string().as_bytes()).await
    }

    /// `name` is as the format quotes it.
    async fn file(&mut self, name: &str, content: &str) -> Value {
        let id = self.put(BlobType::Data, content.as_bytes()).await;
        let mut node = node(name, "file", 0o100_644);
        node["size"] = json!(content.len());
        node["content"] = json!([id]);
        node
    }

    async fn dir(&mut self, name: &str, nodes: &[Value]) -> Value {
        let mut node = node(name, "dir", 0o755);
        node["subtree"] = json!(self.tree(nodes).await);
        node["mode"] = json!(0x8000_0000_u32 | 0o755);
        node
    }

    async fn publish(mut self, nodes: &[Value]) {
        let tree = self.tree(nodes).await;
        self.vault.save_index(&self.packs).await.unwrap();
        let snapshot =
            Snapshot { tree, paths: vec!["/".to_owned()], hostname: "forger".to_owned(), ..Snapshot::default() };
        self.vault.save_snapshot(&snapshot).await.unwrap();
    }
}

fn node(name: &str, kind: &str, mode: u32) -> Value {
    let time = "2026-01-01T00:00:00Z";
    let own = rustix::process::geteuid().as_raw();
    json!({ "name": name, "type": kind, "mode": mode & 0o777, "mtime": time, "atime": time, "ctime": time, "uid": own,
            "gid": own, "content": null })
}

fn link(name: &str, target: &str) -> Value {
    let mut node = node(name, "symlink", 0o777);
    node["linktarget"] = json!(target);
    node
}

fn with(mut node: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("{fields} are no fields") };
    for (key, value) in fields {
        node[key] = value;
    }
    node
}

/// A target with neighbours that must not change.
struct Scene {
    house: House,
    outside: PathBuf,
    target: PathBuf,
    vault: PathBuf,
}

impl Scene {
    fn new(house: House) -> Self {
        let (outside, target) = (house.path("work/outside"), house.path("work/target"));
        let vault = cheap_vault(&house.path("vault"));
        fs::create_dir_all(outside.join("folder")).unwrap();
        fs::write(outside.join("victim"), "victim").unwrap();
        fs::write(outside.join("folder/victim"), "victim").unwrap();
        fs::create_dir(&target).unwrap();
        let scene = Self { house, outside, target, vault };
        scene.hand_over();
        scene
    }

    fn hand_over(&self) {
        let mut chown = Command::new("chown");
        chown.args(["-hR"]).arg(format!("--reference={}", self.house.key_file().display()));
        assert!(chown.args([&self.vault, &self.outside, &self.target]).status().unwrap().success());
    }

    fn outside(&self) -> &str {
        self.outside.to_str().unwrap()
    }

    fn forge(&self, build: impl AsyncFnOnce(Forge)) {
        wait(async { build(Forge { vault: open(&self.vault).await, packs: Vec::new() }).await });
        self.hand_over();
    }

    /// All of the work folder but the target: names, types, modes, owners, content, times.
    fn neighbours(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut stack = vec![self.house.path("work")];
        while let Some(at) = stack.pop() {
            let meta = fs::symlink_metadata(&at).unwrap();
            let content = if meta.is_file() { fs::read_to_string(&at).unwrap() } else { String::new() };
            let facts = (meta.mode(), meta.uid(), meta.nlink(), meta.mtime_nsec(), content);
            found.insert(at.clone(), format!("{facts:?}"));
            if meta.is_dir() {
                let entries = fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path());
                stack.extend(entries.filter(|path| *path != self.target));
            }
        }
        found
    }

    /// Restores the one snapshot; whatever comes of it, the neighbours stay as they are.
    #[track_caller]
    fn restore(&self, args: &[&str]) -> Outcome {
        let before = self.neighbours();
        let call = self.house.drctl(["restore", "latest", "--json", "--no-cache", "--to"]).arg(&self.target);
        let outcome = call.args(args).arg("--vault").arg(&self.vault).run();
        assert!(matches!(outcome.code, Some(0 | 1 | 3)) && !outcome.stderr.contains("panicked"), "{outcome}");
        assert_eq!(self.neighbours(), before, "something outside the target was touched: {outcome}");
        outcome
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.target.join(name)).ok()
    }
}

/// As whoever runs the tests (root, in CI) and as somebody without privileges.
fn for_both(test: impl Fn(Scene)) {
    test(Scene::new(House::new()));
    test(Scene::new(House::unprivileged()));
}

fn problems(outcome: &Outcome) -> Vec<Value> {
    outcome.json()["problems"].as_array().unwrap().clone()
}

#[test]
fn names_that_lead_elsewhere_are_refused_and_the_rest_is_restored() {
    // As the format quotes names: "\x2e\x2e" is "..".
    let names =
        ["..", ".", "", "../outside/evil", "a/b", "/tmp/evil", r"x\x00y", r"\x2e\x2e", r"..\x2foutside\x2fevil", r"\q"];
    for_both(|scene| {
        for name in names {
            for kind in ["file", "dir", "symlink"] {
                let _ = fs::remove_dir_all(scene.vault.join("snapshots"));
                scene.forge(async |mut forge| {
                    let evil = match kind {
                        "file" => forge.file(name, "evil").await,
                        "dir" => {
                            let inside = [forge.file("victim", "evil").await, forge.file("evil", "evil").await];
                            forge.dir(name, &inside).await
                        }
                        _ => link(name, "/etc/passwd"),
                    };
                    let good = forge.file("good", "good").await;
                    forge.publish(&[evil, good]).await;
                });
                let outcome = scene.restore(&["--overwrite"]);
                assert_eq!(outcome.code, Some(3), "{kind} {name:?}: {outcome}");
                assert!(!problems(&outcome).is_empty());
            }
        }
        let there: Vec<_> = fs::read_dir(&scene.target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(there.iter().all(|name| name == "good"), "{there:?}");
    });
}

#[test]
fn a_symlink_is_never_gone_through() {
    for_both(|scene| {
        let outside = scene.outside().to_owned();
        // Two entries of one name, in either order: the symlink, then what would lie behind it.
        for link_first in [true, false] {
            let _ = fs::remove_dir_all(scene.vault.join("snapshots"));
            scene.forge(async |mut forge| {
                let inside = [forge.file("victim", "evil").await, forge.file("new", "evil").await];
                let folder = forge.dir("door", &inside).await;
                let file = forge.file("file", "evil").await;
                let (door, to_file) = (link("door", &outside), link("file", &format!("{outside}/victim")));
                let nodes = if link_first { [door, folder, to_file, file] } else { [folder, door, file, to_file] };
                forge.publish(&nodes).await;
            });
            for args in [&["--overwrite"][..], &["--overwrite", "--delete"], &["--overwrite", "--privileged"]] {
                scene.restore(args);
            }
            fs::remove_dir_all(&scene.target).unwrap();
            fs::create_dir(&scene.target).unwrap();
            scene.hand_over();
        }
    });
}

#[test]
fn symlinks_that_stand_in_the_target_already_are_replaced_not_followed() {
    for_both(|scene| {
        symlink(scene.outside.join("folder"), scene.target.join("folder")).unwrap();
        symlink(scene.outside.join("victim"), scene.target.join("file")).unwrap();
        fs::hard_link(scene.outside.join("victim"), scene.target.join("linked")).unwrap();
        scene.hand_over();
        scene.forge(async |mut forge| {
            let inside = [forge.file("victim", "restored").await];
            let nodes = [
                forge.file("file", "restored").await,
                forge.dir("folder", &inside).await,
                forge.file("linked", "restored").await,
            ];
            forge.publish(&nodes).await;
        });
        let links = |path: &Path| fs::metadata(path).unwrap().nlink();
        assert_eq!(links(&scene.outside.join("victim")), 2);
        let before = fs::read_to_string(scene.outside.join("victim")).unwrap();
        // Taking a name away from the file outside is the one trace that may stay.
        let call = scene.house.drctl(["restore", "latest", "--overwrite", "--to"]).arg(&scene.target);
        call.arg("--vault").arg(&scene.vault).ok();
        assert_eq!(fs::read_to_string(scene.outside.join("victim")).unwrap(), before);
        assert_eq!(fs::read_to_string(scene.outside.join("folder/victim")).unwrap(), "victim");
        assert_eq!(links(&scene.outside.join("victim")), 1);
        for name in ["file", "folder/victim", "linked"] {
            assert_eq!(scene.read(name).as_deref(), Some("restored"), "{name}");
        }
    });
}

#[test]
fn hard_links_stay_within_what_was_restored() {
    for_both(|scene| {
        let victim = fs::metadata(scene.outside.join("victim")).unwrap();
        let same = json!({ "links": 2, "inode": victim.ino(), "device_id": victim.dev() });
        let outside = scene.outside().to_owned();
        scene.forge(async |mut forge| {
            let door = with(link("a", &format!("{outside}/victim")), same.clone());
            let file = with(forge.file("b", "evil").await, same.clone());
            let last = with(forge.file("c", "evil").await, same.clone());
            forge.publish(&[door, file, last]).await;
        });
        scene.restore(&[]);
        scene.restore(&["--overwrite"]);
        assert_eq!(fs::metadata(scene.outside.join("victim")).unwrap().nlink(), 1);
    });
}

#[test]
fn devices_and_rights_come_only_when_asked_for() {
    for_both(|scene| {
        scene.forge(async |mut forge| {
            let device = |name, kind| with(node(name, kind, 0o666), json!({ "device": 259, "links": 1 }));
            // Go's bits for setuid and setgid.
            let program = forge.file("program", "#!/bin/sh\n").await;
            let program = with(program, json!({ "mode": 0o755 | 1 << 23 | 1 << 22 }));
            let capable = forge.file("capable", "x").await;
            let attribute = json!([{ "name": "security.capability", "value": "AQAAAgAgAAAAAAAAAAAAAAAAAAA=" }]);
            let capable = with(capable, json!({ "extended_attributes": attribute }));
            forge.publish(&[device("block", "dev"), capable, device("char", "chardev"), program]).await;
        });
        let outcome = scene.restore(&[]);
        assert_eq!(outcome.code, Some(3), "what is left out is listed: {outcome}");
        assert!(!scene.target.join("block").exists() && !scene.target.join("char").exists());
        let mode = |name: &str| fs::metadata(scene.target.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("program"), 0o755);
        let mut value = [0; 64];
        assert!(rustix::fs::getxattr(scene.target.join("capable"), "security.capability", &mut value).is_err());

        let asked = scene.restore(&["--overwrite", "--privileged"]);
        let root = scene.house.call("id").arg("-u").ok().text().trim() == "0";
        let made = fs::symlink_metadata(scene.target.join("char")).is_ok_and(|meta| meta.file_type().is_char_device());
        if made {
            assert!(root);
        } else {
            // Not root, or root in a container that may make no devices.
            assert_eq!(asked.code, Some(3), "{asked}");
            assert!(problems(&asked).iter().any(|it| it["what"] == "/char"), "{asked}");
        }
    });
}

#[test]
fn names_that_differ_in_case_only_are_two_and_twins_are_not_mixed_up() {
    for_both(|scene| {
        scene.forge(async |mut forge| {
            let nodes = [
                forge.file("A", "upper").await,
                forge.file("a", "lower").await,
                forge.file("twin", "first").await,
                forge.file("twin", "second").await,
            ];
            forge.publish(&nodes).await;
        });
        let outcome = scene.restore(&[]);
        assert_eq!((scene.read("A").as_deref(), scene.read("a").as_deref()), (Some("upper"), Some("lower")));
        assert_eq!(outcome.code, Some(3), "two entries of one name cannot both be restored: {outcome}");
        assert!(matches!(scene.read("twin").as_deref(), None | Some("first" | "second")), "{:?}", scene.read("twin"));
    });
}

#[test]
fn trees_that_make_no_sense_are_listed() {
    for_both(|scene| {
        let garbage = ["[]", "{", "{\"nodes\":[{\"name\":7}]}", "{\"nodes\":{}}", "null", "\u{0}"];
        scene.forge(async |mut forge| {
            let mut nodes = Vec::new();
            for (n, text) in garbage.iter().enumerate() {
                let id = forge.put(BlobType::Tree, text.as_bytes()).await;
                nodes.push(with(node(&format!("bad {n}"), "dir", 0o755), json!({ "subtree": id })));
            }
            nodes.push(with(node("lost folder", "dir", 0o755), json!({ "subtree": Id::of(b"nowhere") })));
            nodes.push(with(
                node("lost", "file", 0o644),
                json!({ "content": [Id::of(b"nowhere")], "size": 1_u64 << 62 }),
            ));
            nodes.push(node("no tree", "dir", 0o755));
            nodes.push(forge.file("sound", "sound").await);
            nodes.push(node("strange", "whiteout", 0o644));
            forge.publish(&nodes).await;
        });
        let outcome = scene.restore(&[]);
        assert_eq!(outcome.code, Some(3), "{outcome}");
        assert_eq!(scene.read("sound").as_deref(), Some("sound"));
        let listed = problems(&outcome);
        for name in ["/bad 0", "/bad 1", "/bad 2", "/bad 3", "/bad 4", "/bad 5", "/lost folder", "/lost", "/no tree"] {
            assert!(listed.iter().any(|it| it["what"] == name), "{name} is not listed: {listed:?}");
        }
    });
}

#[test]
fn a_folder_that_is_swapped_for_a_symlink_meanwhile_leads_nowhere() {
    for_both(|scene| {
        scene.forge(async |mut forge| {
            let mut inside = Vec::new();
            for n in 0..300 {
                inside.push(forge.file(&format!("file {n:03}"), &format!("restored {n}")).await);
            }
            inside.push(forge.file("victim", "evil").await);
            let folder = forge.dir("folder", &inside).await;
            forge.publish(&[folder]).await;
        });
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (folder, aside) = (scene.target.join("folder"), scene.target.join("aside"));
                while !over.load(Ordering::SeqCst) {
                    let _ = fs::rename(&folder, &aside);
                    let _ = symlink(scene.outside.join("folder"), &folder);
                    std::thread::yield_now();
                    let _ = fs::remove_file(&folder);
                    let _ = fs::rename(&aside, &folder);
                }
            });
            for _ in 0..5 {
                scene.restore(&["--overwrite"]);
            }
            over.store(true, Ordering::SeqCst);
        });
        assert_eq!(fs::read_dir(scene.outside.join("folder")).unwrap().count(), 1);
    });
}
