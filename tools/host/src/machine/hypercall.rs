// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The two hypercalls that KVM leaves to us, taken apart and checked.
//!
//! Layouts and status codes: `struct hv_input_post_message`, HVCALL_* and HV_STATUS_* in
//! include/hyperv/hvgdk_mini.h.

use crate::memory::GuestMemory;

use super::synic::MESSAGE_BYTES;

const POST_MESSAGE: u16 = 0x5c;
const SIGNAL_EVENT: u16 = 0x5d;
/// Bit 16 of the input value: arguments are in registers.
const FAST: u64 = 1 << 16;
const PAGE: u64 = 4096;
/// Connection, reserved, type, size; then the payload.
const POST_HEAD_BYTES: usize = 16;
/// Message types with this bit are the hypervisor's own.
const HYPERVISOR_MESSAGE: u32 = 1 << 31;

/// HV_STATUS_*, the answer to a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Status {
    Success = 0,
    InvalidHypercallCode = 2,
    InvalidHypercallInput = 3,
    InvalidAlignment = 4,
    InvalidParameter = 5,
    InvalidConnectionId = 18,
}

/// What the guest asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// HvPostMessage.
    Post {
        connection: u32,
        message_type: u32,
        payload: Vec<u8>,
    },
    /// HvSignalEvent.
    Signal { connection: u32, flag: u16 },
}

/// Takes a hypercall apart: `input` is its input value, `parameter` the address of its arguments or,
/// when fast, they themselves.
///
/// # Errors
///
/// What to answer the guest.
pub(super) fn parse(memory: &GuestMemory, input: u64, parameter: u64) -> Result<Call, Status> {
    let fast = input & FAST != 0;
    match input as u16 {
        POST_MESSAGE if fast => Err(Status::InvalidHypercallInput),
        POST_MESSAGE => post(memory, parameter),
        SIGNAL_EVENT if fast => signal(parameter),
        SIGNAL_EVENT => {
            let mut argument = [0; 8];
            read(memory, parameter, &mut argument)?;
            signal(u64::from_le_bytes(argument))
        }
        _ => Err(Status::InvalidHypercallCode),
    }
}

fn read(memory: &GuestMemory, address: u64, to: &mut [u8]) -> Result<(), Status> {
    // Arguments are aligned to 8 bytes and never cross a page's end.
    if address % 8 != 0 || address % PAGE + to.len() as u64 > PAGE {
        return Err(Status::InvalidAlignment);
    }
    memory
        .read(address, to)
        .map_err(|_| Status::InvalidParameter)
}

fn post(memory: &GuestMemory, address: u64) -> Result<Call, Status> {
    let mut argument = [0; POST_HEAD_BYTES + MESSAGE_BYTES];
    read(memory, address, &mut argument)?;
    let word = |at: usize| -> Option<u32> {
        let bytes = argument.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let (Some(connection), Some(message_type), Some(size)) = (word(0), word(8), word(12)) else {
        return Err(Status::InvalidParameter);
    };
    if message_type & HYPERVISOR_MESSAGE != 0 {
        return Err(Status::InvalidParameter);
    }
    let payload = argument
        .get(POST_HEAD_BYTES..)
        .zip(usize::try_from(size).ok())
        .and_then(|(payload, size)| payload.get(..size))
        .ok_or(Status::InvalidParameter)?;
    Ok(Call::Post {
        connection,
        message_type,
        payload: payload.to_vec(),
    })
}

/// Connection in the low half, then the flag's number, then nothing.
fn signal(argument: u64) -> Result<Call, Status> {
    if argument >> 48 != 0 {
        return Err(Status::InvalidHypercallInput);
    }
    Ok(Call::Signal {
        connection: argument as u32,
        flag: (argument >> 32) as u16,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    fn memory() -> GuestMemory {
        GuestMemory::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 16)]).unwrap())
    }

    fn message(memory: &GuestMemory, at: u64, head: [u32; 4], payload: &[u8]) {
        let bytes: Vec<u8> = head.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.write(at, &bytes).unwrap();
        memory.write(at + 16, payload).unwrap();
    }

    #[test]
    fn a_message_is_read_once() {
        let memory = memory();
        message(&memory, 0x1000, [4, 0, 1, 3], b"abcd");
        let expected = Call::Post {
            connection: 4,
            message_type: 1,
            payload: b"abc".to_vec(),
        };
        assert_eq!(parse(&memory, 0x5c, 0x1000), Ok(expected));
    }

    #[test]
    fn bad_messages_are_refused() {
        let memory = memory();
        message(&memory, 0x1000, [4, 0, 1, 241], b"");
        assert_eq!(parse(&memory, 0x5c, 0x1000), Err(Status::InvalidParameter));
        message(&memory, 0x1000, [4, 0, 1, u32::MAX], b"");
        assert_eq!(parse(&memory, 0x5c, 0x1000), Err(Status::InvalidParameter));
        message(&memory, 0x1000, [4, 0, 0x8000_0000, 0], b"");
        assert_eq!(parse(&memory, 0x5c, 0x1000), Err(Status::InvalidParameter));
        for (address, status) in [
            (0x1004, Status::InvalidAlignment),
            (0x1f08, Status::InvalidAlignment),
            (u64::MAX, Status::InvalidAlignment),
            (!0xfff, Status::InvalidParameter),
            (1 << 16, Status::InvalidParameter),
        ] {
            assert_eq!(parse(&memory, 0x5c, address), Err(status), "{address:#x}");
        }
        assert_eq!(
            parse(&memory, 0x5c | FAST, 0),
            Err(Status::InvalidHypercallInput)
        );
        assert_eq!(parse(&memory, 0x68, 0), Err(Status::InvalidHypercallCode));
    }

    #[test]
    fn both_forms_of_an_event_are_the_same() {
        let memory = memory();
        let argument = 0x0007_0000_2005u64;
        memory.write(0x2000, &argument.to_le_bytes()).unwrap();
        let expected = Ok(Call::Signal {
            connection: 0x2005,
            flag: 7,
        });
        assert_eq!(parse(&memory, 0x5d | FAST, argument), expected);
        assert_eq!(parse(&memory, 0x5d, 0x2000), expected);
        assert_eq!(
            parse(&memory, 0x5d | FAST, 1 << 48),
            Err(Status::InvalidHypercallInput)
        );
    }

    proptest! {
        #[test]
        fn anything_has_an_answer(input: u64, parameter: u64, garbage: [u8; 32]) {
            let memory = memory();
            memory.write(0x3000, &garbage).unwrap();
            let _ = parse(&memory, input, parameter);
            for code in [0x5c, 0x5d] {
                if let Ok(Call::Post { payload, .. }) = parse(&memory, code, 0x3000) {
                    prop_assert!(payload.len() <= MESSAGE_BYTES);
                }
            }
        }
    }
}
