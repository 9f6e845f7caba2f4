//! x
use kernel::prelude::*;
struct M;
module! { type: M, name: "vmbus_sample", authors: ["x"], description: "x", license: "GPL", }
impl kernel::Module for M {
    fn init(_m: &'static ThisModule) -> Result<Self> {
        pr_info!("{}\n", 1);
        Ok(M)
    }
}
