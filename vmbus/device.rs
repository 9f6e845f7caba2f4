// SPDX-License-Identifier: GPL-2.0

//! The bus `vmbus` and the devices on it.

use kernel::{
    prelude::*,
    sync::{Arc, Mutex},
};
use kernel_ext::{
    bus::{self, Bus, BusType, UeventEnv},
    sysfs::Attributes,
};
use vmbus_wire::{guid::class, message::Offer, Guid};

use crate::{
    channel::Offered,
    channel_core::ChannelCore,
    device_id::IdTable,
    sysfs,
    views::{ChannelView, DeviceView},
};

/// The bus.
pub struct Vmbus;

static BUS_TYPE: BusType<Vmbus> = BusType::new();

impl Bus for Vmbus {
    const NAME: &'static CStr = c"vmbus";
    const DYNAMIC_IDS: bool = true;

    type Payload = Payload;
    type DriverInfo = IdTable;
    type DynamicId = Guid;

    fn bus_type() -> &'static BusType<Self> {
        &BUS_TYPE
    }

    fn matches(dev: &bus::Device<Self>, ids: &IdTable) -> bool {
        ids.contains(&dev.payload().offer().class)
    }

    fn matches_dynamic(dev: &bus::Device<Self>, id: &Guid) -> bool {
        dev.payload().offer().class == *id
    }

    fn parse_dynamic_id(text: &str) -> Result<Guid> {
        Guid::parse(text).ok_or(EINVAL)
    }

    fn uevent(dev: &bus::Device<Self>, env: &mut UeventEnv<'_>) -> Result {
        env.add(format_args!(
            "MODALIAS=vmbus:{}",
            dev.payload().offer().class.modalias()
        ))
    }

    fn device_attributes() -> Option<&'static Attributes<bus::Device<Self>>> {
        Some(&sysfs::DEVICE)
    }

    fn bus_attributes() -> Option<&'static Attributes<BusType<Self>>> {
        Some(&sysfs::BUS)
    }
}

/// Told when the host offers more channels for a device; see [`Payload::watch_subchannels`].
pub trait SubchannelWatcher: Send + Sync {
    /// The host offers another channel. Process context.
    fn offered(&self, channel: Offered);
}

/// What every device on the bus carries.
#[pin_data]
pub struct Payload {
    core: Arc<ChannelCore>,
    /// What one can see of the device and its primary channel: from when it has been added until it is
    /// about to be removed, because views refer to the device.
    #[pin]
    view: Mutex<Option<View>>,
    #[pin]
    subchannels: Mutex<KVec<Subchannel>>,
    /// Held while the watcher is called, so that it isn't any more once it was taken away.
    #[pin]
    watcher: Mutex<Option<Arc<dyn SubchannelWatcher>>>,
}

struct View {
    // Dropped in this order: the channel's directory is in the device's.
    _primary: ChannelView,
    device: DeviceView,
}

struct Subchannel {
    core: Arc<ChannelCore>,
    _view: Option<ChannelView>,
}

impl Payload {
    /// What the device of a primary channel starts with.
    pub(crate) fn new(core: Arc<ChannelCore>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            core,
            view <- kernel::new_mutex!(None, "vmbus_view"),
            subchannels <- kernel::new_mutex!(KVec::new(), "vmbus_subchannels"),
            watcher <- kernel::new_mutex!(None, "vmbus_watcher"),
        }? Error)
    }

    /// The primary channel.
    pub(crate) fn core(&self) -> &Arc<ChannelCore> {
        &self.core
    }

    /// What the host said of the device.
    pub fn offer(&self) -> &Offer {
        &self.core.offer
    }

    /// Takes the right to open the primary channel.
    ///
    /// # Errors
    ///
    /// `EBUSY` while somebody has it, `ENODEV` when the host has withdrawn the device.
    pub fn claim(&self) -> Result<Offered> {
        Offered::claim(&self.core)
    }

    /// Lets `watcher` have every sub-channel that the host offers, those included that it has
    /// offered already and nobody has. Replaces the watcher there was, which isn't called any more
    /// when this returns. Not to be called by a watcher.
    pub fn watch_subchannels(&self, watcher: Option<Arc<dyn SubchannelWatcher>>) {
        let mut slot = self.watcher.lock();
        *slot = watcher;
        let Some(watcher) = slot.as_ref() else {
            return;
        };
        let mut at = 0;
        // Not under the lock of the list: opening a channel takes its time.
        loop {
            let core = match self.subchannels.lock().get(at) {
                Some(sub) => sub.core.clone(),
                None => break,
            };
            at += 1;
            if let Ok(offered) = Offered::claim(&core) {
                watcher.offered(offered);
            }
        }
    }

    /// Shows the channels in sysfs and debugfs. Called once, after the device was added.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the device works without.
    pub(crate) fn show_channels(&self, dev: &bus::Added<Vmbus>) -> Result {
        let device = DeviceView::new(dev)?;
        let primary = device.channel(dev, &self.core)?;
        *self.view.lock() = Some(View {
            _primary: primary,
            device,
        });
        Ok(())
    }

    /// Takes the channels out of sysfs and debugfs, before the device goes. Waits for readers.
    pub(crate) fn hide_channels(&self) {
        let subs = core::mem::take(&mut *self.subchannels.lock());
        drop(subs);
        let view = self.view.lock().take();
        drop(view);
    }

    /// The host offers another channel of this device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn add_subchannel(
        &self,
        dev: &bus::Device<Vmbus>,
        core: Arc<ChannelCore>,
    ) -> Result {
        let view = self
            .view
            .lock()
            .as_ref()
            .and_then(|view| view.device.channel(dev, &core).ok());
        self.subchannels.lock().push(
            Subchannel {
                core: core.clone(),
                _view: view,
            },
            GFP_KERNEL,
        )?;
        if let Some(watcher) = self.watcher.lock().as_ref() {
            if let Ok(offered) = Offered::claim(&core) {
                watcher.offered(offered);
            }
        }
        Ok(())
    }

    /// The host has withdrawn a sub-channel.
    pub(crate) fn remove_subchannel(&self, core: &Arc<ChannelCore>) {
        let removed = {
            let mut subchannels = self.subchannels.lock();
            let place = subchannels
                .iter()
                .position(|sub| Arc::ptr_eq(&sub.core, core));
            place.and_then(|place| subchannels.remove(place).ok())
        };
        // Its directory waits for readers, who may want the lock.
        drop(removed);
    }

    /// Calls `f` for the primary channel and each sub-channel.
    ///
    /// # Errors
    ///
    /// The first that `f` returns.
    pub(crate) fn for_each_channel(&self, mut f: impl FnMut(&ChannelCore) -> Result) -> Result {
        f(&self.core)?;
        for sub in self.subchannels.lock().iter() {
            f(&sub.core)?;
        }
        Ok(())
    }
}

/// The number that `device` in sysfs shows: the place of the class in the C driver's table
/// (`enum hv_dev_type`).
pub(crate) fn device_number(offer: &Offer) -> usize {
    const ORDER: [Guid; 16] = [
        class::IDE,
        class::SCSI,
        class::FIBRE_CHANNEL,
        class::NETWORK,
        class::NETWORK_DIRECT,
        class::PCI_EXPRESS,
        class::VIDEO,
        class::KEYBOARD,
        class::MOUSE,
        class::KVP,
        class::TIMESYNC,
        class::HEARTBEAT,
        class::SHUTDOWN,
        class::FCOPY,
        class::VSS,
        class::DYNAMIC_MEMORY,
    ];
    let class = &offer.class;
    ORDER
        .iter()
        .position(|known| known == class)
        .unwrap_or(ORDER.len())
}
