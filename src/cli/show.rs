//! Lists for people and for programs.

use serde_json::Value;

/// Prints items as a table with these columns, or as one JSON list.
pub(super) fn list(items: &[Value], columns: &[&str], json: bool) {
    if json {
        say!("{}", serde_json::to_string_pretty(items).unwrap_or_default());
        return;
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| columns.iter().map(|column| cell(column, item.get(*column))).collect())
        .collect();
    let width = |at: usize| {
        let longest = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        longest.unwrap_or(0).max(columns.get(at).map_or(0, |column| column.len()))
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = String>| {
        let line: String = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        say!("{}", line.trim_end());
    };
    print(&mut columns.iter().map(|column| column.replace('_', " ").to_uppercase()));
    for row in rows {
        print(&mut row.into_iter());
    }
}

fn cell(column: &str, value: Option<&Value>) -> String {
    match value {
        Some(Value::Number(milliseconds)) if column == "created" => {
            let time = milliseconds.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
        }
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".into(),
        Some(Value::Bool(false) | Value::Null) | None => String::new(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| cell("", Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    }
}
