// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Answers for people: a value a line, lists of alike objects as tables.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Writes a value for people to read.
pub fn render(value: &Value) -> String {
    let mut out = String::new();
    let mut rows = Vec::new();
    collect(value, "", &mut rows);
    let width = rows.iter().map(|row| row.width()).max().unwrap_or(0);
    for row in &rows {
        match row {
            Row::Value(name, text) if name.is_empty() => push(&mut out, text),
            Row::Value(name, text) => push(&mut out, &format!("{name:width$}  {text}")),
            Row::Table(name, table) => {
                if !name.is_empty() {
                    push(&mut out, &format!("{name}:"));
                }
                out.push_str(table);
            }
        }
    }
    out
}

enum Row {
    Value(String, String),
    Table(String, String),
}

impl Row {
    fn width(&self) -> usize {
        match self {
            Self::Value(name, _) => name.chars().count(),
            Self::Table(..) => 0,
        }
    }
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn collect(value: &Value, name: &str, rows: &mut Vec<Row>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                collect(value, &name, rows);
            }
        }
        Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_object) => {
            let objects: Vec<&Map<String, Value>> =
                list.iter().filter_map(Value::as_object).collect();
            rows.push(Row::Table(name.to_owned(), table(&objects)));
        }
        Value::Object(_) if name.is_empty() => {}
        other => rows.push(Row::Value(name.to_owned(), cell(other))),
    }
}

/// A value in one word or line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let cells: Vec<String> = list.iter().map(cell).collect();
            cells.join(" ")
        }
        other => other.to_string(),
    }
}

fn table(objects: &[&Map<String, Value>]) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for object in objects {
        for key in object.keys() {
            if !columns.contains(&key.as_str()) {
                columns.push(key);
            }
        }
    }
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|name| (*name).to_owned()).collect()];
    for object in objects {
        let cells = columns.iter().map(|name| object.get(*name).map(cell));
        lines.push(cells.map(Option::unwrap_or_default).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a string doesn't fail.
            let _ = write!(text, "{cell:width$}  ");
        }
        push(&mut out, &text);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_lines() {
        let text = render(&json!({
            "machine": {"exits": {"hlt": 7, "io": 12}},
            "up": true, "who": null, "ids": [1, 2],
        }));
        assert_eq!(
            text,
            "ids                1 2\n\
             machine.exits.hlt  7\n\
             machine.exits.io   12\n\
             up                 true\n\
             who                -\n"
        );
        assert_eq!(render(&json!({})), "");
        assert_eq!(render(&json!("word")), "word\n");
    }

    #[test]
    fn alike_objects_are_a_table() {
        let text = render(&json!({"devices": [
            {"name": "scsi0", "state": "open"},
            {"name": "heartbeat", "class": "x"},
        ]}));
        assert_eq!(
            text,
            "devices:\n\
             name       state  class\n\
             scsi0      open\n\
             heartbeat         x\n"
        );
    }
}
