// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The turns of a channel's thread.

use std::time::{Duration, Instant};

use super::super::ring::Ring;
use super::execute::RING_TOKEN;
use super::{Session, MAX_HELD, MAX_RESETS, MAX_UNDER_WAY};
use crate::vmbus::channel::{PacketBuffer, Wake};

/// Packets that are taken before the guest gets answers.
const BATCH: usize = 64;
/// Turns that are made without asking whether to stop.
const TURNS: usize = 16;
/// How long it may take to notice what nobody wakes the thread for.
const POLL: Duration = Duration::from_millis(2);

impl Session {
    pub(super) fn run(&mut self) -> anyhow::Result<()> {
        let mut buffer = PacketBuffer::default();
        loop {
            for turn in 1.. {
                let mut more = self.take_packets(&mut buffer)?;
                self.misbehave()?;
                if self.mute {
                    return self.wait_for_the_end();
                }
                self.pump()?;
                self.release_delayed()?;
                self.drive_resets()?;
                self.send_outbox()?;
                self.storming = self.storm()?;
                more |= self.storming;
                self.tell_news()?;
                if !more || turn >= TURNS {
                    break;
                }
                self.channel.flush();
            }
            if self.sleep()?.stop {
                return Ok(());
            }
        }
    }

    /// Nothing more is taken from the ring for now.
    fn is_full(&self) -> bool {
        self.slots.len().saturating_add(self.delayed.len()) >= MAX_UNDER_WAY
            || self.resets.len() >= MAX_RESETS
            || self.held.len() >= MAX_HELD
            || !self.outbox.is_empty()
    }

    /// True if there may be more.
    fn take_packets(&mut self, buffer: &mut PacketBuffer) -> anyhow::Result<bool> {
        for _ in 0..BATCH {
            if self.is_full() {
                return Ok(false);
            }
            match self.channel.receive(buffer)? {
                Some(packet) => self.packet(&packet)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Hands work over and takes answers for as long as there are any at once. Ends: answers
    /// make only as many further calls as their jobs have left.
    fn pump(&mut self) -> anyhow::Result<()> {
        loop {
            let Some(ring) = self.ring.as_mut() else {
                return Ok(());
            };
            if ring.submit()? {
                self.stats.counters.submissions.inc();
            }
            ring.answers(&mut self.answers);
            if self.answers.is_empty() {
                return Ok(());
            }
            let mut answers = std::mem::take(&mut self.answers);
            for (token, answer) in answers.drain(..) {
                self.answered(token, answer)?;
            }
            self.answers = answers;
        }
    }

    /// Answers what has waited long enough, and what a reset doesn't let wait any longer.
    pub(super) fn release_delayed(&mut self) -> anyhow::Result<()> {
        if self.delayed.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let current = self.controller.drain().current();
        let due: Vec<_> = self
            .delayed
            .iter()
            .filter(|((until, _), finished)| *until <= now || finished.generation() != current)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            if let Some(finished) = self.delayed.remove(&key) {
                self.let_go(finished)?;
            }
        }
        Ok(())
    }

    /// Sleeps until there is something to do.
    fn sleep(&mut self) -> anyhow::Result<Wake> {
        let delayed = self.delayed.first_key_value().map(|(key, _)| key.0);
        let late = self.late.first_key_value().map(|(key, _)| key.0);
        let mut limit = delayed
            .into_iter()
            .chain(late)
            .min()
            .map(|until| until.saturating_duration_since(Instant::now()));
        let behind = self.ring.as_mut().is_some_and(Ring::is_behind);
        if behind || !self.resets.is_empty() {
            limit = Some(limit.unwrap_or(POLL).min(POLL));
        }
        if self.storming {
            limit = Some(Duration::ZERO);
        }
        if self.is_full() {
            // The guest's ring may hold packets, with which `wait` would return at once.
            self.channel.flush();
            let pause = limit.unwrap_or(POLL).min(POLL);
            match self.ring.as_mut() {
                Some(ring) if ring.under_way() > 0 => ring.wait(pause),
                _ => std::thread::sleep(pause),
            }
            self.stats.counters.wakes.inc();
            return Ok(self.channel.wait(Some(Duration::ZERO))?);
        }
        if self.ring.as_mut().is_some_and(|ring| ring.arm()) {
            limit = Some(Duration::ZERO);
        }
        let wake = self.channel.wait(limit)?;
        self.stats.counters.wakes.inc();
        if let Some(ring) = self.ring.as_mut() {
            ring.disarm();
            if wake.ready.contains(&RING_TOKEN) {
                ring.calm();
            }
        }
        Ok(wake)
    }
}
