// SPDX-License-Identifier: GPL-2.0

//! The link: what the host says of it.

use kernel::prelude::*;
use kernel_ext::atomic::{Full, Relaxed};
use net::Dev;
use netvsc_wire::{
    oid::{word, Oid},
    rndis::{Indication, Status},
};

use crate::{nic::Nic, session::Session};

/// The unit of a speed that was asked for, in bit/s.
const SPEED_UNIT: u32 = 100;

impl Nic {
    /// The host indicates something. Soft interrupt context.
    pub(crate) fn indicated(&self, dev: &Dev, indication: &Indication<'_>) {
        match indication.status {
            Status::MEDIA_CONNECT => self.set_link(dev, true),
            Status::MEDIA_DISCONNECT => self.set_link(dev, false),
            Status::NETWORK_CHANGE => {
                // The guest is somewhere else: whoever cares looks again when the link comes up.
                self.set_link(dev, false);
                self.set_link(dev, true);
            }
            Status::LINK_SPEED_CHANGE => {
                if let Some(megabits) = indication.megabits() {
                    self.megabits.store(megabits, Relaxed);
                }
            }
            // Hosts tell more than anybody asks for.
            _ => {}
        }
    }

    fn set_link(&self, dev: &Dev, up: bool) {
        let before = self.link_up.xchg(up.into(), Full);
        if (before != 0) != up {
            self.stats.link_changes.inc();
        }
        dev.set_carrier(up);
    }

    /// Asks how the link is. Process context.
    ///
    /// # Errors
    ///
    /// Those of a question.
    pub(crate) fn ask_link(&self, session: &Session) -> Result {
        let number = |info: &[u8]| word(info).map_err(|_| EINVAL);
        let down = session.query(Oid::GEN_MEDIA_CONNECT_STATUS, &[], number)?;
        // Of no consequence where the host doesn't say.
        if let Ok(speed) = session.query(Oid::GEN_LINK_SPEED, &[], number) {
            self.megabits
                .store(speed / (1_000_000 / SPEED_UNIT), Relaxed);
        }
        self.set_link(&self.device, down == 0);
        Ok(())
    }
}
