// SPDX-License-Identifier: GPL-2.0

//! Commands on their way to the host, and what the SCSI mid-layer asks for besides.

use core::mem::MaybeUninit;

use kernel::{
    prelude::*,
    sync::{
        rcu::{self, Guard},
        Arc, ArcBorrow,
    },
};
use kernel_ext::{atomic::Relaxed, compat, cpuhp};
use scsi::{
    Busy, Command, Direction, HostByte, HostDriver, Info, Mapped, NewDevice, Outcome, Pages,
    Rejected, TimedOut,
};
use storvsc_wire::{
    srb::{SrbExtension, SrbFlags, MAX_CDB_BYTES},
    Address, DataDirection, GuestPacket, Layout, ProtocolVersion, Srb,
};
use vmbus::{Load, Reserved, SendError};
use vmbus_wire::packet::{OutPacket, PageRuns};
use zerocopy::{little_endian::U64, FromBytes, IntoBytes};

use crate::{
    controller::{Controller, Kind, State},
    module_parameters,
    port::Port,
    recover,
    stats::Unit,
    trace,
};

/// Seconds that the host is told a command may take (`storvsc_queuecommand()`).
const HOST_TIMEOUT: u32 = 60;

/// A command that is being sent.
struct Execute<'c> {
    controller: &'c Controller,
    reserved: Reserved,
    /// Number of the channel that it is sent on.
    channel: u16,
    command: Mapped<Controller>,
    bytes: storvsc_wire::OutPacket,
    sent_at: u64,
}

/// The pages of a command as the wire crate wants them.
#[derive(Debug)]
struct Runs<'p>(Pages<'p>);

impl PageRuns for Runs<'_> {
    fn pages(&self) -> usize {
        self.0.count()
    }

    fn for_each(&self, emit: &mut dyn FnMut(&[U64])) {
        self.0.for_each(|pfns| emit(wire(pfns)));
    }
}

/// Frame numbers as they travel.
#[inline]
fn wire(pfns: &mut [u64]) -> &[U64] {
    for pfn in pfns.iter_mut() {
        *pfn = pfn.to_le();
    }
    // As many bytes as are needed, and none of them out of line: it doesn't fail.
    <[U64]>::ref_from_bytes(pfns.as_bytes()).unwrap_or_default()
}

impl Load for Execute<'_> {
    #[inline]
    fn packet<R>(&self, with: impl FnOnce(&OutPacket<'_>) -> R) -> R {
        let id = self.reserved.id();
        let payload = [self.bytes.as_bytes()];
        let Some(pages) = self.command.pages() else {
            return with(&OutPacket::in_band(id, &payload).requesting_completion());
        };
        let (offset, bytes) = (pages.offset(), pages.bytes());
        let mut room = [const { MaybeUninit::uninit() }; 32];
        if let Some(pfns) = pages.few(&mut room) {
            let pfns = wire(pfns);
            return with(&OutPacket::page_list(id, offset, bytes, pfns, &payload));
        }
        let runs = Runs(pages);
        with(&OutPacket::page_runs(id, offset, bytes, &runs, &payload))
    }

    #[inline]
    fn loaded(self) {
        if let Some(unit) = self.command.device_data() {
            unit.sent_on(self.channel);
        }
        let commands = &self.controller.commands;
        let entered = commands.enter(self.reserved, self.command, self.sent_at);
        // The block layer has a number once. If it ever didn't, the second command ends here with an
        // error, and its answer will belong to nothing.
        drop(entered);
    }
}

/// The request block of a command; `None` if it can't be one.
fn request_block(controller: &Controller, command: &Info<Controller>) -> Option<Srb> {
    let given = command.cdb();
    let address = command.address();
    let mut cdb = [0; MAX_CDB_BYTES];
    cdb.get_mut(..given.len())?.copy_from_slice(given);
    let mut flags = SrbFlags::DISABLE_SYNCH_TRANSFER;
    let direction = match command.direction() {
        Direction::Out => {
            flags = flags.with(SrbFlags::DATA_OUT);
            DataDirection::Out
        }
        Direction::In => {
            flags = flags.with(SrbFlags::DATA_IN);
            DataDirection::In
        }
        Direction::None => DataDirection::None,
    };
    let mut extension = SrbExtension {
        timeout: HOST_TIMEOUT,
        ..SrbExtension::default()
    };
    if command.is_tagged() {
        flags = flags
            .with(SrbFlags::QUEUE_ACTION_ENABLE)
            .with(SrbFlags::NO_QUEUE_FREEZE);
        extension.queue_tag = SrbExtension::UNTAGGED;
        extension.queue_action = SrbExtension::SIMPLE_TAG;
    }
    extension.flags = flags;
    Some(Srb {
        address: Address {
            port: controller.host_number() as u8,
            path: u8::try_from(address.channel).ok()?,
            target: match controller.kind {
                Kind::Scsi => u8::try_from(address.target).ok()?,
                // Of the two bytes that the instance has for it, hosts look at one, if at all.
                Kind::Ide => address.target as u8,
            },
            lun: u8::try_from(address.lun).ok()?,
        },
        cdb,
        cdb_length: given.len() as u8,
        sense_length: Layout::Long.sense_bytes() as u8,
        direction,
        transfer_length: command.bytes(),
        extension,
    })
}

impl Controller {
    /// Sends a command on the CPU's port, or on another if that has no room.
    #[inline]
    fn send(
        &self,
        mut command: Mapped<Self>,
        bytes: storvsc_wire::OutPacket,
        last: bool,
    ) -> core::result::Result<(), (SendError, Mapped<Self>)> {
        let guard = Guard::new();
        let mut why = SendError::Gone;
        let ports = self.used_ports();
        let own = match ports.len() {
            0 | 1 => 0,
            _ => self
                .routes
                .get(cpuhp::current_cpu() as usize)
                .map_or(0, |route| route.load(Relaxed) as usize),
        };
        // The own port first, then those after it, around.
        let (before, from_own) = ports.split_at(own.min(ports.len()));
        for port in Iterator::chain(from_own.iter(), before) {
            let Some(port) = port.read(&guard) else {
                continue;
            };
            match self.send_on(&port, command, bytes, last) {
                Ok(()) => {
                    if !last {
                        self.batched.store(1, Relaxed);
                    } else if ports.len() > 1 && self.batched.load(Relaxed) != 0 {
                        // Earlier ones of the batch may have gone another way.
                        self.batched.store(0, Relaxed);
                        self.flush();
                    }
                    return Ok(());
                }
                Err((error, back)) => {
                    command = back;
                    if error != SendError::Gone {
                        why = error;
                    }
                    if error == SendError::TooBig {
                        break;
                    }
                }
            }
        }
        Err((why, command))
    }

    #[inline]
    fn send_on(
        &self,
        port: &Port,
        command: Mapped<Self>,
        bytes: storvsc_wire::OutPacket,
        last: bool,
    ) -> core::result::Result<(), (SendError, Mapped<Self>)> {
        let place = self.place(command.tag());
        let Some(reserved) = self.commands.reserve(place, port.number) else {
            return Err((SendError::TooBig, command));
        };
        let load = Execute {
            controller: self,
            reserved,
            channel: port.number,
            command,
            bytes,
            sent_at: self.clock.now(),
        };
        port.channel
            .send_load(load, last)
            .map_err(|(error, load)| (error, load.command))
    }

    /// Tells the host what it wasn't told of yet, on every channel: a batch may have been sent from
    /// several CPUs.
    fn flush(&self) {
        let guard = rcu::read_lock();
        for port in self
            .used_ports()
            .iter()
            .filter_map(|port| port.read(&guard))
        {
            port.channel.flush();
        }
    }
}

impl HostDriver for Controller {
    const NAME: &'static CStr = c"storvsc";

    type DeviceData = Unit;

    fn queue(
        &self,
        command: Command<Self>,
        last: bool,
    ) -> core::result::Result<(), Rejected<Self>> {
        // Ends a command that isn't sent; the others of its batch are.
        let refuse = |command: Command<Self>, host| {
            command.complete(&Outcome::failed(host));
            if last {
                self.flush();
            }
            Ok(())
        };
        if self.state() != State::Running {
            return refuse(command, HostByte::NoConnect);
        }
        let Some(srb) = request_block(self, &command) else {
            return refuse(command, HostByte::BadTarget);
        };
        let bytes = GuestPacket::ExecuteSrb(srb).encode(Layout::Long);
        trace::submit(self, &command);
        let command = match command.map() {
            Ok(command) => command,
            Err(command) => return Err(command.reject(Busy::Device)),
        };
        let (error, command) = match self.send(command, bytes, last) {
            Ok(()) => return Ok(()),
            Err(back) => back,
        };
        let command = command.unmap();
        match error {
            SendError::Full => {
                self.stats.busy.inc();
                Err(command.reject(Busy::Device))
            }
            // A request that never fits won't fit later either.
            SendError::TooBig => refuse(command, HostByte::BadTarget),
            // The channels are being closed: in a reset, for others to follow.
            SendError::Gone if self.state() == State::Running => Err(command.reject(Busy::Host)),
            SendError::Gone => refuse(command, HostByte::NoConnect),
        }
    }

    fn commit(&self, _queue: u16) {
        self.flush();
    }

    fn init_device(&self, device: &mut NewDevice<'_>) -> Result<Arc<Unit>> {
        // Devices of Microsoft's say SPC-2 and have what came later.
        device.try_newer_commands();
        let unit = Arc::new(Unit::new(device.address(), self.routes.len())?, GFP_KERNEL)?;
        self.units.lock().push(unit.clone(), GFP_KERNEL)?;
        Ok(unit)
    }

    fn configure_device(&self, device: &mut NewDevice<'_>) -> Result {
        let seconds: u32 = compat::param(module_parameters::timeout.value());
        device.set_timeout_ms(seconds.clamp(1, 86_400).saturating_mul(1000));
        device.no_report_opcodes();
        let version = self.version();
        let microsoft = device.vendor().starts_with(b"Msft");
        if microsoft && version == ProtocolVersion::WIN8_1 {
            device.claim_spc3();
        }
        device.set_write_same(microsoft && version.has_write_same());
        Ok(())
    }

    fn destroy_device(&self, data: Arc<Unit>) {
        let mut units = self.units.lock();
        let place = units.iter().position(|unit| Arc::ptr_eq(unit, &data));
        let unit = place.and_then(|place| units.remove(place).ok());
        drop(units);
        drop(unit);
    }

    fn timed_out(&self, command: &Info<Self>) -> TimedOut {
        self.command_timed_out(command)
    }

    fn reset(this: ArcBorrow<'_, Self>) -> bool {
        recover::reset(&this.into())
    }
}
