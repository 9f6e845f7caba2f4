// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Class ids: what kind of device an offer is. Values from `include/linux/hyperv.h`, the traits
//! of each class from the device tables of `drivers/hv/channel_mgmt.c`.
//!
//! Hyper-V sockets have no class of their own: their offers carry a flag instead, see
//! [`OfferFlags::is_socket`](crate::message::OfferFlags::is_socket).

use super::Guid;

/// Synthetic network adapter (`HV_NIC_GUID`).
pub const NETWORK: Guid = Guid::literal("f8615163-df3e-46c5-913f-f2d2f965ed0e");
/// Synthetic IDE disk (`HV_IDE_GUID`).
pub const IDE: Guid = Guid::literal("32412632-86cb-44a2-9b5c-50d1417354f5");
/// Synthetic SCSI controller (`HV_SCSI_GUID`).
pub const SCSI: Guid = Guid::literal("ba6163d9-04a1-4d29-b605-72e2ffb1dc7f");
/// Synthetic Fibre Channel adapter (`HV_SYNTHFC_GUID`).
pub const FIBRE_CHANNEL: Guid = Guid::literal("2f9bcc4a-0069-4af3-b76b-6fd0be528cda");
/// Guest shutdown service (`HV_SHUTDOWN_GUID`).
pub const SHUTDOWN: Guid = Guid::literal("0e0b6031-5213-4934-818b-38d90ced39db");
/// Time synchronisation service (`HV_TS_GUID`).
pub const TIMESYNC: Guid = Guid::literal("9527e630-d0ae-497b-adce-e80ab0175caf");
/// Heartbeat service (`HV_HEART_BEAT_GUID`).
pub const HEARTBEAT: Guid = Guid::literal("57164f39-9115-4e78-ab55-382f3bd5422d");
/// Key/value pair exchange (`HV_KVP_GUID`).
pub const KVP: Guid = Guid::literal("a9a0f4e7-5a45-4d96-b827-8a841e8c03e6");
/// Dynamic memory, the balloon (`HV_DM_GUID`).
pub const DYNAMIC_MEMORY: Guid = Guid::literal("525074dc-8985-46e2-8057-a307dc18a502");
/// Synthetic mouse (`HV_MOUSE_GUID`).
pub const MOUSE: Guid = Guid::literal("cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a");
/// Synthetic keyboard (`HV_KBD_GUID`).
pub const KEYBOARD: Guid = Guid::literal("f912ad6d-2b17-48ea-bd65-f927a61c7684");
/// Volume shadow copy, backup (`HV_VSS_GUID`).
pub const VSS: Guid = Guid::literal("35fa2e29-ea23-4236-96ae-3a6ebacba440");
/// Synthetic video (`HV_SYNTHVID_GUID`).
pub const VIDEO: Guid = Guid::literal("da0a7802-e377-4aac-8e77-0558eb1073f8");
/// Guest file copy (`HV_FCOPY_GUID`).
pub const FCOPY: Guid = Guid::literal("34d14be3-dee4-41c8-9ae7-6b174977c192");
/// Network Direct, guest RDMA (`HV_ND_GUID`).
pub const NETWORK_DIRECT: Guid = Guid::literal("8c2eaf3d-32a7-4b09-ab99-bd1f1c86b501");
/// PCI Express pass-through (`HV_PCIE_GUID`).
pub const PCI_EXPRESS: Guid = Guid::literal("44c4f61d-4444-4400-9d52-802e27ede19f");
/// Automatic activation, first channel (`HV_AVMA1_GUID`).
pub const AVMA1: Guid = Guid::literal("f8e65716-3cb3-4a06-9a60-1889c5cccab5");
/// Automatic activation, second channel (`HV_AVMA2_GUID`).
pub const AVMA2: Guid = Guid::literal("3375baf4-9e15-4b30-b765-67acb10d607b");
/// Remote desktop virtualisation (`HV_RDV_GUID`).
pub const RDV: Guid = Guid::literal("276aacf4-ac15-426c-98dd-7521ad3f01fe");
/// Initial machine configuration (`HV_IMC_GUID`).
pub const IMC: Guid = Guid::literal("c376c1c3-d276-48d2-90a9-c04748072c60");

/// What the bus has to know about a class of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// The id an offer of this class carries.
    pub guid: Guid,
    /// Short lower-case name for log lines and debugfs.
    pub name: &'static str,
    /// Throughput matters: its channels are spread over the CPUs.
    pub performance: bool,
    /// A driver hardened against its host exists, so an isolated guest may use it.
    pub allowed_in_isolated: bool,
    /// False for classes that no Linux guest serves: their offers are ignored, not exposed.
    pub supported: bool,
}

const fn class(guid: Guid, name: &'static str) -> Class {
    Class {
        guid,
        name,
        performance: false,
        allowed_in_isolated: false,
        supported: true,
    }
}

const fn fast(mut class: Class) -> Class {
    class.performance = true;
    class
}

const fn hardened(mut class: Class) -> Class {
    class.allowed_in_isolated = true;
    class
}

const fn unsupported(mut class: Class) -> Class {
    class.supported = false;
    class
}

/// Every class known by name.
pub const KNOWN: [Class; 20] = [
    hardened(fast(class(NETWORK, "network"))),
    fast(class(IDE, "ide")),
    hardened(fast(class(SCSI, "scsi"))),
    fast(class(FIBRE_CHANNEL, "fibre-channel")),
    hardened(class(SHUTDOWN, "shutdown")),
    hardened(class(TIMESYNC, "timesync")),
    hardened(class(HEARTBEAT, "heartbeat")),
    class(KVP, "kvp"),
    class(DYNAMIC_MEMORY, "dynamic-memory"),
    class(MOUSE, "mouse"),
    class(KEYBOARD, "keyboard"),
    class(VSS, "vss"),
    class(VIDEO, "video"),
    class(FCOPY, "fcopy"),
    fast(class(NETWORK_DIRECT, "network-direct")),
    hardened(class(PCI_EXPRESS, "pci-express")),
    unsupported(class(AVMA1, "activation")),
    unsupported(class(AVMA2, "activation")),
    unsupported(class(RDV, "remote-desktop")),
    unsupported(class(IMC, "machine-configuration")),
];

/// Looks a class up; `None` for one that isn't known by name (it is offered all the same).
pub fn find(guid: &Guid) -> Option<&'static Class> {
    const TABLE: &[Class] = &KNOWN;
    TABLE.iter().find(|class| class.guid == *guid)
}
