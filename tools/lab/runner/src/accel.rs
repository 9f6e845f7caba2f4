// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Chooses how guests are run: on this machine's KVM, or on the KVM of an emulated machine.

use std::fmt;

use clap::ValueEnum;
use kvm_ioctls::Kvm;

/// `KVM_CAP_HYPERV_SYNIC2` of include/uapi/linux/kvm.h: KVM has Hyper-V's synthetic interrupt
/// controller, version 2 (message pages are not cleared by the host). VMBus needs it.
const KVM_CAP_HYPERV_SYNIC2: std::ffi::c_ulong = 148;

/// How guests are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Accel {
    /// On /dev/kvm of this machine.
    Direct,
    /// On KVM inside a machine that QEMU emulates.
    Nested,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Nested => "nested",
        })
    }
}

/// What the user asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Wish {
    /// Look at /dev/kvm.
    Auto,
    /// Use /dev/kvm whatever it says.
    Direct,
    /// Emulate, whatever /dev/kvm says.
    Nested,
}

/// The choice and its reason, one line for people.
#[derive(Debug)]
pub(crate) struct Choice {
    /// What was chosen.
    pub(crate) accel: Accel,
    /// Why.
    pub(crate) reason: String,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.accel, self.reason)
    }
}

/// Looks at /dev/kvm unless the user decided.
pub(crate) fn choose(wish: Wish) -> Choice {
    let (accel, reason) = match wish {
        Wish::Direct => (Accel::Direct, "LAB_ACCEL says so".to_owned()),
        Wish::Nested => (Accel::Nested, "LAB_ACCEL says so".to_owned()),
        Wish::Auto => probe(),
    };
    Choice { accel, reason }
}

fn probe() -> (Accel, String) {
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(error) => return (Accel::Nested, format!("no usable /dev/kvm ({error})")),
    };
    if kvm.check_extension_raw(KVM_CAP_HYPERV_SYNIC2) <= 0 {
        let reason = "/dev/kvm has no Hyper-V SynIC (KVM_CAP_HYPERV_SYNIC2)";
        return (Accel::Nested, reason.to_owned());
    }
    // A device node alone proves little: some machines answer the query and refuse the VM.
    match kvm.create_vm() {
        Ok(_) => (
            Accel::Direct,
            "/dev/kvm has KVM_CAP_HYPERV_SYNIC2".to_owned(),
        ),
        Err(error) => (
            Accel::Nested,
            format!("/dev/kvm has the Hyper-V SynIC but makes no VM ({error})"),
        ),
    }
}
