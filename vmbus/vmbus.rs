// SPDX-License-Identifier: GPL-2.0
//! vmbus
use kernel::prelude::*;
struct M;
module! { type: M, name: "vmbus", authors: ["vmbus-rs developers"], description: "x", license: "GPL", }
impl kernel::Module for M {
    fn init(_m: &'static ThisModule) -> Result<Self> {
        pr_info!("{:x}\n", kernel_ext::hyperv::msr(0x40000000));
        Ok(M)
    }
}
/// x
pub fn hello() -> u64 { kernel_ext::hyperv::msr(1) + vmbus_wire_dummy() }
fn vmbus_wire_dummy() -> u64 { 1 }
