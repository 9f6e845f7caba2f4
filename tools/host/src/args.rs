// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The command line of hvhost.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use vmbus_wire::ProtocolVersion;

pub mod size;
pub mod spec;

use crate::machine::SerialConfig;
use crate::net::NicSpec;
use size::Size;
use spec::DiskSpec;

/// Boots a Linux guest on KVM that takes this for Hyper-V: with a VMBus, synthetic disks, NICs and
/// integration services.
///
/// Exit status: 0 the guest powered off, 10 it rebooted (--on-reboot exit), 20 it panicked,
/// 30 it was ended by a signal or `quit`; 1 it could not be started, 2 wrong usage, 70 hvhost
/// itself failed.
#[derive(Clone, Debug, Parser)]
#[command(name = "hvhost", version, max_term_width = 100)]
pub struct Args {
    /// Kernel of the guest: a bzImage
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,
    /// Initial RAM disk of the guest
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Command line of the guest's kernel
    #[arg(long, value_name = "TEXT", default_value = "console=ttyS0")]
    pub cmdline: String,
    /// Virtual processors, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub cpus: u8,
    /// Memory of the guest
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub mem: Size,
    /// A disk: FILE or ram:SIZE, then ,ro ,lun=N ,controller=N ,ide[=N] ,cdrom ,serial=S
    /// ,sector=512|4096
    #[arg(long = "disk", value_name = "SPEC")]
    pub disks: Vec<DiskSpec>,
    /// A NIC: tap=NAME or peer[=echo|discard|source|sink], then ,mac=.. ,queues=N ,mtu=N ,vlan=N
    /// ,vmq
    #[arg(long = "nic", value_name = "SPEC")]
    pub nics: Vec<NicSpec>,
    /// Where to listen for commands: a Unix socket (see hvctl)
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// First serial line: stdio, null, file:PATH or unix:PATH[,log=FILE]
    #[arg(long, value_name = "WHERE", default_value = "stdio", value_parser = serial)]
    pub console: SerialConfig,
    /// Second serial line: null, file:PATH or unix:PATH[,log=FILE]
    #[arg(long, value_name = "WHERE", default_value = "null", value_parser = serial)]
    pub serial2: SerialConfig,
    /// Newest VMBus version to agree to: 2.4, 3.0, 4.0, 4.1, 5.0, 5.1, 5.2, 5.3 or 6.0
    #[arg(long, value_name = "VERSION", default_value = "6.0", value_parser = vmbus_version)]
    pub vmbus_version: ProtocolVersion,
    /// Newest NVSP version to agree to: 1, 2, 4, 5, 6 or 6.1
    #[arg(long, value_name = "VERSION", default_value = "6.1", value_parser = nvsp_version)]
    pub nvsp_version: Version,
    /// Newest storvsp version to agree to: 2.0, 4.2, 5.1, 6.0 or 6.2
    #[arg(long, value_name = "VERSION", default_value = "6.2", value_parser = storvsp_version)]
    pub storvsp_version: Version,
    /// How the synthetic timers tell that they are over
    #[arg(long, value_name = "HOW", default_value = "direct")]
    pub stimer: Stimer,
    /// Offer monitored notification (monitor pages) on the channels that may use it
    #[arg(long)]
    pub monitor: bool,
    /// Offer no integration services
    #[arg(long)]
    pub no_services: bool,
    /// What to log: error, warn, info, debug, trace, or filters such as warn,hvhost::vmbus=debug
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log: String,
    /// Log to this file instead of standard error
    #[arg(long, value_name = "PATH")]
    pub log_file: Option<PathBuf>,
    /// What to do when the guest reboots
    #[arg(long, value_name = "WHAT", default_value = "exit")]
    pub on_reboot: OnReboot,
    /// What to do when the guest panics
    #[arg(long, value_name = "WHAT", default_value = "exit")]
    pub on_panic: OnPanic,
}

impl Args {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    ///
    /// What to print and how to exit: wrong usage, or help that was asked for.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, Refused> {
        Self::try_parse_from(words).map_err(|error| {
            if error.use_stderr() {
                Refused::Usage(one_line(&error.to_string()))
            } else {
                Refused::Help(error.render().to_string())
            }
        })
    }
}

/// Why there are no arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Wrong usage, in one line.
    Usage(String),
    /// Help or version was asked for.
    Help(String),
}

/// clap's message without its colours, its usage and its hints: the first paragraph in one line.
fn one_line(message: &str) -> String {
    let first = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let line = words.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

fn serial(text: &str) -> Result<SerialConfig, String> {
    let bad = || format!("`{text}`: stdio, null, file:PATH or unix:PATH[,log=FILE] is wanted");
    let path = |path: &str| {
        let path = Some(path).filter(|path| !path.is_empty());
        path.map(PathBuf::from).ok_or_else(bad)
    };
    match text.split_once(':') {
        None if text == "stdio" => Ok(SerialConfig::Stdio),
        None if text == "null" => Ok(SerialConfig::Null),
        Some(("file", rest)) => path(rest).map(SerialConfig::File),
        Some(("unix", rest)) => {
            let (socket, log) = match rest.split_once(",log=") {
                Some((socket, log)) => (socket, Some(path(log)?)),
                None => (rest, None),
            };
            let path = path(socket)?;
            Ok(SerialConfig::Unix { path, log })
        }
        _ => Err(bad()),
    }
}

/// `--stimer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stimer {
    /// With an interrupt of their own.
    Direct,
    /// With a message to the synthetic interrupt controller.
    Message,
}

/// `--on-reboot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnReboot {
    /// End with status 10.
    Exit,
    /// Start again with the same command line; RAM disks are empty again.
    Restart,
}

/// `--on-panic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnPanic {
    /// End with status 20.
    Exit,
}

/// A version of a device's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The number before the dot.
    pub major: u16,
    /// The number after it.
    pub minor: u16,
}

const NVSP: [(u16, u16); 6] = [(1, 0), (2, 0), (4, 0), (5, 0), (6, 0), (6, 1)];
const STORVSP: [(u16, u16); 5] = [(2, 0), (4, 2), (5, 1), (6, 0), (6, 2)];

fn nvsp_version(text: &str) -> Result<Version, String> {
    version(text, &NVSP)
}

fn storvsp_version(text: &str) -> Result<Version, String> {
    version(text, &STORVSP)
}

fn vmbus_version(text: &str) -> Result<ProtocolVersion, String> {
    let known = ProtocolVersion::OFFERED.map(|version| (version.major(), version.minor()));
    version(text, &known).map(|version| ProtocolVersion::new(version.major, version.minor))
}

fn version(text: &str, known: &[(u16, u16)]) -> Result<Version, String> {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    let numbers = major.parse().ok().zip(minor.parse().ok());
    let Some((major, minor)) = numbers.filter(|numbers| known.contains(numbers)) else {
        let known: Vec<String> = known.iter().map(|(a, b)| format!("{a}.{b}")).collect();
        return Err(format!("there are {}", known.join(", ")));
    };
    Ok(Version { major, minor })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn read(words: &str) -> Result<Args, Refused> {
        Args::read(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn clap_is_content_with_the_definition() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_least_there_can_be() {
        let args = read("hvhost --kernel vmlinuz").unwrap();
        assert_eq!((args.cpus, args.mem), (1, Size(1 << 30)));
        assert_eq!(args.console, SerialConfig::Stdio);
        assert_eq!(args.vmbus_version, ProtocolVersion::V6_0);
        assert_eq!(args.nvsp_version, Version { major: 6, minor: 1 });
        assert_eq!(args.storvsp_version, Version { major: 6, minor: 2 });
        assert!(args.disks.is_empty() && args.nics.is_empty() && args.control.is_none());
    }

    #[test]
    fn everything_at_once() {
        let args = read(
            "hvhost --kernel k --initrd i --cmdline quiet --cpus 4 --mem 512M --disk a.img \
             --disk ram:64M,lun=3 --nic tap=tap0 --nic peer=sink,queues=4 --control c \
             --console unix:con,log=con.txt --serial2 file:ttyS1 --vmbus-version 2.4 \
             --nvsp-version 5 --storvsp-version 5.1 --stimer message --monitor --no-services \
             --log debug --log-file l --on-reboot restart --on-panic exit",
        )
        .unwrap();
        assert_eq!((args.disks.len(), args.nics.len()), (2, 2));
        assert_eq!(args.disks[1].place, spec::DiskPlace::Scsi(0, Some(3)));
        assert_eq!(args.nvsp_version, Version { major: 5, minor: 0 });
        assert_eq!(args.vmbus_version, ProtocolVersion::WIN8);
        assert_eq!(args.on_reboot, OnReboot::Restart);
        let SerialConfig::Unix { path, log } = args.console else {
            panic!("{:?}", args.console)
        };
        assert_eq!((path, log), ("con".into(), Some("con.txt".into())));
    }

    #[test]
    fn wrong_usage_is_one_line() {
        for words in [
            "hvhost",
            "hvhost --kernel",
            "hvhost --kernel k --cpus 9",
            "hvhost --kernel k --cpus 0",
            "hvhost --kernel k --mem lots",
            "hvhost --kernel k --disk a,b",
            "hvhost --kernel k --nic eth0",
            "hvhost --kernel k --console tcp:1",
            "hvhost --kernel k --console unix:",
            "hvhost --kernel k --vmbus-version 1.1",
            "hvhost --kernel k --nvsp-version 3",
            "hvhost --kernel k --storvsp-version 7",
            "hvhost --kernel k --frobnicate",
        ] {
            let Err(Refused::Usage(line)) = read(words) else {
                panic!("{words}")
            };
            assert!(!line.is_empty() && !line.contains('\n'), "{words}: {line}");
        }
        assert!(matches!(read("hvhost --help"), Err(Refused::Help(_))));
    }
}
