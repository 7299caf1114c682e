//! Trees come back byte for byte: those that restic wrote, and arbitrary ones.

use proptest::prelude::*;

use super::*;
use crate::vault::Id;

fn rebuilt(nodes: impl IntoIterator<Item = Node>) -> (Id, Vec<u8>) {
    let mut tree = TreeBuilder::new(std::sync::Arc::from(std::env::temp_dir()));
    for node in nodes {
        tree.push(&node).unwrap();
    }
    let tree = tree.finish().unwrap();
    let TreeBody::Memory(json) = tree.body else { panic!("a small tree was spilled") };
    assert_eq!(tree.id, Id::of(&json));
    (tree.id, json)
}

/// Trees stored by restic 0.18.0 (Go 1.24.4) under TZ=UTC; scripts/hostile_tree.sh says of what.
#[test]
fn trees_of_restic_come_back_byte_for_byte() {
    let trees: [(&[u8], &str); 6] = [
        (
            include_bytes!("testdata/attributes.json"),
            "9a7bf8118c4f921f492d333daa786b79da1c9277b9d18d054107d6b097cbc0a8",
        ),
        (include_bytes!("testdata/kinds.json"), "8106f007e0d673423b499c1c77d6547b4b7fbacdf79eeaa76d88e80f8f8bd446"),
        (include_bytes!("testdata/links.json"), "099a02cdfc495d9cdb0813524c2574b1714d4d1860982fc70f460166ba772863"),
        (include_bytes!("testdata/modes.json"), "2eafbbcae4783ba4feae2a0306872531055360fed2c4ff98f557f9b3a586fda9"),
        (include_bytes!("testdata/names.json"), "1f593cc380fd08bb2575631387948dc0fd31d9098967c7233a0581daacc37de2"),
        (include_bytes!("testdata/times.json"), "a349a3e03037422d64f91b45faa222a0128be0b93f14dd238f3aa405ee026ee8"),
    ];
    for (json, id) in trees {
        let nodes: Vec<Node> = TreeReader::new(json).map(Result::unwrap).collect();
        let (got, rewritten) = rebuilt(nodes);
        assert_eq!(String::from_utf8_lossy(&rewritten), String::from_utf8_lossy(json));
        assert_eq!(got.to_string(), id);
    }
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 1..40);
    prop_oneof![bytes, "\\PC{1,20}".prop_map(String::into_bytes), "[\\x00-\\x7f]{1,20}".prop_map(String::into_bytes)]
        .prop_filter("a single component", |name| check_name(name).is_ok())
}

prop_compose! {
    fn times()(seconds in prop_oneof![any::<i64>(), -100_000_000_000..300_000_000_000_i64], nanos in any::<u32>()) -> jiff::Timestamp {
        time_from_unix(seconds, nanos)
    }
}

prop_compose! {
    fn nodes()(
        name in names(),
        kind in proptest::sample::select(NodeKind::ALL.to_vec()),
        mode in 0..=0o7777_u32,
        (mtime, atime, ctime) in (times(), times(), times()),
        (uid, gid, inode, device_id) in any::<(u32, u32, u64, u64)>(),
        (size, links, device) in any::<(u64, u64, u64)>(),
        (user, group, error) in any::<(String, String, Option<String>)>(),
        linktarget in any::<Vec<u8>>(),
        xattrs in proptest::collection::vec((".*", any::<Vec<u8>>()), 0..3),
        ids in proptest::collection::vec((any::<[u8; 32]>(), 1u32..4), 0..4),
        subtree in any::<Option<[u8; 32]>>(),
    ) -> Node {
        let mut node = Node::new(name, kind);
        node.mode = mode;
        (node.mtime, node.atime, node.ctime) = (mtime, atime, ctime);
        (node.uid, node.gid, node.inode, node.device_id) = (uid, gid, inode, device_id);
        (node.size, node.links, node.device) = (size, links, device);
        (node.user, node.group) = (user, group);
        node.error = error.filter(|error| !error.is_empty());
        node.linktarget = linktarget;
        node.xattrs = xattrs.into_iter().map(|(name, value)| Xattr { name: name.into_bytes(), value }).collect();
        node.content = ids.into_iter().map(|(id, count)| Run { id: Id(id), count }).collect();
        node.subtree = subtree.map(Id);
        node
    }
}

proptest! {
    #[test]
    fn any_node_comes_back(nodes in proptest::collection::btree_map(names(), nodes(), 0..4)) {
        let nodes: Vec<Node> = nodes.into_iter().map(|(name, node)| Node { name, ..node }).collect();
        let (_, json) = rebuilt(nodes.clone());
        let read: Vec<Node> = TreeReader::new(&json[..]).map(Result::unwrap).collect();
        prop_assert_eq!(&read, &nodes);
        let in_pieces = std::io::BufReader::with_capacity(7, &json[..]);
        let read: Vec<Node> = TreeReader::new(in_pieces).map(Result::unwrap).collect();
        prop_assert_eq!(&read, &nodes);
    }

    #[test]
    fn what_is_written_is_json_with_what_it_says(node in nodes()) {
        let (_, json) = rebuilt([node.clone()]);
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let value = &value["nodes"][0];
        prop_assert_eq!(unquote(value["name"].as_str().unwrap()).unwrap(), node.name);
        prop_assert_eq!(value["user"].as_str().unwrap_or_default(), node.user);
        prop_assert_eq!(value["size"].as_u64().unwrap_or_default(), node.size);
        prop_assert_eq!(value["content"].is_null(), node.kind != NodeKind::File && node.content.is_empty());
    }

    #[test]
    fn garbage_ends(json in proptest::collection::vec(proptest::sample::select(br#"{}[]",:\nodescnt0 "#.to_vec()), 0..200)) {
        let mut all = br#"{"nodes":[{"name":"a","type":"file","content":["#.to_vec();
        all.extend(json);
        prop_assert!(TreeReader::new(&all[..]).count() <= all.len());
    }
}
