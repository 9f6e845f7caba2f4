// SPDX-License-Identifier: GPL-2.0 OR MIT
//! hvhost's main program: see `hvhost --help`.

use std::process::ExitCode;

use hvhost::args::{Args, Refused};
use hvhost::launch::{self, Ending, NOT_STARTED, USAGE};

fn main() -> ExitCode {
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(Refused::Help(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Refused::Usage(line)) => {
            eprintln!("hvhost: {line} (see: hvhost --help)");
            return ExitCode::from(USAGE);
        }
    };
    launch::end_with_vital_threads();
    let ending = match launch::run(&args) {
        Ok(ending) => ending,
        Err(error) => {
            eprintln!("hvhost: {}", line(&error));
            return ExitCode::from(NOT_STARTED);
        }
    };
    if ending == Ending::Restart {
        let error = launch::restart();
        eprintln!("hvhost: {}", line(&error));
        return ExitCode::from(Ending::Failed.status());
    }
    ExitCode::from(ending.status())
}

/// An error with its causes, in one line whatever they are made of.
fn line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // Some errors say what caused them, too.
        if line.ends_with(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}
