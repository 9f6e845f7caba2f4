// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Tables for a terminal and for Markdown.

use std::fmt::Write as _;

use crate::report::{Group, Ratio, Report};

/// What is printed where there is no figure.
const NONE: &str = "-";

/// A table of words.
struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// As many digits as say something.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn ratio(ratio: &Ratio) -> String {
    // One round has no range.
    if ratio.least == ratio.most {
        return format!("{:.2}", ratio.of_medians);
    }
    format!(
        "{:.2} ({:.2} to {:.2})",
        ratio.of_medians, ratio.least, ratio.most
    )
}

fn table(report: &Report, group: &Group) -> Table {
    let unit = group.unit();
    let labels = report.columns.iter().map(|column| column.label.clone());
    let mut head = vec!["measurement".to_owned()];
    head.extend(unit.is_none().then(|| "unit".to_owned()));
    head.extend(labels.clone());
    let labels: Vec<String> = labels.collect();
    head.extend(
        report
            .ratios
            .iter()
            .map(|&(over, under)| format!("{} / {}", labels[over], labels[under])),
    );
    let mut rows: Vec<Vec<String>> = group
        .rows
        .iter()
        .map(|row| {
            let mut words = vec![row.name.clone()];
            words.extend(unit.is_none().then(|| row.unit.clone()));
            let cells = row.cells.iter().map(|cell| match cell {
                Some(cell) => figure(cell.median),
                None => NONE.to_owned(),
            });
            words.extend(cells);
            let ratios = row.ratios.iter().map(Option::as_ref);
            words.extend(ratios.map(|r| r.map_or_else(|| NONE.to_owned(), ratio)));
            words
        })
        .collect();
    let means: Vec<_> = (0..report.ratios.len())
        .map(|pair| group.mean_ratio(pair))
        .collect();
    if group.rows.len() > 1 && means.iter().any(Option::is_some) {
        let mut words = vec!["geometric mean".to_owned()];
        words.resize(head.len() - means.len(), String::new());
        let means = means.into_iter();
        words.extend(means.map(|mean| mean.map_or_else(|| NONE.to_owned(), |m| format!("{m:.2}"))));
        rows.push(words);
    }
    let title = match (group.title.label.as_str(), unit) {
        ("", Some(unit)) => unit.to_owned(),
        (title, Some(unit)) if unit != title => format!("{title} ({unit})"),
        (title, _) => title.to_owned(),
    };
    Table { title, head, rows }
}

/// Aligned columns, for a terminal.
pub(crate) fn plain(report: &Report) -> String {
    let mut out = String::new();
    for table in report.groups.iter().map(|group| table(report, group)) {
        let all = || std::iter::once(&table.head).chain(&table.rows);
        let widths: Vec<usize> = (0..table.head.len())
            .map(|i| all().map(|row| row[i].chars().count()).max().unwrap_or(0))
            .collect();
        if !out.is_empty() {
            out.push('\n');
        }
        if !table.title.is_empty() {
            let _ = writeln!(out, "{}", table.title);
        }
        for row in all() {
            let mut line = String::new();
            for (i, (word, width)) in row.iter().zip(&widths).enumerate() {
                let _ = match i {
                    0 => write!(line, "{word:<width$}"),
                    _ => write!(line, "  {word:>width$}"),
                };
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    out
}

/// Markdown, with a heading for each table.
pub(crate) fn markdown(report: &Report) -> String {
    let mut out = String::new();
    for table in report.groups.iter().map(|group| table(report, group)) {
        let line = |row: &[String]| format!("| {} |", row.join(" | "));
        if !out.is_empty() {
            out.push('\n');
        }
        if !table.title.is_empty() {
            let _ = writeln!(out, "### {}\n", table.title);
        }
        let _ = writeln!(out, "{}", line(&table.head));
        let _ = writeln!(out, "|---|{}", "---:|".repeat(table.head.len() - 1));
        for row in &table.rows {
            let _ = writeln!(out, "{}", line(row));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn figures_have_the_digits_that_count() {
        for (value, text) in [
            (1234.56, "1235"),
            (99.96, "100.0"),
            (12.34, "12.3"),
            (0.126, "0.13"),
            (0.0, "0.00"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn a_terminal_gets_aligned_columns() {
        let report = report(&["old=C", "new=Rust"], &["new/old"]).unwrap();
        let expected = "\
I/Os a second (IOPS)
measurement        C  Rust             Rust / C
4k-read          120   210  1.75 (1.00 to 3.00)
4k-write        10.0  5.00                 0.50
geometric mean                             0.94

99th percentile (us)
measurement     C  Rust  Rust / C
4k-read      5.00  0.00      0.00
";
        assert_eq!(plain(&report), expected);
    }

    #[test]
    fn markdown_says_the_same() {
        let report = report(&["old=C", "new"], &["old/new"]).unwrap();
        let text = markdown(&report);
        let expected = "\
### I/Os a second (IOPS)

| measurement | C | new | C / new |
|---|---:|---:|---:|
| 4k-read | 120 | 210 | 0.57 (0.33 to 1.00) |
| 4k-write | 10.0 | 5.00 | 2.00 |
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("| 4k-read | 5.00 | 0.00 | - |\n"), "{text}");
    }
}
