// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Answers of a drive with a DVD in it that has one track of data (MMC-6).

use super::Data;
use zerocopy::big_endian::{U16, U32};
use zerocopy_derive::*;

/// Bytes of a block of data on a disc.
pub const BLOCK_BYTES: u32 = 2048;

/// Number of the lead-out in a table of contents.
const LEAD_OUT: u8 = 0xaa;
/// The track has data and a current position (ADR 1, CONTROL 4).
const DATA_TRACK: u8 = 0x14;
/// Frames of a second.
const FRAMES: u32 = 75;
/// Frames before the first block.
const PREGAP: u32 = 150;

#[derive(Clone, Copy, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawToc {
    /// Bytes behind this field.
    length: U16,
    first: u8,
    last: u8,
}

#[derive(Clone, Copy, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawTrack {
    reserved: u8,
    kind: u8,
    track: u8,
    reserved1: u8,
    start: U32,
}

fn track(track: u8, lba: u32, msf: bool) -> RawTrack {
    let start = if msf {
        let frames = lba.saturating_add(PREGAP);
        let seconds = frames / FRAMES;
        // Discs end long before 256 minutes; an image that doesn't is told to.
        let minutes = (seconds / 60).min(u8::MAX.into()) as u8;
        U32::from_bytes([0, minutes, (seconds % 60) as u8, (frames % FRAMES) as u8])
    } else {
        U32::new(lba)
    };
    RawTrack {
        reserved: 0,
        kind: DATA_TRACK,
        track,
        reserved1: 0,
        start,
    }
}

/// READ TOC, format 0: the tracks from number `from` on. `None` where there is no such track.
pub fn table_of_contents(blocks: u32, from: u8, msf: bool) -> Option<Data> {
    let head = |tracks: usize| {
        Data::of(&RawToc {
            length: U16::new((2 + tracks * size_of::<RawTrack>()) as u16),
            first: 1,
            last: 1,
        })
    };
    let lead_out = track(LEAD_OUT, blocks, msf);
    match from {
        0 | 1 => Some(head(2).with(&track(1, 0, msf)).with(&lead_out)),
        LEAD_OUT => Some(head(1).with(&lead_out)),
        _ => None,
    }
}

/// READ TOC, format 1: the only session begins with track 1.
pub fn session(msf: bool) -> Data {
    Data::of(&RawToc {
        length: U16::new((2 + size_of::<RawTrack>()) as u16),
        first: 1,
        last: 1,
    })
    .with(&track(1, 0, msf))
}

/// Bit of the class of events about the medium.
pub const EVENT_MEDIA: u8 = 0x10;
/// Number of that class.
const CLASS_MEDIA: u8 = 4;
/// No class that was asked for can be told.
const NO_EVENT_AVAILABLE: u8 = 0x80;

/// What happened to the medium since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaEvent {
    /// Somebody pressed the button.
    pub eject_request: bool,
    /// There is a new medium.
    pub new_medium: bool,
    /// There is a medium.
    pub present: bool,
}

/// GET EVENT STATUS NOTIFICATION for these classes.
pub fn event_status(classes: u8, event: MediaEvent) -> Data {
    if classes & EVENT_MEDIA == 0 {
        return Data::of(&[0, 2, NO_EVENT_AVAILABLE, EVENT_MEDIA]);
    }
    let code = match event {
        MediaEvent {
            eject_request: true,
            ..
        } => 1,
        MediaEvent {
            new_medium: true, ..
        } => 2,
        _ => 0,
    };
    let status = if event.present { 2 } else { 0 };
    Data::of(&[0, 6, CLASS_MEDIA, EVENT_MEDIA, code, status, 0, 0])
}

/// Profile of a drive with a DVD in it that can't be written.
const PROFILE_DVD_ROM: u16 = 0x10;
/// Profile of one with a CD.
const PROFILE_CD_ROM: u16 = 0x08;
/// Feature: which profiles there are.
const FEATURE_PROFILES: u16 = 0;
/// Blocks that a CD has at most; images with more are DVDs.
const CD_BLOCKS: u32 = 450_000;

/// GET CONFIGURATION: profiles only. `kind` and `feature` as in the command.
pub fn configuration(blocks: u32, kind: u8, feature: u16) -> Data {
    let dvd = blocks > CD_BLOCKS;
    let current = if dvd { PROFILE_DVD_ROM } else { PROFILE_CD_ROM };
    // All features from number 0 on include the list of profiles; one feature only if it is that.
    let with_profiles = feature == FEATURE_PROFILES && kind <= 2;
    let length: u32 = if with_profiles { 4 + 12 } else { 4 };
    let head = Data::of(&U32::new(length))
        .with(&[0u8, 0])
        .with(&U16::new(current));
    if !with_profiles {
        return head;
    }
    let profile = |profile: u16, current: bool| {
        let [high, low] = profile.to_be_bytes();
        [high, low, current.into(), 0]
    };
    // Version 0, persistent and current; two profiles follow.
    head.with(&[0u8, 0, 0x03, 8])
        .with(&profile(PROFILE_DVD_ROM, dvd))
        .with(&profile(PROFILE_CD_ROM, !dvd))
}

/// READ DISC INFORMATION: complete, one session, one track.
pub fn disc_information() -> Data {
    let mut bytes = [0u8; 34];
    bytes[1] = 32;
    // Complete disc, complete last session.
    bytes[2] = 0x0e;
    // First track; sessions; first and last track of the last session.
    bytes[3] = 1;
    bytes[4] = 1;
    bytes[5] = 1;
    bytes[6] = 1;
    // Neither lead-in of a further session nor last possible lead-out.
    for byte in bytes.iter_mut().skip(16).take(8) {
        *byte = 0xff;
    }
    Data::of(&bytes)
}
