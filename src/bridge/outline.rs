//! What a JSON value is made of, without what it says: the most that may be logged of an answer that is not what was
//! agreed.

use serde_json::Value;

/// How deep is looked.
const DEPTH: usize = 3;
/// How many fields of an object are named.
const FIELDS: usize = 60;
/// How long an outline may become.
const LONGEST: usize = 2000;

/// Says of what kinds a value is made.
pub(super) fn outline(value: &Value) -> String {
    let mut out = String::new();
    draw(value, DEPTH, &mut out);
    out.chars().take(LONGEST).collect()
}

fn draw(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(_) => out.push_str("bool"),
        Value::Number(_) => out.push_str("number"),
        Value::String(_) => out.push_str("string"),
        Value::Array(items) => {
            out.push_str(&format!("[{} of ", items.len()));
            match items.first().filter(|_| depth > 0) {
                Some(first) => draw(first, depth - 1, out),
                None => out.push('…'),
            }
            out.push(']');
        }
        Value::Object(_) if depth == 0 => out.push_str("{…}"),
        Value::Object(fields) => {
            out.push('{');
            for (at, (name, value)) in fields.iter().take(FIELDS).enumerate() {
                // A far side's own words may stand where a name should.
                let name = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '_'));
                out.push_str(if at > 0 { ", " } else { "" });
                out.extend(name.take(40));
                out.push_str(": ");
                draw(value, depth - 1, out);
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_outline_says_nothing_of_the_content() {
        let value = json!({"items": [{"summary": "secret", "n": 1}], "@odata.x": [], "secret words": null});
        let drawn = "{@odata.x: [0 of …], items: [1 of {n: number, summary: string}], secretwords: null}";
        assert_eq!(outline(&value), drawn);
    }
}
