// SPDX-License-Identifier: GPL-2.0 OR MIT
//! bench-table: makes tables, ratios and a plot of what guests measured, from the log of the
//! lab's runner. Cases say `bench ROW/GROUP VALUE UNIT` (`tests/guest/cases/bench_*.sh`); a scenario
//! is a column, its rounds (`"rounds"` of the suite) are what medians are taken of.

#![forbid(unsafe_code)]

mod log;
mod plot;
mod report;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::log::Log;
use crate::report::{Named, Report};

/// Prints tables of a log: medians of its rounds, and ratios.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    /// What the runner printed.
    log: PathBuf,
    /// A scenario and what people read for it, NAME=LABEL; columns in this order.
    #[arg(long = "column", required = true, value_parser = Named::parse)]
    columns: Vec<Named>,
    /// Two columns by their scenarios, A/B: how much the first is of the second.
    #[arg(long = "ratio")]
    ratios: Vec<String>,
    /// What people read for a group of rows, GROUP=TITLE.
    #[arg(long = "title", value_parser = Named::parse)]
    titles: Vec<Named>,
    /// Write everything there, all rounds included.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the tables there, as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Write there what is known about the run, a line `NAME: VALUE` for each.
    #[arg(long)]
    facts: Option<PathBuf>,
    /// Write a script for gnuplot there.
    #[arg(long, requires = "panels")]
    gnuplot: Option<PathBuf>,
    /// A group to plot; GROUP=log for a logarithmic scale.
    #[arg(long = "panel")]
    panels: Vec<String>,
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn run(cli: &Cli) -> Result<()> {
    let text = fs::read_to_string(&cli.log)
        .with_context(|| format!("cannot read {}", cli.log.display()))?;
    let report = Report::new(Log::parse(&text), &cli.columns, &cli.ratios, &cli.titles)
        .with_context(|| format!("in {}", cli.log.display()))?;
    if let Some(path) = &cli.json {
        let json = serde_json::to_string_pretty(&report).context("report to JSON")?;
        write(path, &(json + "\n"))?;
    }
    if let Some(path) = &cli.markdown {
        write(path, &text::markdown(&report))?;
    }
    if let Some(path) = &cli.facts {
        write(path, &report.facts.to_string())?;
    }
    if let Some(path) = &cli.gnuplot {
        write(path, &plot::script(&report, &cli.panels)?)?;
    }
    print!("{}", text::plain(&report));
    Ok(())
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-table: {error:#}");
            ExitCode::FAILURE
        }
    }
}
