// SPDX-License-Identifier: GPL-2.0

//! The module and the ACPI device: where the connection comes from and goes to.

use kernel::{acpi, device, driver, of, platform, prelude::*, sync::Arc};
use kernel_ext::{
    acpi as acpi_ext,
    atomic::{Atomic, Relaxed},
    bus, compat, cpuhp,
    hyperv::{self, CrashHandler, Hypervisor, IsrRegistration, KexecHandler},
    notifier::{self, PanicNotifier},
    rcu::RcuSlot,
};
use vmbus_wire::ProtocolVersion;

use crate::{
    connection::{Connection, State, CONNECT_CPU},
    control::Outcome,
    device::Vmbus,
    interrupt::{Interrupt, ACTIVE},
    views::{connection_file, ConnectionFile},
};

/// The bus, for those who add devices to it. Filled before the platform driver is registered, emptied
/// after everything else is gone: nobody holds a reference for longer than a call, so emptying it
/// unregisters the bus.
pub(crate) static BUS: RcuSlot<bus::Registration<Vmbus>> = RcuSlot::empty();

/// How the last probe ended: 0 if there was none, 1 for success, a negative errno.
static PROBED: Atomic<i32> = Atomic::new(0);

/// The module.
#[pin_data]
pub(crate) struct Module {
    #[pin]
    driver: driver::Registration<platform::Adapter<Root>>,
    /// After the driver: its devices are on the bus.
    _bus: BusGuard,
}

/// Takes the bus away when the module goes.
struct BusGuard;

impl BusGuard {
    fn new() -> Result<Self> {
        let bus = bus::Registration::<Vmbus>::new().inspect_err(|_| {
            kernel_ext::log_err!("a bus called vmbus exists already\n");
        })?;
        drop(BUS.replace(Some(Arc::new(bus, GFP_KERNEL)?)));
        Ok(Self)
    }
}

impl Drop for BusGuard {
    fn drop(&mut self) {
        drop(BUS.replace(None));
    }
}

/// Why the bus can't be driven, before anything was touched.
fn check() -> Result<Hypervisor> {
    let hypervisor = Hypervisor::detect().inspect_err(|reason| {
        pr_err!("not loaded: {reason}\n");
    })?;
    if hyperv::c_driver_present() {
        kernel_ext::log_err!(
            "not loaded: another VMBus driver owns the bus; boot with initcall_blacklist=hv_acpi_init\n"
        );
        return Err(EBUSY);
    }
    if !hyperv::acpi_device_present() {
        kernel_ext::log_err!("not loaded: the firmware has no ACPI device VMBUS\n");
        return Err(ENODEV);
    }
    Ok(hypervisor)
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            check()?;
            let bus = BusGuard::new()?;
            Ok(try_pin_init!(Self {
                // First, so that it goes last if the rest fails.
                _bus: bus,
                driver <- driver::Registration::new(c"vmbus", module),
                _: { probed()? },
            }? Error))
        })
    }
}

/// The driver core binds the device while the driver is being registered and keeps the error to
/// itself; a module that drives nothing shouldn't stay.
fn probed() -> Result {
    match PROBED.load(Relaxed) {
        0 => {
            kernel_ext::log_err!("not loaded: the ACPI device VMBUS has no platform device\n");
            Err(ENODEV)
        }
        errno if errno < 0 => Err(Error::from_errno(errno)),
        _ => Ok(()),
    }
}

// As hosts spell it; newer ones have another hardware id and these as compatible ids.
#[cfg(not(kernel_7_3))]
kernel::acpi_device_table!(
    ACPI_TABLE,
    MODULE_ACPI_TABLE,
    <Root as platform::Driver>::IdInfo,
    [
        (acpi::DeviceId::new(c"VMBUS"), ()),
        (acpi::DeviceId::new(c"VMBus"), ())
    ]
);
#[cfg(kernel_7_3)]
kernel::acpi_device_table!(
    ACPI_TABLE,
    <Root as platform::Driver>::IdInfo,
    [
        (acpi::DeviceId::new(c"VMBUS"), ()),
        (acpi::DeviceId::new(c"VMBus"), ())
    ]
);

/// The connection and everything that must go in order before it does.
pub(crate) struct Root {
    connection: Arc<Connection>,
    file: Option<ConnectionFile>,
    isr: Option<IsrRegistration>,
    cpus: Option<cpuhp::Registration>,
    hooks: Option<Hooks>,
}

/// What the kernel calls when it goes down without unbinding devices.
struct Hooks {
    _kexec: KexecHandler,
    _crash: CrashHandler,
    _panic: PanicNotifier<Interrupt>,
}

impl platform::Driver for Root {
    type IdInfo = ();
    type Data<'bound> = Self;
    const ACPI_ID_TABLE: Option<acpi::IdTable<Self::IdInfo>> = Some(&ACPI_TABLE);
    const OF_ID_TABLE: Option<of::IdTable<Self::IdInfo>> = None;

    fn probe<'bound>(
        pdev: &'bound platform::Device<device::Core<'_>>,
        _id: Option<&'bound ()>,
    ) -> impl PinInit<Self, Error> + 'bound {
        let root = Self::start(pdev.as_ref());
        PROBED.store(
            root.as_ref().map_or_else(|error| error.to_errno(), |_| 1),
            Relaxed,
        );
        root
    }
}

impl Root {
    /// Connects to the host and takes its offers.
    fn start(dev: &device::Device) -> Result<Self> {
        let hypervisor = Hypervisor::detect()?;
        // Devices belong below the ACPI device, where udev's by-path names come from.
        let parent = acpi_ext::companion(dev).ok_or(ENODEV)?;
        let connection = Connection::new(hypervisor, parent)?;
        drop(ACTIVE.replace(Some(connection.clone())));
        // From here on dropping undoes what was done so far.
        let mut root = Self {
            connection,
            file: None,
            isr: None,
            cpus: None,
            hooks: None,
        };
        root.isr = Some(IsrRegistration::new::<Interrupt>(hypervisor)?);
        root.cpus = Some(cpuhp::Registration::new(
            c"hyperv/vmbus:online",
            cpu_up,
            cpu_down,
        )?);
        root.connection
            .negotiate(newest_version())
            .inspect_err(|error| {
                kernel_ext::log_err!("no connection to the host: {error:?}\n");
            })?;
        root.hooks = Some(Hooks {
            _kexec: KexecHandler::new::<Interrupt>(hypervisor)?,
            _crash: CrashHandler::new::<Interrupt>(hypervisor)?,
            _panic: PanicNotifier::new(Interrupt, notifier::LAST + 1)?,
        });
        root.file = connection_file(&root.connection).ok();
        root.connection.request_offers()?;
        Ok(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let connection = &self.connection;
        drop(self.hooks.take());
        drop(self.file.take());
        // Drivers close their channels, which needs the host's answers.
        if connection.state() == State::Connected {
            connection.set_state(State::Closing);
        }
        connection.offers.remove_all();
        if connection.unload() == Outcome::TimedOut {
            // The host may still write to what it was told of.
            connection.shared.pages().leak();
        }
        connection.set_state(State::Disconnected);
        // No more messages, no more interrupts.
        drop(self.cpus.take());
        drop(self.isr.take());
        for (_, cpu) in connection.cpus.iter() {
            cpu.stop();
        }
        connection.offers.stop(connection);
        drop(ACTIVE.replace(None));
        kernel_ext::log_info!("disconnected\n");
    }
}

/// The newest version to ask for, from the module's parameter.
fn newest_version() -> ProtocolVersion {
    match compat::param(crate::module_parameters::max_version.value()) {
        0 => ProtocolVersion::from_wire(u32::MAX),
        version => ProtocolVersion::from_wire(version),
    }
}

/// A CPU comes: turns its SynIC on.
fn cpu_up(cpu: u32) -> Result {
    let connection = ACTIVE.get().ok_or(ENODEV)?;
    connection.cpus.get(cpu).ok_or(EINVAL)?.synic.enable()
}

/// A CPU goes: moves its channels away and turns its SynIC off.
///
/// # Errors
///
/// `EBUSY` for the CPU that takes the connection's messages, and for one with a channel that the
/// host can't move.
fn cpu_down(cpu: u32) -> Result {
    let connection = ACTIVE.get().ok_or(ENODEV)?;
    if connection.state() == State::Connected {
        if cpu == CONNECT_CPU {
            return Err(EBUSY);
        }
        let mut moved = Ok(());
        connection.relids.for_each(|core| {
            if moved.is_ok() && core.target_cpu() == cpu {
                // Without an answer nobody knows when the last signal to the old CPU has come.
                moved = if core.open.get().is_some() && !connection.version().acks_modify_channel()
                {
                    Err(EBUSY)
                } else {
                    core.set_target_cpu(CONNECT_CPU).map_err(|_| EBUSY)
                };
            }
        });
        moved?;
        let synic = &connection.cpus.get(cpu).ok_or(EINVAL)?.synic;
        // A signal that came before the move is still the interrupt handler's.
        if synic.events_pending(1) {
            return Err(EBUSY);
        }
    }
    connection.cpus.get(cpu).ok_or(EINVAL)?.synic.disable()
}
