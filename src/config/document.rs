//! One file: from text to raw types, or to all that is wrong with it.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use toml::de::{DeTable, Deserializer};

use super::complaint::Finding;
use super::places::{Lines, Places, describe, path_at};
use super::{raw, structure};

/// A file whose keys and types are right.
pub(super) struct Document {
    pub(super) raw: raw::File,
    pub(super) places: Places,
}

/// Reads a file's text.
pub(super) fn parse(schema: &Value, file: &Path, text: &str) -> Result<Document, Vec<Finding>> {
    let lines = Lines::new(file, text);
    let table = DeTable::parse(text).map_err(|error| {
        let place = lines.at(error.span().map_or(0, |span| span.start));
        let what = format!("this is not TOML: {}", error.message());
        vec![Finding::error(Some(place), what, "texts need quotes, and each key and table may be written once only")]
    })?;
    let places = lines.keys(table.get_ref());
    let mut findings = structure::check(schema, table.get_ref(), &places);
    if !findings.is_empty() {
        findings.sort_by_key(|finding| finding.place.as_ref().map(|place| (place.line, place.column)));
        return Err(findings);
    }
    match raw::File::deserialize(Deserializer::from(table.clone())) {
        Ok(raw) => Ok(Document { raw, places }),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            let path = path_at(table.get_ref(), offset);
            let what = format!("bad value for {}: {}", describe(&path), error.message());
            Err(vec![Finding::error(Some(lines.at(offset)), what, structure::advice(schema, &path))])
        }
    }
}
