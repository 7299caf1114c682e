//! Where each key of the configuration was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::complaint::Place;

/// The place of every key, by its dotted path: `plan.orders.copies.0.vault`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// The place of a key, or of the nearest table around it that was written down.
    pub fn find(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place.clone());
            }
            path = path.rsplit_once('.')?.0;
        }
    }

    /// Adds the places of another file. Of a table that both name (`plan`), the first one stays.
    pub(super) fn merge(&mut self, other: Self) {
        for (path, place) in other.0 {
            self.0.entry(path).or_insert(place);
        }
    }
}

/// Turns offsets within one file's text into places.
pub(super) struct Lines<'a> {
    file: Arc<PathBuf>,
    text: &'a [u8],
    /// Offset of each line's first byte.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &Path, text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset + 1);
        let starts = std::iter::once(0).chain(newlines).collect();
        Self { file: Arc::new(file.to_owned()), text: text.as_bytes(), starts }
    }

    /// The place of a byte offset; one past the end is the end.
    pub(super) fn at(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).map_or(0, |index| self.starts[index]);
        // UTF-8 continuation bytes are no characters of their own.
        let column = self.text[start..offset].iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
        Place { file: self.file.clone(), line, column }
    }

    /// The places of all keys in a parsed file.
    pub(super) fn keys(&self, root: &DeTable<'_>) -> Places {
        let mut places = Places::default();
        self.table("", root, &mut places);
        places
    }

    fn table(&self, path: &str, table: &DeTable<'_>, places: &mut Places) {
        for (key, value) in table {
            let path = join(path, key.get_ref());
            places.0.insert(path.clone(), self.at(key.span().start));
            self.value(&path, value, places);
        }
    }

    fn value(&self, path: &str, value: &Spanned<DeValue<'_>>, places: &mut Places) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(path, table, places),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = join(path, &index.to_string());
                    places.0.insert(path.clone(), self.at(item.span().start));
                    self.value(&path, item, places);
                }
            }
            _ => {}
        }
    }
}

/// `a` and `b` to `a.b`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The path of the innermost value that covers an offset.
pub(super) fn path_at(root: &DeTable<'_>, offset: usize) -> String {
    fn descend(path: String, table: &DeTable<'_>, offset: usize) -> String {
        for (key, value) in table {
            let inner = join(&path, key.get_ref());
            if key.span().contains(&offset) {
                return inner;
            }
            if let Some(found) = within(inner, value, offset) {
                return found;
            }
        }
        path
    }
    fn within(path: String, value: &Spanned<DeValue<'_>>, offset: usize) -> Option<String> {
        match value.get_ref() {
            // The span of a table is its header's line, or its braces; what stands beneath the header is searched too.
            DeValue::Table(table) => {
                let found = descend(path.clone(), table, offset);
                (found != path || value.span().contains(&offset)).then_some(found)
            }
            DeValue::Array(items) => {
                let found = items
                    .iter()
                    .enumerate()
                    .find_map(|(index, item)| within(join(&path, &index.to_string()), item, offset));
                found.or_else(|| value.span().contains(&offset).then_some(path))
            }
            _ => value.span().contains(&offset).then_some(path),
        }
    }
    descend(String::new(), root, offset)
}

/// A path in words: "`objective.host` in plan `orders`", "`kind` in step 2 of runbook `files`".
pub(super) fn describe(path: &str) -> String {
    let mut parts = path.splitn(3, '.');
    let (table, name, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let (Some(name), "vault" | "plan" | "runbook" | "retention") = (name, table) else {
        return if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") };
    };
    let owner = format!("{table} `{name}`");
    let Some(rest) = rest else { return owner };
    let mut step = rest.splitn(3, '.');
    let index = step.next().filter(|first| table == "runbook" && *first == "step").and_then(|_| step.next());
    match (index.and_then(|index| index.parse::<u32>().ok()), step.next()) {
        (Some(index), None) => format!("step {} of {owner}", u64::from(index) + 1),
        (Some(index), Some(key)) => format!("`{key}` in step {} of {owner}", u64::from(index) + 1),
        (None, _) => format!("`{rest}` in {owner}"),
    }
}

/// What a key at the path would be in: " in plan `orders`", or nothing at the top.
pub(super) fn owner(path: &str) -> String {
    match path {
        "" => String::new(),
        path => format!(" in {}", describe(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[plan.orders]\nowner = \"ü\"; \nsource = { kind = 1 }\ncopies = [{ vault = \"dr\" }]\n";

    #[test]
    fn keys_are_found_by_path_and_by_offset() {
        let text = TEXT.replace(';', "");
        let table = DeTable::parse(&text).unwrap();
        let places = Lines::new(Path::new("a.toml"), &text).keys(table.get_ref());
        for (path, place) in [
            ("plan.orders", "a.toml:1:7"),
            ("plan.orders.source.kind", "a.toml:3:12"),
            ("plan.orders.copies.0.vault", "a.toml:4:13"),
            ("plan.orders.copies.0.max_lag", "a.toml:4:11"),
            ("plan.orders.objective.host.rto", "a.toml:1:7"),
        ] {
            assert_eq!(places.find(path).unwrap().to_string(), place, "{path}");
        }
        assert_eq!(places.find("vault.x"), None);
        for (needle, path) in [("1 }", "plan.orders.source.kind"), ("\"dr\"", "plan.orders.copies.0.vault")] {
            assert_eq!(path_at(table.get_ref(), text.find(needle).unwrap()), path);
        }
    }

    #[test]
    fn columns_count_characters() {
        let lines = Lines::new(Path::new("a.toml"), TEXT);
        assert_eq!(lines.at(TEXT.find(';').unwrap()).to_string(), "a.toml:2:12");
        assert_eq!(lines.at(usize::MAX).line, 5);
    }
}
