// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A plot, as a script for gnuplot with the figures in it.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::report::{Cell, Group, Report};

/// Pixels.
const WIDTH: u32 = 1100;
const PANEL: u32 = 380;
/// Told apart by people who see colours differently, too.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#999999", "#cc79a7", "#56b4e9",
];

/// Text between gnuplot's double quotes.
fn quoted(text: &str) -> String {
    let safe = |c: char| {
        if matches!(c, '"' | '\\' | '`') || c.is_control() {
            '\''
        } else {
            c
        }
    };
    format!("\"{}\"", text.chars().map(safe).collect::<String>())
}

/// `NAME` or `NAME=log`: a panel for each, one under the other.
fn panel<'a>(report: &'a Report, wish: &str) -> Result<(&'a Group, bool)> {
    let (name, scale) = wish.split_once('=').unwrap_or((wish, "linear"));
    let logarithmic = match scale {
        "linear" => false,
        "log" => true,
        _ => anyhow::bail!("`{scale}` is no scale"),
    };
    let group = report.groups.iter().find(|group| group.title.name == name);
    let group = group.with_context(|| format!("nothing to plot was measured as `{name}`"))?;
    Ok((group, logarithmic))
}

fn cell(cell: Option<&Cell>) -> String {
    match cell {
        Some(cell) => {
            let (low, high) = cell.range();
            format!("{} {low} {high}", cell.median)
        }
        None => "? ? ?".to_owned(),
    }
}

/// The script; gnuplot writes an SVG to its standard output. Bars are medians, the whiskers on
/// them reach from the least to the most of all rounds.
///
/// # Errors
///
/// When there is no such group.
pub(crate) fn script(report: &Report, panels: &[String]) -> Result<String> {
    let mut out = String::new();
    let height = PANEL * u32::try_from(panels.len()).context("too many panels")?;
    let _ = writeln!(
        out,
        "set terminal svg size {WIDTH},{height} dynamic noenhanced background \"white\" font \"sans,12\"\n\
         set datafile missing \"?\"\n\
         set style data histograms\n\
         set style histogram errorbars gap 1 linewidth 1\n\
         set style fill solid 0.9 noborder\n\
         set boxwidth 0.9\n\
         set xtics rotate by -25 nomirror\n\
         set ytics nomirror\n\
         set grid ytics\n\
         set border 3\n\
         set key top right horizontal\n\
         set multiplot layout {},1",
        panels.len()
    );
    for (number, wish) in panels.iter().enumerate() {
        let (group, logarithmic) = panel(report, wish)?;
        let _ = writeln!(out, "$panel{number} << END");
        for row in &group.rows {
            let cells: Vec<_> = row.cells.iter().map(|c| cell(c.as_ref())).collect();
            let _ = writeln!(out, "{} {}", quoted(&row.name), cells.join(" "));
        }
        let unit = group.unit().unwrap_or_default();
        let _ = writeln!(
            out,
            "END\nset title {}\nset ylabel {}",
            quoted(&group.title.label),
            quoted(unit)
        );
        // Bars need a bottom, which zero is not on a logarithmic scale.
        out.push_str(if logarithmic {
            "set logscale y\nset yrange [1:*]\n"
        } else {
            "unset logscale y\nset yrange [0:*]\n"
        });
        let bars = report.columns.iter().enumerate().map(|(i, column)| {
            let first = 2 + 3 * i;
            format!(
                "$panel{number} using {}:{}:{}:xtic(1) title {} linecolor rgb \"{}\"",
                first,
                first + 1,
                first + 2,
                quoted(&column.label),
                COLOURS[i % COLOURS.len()]
            )
        });
        let _ = writeln!(out, "plot {}", bars.collect::<Vec<_>>().join(", \\\n\t"));
    }
    out.push_str("unset multiplot\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn every_row_has_median_least_and_most_of_every_column() {
        let report = report(&["old=C \"driver\"", "new"], &[]).unwrap();
        let script = script(&report, &["iops".to_owned(), "p99=log".to_owned()]).unwrap();
        assert!(script
            .contains("\n\"4k-read\" 120 100 900 210 120 300\n\"4k-write\" 10 10 10 5 5 5\nEND\n"));
        assert!(script.contains("using 5:6:7:xtic(1) title \"new\""));
        // Nothing in a label ends the string that it is in.
        assert!(script.contains("title \"C 'driver'\""));
        assert_eq!(script.matches("\nplot ").count(), 2);
        assert_eq!(script.matches("\nset logscale y\n").count(), 1);
    }

    #[test]
    fn what_was_not_measured_is_not_plotted() {
        let report = report(&["old"], &[]).unwrap();
        for wish in ["", "ipos", "iops=square"] {
            assert!(script(&report, &[wish.to_owned()]).is_err(), "{wish}");
        }
    }

    #[test]
    fn a_missing_figure_leaves_a_gap() {
        assert_eq!(cell(None), "? ? ?");
    }
}
