// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Page lists, opening, serving and closing of channels.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use serde_json::json;
use vmbus_wire::host::{GpadlBody, GpadlHeader};
use vmbus_wire::message::{GpadlCreated, ModifyChannel, ModifyResponse, OpenChannel, OpenResult};
use vmbus_wire::ring::RingError;
use vmbus_wire::{HostMessage, Relid, Status};

use super::channel::{Channel, ChannelOpenError, Opened};
use super::control::ChannelControl;
use super::gpadl::{Gpadl, Refusal, Torn};
use super::ring::{whole_pages, LayoutError, RingPages};
use super::state::{ChannelEntry, DeviceEntry, Event, Rescind, Serving, State, CLOSE_LIMIT};
use crate::device::Device;

/// STATUS_UNSUCCESSFUL.
const FAILED: Status = Status(0xc000_0001);
/// STATUS_INVALID_PARAMETER.
const INVALID: Status = Status(0xc000_000d);
/// Longest name of a thread.
const NAME_BYTES: usize = 15;

/// Why a channel isn't opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("there is no such channel")]
    NoChannel,
    #[error("its offer was withdrawn")]
    Rescinded,
    #[error("it is open")]
    Open,
    #[error("there is no GPADL {0:#x} of this channel")]
    NoGpadl(u32),
    #[error("its device doesn't want it")]
    Unwanted,
    #[error("there is no processor {0}")]
    NoProcessor(u32),
    #[error("GPADL {0:#x} has {1} ranges")]
    Ranges(u32, usize),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl From<ChannelOpenError> for OpenError {
    fn from(error: ChannelOpenError) -> Self {
        match error {
            ChannelOpenError::Ring(error) => Self::Ring(error),
            ChannelOpenError::System(error) => Self::System(error),
        }
    }
}

impl ChannelEntry {
    /// Has the thread return.
    pub(super) fn stop(&mut self, now: Instant) {
        if let Some(serving) = &mut self.serving {
            serving.stopping.get_or_insert(now);
            serving.control.stop();
        }
    }
}

impl State {
    /// OPEN_CHANNEL.
    pub(super) fn open(&mut self, open: &OpenChannel) {
        let relid = open.relid;
        if let Some(channel) = self.channel(relid) {
            if !channel.open && channel.rescind == Rescind::No && channel.serving.is_some() {
                // Its last thread is still at work; goes on in `served`.
                channel.reopen = Some(*open);
                return;
            }
        }
        let start = self.try_open(open);
        let status = match &start {
            Ok(_) => Status::SUCCESS,
            Err(error) => {
                self.refuse(format_args!("channel {relid} can't be opened: {error}"));
                match error {
                    OpenError::System(_) | OpenError::Unwanted => FAILED,
                    _ => INVALID,
                }
            }
        };
        self.post(&HostMessage::OpenResult(OpenResult {
            relid,
            open_id: open.open_id,
            status,
        }));
        if let Ok(start) = start {
            // Nothing is sent to the guest before it has its answer. The thread is there.
            let _ = start.send(());
        }
    }

    fn try_open(&mut self, open: &OpenChannel) -> Result<mpsc::Sender<()>, OpenError> {
        let relid = open.relid;
        let version = self.connection.version().ok_or(OpenError::NoChannel)?;
        let processors = self.shared.hypervisor.processors();
        let owner = self.gpadls.relid(open.ring_gpadl);
        let channel = self.channel(relid).ok_or(OpenError::NoChannel)?;
        if channel.rescind != Rescind::No {
            return Err(OpenError::Rescinded);
        }
        if channel.open || channel.serving.is_some() {
            return Err(OpenError::Open);
        }
        if open.target_vp >= processors {
            return Err(OpenError::NoProcessor(open.target_vp));
        }
        let device = channel.device.clone();
        let (subchannel, connection_id) = (channel.subchannel, channel.connection_id);
        if !device.device.may_open(subchannel) {
            return Err(OpenError::Unwanted);
        }
        let monitor = channel.monitor;
        let gpadl = (owner == Some(relid))
            .then(|| device.gpadls.read().get(&open.ring_gpadl).cloned())
            .flatten()
            .ok_or(OpenError::NoGpadl(open.ring_gpadl))?;
        let (incoming, outgoing) = rings(&gpadl, open.downstream_page_offset)?;
        let control = Arc::new(ChannelControl::new(
            relid,
            self.shared.hypervisor.clone(),
            open.target_vp,
            device.paused.load(Ordering::Acquire),
        )?);
        let ring_bytes = (ring_len(&incoming), ring_len(&outgoing));
        let channel = Channel::new(Opened {
            control: control.clone(),
            device: device.clone(),
            memory: self.shared.memory.clone(),
            version,
            subchannel,
            user_data: open.user_data,
            incoming,
            outgoing,
            gpadl,
        })?;
        self.shared
            .hypervisor
            .connect_event(connection_id, control.event().clone())?;
        self.serial += 1;
        let serial = self.serial;
        let start = match self.spawn(relid, serial, &device, channel) {
            Ok(start) => start,
            Err(error) => {
                self.shared.hypervisor.disconnect_event(connection_id);
                return Err(error.into());
            }
        };
        device.live.lock().insert(subchannel, control.clone());
        if let (Some(id), Some(latency)) = (monitor, device.identity.monitor_latency) {
            self.shared.monitor.watch(id, latency, control.clone());
        }
        tracing::info!(
            "channel {relid} ({}.{subchannel}) open, rings of {} and {} bytes, processor {}",
            device.identity.name,
            ring_bytes.0,
            ring_bytes.1,
            open.target_vp
        );
        self.shared.events.emit(
            "channel-opened",
            json!({"device": device.identity.name, "subchannel": subchannel}),
        );
        if let Some(channel) = self.channels.get_mut(&relid) {
            channel.open = true;
            channel.died = None;
            channel.serving = Some(Serving {
                serial,
                control,
                stopping: None,
                ring_gpadl: open.ring_gpadl,
                ring_bytes,
            });
        }
        Ok(start)
    }

    /// Starts the thread of a channel; it waits for the go-ahead.
    fn spawn(
        &self,
        relid: Relid,
        serial: u64,
        device: &Arc<DeviceEntry>,
        channel: Channel,
    ) -> std::io::Result<mpsc::Sender<()>> {
        let queue = self.shared.queue.clone();
        let subchannel = channel.subchannel();
        let device = device.clone();
        let (start, started) = mpsc::channel();
        thread::Builder::new()
            .name(thread_name(&device.identity.name, subchannel))
            .spawn(move || {
                let error = match started.recv() {
                    Ok(()) => serve(&device.device, channel),
                    Err(_) => None,
                };
                // Nobody cares where the bus is gone.
                let _ = queue.send(Event::Served {
                    relid,
                    serial,
                    error,
                });
            })?;
        Ok(start)
    }

    /// CLOSE_CHANNEL.
    pub(super) fn close(&mut self, relid: Relid) {
        let Some(channel) = self.channel(relid) else {
            self.refuse(format_args!(
                "guest closes channel {relid}, which isn't there"
            ));
            return;
        };
        let reopening = channel.reopen.take().is_some();
        if !channel.open {
            if !reopening {
                self.refuse(format_args!(
                    "guest closes channel {relid}, which isn't open"
                ));
            }
            return;
        }
        channel.open = false;
        channel.died = None;
        channel.stop(Instant::now());
        let device = channel.device.clone();
        tracing::info!(
            "guest closes channel {relid} ({}.{})",
            device.identity.name,
            channel.subchannel
        );
        if channel.subchannel == 0 {
            self.rescind_subchannels(&device);
        }
    }

    /// The thread of a channel has returned.
    pub(super) fn served(&mut self, relid: Relid, serial: u64, error: Option<String>) {
        let Some(channel) = self.channels.get_mut(&relid) else {
            return;
        };
        let Some(serving) = channel.serving.take_if(|serving| serving.serial == serial) else {
            return;
        };
        let device = channel.device.clone();
        let subchannel = channel.subchannel;
        let name = format!("channel {relid} ({}.{subchannel})", device.identity.name);
        let stopped = serving.stopping.is_some();
        let mut fields = json!({"device": device.identity.name, "subchannel": subchannel});
        if let Some(error) = &error {
            fields["error"] = error.as_str().into();
        }
        let event = match error {
            Some(_) => "channel-failed",
            None => "channel-closed",
        };
        self.shared.events.emit(event, fields);
        if let Some(error) = error {
            self.shared.counters.died.inc();
            tracing::warn!("{name} died: {error}");
            channel.died = Some(error);
        } else if stopped {
            tracing::info!("{name} is closed");
        } else {
            tracing::info!("{name} is served no more");
            channel.died = Some("the device ended it".to_owned());
        }
        if serving.control.is_abandoned() {
            tracing::error!("{name}: the device has let go at last");
        }
        let released = channel.released;
        let reopen = channel.reopen.take();
        self.shared
            .hypervisor
            .disconnect_event(channel.connection_id);
        if let Some(monitor) = channel.monitor {
            self.shared.monitor.unwatch(monitor);
        }
        device
            .live
            .lock()
            .retain(|_, control| !Arc::ptr_eq(control, &serving.control));
        if !self.is_served(&device) {
            self.answer_teardowns(&device);
        }
        if released {
            self.release(relid);
            self.reset_when_free(&device);
            self.offer_missing();
        }
        self.advance_rescinds(&device);
        if let Some(open) = reopen {
            self.open(&open);
        }
    }

    /// A device's last thread of an earlier connection has returned: it is reset after all.
    fn reset_when_free(&mut self, device: &Arc<DeviceEntry>) {
        let lost = self
            .channels
            .values()
            .any(|channel| Arc::ptr_eq(&channel.device, device) && channel.released);
        let waits = self
            .devices
            .iter()
            .any(|slot| slot.needs_reset && Arc::ptr_eq(&slot.entry, device));
        if !lost && waits {
            self.resets.push_back(device.clone());
        }
    }

    /// Gives up on a thread that didn't return in time.
    pub(super) fn abandon(&mut self, relid: Relid) {
        let Some(channel) = self.channels.get(&relid) else {
            return;
        };
        let Some(serving) = &channel.serving else {
            return;
        };
        if serving.control.is_abandoned() {
            return;
        }
        serving.control.abandon();
        self.shared.counters.abandoned.inc();
        let device = channel.device.clone();
        tracing::error!(
            "channel {relid} ({}.{}): the device hasn't let go of it after {CLOSE_LIMIT:?}; its \
             pages stay reserved",
            device.identity.name,
            channel.subchannel
        );
        self.advance_rescinds(&device);
    }

    /// MODIFY_CHANNEL.
    pub(super) fn modify(&mut self, modify: &ModifyChannel) {
        let Some(version) = self.connection.version() else {
            return;
        };
        if !version.has_modify_channel() {
            self.refuse(format_args!(
                "guest modifies a channel with version {version}"
            ));
            return;
        }
        let (relid, vp) = (modify.relid, modify.target_vp);
        let processors = self.shared.hypervisor.processors();
        let control = self
            .channel(relid)
            .and_then(|channel| channel.serving.as_ref())
            .map(|serving| serving.control.clone());
        let status = match control {
            Some(control) if vp < processors => {
                control.retarget(vp);
                Status::SUCCESS
            }
            _ => {
                self.refuse(format_args!(
                    "channel {relid} can't be moved to processor {vp}"
                ));
                INVALID
            }
        };
        if version.acks_modify_channel() {
            self.post(&HostMessage::ModifyResponse(ModifyResponse {
                relid,
                status,
            }));
        }
    }

    /// GPADL_HEADER.
    pub(super) fn gpadl_header(&mut self, header: &GpadlHeader) {
        let (relid, gpadl) = (header.relid, header.gpadl);
        let usable = self
            .channel(relid)
            .is_some_and(|channel| channel.rescind == Rescind::No);
        if !usable {
            self.refuse(format_args!(
                "GPADL {gpadl:#x} for channel {relid}, which isn't offered"
            ));
            self.post(&HostMessage::GpadlCreated(GpadlCreated {
                relid,
                gpadl,
                status: INVALID,
            }));
            return;
        }
        let shared = self.shared.clone();
        let made = self.gpadls.begin(&shared.memory, &shared.queue, header);
        self.gpadl_made(relid, gpadl, made);
    }

    /// GPADL_BODY.
    pub(super) fn gpadl_body(&mut self, body: &GpadlBody) {
        let Some(relid) = self.gpadls.relid(body.gpadl) else {
            let refusal = Refusal::NoList(body.gpadl);
            self.refuse(format_args!("{refusal}"));
            return;
        };
        let shared = self.shared.clone();
        let made = self.gpadls.go_on(&shared.memory, &shared.queue, body);
        self.gpadl_made(relid, body.gpadl, made);
    }

    fn gpadl_made(
        &mut self,
        relid: Relid,
        gpadl: u32,
        made: Result<Option<(Relid, Arc<Gpadl>)>, Refusal>,
    ) {
        let status = match made {
            Ok(None) => return,
            Ok(Some((relid, list))) => {
                if let Some(channel) = self.channels.get(&relid) {
                    channel.device.gpadls.write().insert(gpadl, list);
                }
                Status::SUCCESS
            }
            Err(refusal) => {
                self.refuse(format_args!("{refusal}"));
                if matches!(refusal, Refusal::NoList(_)) {
                    return;
                }
                refusal.status()
            }
        };
        self.post(&HostMessage::GpadlCreated(GpadlCreated {
            relid,
            gpadl,
            status,
        }));
    }

    /// GPADL_TEARDOWN.
    pub(super) fn gpadl_teardown(&mut self, relid: Relid, gpadl: u32) {
        match self.gpadls.tear_down(relid, gpadl) {
            Torn::Unknown => {
                self.refuse(format_args!(
                    "guest tears GPADL {gpadl:#x} of channel {relid} down, which isn't there"
                ));
            }
            Torn::Now => self.post(&HostMessage::GpadlTorndown { gpadl }),
            Torn::Later => {
                let Some(channel) = self.channels.get(&relid) else {
                    return;
                };
                let device = channel.device.clone();
                // Dropping the last one queues the event that is answered.
                let _ = device.gpadls.write().remove(&gpadl);
                if !self.is_served(&device) {
                    self.answer_teardowns(&device);
                }
            }
        }
    }

    /// No channel of a device is served: it uses no page list any more.
    fn answer_teardowns(&mut self, device: &Arc<DeviceEntry>) {
        let channels = &self.channels;
        let ids = self.gpadls.let_go(|relid| {
            channels
                .get(&relid)
                .is_some_and(|channel| Arc::ptr_eq(&channel.device, device))
        });
        for gpadl in ids {
            self.post(&HostMessage::GpadlTorndown { gpadl });
        }
    }
}

/// The rings in a page list: the guest's outgoing one in its first pages, the other from page
/// `downstream` on.
fn rings(gpadl: &Gpadl, downstream: u32) -> Result<(RingPages, RingPages), OpenError> {
    let [pages] = gpadl.ranges.as_slice() else {
        return Err(OpenError::Ranges(gpadl.id, gpadl.ranges.len()));
    };
    let of = whole_pages(pages).ok_or(LayoutError::Unaligned)?;
    let rest = of.checked_sub(downstream).ok_or(LayoutError::BadPlace {
        first: downstream,
        pages: 0,
        of,
    })?;
    Ok((
        RingPages::new(pages, 0, downstream)?,
        RingPages::new(pages, downstream, rest)?,
    ))
}

fn ring_len(ring: &RingPages) -> u32 {
    vmbus_wire::ring::RingMemory::len(ring)
}

/// Serves a channel; what went wrong, if something did.
fn serve(device: &Arc<dyn Device>, channel: Channel) -> Option<String> {
    let device = device.clone();
    // A device that panics takes its channel with it and nothing else.
    match catch_unwind(AssertUnwindSafe(move || device.serve(channel))) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some("the device panicked".to_owned()),
    }
}

/// `scsi0.3`, cut in its first part where it is too long.
fn thread_name(device: &str, subchannel: u16) -> String {
    let suffix = format!(".{subchannel}");
    let mut name: String = device
        .chars()
        .filter(char::is_ascii_graphic)
        .take(NAME_BYTES.saturating_sub(suffix.len()))
        .collect();
    name.push_str(&suffix);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_threads_fit() {
        assert_eq!(thread_name("scsi0", 0), "scsi0.0");
        assert_eq!(
            thread_name("a-very-long-device-name", 12),
            "a-very-long-.12"
        );
        assert_eq!(
            thread_name("a-very-long-device-name", 65535).len(),
            NAME_BYTES
        );
        assert_eq!(thread_name("n\0\u{fc}1", 1), "n1.1");
    }
}
