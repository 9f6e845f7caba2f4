// SPDX-License-Identifier: GPL-2.0 OR MIT
//! vmlab: boots the guests of the test lab and runs suites in them.
//!
//! One static program with two places of work. Where /dev/kvm offers Hyper-V's SynIC it starts
//! the guests itself ("direct"). Elsewhere it starts one emulated machine, L1, copies itself into
//! that machine's initial RAM disk and does the same work there under L1's own KVM ("nested").
//! Both ways end in the same stream of [`event::Event`]s, so scenarios, guest scripts and reports
//! do not know the difference.

#![forbid(unsafe_code)]

mod accel;
mod control;
mod cpio;
mod cpu;
mod emulator;
mod event;
mod files;
mod guest;
mod hvhost;
mod job;
mod kvm_stats;
mod lines;
mod nest;
mod net;
mod plan;
mod process;
mod qemu;
mod qmp;
mod release;
mod report;
mod rounds;
mod shell;
mod stop;
mod suite;
mod tree;
mod turns;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::accel::Accel;
use crate::event::Sink;
use crate::job::Job;
use crate::plan::{Stack, Suite};
use crate::release::Release;

/// Command line of the lab's runner; the scripts in tools/lab call it.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say how guests will be run on this machine, and why.
    Accel {
        /// Override the choice.
        #[arg(long, env = "LAB_ACCEL", default_value = "auto")]
        accel: accel::Wish,
    },
    /// Write a cpio image from a list of files; print the image's path.
    Image(cpio::ImageArgs),
    /// Boot the guests of a suite, run its cases, report.
    Run(RunArgs),
    /// Boot one guest with its console on this terminal.
    Shell(RunArgs),
    /// Inside L1: carry out a job and send its events to a port.
    #[command(hide = true)]
    Inner {
        /// The job, as JSON.
        job: PathBuf,
        /// Where the events go: the virtio port to the outer runner.
        #[arg(long)]
        out: PathBuf,
    },
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Test Anything Protocol, version 13.
    Tap,
    /// What the guest says, with the steps of the lab before it.
    Plain,
}

/// What a run needs to know; every path is of the machine this is called on.
#[derive(Args)]
struct RunArgs {
    /// Suite file (tests/scenarios/*.json).
    #[arg(long)]
    suite: PathBuf,
    /// Only these cases, comma separated.
    #[arg(long, env = "TEST", value_delimiter = ',')]
    test: Vec<String>,
    /// Another number of rounds than the suite has, which must have one.
    #[arg(long)]
    rounds: Option<u32>,
    /// Whose drivers the guests use.
    #[arg(long, env = "STACK", default_value = "rust")]
    stack: Stack,
    /// The kernel is the debug kernel: scenarios that differ there do.
    #[arg(long)]
    debug: bool,
    /// Override the choice of acceleration.
    #[arg(long, env = "LAB_ACCEL", default_value = "auto")]
    accel: accel::Wish,
    /// Run what takes long, too.
    #[arg(long)]
    full: bool,
    /// Root of the tree that has QEMU (11.1 or newer), the other programs and their libraries.
    #[arg(long)]
    root: PathBuf,
    /// Directory with hvhost and hvctl, static binaries.
    #[arg(long)]
    hvhost: Option<PathBuf>,
    /// Kernel of the guests.
    #[arg(long)]
    kernel: PathBuf,
    /// What `uname -r` says in it.
    #[arg(long)]
    release: Release,
    /// Initial RAM disk parts by name, NAME=PATH; `base` is always used.
    #[arg(long = "image", value_parser = parse_image)]
    images: Vec<(String, PathBuf)>,
    /// Kernel of L1; nested only.
    #[arg(long)]
    l1_kernel: Option<PathBuf>,
    /// Initial RAM disk parts of L1; nested only.
    #[arg(long = "l1-image")]
    l1_images: Vec<PathBuf>,
    /// Where logs are kept; made if needed.
    #[arg(long)]
    logs: PathBuf,
    /// Labs side by side (each takes one CPU when nested).
    #[arg(long, env = "LAB_JOBS", default_value_t = 1)]
    jobs: usize,
    /// Multiplies every time-out, for slow machines and debug kernels.
    #[arg(long, env = "LAB_TIMEOUT_SCALE", default_value_t = 1.0)]
    timeout_scale: f64,
    /// How to print.
    #[arg(long, default_value = "tap")]
    format: Format,
}

/// Splits `NAME=PATH`.
fn parse_image(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(path)))
        }
        _ => Err(format!("`{text}` is not NAME=PATH")),
    }
}

impl RunArgs {
    /// Reads the suite and makes the job that a runner anywhere can carry out.
    fn job(&self, choice: &accel::Choice) -> Result<Job> {
        let suite = Suite::read(&self.suite)?;
        let suite = suite.select(&self.test)?.in_rounds(self.rounds)?;
        let mut job = Job {
            suite,
            stack: self.stack,
            debug: self.debug,
            full: self.full,
            root: self.root.clone(),
            hvhost: self.hvhost.clone(),
            kernel: self.kernel.clone(),
            release: self.release,
            images: self.images.iter().cloned().collect(),
            acceleration: choice.to_string(),
            timeout_scale: self.timeout_scale,
            interactive: false,
        };
        job.fit_kernel();
        job.check_images()?;
        Ok(job)
    }

    /// What only the nested way needs.
    fn l1(&self) -> Result<nest::L1> {
        Ok(nest::L1 {
            root: self.root.clone(),
            kernel: self
                .l1_kernel
                .clone()
                .context("the nested set-up needs --l1-kernel")?,
            images: self.l1_images.clone(),
            logs: self.logs.clone(),
        })
    }
}

/// What has to be done before the first thread is started.
fn begin(choice: &accel::Choice, job: &Job) -> Result<()> {
    // L1 has no network that anything could reach by accident.
    if choice.accel == Accel::Direct && job.needs_network() {
        net::enter()?;
    }
    stop::install()
}

/// Runs a suite and prints it; true when nothing failed.
fn run(args: &RunArgs) -> Result<bool> {
    let choice = accel::choose(args.accel);
    let job = args.job(&choice)?;
    begin(&choice, &job)?;
    std::fs::create_dir_all(&args.logs)
        .with_context(|| format!("cannot make {}", args.logs.display()))?;
    let printer = report::Printer::new(&job, args.format == Format::Plain, &args.logs);
    printer.start(&choice)?;
    match choice.accel {
        Accel::Direct => suite::run(&job, &args.logs.join("work"), &printer)?,
        Accel::Nested => nest::run(&args.l1()?, &job, args.jobs.max(1), &printer)?,
    }
    printer.finish()
}

/// Carries out a job inside L1.
fn inner(job: &std::path::Path, out: &std::path::Path) -> Result<()> {
    let text =
        std::fs::read_to_string(job).with_context(|| format!("cannot read {}", job.display()))?;
    let job: Job = serde_json::from_str(&text).context("the job is not what this runner writes")?;
    let work = PathBuf::from("/run/vmlab");
    stop::install()?;
    if job.interactive {
        return shell::run_on_port(&job, &work, out);
    }
    let port = event::Port::open(out)?;
    suite::run(&job, &work, &port)?;
    port.send(event::Event::Done)
}

fn dispatch() -> Result<bool> {
    let cli = Cli::parse();
    match cli.command {
        Command::Accel { accel } => {
            let choice = accel::choose(accel);
            println!("{choice}");
            Ok(true)
        }
        Command::Image(args) => {
            println!("{}", cpio::build(&args)?.display());
            Ok(true)
        }
        Command::Run(args) => run(&args),
        Command::Shell(args) => {
            let choice = accel::choose(args.accel);
            eprintln!("acceleration: {choice}");
            std::fs::create_dir_all(&args.logs)
                .with_context(|| format!("cannot make {}", args.logs.display()))?;
            let mut job = args.job(&choice)?;
            job.interactive = true;
            begin(&choice, &job)?;
            match choice.accel {
                Accel::Direct => shell::run_on_terminal(&job, &args.logs.join("work"))?,
                Accel::Nested => nest::shell(&args.l1()?, &job)?,
            }
            Ok(true)
        }
        Command::Inner { job, out } => inner(&job, &out).map(|()| true),
    }
}

fn main() -> ExitCode {
    match dispatch() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vmlab: {error:#}");
            ExitCode::from(2)
        }
    }
}
