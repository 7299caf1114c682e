//! What fuzzing feeds on, fed again: the corpus of `fuzz/corpus` through the very functions that are fuzzed.
//!
//! Seeds are named for what wrote them (`restic-0.18-2`, `drctl-gear-0`) and must be accepted. Those named `bad-...` must
//! be refused. `found-...` once made a decoder fail, and must only not do so again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

#[allow(unreachable_pub, reason = "it is a library of its own for the fuzzers")]
#[path = "../fuzz/src/lib.rs"]
mod decoders;

use decoders::ALL;

/// Bytes of the whole corpus. It is cloned by everybody: what fuzzing finds is minimised before it is added.
const LARGEST: usize = 200_000;

fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let seeds = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let seeds = seeds.map(|entry| entry.unwrap().path());
    seeds.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())).collect()
}

#[test]
fn every_decoder_is_fuzzed_and_has_seeds_of_each_kind() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let mut targets: Vec<&str> =
        manifest["bin"].as_array().unwrap().iter().map(|b| b["name"].as_str().unwrap()).collect();
    targets.sort_unstable();
    assert_eq!(targets, ALL.map(|(name, _)| name));
    for (target, _) in ALL {
        let seeds = corpus(target);
        assert!(seeds.keys().any(|name| name.starts_with("bad-")), "{target} has no seed that is refused");
        assert!(seeds.keys().any(|name| !name.starts_with("bad-")), "{target} has no seed that is accepted");
    }
    let bytes: usize = ALL.iter().flat_map(|(target, _)| corpus(target)).map(|(_, seed)| seed.len()).sum();
    assert!(bytes <= LARGEST, "{bytes} bytes of corpus");
}

#[test]
fn seeds_are_accepted_or_refused_as_their_names_say() {
    for (target, decode) in ALL {
        for (name, seed) in corpus(target) {
            let decoded = decode(&seed);
            match name.split_once('-').map_or(name.as_str(), |(writer, _)| writer) {
                "found" => {}
                "bad" => assert!(decoded.is_err(), "{target}/{name} was accepted"),
                _ => assert_eq!(decoded, Ok(()), "{target}/{name} was refused"),
            }
        }
    }
}

/// A cut object is refused or, where what is left is whole in itself, accepted; and nothing panics. The same for bytes
/// that were changed.
#[test]
fn damaged_seeds_are_refused_without_a_panic() {
    for (target, decode) in ALL {
        let mut refused = 0;
        for (_, seed) in corpus(target) {
            let step = (seed.len() / 40).max(1);
            for at in (0..seed.len()).step_by(step) {
                refused += usize::from(decode(&seed[..at]).is_err());
                for bits in [1, 0x20, 0xff] {
                    let mut changed = seed.clone();
                    changed[at] ^= bits;
                    refused += usize::from(decode(&changed).is_err());
                }
            }
        }
        assert!(refused > 20, "{target}: only {refused} damaged seeds were refused");
    }
}
