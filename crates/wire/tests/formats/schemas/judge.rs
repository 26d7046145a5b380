//! Whether a value is as a schema says: the keywords that our schemas use, and no others.

use giliran_wire::{Date, Timestamp};
use regex::Regex;
use serde_json::{Map, Value};

/// Says nothing of a value.
const REMARKS: [&str; 6] = ["$schema", "$id", "title", "description", "default", "examples"];

/// True if the value is as the schema says. Panics at a keyword that is not known here:
/// what is not judged would look as if it held.
pub(super) fn fits(schema: &Value, value: &Value) -> bool {
    let Value::Object(keywords) = schema else { panic!("no schema: {schema}") };
    keywords.iter().all(|(keyword, says)| {
        REMARKS.contains(&keyword.as_str()) || holds(keywords, keyword, says, value)
    })
}

fn holds(schema: &Map<String, Value>, keyword: &str, says: &Value, value: &Value) -> bool {
    let all = |says: &Value| says.as_array().cloned().unwrap_or_default();
    match keyword {
        "type" => is_of_type(says.as_str().unwrap_or_default(), value),
        "enum" => all(says).contains(value),
        "const" => says == value,
        "anyOf" => all(says).iter().any(|schema| fits(schema, value)),
        "oneOf" => all(says).iter().filter(|schema| fits(schema, value)).count() == 1,
        "properties" | "additionalProperties" | "required" | "propertyNames" => {
            let Some(object) = value.as_object() else { return true };
            of_object(schema, keyword, says, object)
        }
        "items" | "minItems" | "maxItems" | "uniqueItems" => {
            let Some(items) = value.as_array() else { return true };
            match keyword {
                "items" => items.iter().all(|item| fits(says, item)),
                "minItems" => items.len() as u64 >= says.as_u64().unwrap_or_default(),
                "maxItems" => items.len() as u64 <= says.as_u64().unwrap_or_default(),
                _ => (1..items.len()).all(|at| !items[..at].contains(&items[at])),
            }
        }
        "minimum" => value.as_f64().is_none_or(|number| Some(number) >= says.as_f64()),
        "maximum" => value.as_i64().is_none_or(|number| Some(number) <= says.as_i64()),
        "minLength" | "maxLength" | "pattern" | "format" => {
            let Some(text) = value.as_str() else { return true };
            of_text(keyword, says, text)
        }
        other => panic!("the keyword {other} is not judged here"),
    }
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("no type: {other}"),
    }
}

fn of_object(
    schema: &Map<String, Value>,
    keyword: &str,
    says: &Value,
    object: &Map<String, Value>,
) -> bool {
    match keyword {
        "properties" => object
            .iter()
            .all(|(name, value)| says.get(name).is_none_or(|schema| fits(schema, value))),
        "required" => {
            let names = says.as_array().cloned().unwrap_or_default();
            names.iter().all(|name| object.contains_key(name.as_str().unwrap_or_default()))
        }
        "propertyNames" => object.keys().all(|name| fits(says, &name.as_str().into())),
        _ => {
            let known = schema.get("properties");
            let others = object
                .iter()
                .filter(|(name, _)| known.is_none_or(|known| known.get(name.as_str()).is_none()));
            let mut others = others.map(|(_, value)| value);
            if *says == Value::Bool(false) {
                others.next().is_none()
            } else {
                others.all(|value| fits(says, value))
            }
        }
    }
}

fn of_text(keyword: &str, says: &Value, text: &str) -> bool {
    let (length, bound) = (text.chars().count() as u64, says.as_u64().unwrap_or_default());
    match (keyword, says.as_str().unwrap_or_default()) {
        ("minLength", _) => length >= bound,
        ("maxLength", _) => length <= bound,
        ("pattern", pattern) => Regex::new(pattern).expect("a pattern").is_match(text),
        (_, "date-time") => text.parse::<Timestamp>().is_ok(),
        (_, "date") => text.parse::<Date>().is_ok(),
        (_, other) => panic!("no format: {other}"),
    }
}
