// SPDX-License-Identifier: GPL-2.0

//! Channels: opening them, coming to terms with the host, closing them.

use kernel::{prelude::*, sync::Arc};
use kernel_ext::{
    atomic::{Full, Relaxed},
    compat::{self, protocol_error},
    cpuhp, rcu,
};
use scsi::HostByte;
use storvsc_wire::{Agreement, Conversation, GuestPacket, HostPacket, Layout};
use vmbus::{device::SubchannelWatcher, Channel, Offered, Open, OpenConfig};
use vmbus_wire::Guid;

use crate::{
    controller::{Controller, Kind, State, PRIMARY},
    module_parameters,
    port::{Listener, Port},
};

/// Milliseconds for the host to answer a step of the conversation.
const STEP_WAIT_MS: u32 = 20_000;

/// Bytes of the longest packet that is taken from a host. Its own are 80 bytes long.
const PACKET_BYTES: usize = 4096;

/// CPUs that share a channel in large guests (`storvsc_vcpus_per_sub_channel`).
const CPUS_PER_CHANNEL: usize = 4;

/// KiB of a ring, from and to.
const RING_KIB: (u32, u32) = (16, 8192);

impl Controller {
    /// The number that the mid-layer knows the host by, for messages.
    pub(crate) fn host_number(&self) -> u32 {
        self.host_number.load(Relaxed)
    }

    fn open(self: &Arc<Self>, offered: Offered, number: u16) -> Result<Open> {
        let kib: u32 = compat::param(module_parameters::ring_size.value());
        let pages = (kib.clamp(RING_KIB.0, RING_KIB.1) / 4) as usize;
        let config = OpenConfig::new(pages * 4096, PACKET_BYTES).in_soft_interrupts();
        let listener = Listener {
            controller: self.clone(),
            number,
        };
        Ok(offered.open(&config, Arc::new(listener, GFP_KERNEL)?)?)
    }

    /// Lets commands go out on an open channel.
    fn use_port(&self, number: u16, channel: Arc<Channel>) -> Result {
        let slot = self.ports.get(usize::from(number)).ok_or(EINVAL)?;
        let port = Arc::new(Port { number, channel }, GFP_KERNEL)?;
        drop(slot.replace(Some(port)));
        self.route();
        Ok(())
    }

    /// Opens the channels and comes to terms with the host. Process context; takes a bounded time.
    ///
    /// # Errors
    ///
    /// Those of opening a channel, `ETIMEDOUT` when the host doesn't answer, `EPROTO` when there is
    /// no agreement, or one that is worth less than the last. The channels are closed.
    pub(crate) fn connect(self: &Arc<Self>) -> Result {
        let connected = self.try_connect();
        if connected.is_err() {
            self.disconnect();
        }
        connected
    }

    fn try_connect(self: &Arc<Self>) -> Result {
        let open = self.open(self.dev.payload().claim()?, PRIMARY)?;
        let channel = open.channel().clone();
        self.links.lock().primary = Some(open);
        let agreement = self.converse(&channel)?;
        {
            let mut before = self.agreement.lock();
            // The block layer was told what fits, and won't be told again.
            if before.is_some_and(|before| before.max_transfer_bytes > agreement.max_transfer_bytes)
            {
                return Err(protocol_error());
            }
            *before = Some(agreement);
        }
        self.use_port(PRIMARY, channel.clone())?;
        self.ask_for_subchannels(&channel, &agreement)
    }

    /// Says what is said before the first command.
    fn converse(&self, channel: &Channel) -> Result<Agreement> {
        let mut conversation = Conversation::new();
        while let Some(packet) = conversation.next() {
            let answer = self.control.ask(channel, &packet, STEP_WAIT_MS)?;
            let said = match HostPacket::parse(answer.as_bytes(), Layout::Long) {
                Ok(HostPacket::Completion(completion)) => conversation.answered(&completion),
                Ok(_) => return Err(protocol_error()),
                Err(error) => Err(error.into()),
            };
            if let Err(refusal) = said {
                kernel_ext::log_err!("{}: {}\n", self.name(), refusal);
                return Err(protocol_error());
            }
        }
        conversation.agreement().ok_or_else(protocol_error)
    }

    /// Asks for as many channels as the CPUs are worth. A host that offers fewer, or none, is no
    /// error.
    fn ask_for_subchannels(self: &Arc<Self>, channel: &Channel, agreement: &Agreement) -> Result {
        let share: u32 = compat::param(module_parameters::cpus_per_channel.value());
        let cpus = cpuhp::online().count();
        let wanted = match share {
            // A command that is answered on the CPU that waits for it saves an interrupt between
            // CPUs. Beyond four, the number that the C driver takes.
            0 => cpus
                .div_ceil(CPUS_PER_CHANNEL)
                .max(cpus.min(CPUS_PER_CHANNEL)),
            share => cpus.div_ceil(share as usize),
        };
        let count = u16::try_from(wanted.saturating_sub(1))
            .unwrap_or(u16::MAX)
            .min(agreement.max_subchannels);
        if count == 0 || self.kind == Kind::Ide {
            return Ok(());
        }
        let packet = GuestPacket::CreateSubChannels { count };
        let answer = self.control.ask(channel, &packet, STEP_WAIT_MS);
        if answer.is_ok_and(|answer| answer.is_success()) {
            let watcher = Arc::new(Watcher(self.clone()), GFP_KERNEL)?;
            self.dev.payload().watch_subchannels(Some(watcher));
        } else {
            kernel_ext::log_warn!("{}: the host offers no sub-channels\n", self.name());
        }
        Ok(())
    }

    /// The host offers another channel.
    fn add_subchannel(self: &Arc<Self>, offered: Offered) {
        let free = (PRIMARY + 1..)
            .zip(self.ports.iter().skip(1))
            .find(|(number, slot)| {
                let links = self.links.lock();
                slot.is_empty() && !links.subs.iter().any(|(other, _)| other == number)
            });
        let Some((number, _)) = free else {
            return kernel_ext::log_warn!("{}: more sub-channels than can be used\n", self.name());
        };
        if self.state() != State::Running {
            return;
        }
        let open = match self.open(offered, number) {
            Ok(open) => open,
            // The others are enough.
            Err(error) => {
                return kernel_ext::log_warn!("{}: sub-channel {number}: {error:?}\n", self.name());
            }
        };
        let channel = open.channel().clone();
        let kept = {
            let mut links = self.links.lock();
            links.subs.reserve(1, GFP_KERNEL).is_ok()
                && links.subs.push_within_capacity((number, open)).is_ok()
        };
        if !kept || self.use_port(number, channel.clone()).is_err() {
            return kernel_ext::log_warn!("{}: sub-channel {number}: no memory\n", self.name());
        }
        // Withdrawn before it could be used: whoever was to deal with that found nothing.
        if channel.is_rescinded() {
            self.lost_channel(number, &channel);
        }
    }

    /// Closes the channels, which waits until the host has let go of them. Process context, not from
    /// a handler.
    pub(crate) fn disconnect(&self) {
        self.dev.payload().watch_subchannels(None);
        // First nobody sends any more.
        rcu::clear(self.ports.iter());
        let links = core::mem::take(&mut *self.links.lock());
        drop(links.subs);
        drop(links.primary);
    }

    /// Closes the sub-channels that are lost, and sends their commands on others.
    pub(crate) fn close_lost(&self) {
        for (number, lost) in (0..).zip(self.lost_ports.iter()) {
            if lost.xchg(0, Full) == 0 {
                continue;
            }
            if let Some(slot) = self.ports.get(usize::from(number)) {
                drop(slot.replace(None));
            }
            self.route();
            let open = {
                let mut links = self.links.lock();
                let place = links.subs.iter().position(|(other, _)| *other == number);
                place.and_then(|place| links.subs.remove(place).ok())
            };
            // The host lets go of it, and with it of the commands.
            drop(open);
            self.end_commands(Some(number), HostByte::Requeue);
        }
    }

    /// The device's name, for messages.
    pub(crate) fn name(&self) -> &Guid {
        &self.dev.payload().offer().instance
    }
}

/// Told of sub-channels.
struct Watcher(Arc<Controller>);

impl SubchannelWatcher for Watcher {
    fn offered(&self, channel: Offered) {
        self.0.add_subchannel(channel);
    }
}
