//! The JSON Schema of configuration files, for editors and for our own checks.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw;

/// The schema of one configuration file (JSON Schema 2020-12).
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<raw::File>().to_value();
    without_null(&mut schema);
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), Value::from("drctl configuration"));
    }
    schema
}

/// TOML has no null: what is optional is left out. Takes null out of every choice of types.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(object) => {
            object.retain(|key, value| key != "default" || !value.is_null());
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            object.values_mut().for_each(without_null);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_strict_and_without_null() {
        let schema = schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["$defs"]["Plan"]["required"], serde_json::json!(["source", "vault"]));
        assert_eq!(schema["$defs"]["Plan"]["properties"]["timeout"]["type"], "string");
        assert_eq!(schema["$defs"]["Plan"]["properties"]["schedule"]["$ref"], "#/$defs/Schedule");
        fn walk(value: &Value) {
            match value {
                Value::Null => panic!("null in the schema"),
                Value::String(text) => assert_ne!(text, "null"),
                Value::Array(items) => items.iter().for_each(walk),
                Value::Object(object) => {
                    // Of what is a table, only maps by name take any key.
                    if object.contains_key("properties") {
                        assert_eq!(object["additionalProperties"], false, "{object:?}");
                    }
                    object.values().for_each(walk);
                }
                Value::Bool(_) | Value::Number(_) => {}
            }
        }
        walk(&schema);
    }
}
