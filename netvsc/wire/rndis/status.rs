// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Status codes of completions and indications: NDIS_STATUS.

use crate::layout::named_numbers;

named_numbers! {
    /// An NDIS status (`RNDIS_STATUS_*`, `include/linux/rndis.h`; the offload ones from the
    /// Windows SDK's `ntstatus.h` and `ndis.h`).
    pub struct Status("{:#010x}");
    /// Done.
    SUCCESS = 0x0000_0000;
    /// Not done yet; never sent over the wire.
    PENDING = 0x0000_0103;
    /// Indication: the link is up.
    MEDIA_CONNECT = 0x4001_000b;
    /// Indication: the link is down.
    MEDIA_DISCONNECT = 0x4001_000c;
    /// Indication: the link has another speed; a `u32` in units of 100 bit/s follows.
    LINK_SPEED_CHANGE = 0x4001_0013;
    /// Indication: the NIC is on another network; addresses should be asked for again.
    NETWORK_CHANGE = 0x4001_0018;
    /// Indication: start no offload.
    OFFLOAD_PAUSE = 0x4002_0001;
    /// Indication: take all connections back.
    UPLOAD_ALL = 0x4002_0002;
    /// Indication: offloads may start again.
    OFFLOAD_RESUME = 0x4002_0003;
    /// Part of the objects were offloaded.
    OFFLOAD_PARTIAL_SUCCESS = 0x4002_0004;
    /// State of an offloaded object is no longer valid.
    OFFLOAD_STATE_INVALID = 0x4002_0005;
    /// Indication: the offloads in force; a record as of OID_TCP_OFFLOAD_CURRENT_CONFIG follows.
    TASK_OFFLOAD_CURRENT_CONFIG = 0x4002_0006;
    /// Indication: which connections can be offloaded has changed.
    CONNECTION_OFFLOAD_HARDWARE_CAPABILITIES = 0x4002_000b;
    /// The answer is longer than the place for it.
    BUFFER_OVERFLOW = 0x8000_0005;
    /// The NIC can't be reset.
    NOT_RESETTABLE = 0x8001_0001;
    /// Not done.
    FAILURE = 0xc000_0001;
    /// Not enough memory.
    RESOURCES = 0xc000_009a;
    /// Nobody knows the object.
    NOT_SUPPORTED = 0xc000_00bb;
    /// The NIC is going away.
    CLOSING = 0xc001_0002;
    /// The version isn't spoken.
    BAD_VERSION = 0xc001_0004;
    /// What was said of the other side makes no sense.
    BAD_CHARACTERISTICS = 0xc001_0005;
    /// There is no such NIC.
    ADAPTER_NOT_FOUND = 0xc001_0006;
    /// The NIC is broken.
    DEVICE_FAILED = 0xc001_0008;
    /// No room for more multicast addresses.
    MULTICAST_FULL = 0xc001_0009;
    /// The multicast address is there already.
    MULTICAST_EXISTS = 0xc001_000a;
    /// There is no such multicast address.
    MULTICAST_NOT_FOUND = 0xc001_000b;
    /// Given up: the connection or the NIC went away.
    REQUEST_ABORTED = 0xc001_000c;
    /// The NIC is being reset.
    RESET_IN_PROGRESS = 0xc001_000d;
    /// The message makes no sense.
    INVALID_PACKET = 0xc001_000f;
    /// The NIC isn't initialised.
    ADAPTER_NOT_READY = 0xc001_0011;
    /// The information buffer isn't as long as the object.
    INVALID_LENGTH = 0xc001_0014;
    /// The information buffer holds what it never may.
    INVALID_DATA = 0xc001_0015;
    /// No room for the answer.
    BUFFER_TOO_SHORT = 0xc001_0016;
    /// The object can't be queried, or not set.
    INVALID_OID = 0xc001_0017;
    /// The NIC is gone.
    ADAPTER_REMOVED = 0xc001_0018;
    /// Not for this kind of network.
    UNSUPPORTED_MEDIA = 0xc001_0019;
    /// The link is down.
    NO_CABLE = 0xc001_001f;
    /// The connection is being taken back.
    UPLOAD_IN_PROGRESS = 0xc023_1001;
    /// The connection should be taken back.
    REQUEST_UPLOAD = 0xc023_1002;
    /// That was asked for already.
    UPLOAD_REQUESTED = 0xc023_1003;
    /// No room for more connections.
    OFFLOAD_TCP_ENTRIES = 0xc023_1004;
    /// No room for more paths.
    OFFLOAD_PATH_ENTRIES = 0xc023_1005;
    /// No room for more neighbours.
    OFFLOAD_NEIGHBOR_ENTRIES = 0xc023_1006;
    /// No room for more IP addresses.
    OFFLOAD_IP_ADDRESS_ENTRIES = 0xc023_1007;
    /// No room for more link addresses.
    OFFLOAD_HW_ADDRESS_ENTRIES = 0xc023_1008;
    /// No room for more VLANs.
    OFFLOAD_VLAN_ENTRIES = 0xc023_1009;
    /// No room for the data to send.
    OFFLOAD_TCP_XMIT_BUFFER = 0xc023_100a;
    /// No room for the received data.
    OFFLOAD_TCP_RCV_BUFFER = 0xc023_100b;
    /// The receive window is too large.
    OFFLOAD_TCP_RCV_WINDOW = 0xc023_100c;
    /// The VLAN isn't the NIC's.
    OFFLOAD_VLAN_MISMATCH = 0xc023_100d;
    /// None of the indicated data was taken.
    OFFLOAD_DATA_NOT_ACCEPTED = 0xc023_100e;
    /// Policy is against the offload.
    OFFLOAD_POLICY = 0xc023_100f;
    /// Part of the indicated data was taken.
    OFFLOAD_DATA_PARTIALLY_ACCEPTED = 0xc023_1010;
}

impl Status {
    /// True for [`Status::SUCCESS`]; nothing else counts as success in a completion.
    pub const fn is_success(self) -> bool {
        self.0 == Self::SUCCESS.0
    }
}
