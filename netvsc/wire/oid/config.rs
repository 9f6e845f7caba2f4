// SPDX-License-Identifier: GPL-2.0 OR MIT

//! OID_GEN_RNDIS_CONFIG_PARAMETER: a setting by name, as in a driver's part of the registry. The
//! only one in use is the NIC's address (`rndis_filter_set_device_mac`,
//! `drivers/net/hyperv/rndis_filter.c`).

use super::{read, OidError};
use crate::layout::{named_numbers, part, put, wire};
use crate::EthernetAddress;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::*;

wire! {
    /// `struct rndis_config_parameter_info`; offsets count from its start.
    struct WireParameter {
        name_offset: U32,
        name_length: U32,
        value_type: U32,
        value_offset: U32,
        value_length: U32,
    } = 20;
}

named_numbers! {
    /// Type of a value (`RNDIS_CONFIG_PARAM_TYPE_*`).
    pub struct ValueType("{}");
    /// A number.
    INTEGER = 0;
    /// Text in UTF-16.
    STRING = 2;
}

/// Name of the setting that holds the NIC's address (`NWADR_STR`).
pub const NETWORK_ADDRESS: &str = "NetworkAddress";

/// Text in UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf16<'a>(&'a [U16]);

impl<'a> Utf16<'a> {
    /// The text of `bytes`; `None` for an odd number of them.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        <[U16]>::ref_from_bytes(bytes).ok().map(Self)
    }

    /// Its characters up to the first zero; what is no character comes out as U+FFFD.
    pub fn chars(&self) -> impl Iterator<Item = char> + 'a {
        let units = self.0.iter().map(|unit| unit.get());
        char::decode_utf16(units.take_while(|&unit| unit != 0))
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Whether it reads as `text`, case aside where that is ASCII.
    pub fn is(&self, text: &str) -> bool {
        let fold = |c: char| c.to_ascii_lowercase();
        self.chars().map(fold).eq(text.chars().map(fold))
    }

    /// Writes `text` to the start of `out` and returns the length in bytes; `None` where it
    /// doesn't fit. No zero follows.
    pub fn write(text: &str, out: &mut [u8]) -> Option<usize> {
        let mut rest = out;
        let mut length = 0;
        for unit in text.encode_utf16() {
            rest = put(rest, &unit.to_le_bytes())?;
            length += 2;
        }
        Some(length)
    }
}

/// A setting (`struct rndis_config_parameter_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigParameter<'a> {
    /// Its name.
    pub name: Utf16<'a>,
    /// What the value is.
    pub value_type: ValueType,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> ConfigParameter<'a> {
    /// Reads a setting.
    ///
    /// # Errors
    ///
    /// [`OidError`] says what was wrong.
    pub fn parse(info: &'a [u8]) -> Result<Self, OidError> {
        let wire: WireParameter = read(info)?;
        let inside = |name, offset: U32, length: U32| {
            part(info, offset.get(), length.get()).ok_or(OidError::OutOfBounds {
                part: name,
                offset: offset.get(),
                length: length.get(),
            })
        };
        let name = inside("name", wire.name_offset, wire.name_length)?;
        Ok(Self {
            name: Utf16::new(name).ok_or(OidError::BadField {
                field: "parameter_name_length",
                value: wire.name_length.get(),
            })?,
            value_type: ValueType(wire.value_type.get()),
            value: inside("value", wire.value_offset, wire.value_length)?,
        })
    }

    /// The NIC's address, where the setting is that: twelve hexadecimal digits, with `-` or `:`
    /// between bytes or without.
    pub fn address(&self) -> Option<EthernetAddress> {
        if !self.name.is(NETWORK_ADDRESS) || self.value_type != ValueType::STRING {
            return None;
        }
        let mut digits = Utf16::new(self.value)?
            .chars()
            .filter(|c| !matches!(c, '-' | ':'));
        let mut address = EthernetAddress::default();
        for byte in &mut address {
            let high = digits.next()?.to_digit(16)?;
            let low = digits.next()?.to_digit(16)?;
            *byte = (high << 4 | low) as u8;
        }
        digits.next().is_none().then_some(address)
    }
}

const NAME_BYTES: usize = 2 * NETWORK_ADDRESS.len();
const VALUE_BYTES: usize = 2 * 12;

/// The setting that gives the NIC the address `address`.
pub fn mac_parameter(
    address: &EthernetAddress,
) -> [u8; size_of::<WireParameter>() + NAME_BYTES + VALUE_BYTES] {
    let head = WireParameter {
        name_offset: U32::new(size_of::<WireParameter>() as u32),
        name_length: U32::new(NAME_BYTES as u32),
        value_type: U32::new(ValueType::STRING.0),
        value_offset: U32::new((size_of::<WireParameter>() + NAME_BYTES) as u32),
        value_length: U32::new(VALUE_BYTES as u32),
    };
    let digits = address
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
    let units = NETWORK_ADDRESS.chars().chain(digits);
    // All characters are ASCII.
    let text = units.flat_map(|c| (c as u16).to_le_bytes());
    let mut out = [0; size_of::<WireParameter>() + NAME_BYTES + VALUE_BYTES];
    let bytes = head.as_bytes().iter().copied().chain(text);
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = from;
    }
    out
}
