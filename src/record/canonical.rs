//! One text for one value: JSON with sorted keys, no spaces and no floating-point numbers.
//!
//! What is signed and chained is this text. It is stored as it was signed, so that a reader checks bytes and never has to
//! write them again.

use serde::Serialize;
use serde_json::Value;

/// The value has no canonical text.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// It is no JSON.
    #[error("write it as JSON")]
    Json(#[source] serde_json::Error),
    /// It holds a number that is not an integer.
    #[error("write {0} without a floating-point number")]
    Float(String),
}

/// The canonical text of a value.
pub fn canonical<T: Serialize>(value: &T) -> Result<String, CanonicalError> {
    let value = serde_json::to_value(value).map_err(CanonicalError::Json)?;
    let mut out = String::new();
    write(&value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut String) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) if number.is_f64() => return Err(CanonicalError::Float(number.to_string())),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => out.push_str(&quoted(text)?),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (n, (key, value)) in entries.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&quoted(key)?);
                out.push(':');
                write(value, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn quoted(text: &str) -> Result<String, CanonicalError> {
    serde_json::to_string(text).map_err(CanonicalError::Json)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth_and_nothing_is_spaced() {
        let text = canonical(&json!({"b": [1, {"z": null, "a": true}], "a": "x\"\n", "é": -7})).expect("canonical");
        assert_eq!(text, "{\"a\":\"x\\\"\\n\",\"b\":[1,{\"a\":true,\"z\":null}],\"é\":-7}");
    }

    #[test]
    fn a_floating_point_number_is_refused() {
        assert!(matches!(canonical(&json!({"a": 1.5})), Err(CanonicalError::Float(_))));
        assert!(canonical(&json!({"a": u64::MAX})).is_ok());
    }
}
