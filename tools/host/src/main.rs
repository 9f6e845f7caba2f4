// SPDX-License-Identifier: GPL-2.0 OR MIT
//! hvhost's main program: see `hvhost --help`.

use std::process::ExitCode;

use hvhost::args::{Args, Refused};

/// Wrong usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let _args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(Refused::Help(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Refused::Usage(line)) => {
            eprintln!("hvhost: {line}");
            return ExitCode::from(USAGE);
        }
    };
    ExitCode::SUCCESS
}
