// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Answers for people: a value a line, lists of alike objects as tables.

use serde_json::{Map, Value};

/// More fields than that go down, not across.
const ACROSS: usize = 10;
/// What a row is called by, and the fields that come first in a table.
const FIRST: [&str; 6] = ["name", "command", "lun", "relid", "subchannel", "state"];

/// Writes a value for people to read.
pub fn render(value: &Value) -> String {
    let mut rows = Vec::new();
    collect(value, "", &mut rows);
    let values = rows.iter().filter_map(|row| match row {
        Row::Value(name, _) => Some(name.chars().count()),
        Row::Table(..) => None,
    });
    let width = values.max().unwrap_or(0);
    let mut out = String::new();
    for row in &rows {
        match row {
            Row::Value(name, text) if name.is_empty() => push(&mut out, text),
            Row::Value(name, text) => push(&mut out, &format!("{name:width$}  {text}")),
            Row::Table(name, lines) => {
                if !name.is_empty() {
                    push(&mut out, &format!("{name}:"));
                }
                align(&mut out, lines);
            }
        }
    }
    out
}

enum Row {
    Value(String, String),
    /// Cells of each line, the heads in the first.
    Table(String, Vec<Vec<String>>),
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn below(name: &str, key: &str) -> String {
    if name.is_empty() {
        key.to_owned()
    } else {
        format!("{name}.{key}")
    }
}

fn collect(value: &Value, name: &str, rows: &mut Vec<Row>) {
    match value {
        Value::Object(map) if map.is_empty() && name.is_empty() => {}
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                collect(value, &below(name, key), rows);
            }
        }
        Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_object) => {
            let flat: Option<Vec<Fields>> = list.iter().map(flatten).collect();
            match flat {
                Some(flat) => rows.push(Row::Table(name.to_owned(), table(&flat))),
                // Lists within: one after the other, by name or number.
                None => {
                    for (at, element) in list.iter().enumerate() {
                        let own = element.get("name").and_then(Value::as_str);
                        let key = own.map_or_else(|| at.to_string(), str::to_owned);
                        collect(element, &below(name, &key), rows);
                    }
                }
            }
        }
        other => rows.push(Row::Value(name.to_owned(), cell(other))),
    }
}

type Fields = Vec<(String, String)>;

/// All values of an object with their names; none when there are lists of objects in it.
fn flatten(value: &Value) -> Option<Fields> {
    fn walk(map: &Map<String, Value>, name: &str, into: &mut Fields) -> Option<()> {
        for (key, value) in map {
            let name = below(name, key);
            match value {
                Value::Object(map) if !map.is_empty() => walk(map, &name, into)?,
                Value::Array(list) if list.iter().any(Value::is_object) => return None,
                other => into.push((name, cell(other))),
            }
        }
        Some(())
    }
    let mut fields = Fields::new();
    walk(value.as_object()?, "", &mut fields)?;
    Some(fields)
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
        Value::Number(number) if number.is_f64() => {
            format!("{:.3}", number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    }
}

/// Lines of cells: a line for each object, or for each field when there are many.
fn table(objects: &[Fields]) -> Vec<Vec<String>> {
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in objects.iter().flatten() {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    columns.sort_by_key(|name| FIRST.iter().position(|first| first == name).unwrap_or(9));
    let value = |object: &Fields, column: &str| {
        let found = object.iter().find(|(name, _)| name == column);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    if columns.len() > ACROSS {
        let down = columns.iter().map(|column| {
            let values = objects.iter().map(|object| value(object, column));
            std::iter::once((*column).to_owned())
                .chain(values)
                .collect()
        });
        return down.collect();
    }
    let heads = columns.iter().map(|name| (*name).to_owned()).collect();
    let rows = objects
        .iter()
        .map(|object| columns.iter().map(|name| value(object, name)).collect());
    std::iter::once(heads).chain(rows).collect()
}

fn align(out: &mut String, lines: &[Vec<String>]) {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        push(out, &cells.join("  "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_lines() {
        let text = render(&json!({
            "machine": {"exits": {"hlt": 7, "io": 12}},
            "up": true, "who": null, "ids": [1, 2], "t": 0.12345,
        }));
        assert_eq!(
            text,
            "ids                1 2\n\
             machine.exits.hlt  7\n\
             machine.exits.io   12\n\
             t                  0.123\n\
             up                 true\n\
             who                -\n"
        );
        assert_eq!(render(&json!({})), "");
        assert_eq!(render(&json!("word")), "word\n");
    }

    #[test]
    fn alike_objects_are_a_table() {
        let text = render(&json!({"devices": [
            {"class": "b", "name": "scsi0", "state": "open", "exits": {"io": 1}},
            {"class": "a", "name": "heartbeat"},
        ]}));
        assert_eq!(
            text,
            "devices:\n\
             name       state  class  exits.io\n\
             scsi0      open   b      1\n\
             heartbeat         a\n"
        );
    }

    #[test]
    fn many_fields_go_down() {
        let object = |n: u32| {
            let fields = ('a'..='l').map(|c| (c.to_string(), json!(n)));
            Value::Object(fields.collect())
        };
        let text = render(&json!([object(1), object(22)]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 12);
        assert_eq!(lines.first(), Some(&"a  1  22"));
    }

    #[test]
    fn lists_in_lists_are_taken_apart() {
        let text = render(&json!({"devices": [
            {"name": "scsi0", "channels": [{"relid": 1, "full": 0}, {"relid": 2, "full": 3}]},
            {"name": "net0", "channels": []},
        ]}));
        assert_eq!(
            text,
            "devices.scsi0.channels:\n\
             relid  full\n\
             1      0\n\
             2      3\n\
             devices.scsi0.name     scsi0\n\
             devices.net0.channels\n\
             devices.net0.name      net0\n"
        );
    }
}
