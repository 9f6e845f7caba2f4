// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Disks as the command line and the control socket name them: a first word that says what it is,
//! then `,option` and `,option=value`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::size::Size;

/// What a disk's bytes are kept in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A file or block device.
    File(PathBuf),
    /// Memory of the host, all zeroes at first.
    Ram(u64),
}

/// Which controller a disk is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskPlace {
    /// A SCSI controller of this number, and a LUN; none: the next free one.
    Scsi(u8, Option<u8>),
    /// One of its own of the IDE class, with this target; none: the next free one.
    Ide(Option<u8>),
}

/// A disk: `file.img[,ro][,lun=N][,controller=N][,ide[=N]][,cdrom][,serial=S][,sector=512|4096]` or
/// `ram:256M[,...]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// What it is kept in.
    pub backing: Backing,
    /// The guest can't write to it.
    pub read_only: bool,
    /// Where it is.
    pub place: DiskPlace,
    /// It is a DVD drive with a medium.
    pub cdrom: bool,
    /// Serial number in its VPD pages.
    pub serial: Option<String>,
    /// Bytes of a logical block: 512 or 4096, 2048 for a DVD.
    pub sector: u32,
}

/// Controllers that can be had.
pub const MAX_CONTROLLERS: u8 = 16;
/// LUNs of one controller.
pub const MAX_LUNS: u8 = 64;

impl FromStr for DiskSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, options) = split(text);
        let backing = match first.strip_prefix("ram:") {
            Some(size) => Backing::Ram(size.parse::<Size>()?.0),
            None if first.is_empty() => return Err("a disk needs a file or ram:SIZE".to_owned()),
            None => Backing::File(first.into()),
        };
        let mut spec = Self {
            backing,
            read_only: false,
            place: DiskPlace::Scsi(0, None),
            cdrom: false,
            serial: None,
            sector: 0,
        };
        let (mut controller, mut lun, mut ide) = (None, None, None);
        for (name, value) in options {
            match (name, value) {
                ("ro", None) => spec.read_only = true,
                ("cdrom", None) => spec.cdrom = true,
                ("lun", Some(value)) => lun = Some(number(name, value, 0, MAX_LUNS - 1)?),
                ("controller", Some(value)) => {
                    controller = Some(number(name, value, 0, MAX_CONTROLLERS - 1)?);
                }
                ("ide", None) => ide = Some(None),
                ("ide", Some(value)) => ide = Some(Some(number(name, value, 0, u8::MAX)?)),
                ("serial", Some(value)) => {
                    let fits = (1..=32).contains(&value.len());
                    if !fits || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                        return Err(format!(
                            "serial `{value}`: 1 to 32 printable ASCII characters are wanted"
                        ));
                    }
                    spec.serial = Some(value.to_owned());
                }
                ("sector", Some("512")) => spec.sector = 512,
                ("sector", Some("4096")) => spec.sector = 4096,
                _ => return Err(unknown(name, value)),
            }
        }
        spec.place = match (ide, controller, lun) {
            (None, controller, lun) => DiskPlace::Scsi(controller.unwrap_or(0), lun),
            (Some(target), None, None) => DiskPlace::Ide(target),
            (Some(_), ..) => {
                return Err(
                    "an IDE disk has a controller of its own: no `controller`, no `lun`".into(),
                )
            }
        };
        match (spec.cdrom, spec.sector) {
            (false, 0) => spec.sector = 512,
            (false, _) => {}
            (true, 0) => {
                spec.sector = 2048;
                spec.read_only = true;
            }
            (true, _) => return Err("a DVD has blocks of 2048 bytes: no `sector`".to_owned()),
        }
        if let Backing::Ram(bytes) = spec.backing {
            if bytes == 0 || bytes % u64::from(spec.sector) != 0 {
                return Err(format!(
                    "a RAM disk of {bytes} bytes isn't a whole number of {}-byte blocks",
                    spec.sector
                ));
            }
        }
        Ok(spec)
    }
}

/// The first word, and the options after it with their values.
fn split(text: &str) -> (&str, impl Iterator<Item = (&str, Option<&str>)>) {
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or("");
    let options = parts.map(|part| match part.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (part, None),
    });
    (first, options)
}

fn number<T>(name: &str, value: &str, low: T, high: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display + Copy,
{
    value
        .parse()
        .ok()
        .filter(|number| (low..=high).contains(number))
        .ok_or_else(|| format!("{name}={value}: a number from {low} to {high} is wanted"))
}

fn unknown(name: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("a disk has no option `{name}={value}`"),
        None => format!("a disk has no option `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn disks() {
        let spec: DiskSpec = "root.img".parse().unwrap();
        assert_eq!(spec.backing, Backing::File("root.img".into()));
        assert_eq!(
            (spec.read_only, spec.place, spec.sector),
            (false, DiskPlace::Scsi(0, None), 512)
        );
        let spec: DiskSpec = "ram:256M,lun=63,controller=2,serial=A-1,sector=4096,ro"
            .parse()
            .unwrap();
        assert_eq!(spec.backing, Backing::Ram(256 << 20));
        assert_eq!(
            (spec.read_only, spec.place, spec.sector),
            (true, DiskPlace::Scsi(2, Some(63)), 4096)
        );
        assert_eq!(spec.serial.as_deref(), Some("A-1"));
        for (text, target) in [
            ("a,ide", None),
            ("a,ide=255", Some(255)),
            ("ram:1M,ide=0", Some(0)),
        ] {
            let spec: DiskSpec = text.parse().unwrap();
            assert_eq!(spec.place, DiskPlace::Ide(target), "{text}");
        }
        let spec: DiskSpec = "debian.iso,cdrom".parse().unwrap();
        assert_eq!(
            (spec.cdrom, spec.read_only, spec.sector),
            (true, true, 2048)
        );
    }

    #[test]
    fn disks_that_make_no_sense() {
        for text in [
            "",
            ",ro",
            "a,lun=64",
            "a,lun",
            "a,ro=1",
            "a,sector=1024",
            "a,cdrom,sector=512",
            "a,controller=16",
            "a,ide=256",
            "a,ide=",
            "a,ide,lun=0",
            "a,controller=0,ide",
            "a,serial=",
            "a,serial=a b",
            "a,shared",
            "ram:",
            "ram:0",
            "ram:100",
            "ram:1536,sector=4096",
        ] {
            assert!(text.parse::<DiskSpec>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in ".*") {
            let _ = text.parse::<DiskSpec>();
        }
    }
}
