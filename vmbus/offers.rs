// SPDX-License-Identifier: GPL-2.0

//! From offer to device and from rescind to its removal.
//!
//! The message path takes a channel into the table at once, so that a rescind finds it, and queues
//! the rest: adding a device probes a driver, which talks to the host and waits for answers that
//! the message path brings. One worker does the queued tasks in order, so a device is never added
//! after its removal.

use kernel::{
    device,
    prelude::*,
    sync::{aref::ARef, Arc, Mutex},
    workqueue::WorkItem,
};
use kernel_ext::{
    atomic::{Atomic, Relaxed},
    bus, cpuhp,
    workqueue::{cancel_sync, Flags, Queue},
};
use vmbus_wire::{
    guid::class,
    message::{guest, Offer},
    Guid,
};

use crate::{
    channel_core::ChannelCore,
    connection::{Connection, State, CONNECT_CPU},
    device::{Payload, Vmbus},
    root::BUS,
};

/// Tasks that may wait at a time. A host that offers and rescinds faster than devices can be added
/// and removed loses what is beyond.
const MAX_TASKS: usize = 8192;

/// Something to do outside of the message path.
enum Task {
    /// A new channel: make a device of it, or hand it to its primary channel's device.
    Add(Arc<ChannelCore>),
    /// The host has withdrawn the channel.
    Rescind(Arc<ChannelCore>),
    /// The host broke the channel's protocol: remove the device, keep the id until the rescind.
    Broken(Arc<ChannelCore>),
}

/// A channel that was processed.
struct Entry {
    core: Arc<ChannelCore>,
    /// The device of a primary channel; `None` for sub-channels and once it was removed.
    device: Option<bus::Added<Vmbus>>,
}

impl Entry {
    /// Takes the device off the bus, which unbinds its driver and waits for that.
    fn remove(self) {
        if let Some(device) = self.device {
            device.payload().hide_channels();
        }
    }
}

/// Channels on their way to devices.
#[pin_data]
pub(crate) struct Offers {
    #[pin]
    tasks: Mutex<KVec<Task>>,
    #[pin]
    entries: Mutex<KVec<Entry>>,
    queue: Queue,
    /// The ACPI device: parent of all devices.
    parent: ARef<device::Device>,
    /// For spreading channels over CPUs.
    next_cpu: Atomic<u32>,
}

impl Offers {
    /// No channels yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(parent: ARef<device::Device>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            tasks <- kernel::new_mutex!(KVec::new(), "vmbus_tasks"),
            entries <- kernel::new_mutex!(KVec::new(), "vmbus_entries"),
            queue: Queue::new_ordered(c"vmbus_offers", Flags::NONE)?,
            parent,
            next_cpu: Atomic::new(0),
        }? Error)
    }

    /// Adds a task and wakes the worker.
    fn push(&self, connection: &Arc<Connection>, task: Task) {
        {
            let mut tasks = self.tasks.lock();
            // Under the lock, so that nothing comes after `stop`.
            if connection.state() == State::Disconnected {
                return;
            }
            // The message path never waits for memory.
            if tasks.len() >= MAX_TASKS || tasks.push(task, GFP_ATOMIC).is_err() {
                drop(tasks);
                connection.protocol_error(format_args!("too many offers and rescinds at a time"));
                return;
            }
        }
        // `Err`: it is queued already and will see the task.
        let _ = self.queue.enqueue(connection.clone());
    }

    /// Waits until the tasks queued so far are done. Process context, not from the worker.
    pub(crate) fn flush(&self) {
        self.queue.flush();
    }

    /// The host offers a channel.
    pub(crate) fn offered(&self, connection: &Arc<Connection>, offer: Offer) {
        match connection.state() {
            State::Connected => {}
            // Too late; the host forgets it with UNLOAD.
            State::Closing | State::Disconnected => return,
            State::Connecting => {
                return connection.protocol_error(format_args!("offer before the connection"))
            }
        }
        let relid = offer.relid;
        let cpu = self.choose_cpu(connection, &offer);
        let core = match ChannelCore::new(connection.clone(), offer, cpu) {
            Ok(core) => core,
            Err(_) => return kernel_ext::log_err!("no memory for channel {relid}\n"),
        };
        if connection.relids.insert(core.clone()).is_err() {
            return connection.protocol_error(format_args!("channel {relid} offered twice"));
        }
        connection.stats.offers.inc();
        self.push(connection, Task::Add(core));
    }

    /// The host withdraws a channel, which has been marked already.
    pub(crate) fn rescinded(&self, connection: &Arc<Connection>, core: Arc<ChannelCore>) {
        self.push(connection, Task::Rescind(core));
    }

    /// The host broke the protocol of an open channel; its device goes.
    pub(crate) fn broken(&self, core: &Arc<ChannelCore>) {
        self.push(&core.connection, Task::Broken(core.clone()));
    }

    /// Nobody has a channel any more. If it was withdrawn meanwhile and is a sub-channel, its id can
    /// be given back now; a primary channel's id is given back with its device.
    pub(crate) fn unclaimed(&self, core: &Arc<ChannelCore>) {
        if core.is_rescinded() && !core.offer.is_primary() {
            self.push(&core.connection, Task::Rescind(core.clone()));
        }
    }

    /// A CPU for a channel's interrupts: for devices whose speed matters one that takes the fewest of the same
    /// device's, in turns; the connection's CPU for the rest.
    fn choose_cpu(&self, connection: &Connection, offer: &Offer) -> u32 {
        if !class::find(&offer.class).is_some_and(|class| class.performance) {
            return CONNECT_CPU;
        }
        let online = cpuhp::online().count().max(1);
        let turn = self.next_cpu.fetch_add(1, Relaxed) as usize % online;
        let mut taken: KVec<u32> = KVec::new();
        connection.relids.for_each(|core| {
            if core.is_sibling(offer) {
                // Without memory it is just its turn.
                let _ = taken.push(core.target_cpu(), GFP_ATOMIC);
            }
        });
        let from_turn = cpuhp::online().skip(turn);
        Iterator::chain(from_turn, cpuhp::online().take(turn))
            .min_by_key(|cpu| taken.iter().filter(|other| *other == cpu).count())
            .unwrap_or(CONNECT_CPU)
    }

    /// Does the queued tasks.
    fn work(&self, connection: &Arc<Connection>) {
        loop {
            let next = {
                let mut tasks = self.tasks.lock();
                if tasks.is_empty() {
                    return;
                }
                tasks.remove(0)
            };
            match next {
                Ok(Task::Add(core)) => self.add(connection, core),
                Ok(Task::Rescind(core)) => self.remove(connection, &core, true),
                Ok(Task::Broken(core)) => self.remove(connection, &core, false),
                Err(_) => return,
            }
        }
    }

    /// Makes a device of a primary channel, or hands a sub-channel to its device.
    fn add(&self, connection: &Arc<Connection>, core: Arc<ChannelCore>) {
        let offer = &core.offer;
        if connection.state() != State::Connected {
            return;
        }
        let device = if offer.is_primary() {
            match self.add_device(&core) {
                Ok(device) => Some(device),
                Err(error) => {
                    kernel_ext::log_err!("device {} wasn't added: {error:?}\n", offer.instance);
                    return;
                }
            }
        } else {
            if let Err(error) = self.add_subchannel(&core) {
                connection.protocol_error(format_args!(
                    "sub-channel {} of {} fits no device: {error:?}",
                    offer.relid, offer.instance
                ));
            }
            None
        };
        if let Some(device) = &device {
            if device.payload().show_channels(device).is_err() {
                kernel_ext::log_warn!("device {} is hidden: no memory\n", offer.instance);
            }
        }
        let entry = Entry {
            core: core.clone(),
            device,
        };
        let mut entries = self.entries.lock();
        // Reserved first, because a refused entry would be dropped without its views.
        match entries.reserve(1, GFP_KERNEL) {
            Ok(()) => {
                let _ = entries.push_within_capacity(entry);
            }
            Err(_) => {
                drop(entries);
                kernel_ext::log_err!("no memory for channel {}\n", core.offer.relid);
                entry.remove();
            }
        }
    }

    /// Puts a device on the bus, which probes its driver.
    fn add_device(&self, core: &Arc<ChannelCore>) -> Result<bus::Added<Vmbus>> {
        let instance = core.offer.instance;
        // The kernel would warn of a second directory of the same name, with a stack dump that the
        // host could ask for at will.
        if self.has_instance(&instance) {
            core.connection
                .protocol_error(format_args!("device {instance} offered twice"));
            return Err(EEXIST);
        }
        // Held for this call only: the bus goes with the module, not with the connection.
        let bus = BUS.get().ok_or(ENODEV)?;
        bus::Added::new(
            &bus,
            Some(&self.parent),
            format_args!("{instance}"),
            Payload::new(core.clone()),
        )
    }

    /// Whether a device with this instance id is on the bus.
    fn has_instance(&self, instance: &Guid) -> bool {
        self.entries
            .lock()
            .iter()
            .any(|entry| entry.device.is_some() && entry.core.offer.instance == *instance)
    }

    /// The device that a sub-channel belongs to.
    fn device_of(&self, offer: &Offer) -> Option<ARef<bus::Device<Vmbus>>> {
        self.entries.lock().iter().find_map(|entry| {
            let device = entry.device.as_ref()?;
            entry.core.is_sibling(offer).then(|| ARef::from(&**device))
        })
    }

    /// Hands a sub-channel to its device.
    fn add_subchannel(&self, core: &Arc<ChannelCore>) -> Result {
        let device = self.device_of(&core.offer).ok_or(ENODEV)?;
        device.payload().add_subchannel(&device, core.clone())
    }

    /// Removes a channel's device, and, after a rescind, the channel.
    fn remove(&self, connection: &Arc<Connection>, core: &Arc<ChannelCore>, release: bool) {
        // Out of the list first: removing a device unbinds its driver, which may take a while.
        let entry = {
            let mut entries = self.entries.lock();
            let place = entries
                .iter()
                .position(|entry| Arc::ptr_eq(&entry.core, core));
            place.and_then(|place| entries.remove(place).ok())
        };
        let primary = core.offer.is_primary();
        if release {
            let _visit = core.visit.lock();
            if let Some(channel) = core.open.get() {
                channel.tell_rescinded();
            }
        }
        if !primary {
            if let Some(device) = self.device_of(&core.offer) {
                device.payload().remove_subchannel(core);
            }
        }
        if let Some(entry) = entry {
            entry.remove();
        }
        if !release {
            return;
        }
        if !primary && core.is_claimed() {
            // The driver still has it open; `unclaimed` comes back here.
            return;
        }
        let relid = core.offer.relid;
        if !connection
            .relids
            .get(relid)
            .is_some_and(|present| Arc::ptr_eq(&present, core))
        {
            return;
        }
        connection.relids.remove(relid);
        connection.stats.rescinds.inc();
        if connection.state() == State::Connected
            && connection.post(&guest::relid_released(relid)).is_err()
        {
            kernel_ext::log_warn!(
                "channel {relid}: the host couldn't be told that its id is free\n"
            );
        }
    }

    /// Removes all devices, before the guest leaves the bus. Process context.
    pub(crate) fn remove_all(&self) {
        self.queue.flush();
        loop {
            let entry = self.entries.lock().pop();
            match entry {
                Some(entry) => entry.remove(),
                None => break,
            }
        }
        // Drivers that went away may have given back sub-channels.
        self.queue.flush();
    }

    /// Forgets what the host still says, after it was told that the guest has left and can't say any
    /// more: tasks and channels refer to the connection. Process context.
    pub(crate) fn stop(&self, connection: &Arc<Connection>) {
        cancel_sync(connection);
        let tasks = core::mem::take(&mut *self.tasks.lock());
        drop(tasks);
        connection.relids.clear();
    }
}

impl WorkItem for Connection {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.offers.work(&this);
    }
}
