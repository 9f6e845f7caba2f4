// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What `--nic` says: `tap=NAME` or `peer[=echo|discard|source|sink]`, then options.
//!
//! | option | what it does |
//! |---|---|
//! | `mac=02:00:00:00:00:01` | the NIC's address; otherwise made from its number |
//! | `queues=4` | most channels, the primary one included; otherwise one for each processor, at most 8 |
//! | `mtu=9000` | the largest MTU that the guest may set; otherwise 9202, as with Hyper-V |
//! | `vlan=12` | access VLAN: tagged at the back end, untagged at the guest |
//! | `vmq` | the guest may allocate buffers for its queues (NVSP messages 120 to 124) |
//! | `section=16384` | bytes of a section of the receive buffer, if a frame needs less; otherwise as Hyper-V's switch divides it |
//! | `name=TEXT` | what the guest is told that it is called |
//! | `csum=full` | received checksums are right even where nobody has to look; see [`ChecksumPolicy`] |
//! | `rate=1000`, `size=600` | a source's frames a second and bytes of each |

use std::fmt;
use std::str::FromStr;

use super::frame::Mac;

/// Bytes of a name: what Linux keeps (`IFALIASZ`).
const MAX_NAME: usize = 255;

/// Largest number of queues: the C driver's `VRSS_CHANNEL_MAX`.
pub const MAX_QUEUES: u16 = 64;
/// Smallest frame size that a guest may configure, Ethernet header included.
pub const MIN_FRAME: u32 = 1514;
/// Largest frame size that Hyper-V's switch lets a guest configure, Ethernet header included.
pub const DEFAULT_MAX_FRAME: u32 = 9216;
/// Largest section that `section=` may ask for.
pub const MAX_SECTION: u32 = 65_536;
/// Largest frame size that `mtu=` may allow.
pub const LARGEST_FRAME: u32 = 65_535;

/// What is wrong with a NIC's specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Neither `tap=NAME` nor `peer`.
    #[error("`{0}` is no back end for a NIC: tap=NAME or peer[=echo|discard|source|sink]")]
    Backend(String),
    /// An option that doesn't exist.
    #[error("a NIC has no option `{0}`")]
    Unknown(String),
    /// An option's value can't be understood.
    #[error("`{value}` is no value for a NIC's `{option}`: {expected}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
}

/// What an internal peer does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerMode {
    /// Answers for every address: ARP, neighbour discovery, ICMP echo; sends UDP datagrams back and
    /// TCP streams, too.
    Echo,
    /// Answers like echo, but takes UDP and TCP without sending any data.
    Discard,
    /// Sends frames to the guest while the link is up, and takes what comes.
    Source,
    /// Takes everything, answers nothing.
    Sink,
}

impl PeerMode {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Discard => "discard",
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }
}

/// Where a NIC's frames go to and come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendSpec {
    /// A tap interface of this machine.
    Tap {
        /// Its name.
        name: String,
    },
    /// An internal peer.
    Peer {
        /// What it does.
        mode: PeerMode,
        /// Source: frames a second; none: as many as the guest takes.
        rate: Option<u64>,
        /// Source: bytes of a frame; none: 1514, what an MTU of 1500 allows.
        size: Option<u32>,
    },
}

/// What a NIC does about checksums of frames that have none because they never were on a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// The guest is told that it needn't look, and that the value is no good (as NDIS has it:
    /// "succeeded" with "value invalid").
    #[default]
    Vouch,
    /// The checksum is computed, for guests that look in spite of that (`ethtool -K rx off`).
    Full,
}

/// A NIC as `--nic` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicSpec {
    /// Where frames go.
    pub backend: BackendSpec,
    /// Its address; none: made from its number.
    pub mac: Option<Mac>,
    /// Most channels; none: one for each processor of the guest, at most 8.
    pub queues: Option<u16>,
    /// Largest IP packet the guest may configure; none: what Hyper-V's switch allows (9202).
    pub mtu: Option<u32>,
    /// Access VLAN: the guest sees untagged frames, the back end tagged ones.
    pub vlan: Option<u16>,
    /// Offer the guest to place frames into buffers it allocates (capability bit 0).
    pub vmq: bool,
    /// Least bytes of a section of the receive buffer; none: what a frame needs.
    pub section: Option<u32>,
    /// About checksums of received frames.
    pub checksum: ChecksumPolicy,
    /// What the guest is told that it is called; none: nothing.
    pub name: Option<String>,
}

impl NicSpec {
    /// Reads a specification.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence for whoever typed it.
    pub fn parse(spec: &str) -> Result<Self, SpecError> {
        let mut parts = spec.split(',');
        let first = parts.next().unwrap_or_default();
        let backend = match first.split_once('=') {
            Some(("tap", name)) if good_interface_name(name) => BackendSpec::Tap {
                name: name.to_owned(),
            },
            Some(("tap", name)) => {
                return Err(SpecError::Value {
                    option: "tap",
                    value: name.to_owned(),
                    expected: "an interface's name of 1 to 15 letters",
                })
            }
            Some(("peer", mode)) => BackendSpec::Peer {
                mode: peer_mode(mode)?,
                rate: None,
                size: None,
            },
            None if first == "peer" => BackendSpec::Peer {
                mode: PeerMode::Echo,
                rate: None,
                size: None,
            },
            _ => return Err(SpecError::Backend(first.to_owned())),
        };
        let mut nic = Self {
            backend,
            mac: None,
            queues: None,
            mtu: None,
            vlan: None,
            vmq: false,
            section: None,
            checksum: ChecksumPolicy::default(),
            name: None,
        };
        for part in parts {
            let (option, value) = part.split_once('=').unwrap_or((part, ""));
            nic.option(option, value)?;
        }
        Ok(nic)
    }

    fn option(&mut self, option: &str, value: &str) -> Result<(), SpecError> {
        match option {
            "mac" => {
                let mac: Mac = number("mac", value, "six bytes in hex, not a group address")?;
                if mac.is_group() || mac == Mac::ZERO {
                    return Err(SpecError::Value {
                        option: "mac",
                        value: value.to_owned(),
                        expected: "six bytes in hex, not a group address",
                    });
                }
                self.mac = Some(mac);
            }
            "queues" => self.queues = Some(within("queues", value, 1..=MAX_QUEUES, "1 to 64")?),
            "mtu" => self.mtu = Some(within("mtu", value, 1500..=65_521, "1500 to 65521")?),
            "vlan" => self.vlan = Some(within("vlan", value, 1..=4094, "1 to 4094")?),
            "vmq" if value.is_empty() => self.vmq = true,
            "section" => {
                let bytes = within("section", value, 1..=MAX_SECTION, "1 to 65536 bytes")?;
                self.section = Some(bytes);
            }
            "name" if !value.is_empty() && value.len() <= MAX_NAME => {
                self.name = Some(value.to_owned());
            }
            "name" => {
                return Err(SpecError::Value {
                    option: "name",
                    value: value.to_owned(),
                    expected: "1 to 255 bytes without a comma",
                })
            }
            "csum" => {
                self.checksum = match value {
                    "full" => ChecksumPolicy::Full,
                    "vouch" => ChecksumPolicy::Vouch,
                    _ => {
                        return Err(SpecError::Value {
                            option: "csum",
                            value: value.to_owned(),
                            expected: "vouch or full",
                        })
                    }
                }
            }
            "rate" | "size" => {
                let BackendSpec::Peer { mode, rate, size } = &mut self.backend else {
                    return Err(SpecError::Unknown(option.to_owned()));
                };
                if *mode != PeerMode::Source {
                    return Err(SpecError::Unknown(option.to_owned()));
                }
                if option == "rate" {
                    *rate = Some(within("rate", value, 1..=100_000_000, "frames a second")?);
                } else {
                    *size = Some(within("size", value, 60..=65_535, "60 to 65535 bytes")?);
                }
            }
            other => return Err(SpecError::Unknown(other.to_owned())),
        }
        Ok(())
    }

    /// Largest frame the guest may configure, Ethernet header included.
    pub fn max_frame(&self) -> u32 {
        self.mtu
            .map_or(DEFAULT_MAX_FRAME, |mtu| {
                mtu + super::frame::ETHERNET_BYTES as u32
            })
            .min(LARGEST_FRAME)
    }
}

impl FromStr for NicSpec {
    type Err = SpecError;
    fn from_str(spec: &str) -> Result<Self, SpecError> {
        Self::parse(spec)
    }
}

impl fmt::Display for NicSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backend {
            BackendSpec::Tap { name } => write!(f, "tap={name}")?,
            BackendSpec::Peer { mode, rate, size } => {
                write!(f, "peer={}", mode.name())?;
                if let Some(rate) = rate {
                    write!(f, ",rate={rate}")?;
                }
                if let Some(size) = size {
                    write!(f, ",size={size}")?;
                }
            }
        }
        if let Some(mac) = self.mac {
            write!(f, ",mac={mac}")?;
        }
        if let Some(queues) = self.queues {
            write!(f, ",queues={queues}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, ",mtu={mtu}")?;
        }
        if let Some(vlan) = self.vlan {
            write!(f, ",vlan={vlan}")?;
        }
        if self.vmq {
            f.write_str(",vmq")?;
        }
        if let Some(bytes) = self.section {
            write!(f, ",section={bytes}")?;
        }
        if self.checksum == ChecksumPolicy::Full {
            f.write_str(",csum=full")?;
        }
        if let Some(name) = &self.name {
            write!(f, ",name={name}")?;
        }
        Ok(())
    }
}

fn peer_mode(mode: &str) -> Result<PeerMode, SpecError> {
    [
        PeerMode::Echo,
        PeerMode::Discard,
        PeerMode::Source,
        PeerMode::Sink,
    ]
    .into_iter()
    .find(|known| known.name() == mode)
    .ok_or_else(|| SpecError::Value {
        option: "peer",
        value: mode.to_owned(),
        expected: "echo, discard, source or sink",
    })
}

/// As the kernel's `dev_valid_name` has it, without `%`, which would make it a pattern.
fn good_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'))
}

fn number<T: FromStr>(
    option: &'static str,
    value: &str,
    expected: &'static str,
) -> Result<T, SpecError> {
    value.parse().map_err(|_| SpecError::Value {
        option,
        value: value.to_owned(),
        expected,
    })
}

fn within<T: FromStr + PartialOrd>(
    option: &'static str,
    value: &str,
    range: std::ops::RangeInclusive<T>,
    expected: &'static str,
) -> Result<T, SpecError> {
    let got: T = number(option, value, expected)?;
    if range.contains(&got) {
        Ok(got)
    } else {
        Err(SpecError::Value {
            option,
            value: value.to_owned(),
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_are_read_and_written_back() {
        for spec in [
            "tap=tap0",
            "tap=vnet-1,mac=02:00:00:00:00:07,queues=4,mtu=9000,vlan=12,vmq",
            "peer=echo",
            "peer=source,rate=1000,size=1514",
            "peer=sink,queues=64,section=16384,csum=full",
            "tap=t0,name=Blue LAN",
        ] {
            let nic = NicSpec::parse(spec).unwrap();
            assert_eq!(nic.to_string(), spec);
        }
        assert_eq!(
            NicSpec::parse("peer").unwrap(),
            NicSpec::parse("peer=echo").unwrap()
        );
        assert_eq!(NicSpec::parse("peer").unwrap().max_frame(), 9216);
        assert_eq!(NicSpec::parse("peer,mtu=9000").unwrap().max_frame(), 9014);
        assert_eq!(NicSpec::parse("peer,mtu=60000").unwrap().max_frame(), 60014);
    }

    #[test]
    fn mistakes_are_named() {
        for (spec, part) in [
            ("", "no back end"),
            ("tap", "no back end"),
            ("tap=", "interface's name"),
            ("tap=0123456789abcdef", "interface's name"),
            ("tap=a/b", "interface's name"),
            ("tap=tap%d", "interface's name"),
            ("user", "no back end"),
            ("peer=loop", "echo, discard"),
            ("peer,queues=0", "1 to 64"),
            ("peer,queues=65", "1 to 64"),
            ("peer,queues=x", "1 to 64"),
            ("peer,mtu=1499", "1500 to"),
            ("peer,mtu=65522", "1500 to"),
            ("peer,vlan=0", "1 to 4094"),
            ("peer,vlan=4095", "1 to 4094"),
            ("peer,mac=01:00:5e:00:00:01", "group"),
            ("peer,mac=00:00:00:00:00:00", "group"),
            ("peer,mac=02:00:00:00:00", "six bytes"),
            ("peer,rate=5", "no option `rate`"),
            ("tap=t,size=60", "no option `size`"),
            ("peer,vmq=1", "no option `vmq`"),
            ("peer,csum=maybe", "vouch or full"),
            ("peer,name=", "1 to 255 bytes"),
            ("peer,section=0", "1 to 65536"),
            ("peer,section=65537", "1 to 65536"),
            ("peer,", "no option ``"),
        ] {
            let error = NicSpec::parse(spec).unwrap_err().to_string();
            assert!(error.contains(part), "{spec}: {error}");
        }
    }
}
