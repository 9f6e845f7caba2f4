// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a NIC needs from whatever carries its frames.
//!
//! Offloads are described as a virtio-net header describes them, because that is what a tap
//! speaks: a checksum that still has to be completed, a segment that still has to be cut.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde_json::Value;

use super::frame::Ip;
use super::scatter::View;

/// A checksum that isn't complete: its field holds the pseudo header's sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Where summing begins.
    pub start: u16,
    /// Where the field is, from there.
    pub offset: u16,
}

/// A TCP segment larger than any on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Over which IP.
    pub ip: Ip,
    /// Bytes of data in each segment.
    pub size: u16,
    /// Bytes of all headers.
    pub header: u16,
}

/// What is special about a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Its checksum must be completed.
    pub partial: Option<Partial>,
    /// Its checksum was looked at and is right.
    pub valid: bool,
    /// It must be cut; its checksum is then partial, too.
    pub gso: Option<Gso>,
}

/// Bytes of `struct virtio_net_hdr`.
pub const VNET_BYTES: usize = 10;

// include/uapi/linux/virtio_net.h
const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

impl Offload {
    /// As `struct virtio_net_hdr`, little-endian.
    pub fn encode(&self) -> [u8; VNET_BYTES] {
        let mut header = [0; VNET_BYTES];
        if self.valid {
            header[0] = F_DATA_VALID;
        }
        if let Some(partial) = self.partial {
            header[0] = F_NEEDS_CSUM;
            header[6..8].copy_from_slice(&partial.start.to_le_bytes());
            header[8..10].copy_from_slice(&partial.offset.to_le_bytes());
        }
        if let Some(gso) = self.gso {
            header[1] = match gso.ip {
                Ip::V4 => GSO_TCPV4,
                Ip::V6 => GSO_TCPV6,
            };
            header[2..4].copy_from_slice(&gso.header.to_le_bytes());
            header[4..6].copy_from_slice(&gso.size.to_le_bytes());
        }
        header
    }

    /// From `struct virtio_net_hdr`; none where it asks for what was never agreed to.
    pub fn decode(header: &[u8; VNET_BYTES]) -> Option<Self> {
        let field = |at: usize| {
            let mut bytes = [0; 2];
            bytes.copy_from_slice(&header[at..at + 2]);
            u16::from_le_bytes(bytes)
        };
        let gso = match header[1] & !GSO_ECN {
            0 => None,
            kind @ (GSO_TCPV4 | GSO_TCPV6) => Some(Gso {
                ip: if kind == GSO_TCPV4 { Ip::V4 } else { Ip::V6 },
                size: field(4),
                header: field(2),
            }),
            _ => return None,
        };
        Some(Self {
            partial: (header[0] & F_NEEDS_CSUM != 0).then(|| Partial {
                start: field(6),
                offset: field(8),
            }),
            valid: header[0] & F_DATA_VALID != 0,
            gso: gso.filter(|gso| gso.size != 0),
        })
    }
}

/// What may be left to the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Completing checksums of TCP and UDP.
    pub checksum: bool,
    /// Cutting TCP over IPv4.
    pub tso4: bool,
    /// Cutting TCP over IPv6.
    pub tso6: bool,
}

impl Capabilities {
    /// Nothing is left to it.
    pub const NONE: Self = Self {
        checksum: false,
        tso4: false,
        tso6: false,
    };
    /// Everything is.
    pub const ALL: Self = Self {
        checksum: true,
        tso4: true,
        tso6: true,
    };

    /// Whether a segment of this kind may be left to it.
    pub fn tso(&self, ip: Ip) -> bool {
        match ip {
            Ip::V4 => self.tso4,
            Ip::V6 => self.tso6,
        }
    }
}

/// A frame on its way out: its first bytes in private memory, the rest in the guest's.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'f> {
    /// What comes first; all headers when the frame has an [`Offload`].
    pub head: &'f [u8],
    /// What follows.
    pub body: View<'f>,
}

impl Frame<'_> {
    /// Bytes of the frame.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// There are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Room for a frame on its way in.
#[derive(Debug)]
pub struct Room<'r> {
    /// Where its first bytes go.
    pub head: &'r mut [u8],
    /// Where the rest goes.
    pub body: View<'r>,
}

/// A frame that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of it.
    pub bytes: usize,
    /// What is special about it.
    pub offload: Offload,
}

/// Where a NIC's frames go to and come from.
pub trait Backend: Send + Sync + 'static {
    /// What it is, for people: `tap tap0`.
    fn name(&self) -> String;

    /// How many queues bring frames; more may be opened, which only send.
    fn queues(&self) -> u16;

    /// What can be left to it of frames that the guest sends.
    fn capabilities(&self) -> Capabilities;

    /// What it may leave to the guest from now on. Frames on their way may still be as they were.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    fn set_receive(&self, wanted: Capabilities) -> io::Result<()>;

    /// The link went up or down.
    fn set_link(&self, up: bool);

    /// Opens a queue; dropping it closes it.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    fn open(&self, queue: u16) -> io::Result<Box<dyn Queue>>;

    /// Counters.
    fn stats(&self) -> Value;
}

/// One queue of a back end, used by one thread.
pub trait Queue: Send {
    /// Readable when there may be frames; none: ask [`Self::due`].
    fn file(&self) -> Option<BorrowedFd<'_>>;

    /// Without a file: how long until there are frames; none: not before something was sent.
    fn due(&self) -> Option<Duration>;

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// The frame is lost.
    fn transmit(&mut self, offload: &Offload, frame: Frame<'_>) -> io::Result<()>;

    /// The next frame, if there is one. What doesn't fit is cut off.
    ///
    /// # Errors
    ///
    /// When the system refuses; the queue brings no frames any more.
    fn receive(&mut self, room: Room<'_>) -> io::Result<Option<Received>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_travel() {
        for offload in [
            Offload::default(),
            Offload {
                valid: true,
                ..Offload::default()
            },
            Offload {
                partial: Some(Partial {
                    start: 34,
                    offset: 16,
                }),
                gso: Some(Gso {
                    ip: Ip::V6,
                    size: 1440,
                    header: 74,
                }),
                valid: false,
            },
        ] {
            assert_eq!(Offload::decode(&offload.encode()), Some(offload));
        }
        // UFO was never agreed to; a segment size of 0 is none.
        assert_eq!(Offload::decode(&[0, 3, 0, 0, 1, 0, 0, 0, 0, 0]), None);
        assert_eq!(
            Offload::decode(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            Some(Offload::default())
        );
        // As Linux writes it: TCPv4, 54 bytes of headers, 1448 of data, checksum at 34 + 16.
        let header = [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0];
        let offload = Offload::decode(&header).unwrap();
        assert_eq!(offload.gso.unwrap().size, 1448);
        assert_eq!(offload.encode(), header);
    }
}
