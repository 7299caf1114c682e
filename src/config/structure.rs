//! Holds a file against the schema: keys that do not exist, keys that are missing, types, bounds, closed vocabularies.
//!
//! Serde stops at the first of these, lists all that it would have taken, and repeats the value, which may be a secret
//! where a reference to one belongs. This finds all of them, each with its place and the nearest right word, and repeats
//! only keys, words and numbers. The content of texts (a span, a size) is left to serde.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::complaint::{Finding, nearest, quoted, suggest};
use super::places::{Places, describe, join, owner};

/// All that is wrong with the shape of a file.
pub(super) fn check(schema: &Value, root: &DeTable<'_>, places: &Places) -> Vec<Finding> {
    let mut check = Structure { schema, places, findings: Vec::new() };
    check.table("", root, schema);
    check.findings
}

/// How the value at a path is to be written.
pub(super) fn advice(schema: &Value, path: &str) -> String {
    let mut node = schema;
    for key in path.split('.') {
        node = resolve(schema, node);
        node = match (node["properties"].get(key), &node["additionalProperties"], &node["items"]) {
            (Some(property), _, _) => property,
            (None, map @ Value::Object(_), _) => map,
            (None, _, items) => items,
        };
    }
    let node = resolve(schema, node);
    if let Some(example) = node["examples"].get(0) {
        return format!("write it like {example}");
    }
    let mut known = words(node);
    if let Some(first) = known.next() {
        return format!("use one of {}", quoted(std::iter::once(first).chain(known)));
    }
    match node["type"].as_str() {
        Some("string") => "write a text in quotes".to_owned(),
        Some("integer") => "write a whole number".to_owned(),
        Some("boolean") => "write true or false".to_owned(),
        Some("array") => "write a list: [ ... ]".to_owned(),
        _ => match &node["properties"] {
            Value::Object(keys) => format!("write a table with {}", quoted(keys.keys().map(String::as_str))),
            _ => "write a table: { ... }".to_owned(),
        },
    }
}

/// The type of a value: in the schema's words, and in ours.
fn type_of(value: &DeValue<'_>) -> (&'static str, &'static str) {
    match value {
        DeValue::String(_) => ("string", "a text"),
        DeValue::Integer(_) => ("integer", "a whole number"),
        DeValue::Float(_) => ("number", "a fraction"),
        DeValue::Boolean(_) => ("boolean", "true or false"),
        DeValue::Datetime(_) => ("date", "a date or time"),
        DeValue::Array(_) => ("array", "a list"),
        DeValue::Table(_) => ("object", "a table"),
    }
}

fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    let name = node["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"));
    name.map_or(node, |name| &root["$defs"][name])
}

/// The words that a text may be, where they are a closed list.
fn words(node: &Value) -> impl Iterator<Item = &str> {
    let list = |key: &str| node[key].as_array().map(Vec::as_slice).unwrap_or_default().iter();
    list("enum").chain(list("oneOf").map(|choice| &choice["const"])).filter_map(Value::as_str)
}

fn listed<'a>(node: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    node[key].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str)
}

struct Structure<'a> {
    schema: &'a Value,
    places: &'a Places,
    findings: Vec<Finding>,
}

impl Structure<'_> {
    fn add(&mut self, path: &str, what: String, fix: String) {
        self.findings.push(Finding::error(self.places.find(path), what, fix));
    }

    fn value(&mut self, path: &str, value: &Spanned<DeValue<'_>>, node: &Value) {
        let node = resolve(self.schema, node);
        let (name, noun) = type_of(value.get_ref());
        // A closed list of documented words has no type of its own; they are all texts.
        let is_word = node["oneOf"].is_array() && name == "string";
        let is_typed = node["type"].as_str() == Some(name) || listed(node, "type").any(|allowed| allowed == name);
        if !is_word && !is_typed {
            let what = format!("{} cannot be {noun}", describe(path));
            self.add(path, what, advice(self.schema, path));
            return;
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(path, table, node),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(&join(path, &index.to_string()), item, &node["items"]);
                }
            }
            DeValue::String(text) if words(node).next().is_some() && words(node).all(|word| word != text) => {
                let what = format!("unknown word `{text}` for {}", describe(path));
                self.add(path, what, suggest(text, words(node), "remove it"));
            }
            DeValue::Integer(number) => {
                let Ok(number) = i64::from_str_radix(number.as_str(), number.radix()) else { return };
                let (least, most) = (node["minimum"].as_i64(), node["maximum"].as_i64());
                if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
                    let least = least.unwrap_or(i64::MIN);
                    let fix =
                        most.map_or_else(|| format!("use {least} or more"), |most| format!("use {least} to {most}"));
                    self.add(path, format!("{} cannot be {number}", describe(path)), fix);
                }
            }
            DeValue::String(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>, node: &Value) {
        let Some(properties) = node["properties"].as_object() else {
            if node["additionalProperties"].is_object() {
                for (name, value) in table {
                    self.value(&join(path, name.get_ref()), value, &node["additionalProperties"]);
                }
            }
            return;
        };
        let kind = table.get("kind").and_then(|kind| kind.get_ref().as_str());
        if let Some(kind) = kind.filter(|kind| listed(node, "x-later-kind").any(|later| later == *kind)) {
            let known = quoted(words(resolve(self.schema, &properties["kind"])));
            let what = format!("kind `{kind}` of {} is not supported by this version", describe(path));
            self.add(&join(path, "kind"), what, format!("use one of {known}"));
            return;
        }
        for (key, value) in table {
            let key_path = join(path, key.get_ref());
            match properties.get(key.get_ref().as_ref()) {
                Some(property) => self.value(&key_path, value, property),
                None if listed(node, "x-later").any(|later| later == key.get_ref()) => {
                    let what = format!("key `{}`{} is not supported by this version", key.get_ref(), owner(path));
                    self.add(&key_path, what, "remove it".to_owned());
                }
                None => {
                    let what = format!("unknown key `{}`{}", key.get_ref(), owner(path));
                    let unused = properties.keys().map(String::as_str).filter(|known| !table.contains_key(*known));
                    let unused: Vec<_> = unused.collect();
                    // A key that is there already was hardly meant a second time, unless nothing else is near.
                    let all = properties.keys().map(String::as_str);
                    let near = nearest(key.get_ref(), unused.iter().copied()).or_else(|| nearest(key.get_ref(), all));
                    let known = near.map_or(unused, |near| vec![near]);
                    self.add(&key_path, what, suggest(key.get_ref(), known, "remove it"));
                }
            }
        }
        for missing in listed(node, "required").filter(|key| !table.contains_key(*key)) {
            let meaning = properties.get(missing).and_then(|property| property["description"].as_str());
            let meaning = meaning.and_then(|text| text.split('\n').next()).map(|text| text.trim_end_matches('.'));
            let fix = meaning.map_or_else(|| format!("add `{missing}`"), |text| format!("add `{missing}` ({text})"));
            self.add(path, format!("{} has no `{missing}`", describe(path)), fix);
        }
    }
}
