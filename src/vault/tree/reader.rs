//! Pulls nodes one at a time out of a tree's JSON.
//!
//! Invariant: no node leaves here whose name is not a single path component, and memory is bounded by [`Limits`] whatever
//! the input. Unknown keys and white space are skipped. A node that cannot be used is an error of its own, after which
//! the rest still comes; broken JSON ends the tree. What a name, a size or a link target means is not judged here.

use std::io::BufRead;

use super::canonical;
use super::error::TreeError;
use super::name::quote;
use super::node::Node;
use super::parse;
use super::scan::{NodeScan, ScanFault};

/// What a tree may hold. The defaults are far above what any file system has, and keep a hostile tree from taking the
/// machine's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one node's JSON besides the ids of its content.
    pub node_bytes: usize,
    /// Chunks of one file; each takes 36 bytes of memory, unless it is the same as the one before.
    pub chunks: usize,
    /// Nodes of one tree.
    pub nodes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { node_bytes: 64 << 20, chunks: 1 << 25, nodes: 1 << 26 }
    }
}

/// The nodes of a tree, from the reader of its JSON. A slice of bytes is such a reader.
#[derive(Debug)]
pub struct TreeReader<R> {
    input: R,
    limits: Limits,
    position: u64,
    state: State,
    scan: NodeScan,
    index: u64,
    greatest: Option<Vec<u8>>,
    /// A node whose place in the tree was wrong: reported, and still to be handed out.
    held: Option<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    FirstNode,
    LaterNode,
    End,
}

impl<R: BufRead> TreeReader<R> {
    /// Reads the tree that `input` holds.
    pub fn new(input: R) -> Self {
        Self::with_limits(input, Limits::default())
    }

    /// As [`TreeReader::new`], with other limits.
    pub fn with_limits(input: R, limits: Limits) -> Self {
        let scan = NodeScan::default();
        Self { input, limits, position: 0, state: State::Start, scan, index: 0, greatest: None, held: None }
    }

    /// The next node that is whole in itself.
    fn pull(&mut self) -> Result<Option<Node>, TreeError> {
        if self.state == State::Start {
            self.open()?;
        }
        if self.state == State::End {
            return Ok(None);
        }
        let byte = self.peek()?;
        match (self.state, byte) {
            (_, Some(b']')) => {
                self.state = State::End;
                self.consume(1);
                self.close()?;
                return Ok(None);
            }
            (State::FirstNode, Some(b'{')) => {}
            (State::LaterNode, Some(b',')) => {
                self.consume(1);
                if self.peek()? != Some(b'{') {
                    return self.unexpected("a node");
                }
            }
            (State::FirstNode, _) => return self.unexpected("a node or the end of the list of nodes"),
            _ => return self.unexpected("a comma or the end of the list of nodes"),
        }
        self.state = State::LaterNode;
        let index = self.index;
        if index >= self.limits.nodes {
            return Err(TreeError::TooLarge { index, of: "entries before it", limit: self.limits.nodes });
        }
        self.index += 1;
        let ahead = self.input.fill_buf().map_err(TreeError::Io)?;
        if let Some((node, taken)) = canonical::node(ahead, &self.limits) {
            self.consume(taken);
            return Ok(Some(node));
        }
        self.scan_node(index)?;
        parse::node(&self.scan.json, std::mem::take(&mut self.scan.ids), index).map(Some)
    }

    fn scan_node(&mut self, index: u64) -> Result<(), TreeError> {
        self.scan.reset();
        loop {
            let chunk = self.input.fill_buf().map_err(TreeError::Io)?;
            if chunk.is_empty() {
                return self.unexpected("the rest of a node");
            }
            let fed = chunk.len();
            match self.scan.feed(chunk, &self.limits) {
                Ok(Some(end)) => {
                    self.consume(end);
                    return Ok(());
                }
                Ok(None) => self.consume(fed),
                Err(ScanFault::TooLarge(of, limit)) => return Err(TreeError::TooLarge { index, of, limit }),
                Err(ScanFault::Ids(at, byte)) => {
                    let at = self.position + at as u64;
                    return Err(TreeError::Syntax { at, found: show(Some(byte)), wanted: "a list of ids" });
                }
            }
        }
    }

    /// Reads up to the first node.
    fn open(&mut self) -> Result<(), TreeError> {
        self.expect(b'{', "a tree")?;
        loop {
            if self.key()? == b"nodes" {
                break;
            }
            self.skip_value()?;
            self.expect(b',', "the list of nodes")?;
        }
        match self.peek()? {
            Some(b'[') => {
                self.consume(1);
                self.state = State::FirstNode;
                Ok(())
            }
            // some writers give a folder without entries no list
            Some(b'n') => {
                self.state = State::End;
                self.skip_value()?;
                self.close()
            }
            _ => self.unexpected("the list of nodes"),
        }
    }

    /// Reads from behind the list of nodes to the end of the input.
    fn close(&mut self) -> Result<(), TreeError> {
        while self.peek()? == Some(b',') {
            self.consume(1);
            self.key()?;
            self.skip_value()?;
        }
        self.expect(b'}', "the end of the tree")?;
        match self.peek()? {
            None => Ok(()),
            Some(_) => self.unexpected("the end of the input"),
        }
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Result<Vec<u8>, TreeError> {
        const LONGEST: usize = 1024;
        self.expect(b'"', "a key")?;
        let mut key = Vec::new();
        loop {
            match self.next_byte()? {
                Some(b'"') => break,
                Some(byte) if byte != b'\\' && key.len() < LONGEST => key.push(byte),
                _ => return self.unexpected("the rest of a plain key"),
            }
        }
        self.expect(b':', "a colon")?;
        Ok(key)
    }

    /// Skips a value of any shape, looking only at strings and brackets.
    fn skip_value(&mut self) -> Result<(), TreeError> {
        let mut depth = 0_u64;
        let mut any = false;
        loop {
            match self.peek()? {
                None => return self.unexpected("the rest of a value"),
                Some(b',' | b'}' | b']') if depth == 0 => {
                    return if any { Ok(()) } else { self.unexpected("a value") };
                }
                Some(b'"') => {
                    self.consume(1);
                    self.skip_string()?;
                }
                Some(byte) => {
                    self.consume(1);
                    match byte {
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                }
            }
            any = true;
        }
    }

    fn skip_string(&mut self) -> Result<(), TreeError> {
        loop {
            match self.next_byte()? {
                None => return self.unexpected("the rest of a string"),
                Some(b'"') => return Ok(()),
                Some(b'\\') => drop(self.next_byte()?),
                Some(_) => {}
            }
        }
    }

    fn expect(&mut self, byte: u8, wanted: &'static str) -> Result<(), TreeError> {
        if self.peek()? != Some(byte) {
            return self.unexpected(wanted);
        }
        self.consume(1);
        Ok(())
    }

    /// The next byte that is not white space, which stays where it is.
    fn peek(&mut self) -> Result<Option<u8>, TreeError> {
        loop {
            match self.input.fill_buf().map_err(TreeError::Io)?.first() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.consume(1),
                byte => return Ok(byte.copied()),
            }
        }
    }

    /// The next byte, white space or not.
    fn next_byte(&mut self) -> Result<Option<u8>, TreeError> {
        let byte = self.input.fill_buf().map_err(TreeError::Io)?.first().copied();
        if byte.is_some() {
            self.consume(1);
        }
        Ok(byte)
    }

    fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.position += bytes as u64;
    }

    fn unexpected<T>(&mut self, wanted: &'static str) -> Result<T, TreeError> {
        let found = show(self.input.fill_buf().map_err(TreeError::Io)?.first().copied());
        Err(TreeError::Syntax { at: self.position, found, wanted })
    }

    /// Judges the node's place by the names that came before.
    fn placed(&mut self, node: Node) -> Result<Node, TreeError> {
        let name = &node.name;
        match &mut self.greatest {
            Some(greatest) if *name == *greatest => Err(TreeError::Duplicate { name: quote(name) }),
            Some(greatest) if *name < *greatest => {
                let error = TreeError::Unordered { name: quote(name), after: quote(greatest) };
                self.held = Some(node);
                Err(error)
            }
            greatest => {
                let greatest = greatest.get_or_insert_default();
                greatest.clear();
                greatest.extend_from_slice(name);
                Ok(node)
            }
        }
    }
}

fn show(byte: Option<u8>) -> String {
    match byte {
        None => "the end of the input".to_owned(),
        Some(byte) => format!("'{}'", byte.escape_ascii()),
    }
}

impl<R: BufRead> Iterator for TreeReader<R> {
    type Item = Result<Node, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(node) = self.held.take() {
            return Some(Ok(node));
        }
        match self.pull().and_then(|node| node.map(|node| self.placed(node)).transpose()) {
            Ok(node) => node.map(Ok),
            Err(error) => {
                if error.is_final() {
                    self.state = State::End;
                }
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::vault::Id;
    use crate::vault::tree::{NameFault, NodeKind};

    fn read(json: &[u8]) -> Vec<Result<Node, TreeError>> {
        let whole: Vec<_> = TreeReader::new(json).collect();
        // one byte at a time, every state meets every border
        let bytes: Vec<_> = TreeReader::new(BufReader::with_capacity(1, json)).collect();
        let show = |items: &[Result<Node, TreeError>]| items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>();
        assert_eq!(show(&whole), show(&bytes));
        whole
    }

    fn names(json: &str) -> Vec<String> {
        read(json.as_bytes()).into_iter().map(|node| node.unwrap().display_name()).collect()
    }

    #[test]
    fn white_space_and_unknown_keys_are_skipped() {
        let json = r#" { "a": "]}\"", "b": [1, {"nodes": []}, "["], "c": null, "d": -1.5e3, "nodes" : [
            { "later": {"content": ["x"]}, "name" : "a", "type" : "file", "content" : [ ], "x": [[[]]] } ,
            { "name": "content", "type": "dir", "content": null }
        ] , "after": {} } "#;
        assert_eq!(names(json), ["a", "content"]);
        assert!(names(r#"{"nodes":null}"#).is_empty());
        assert!(names("{\"nodes\":[]}\n").is_empty());
    }

    #[test]
    fn the_content_is_read_whatever_its_spacing() {
        let (one, two) = (Id::of(b"1"), Id::of(b"2"));
        let json = format!(r#"{{"nodes":[{{"name":"f","type":"file","content": [ "{one}" , "{two}" ],"size":7}}]}}"#);
        let nodes = read(json.as_bytes());
        let node = nodes[0].as_ref().unwrap();
        assert_eq!(node.content, [one, two].into_iter().collect());
        assert_eq!(node.size, 7);
    }

    #[test]
    fn broken_trees_end_with_an_error_and_never_panic() {
        let id = Id::of(b"");
        let good = format!(r#"{{"nodes":[{{"name":"f","type":"file","content":["{id}","{id}"]}}]}}"#);
        for end in 0..good.len() {
            let items = read(&good.as_bytes()[..end]);
            let last = items.last().expect("a cut tree is not an empty one");
            assert!(last.as_ref().is_err_and(TreeError::is_final), "{end}");
        }
        for bad in [
            "[]",
            "{}",
            r#"{"nodes":{}}"#,
            r#"{"nodes":[]}x"#,
            r#"{"nodes":[,]}"#,
            r#"{"nodes":[{"name":"a","type":"dir"},]}"#,
            r#"{"nodes":[{"name":"a","type":"dir"} {"name":"b","type":"dir"}]}"#,
            r#"{"x":,"nodes":[]}"#,
            r#"{"no\u0064es":[]}"#,
            r#"{"nodes":[{"name":"a","type":"file","content":["00"]}]}"#,
            r#"{"nodes":[{"name":"a","type":"file","content":[,]}]}"#,
            r#"{"nodes":[{"name":"a","type":"file","content":[1]}]}"#,
        ] {
            assert!(read(bad.as_bytes()).last().unwrap().as_ref().is_err_and(TreeError::is_final), "{bad}");
        }
    }

    #[test]
    fn a_bad_node_does_not_hide_the_next() {
        let id = "0".repeat(64);
        let nested = "[".repeat(100_000) + &"]".repeat(100_000);
        for (bad, of) in [
            (r#"{"name":"a","type":"door"}"#.to_owned(), "Kind"),
            (r#"{"name":"a/b","type":"file"}"#.to_owned(), "Name"),
            (r#"{"name":"..","type":"dir"}"#.to_owned(), "Name"),
            (r#"{"name":"a\\x00","type":"dir"}"#.to_owned(), "Name"),
            (r#"{"name":"a\\q","type":"dir"}"#.to_owned(), "Name"),
            (r#"{"type":"dir"}"#.to_owned(), "Node"),
            (r#"{"name":"a","type":"dir","mtime":"yesterday"}"#.to_owned(), "Node"),
            (r#"{"name":"a","type":"dir","uid":-1}"#.to_owned(), "Node"),
            (r#"{"name":"a","type":"dir",}"#.to_owned(), "Node"),
            (format!(r#"{{"name":"a","type":"file","content":["{id}"],"content":["{id}"]}}"#), "Node"),
            (format!(r#"{{"name":"a","type":"file","generic_attributes":{{"x":{nested}}}}}"#), "Node"),
        ] {
            let items = read(format!(r#"{{"nodes":[{bad},{{"name":"z","type":"fifo"}}]}}"#).as_bytes());
            let error = items[0].as_ref().unwrap_err();
            assert!(format!("{error:?}").starts_with(of), "{error:?}");
            assert!(!error.is_final());
            assert_eq!(items[1].as_ref().unwrap().kind, NodeKind::Fifo);
            assert_eq!(items.len(), 2);
        }
    }

    #[test]
    fn names_out_of_place_are_reported() {
        let nodes = ["b", "a", "b", "c"].map(|name| format!(r#"{{"name":"{name}","type":"dir"}}"#)).join(",");
        let items = read(format!(r#"{{"nodes":[{nodes}]}}"#).as_bytes());
        assert!(matches!(&items[0], Ok(node) if node.name == b"b"));
        assert!(matches!(&items[1], Err(TreeError::Unordered { name, after }) if name == "a" && after == "b"));
        assert!(matches!(&items[2], Ok(node) if node.name == b"a"));
        assert!(matches!(&items[3], Err(TreeError::Duplicate { name }) if name == "b"));
        assert!(matches!(&items[4], Ok(node) if node.name == b"c"));
        assert_eq!(items.len(), 5);
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_takes_memory() {
        let limits = Limits { node_bytes: 100, chunks: 2, nodes: 3 };
        let last = |json: &str| TreeReader::with_limits(json.as_bytes(), limits.clone()).last().unwrap();
        let id = Id::of(b"");
        let ids = |count| vec![format!("\"{id}\""); count].join(",");
        let file = |ids: String| format!(r#"{{"nodes":[{{"name":"a","type":"file","content":[{ids}]}}]}}"#);
        assert!(last(&file(ids(2))).is_ok());
        assert!(matches!(last(&file(ids(3))), Err(TreeError::TooLarge { limit: 2, .. })));
        let padded = format!(r#"{{"nodes":[{{"name":"a","type":"file","user":"{}"}}]}}"#, "u".repeat(100));
        assert!(matches!(last(&padded), Err(TreeError::TooLarge { limit: 100, .. })));
        let many = ["a", "b", "c", "d"].map(|name| format!(r#"{{"name":"{name}","type":"dir"}}"#)).join(",");
        assert!(matches!(last(&format!(r#"{{"nodes":[{many}]}}"#)), Err(TreeError::TooLarge { limit: 3, .. })));
    }

    #[test]
    fn faults_of_names_are_told() {
        let items = read(br#"{"nodes":[{"name":"\u001b[2J/","type":"file"}]}"#);
        let Err(TreeError::Name { name, fault, .. }) = &items[0] else { panic!("{items:?}") };
        assert_eq!((name.as_str(), *fault), (r"\x1b[2J/", NameFault::Slash));
    }
}
