// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A storage driver and a host that answers what it likes: good ids and made-up ones, on any
//! channel, twice, late, with any bytes. Every request ends once, by its own answer or in the drain,
//! and what it ends with makes sense.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use storvsc_wire::{judge, Asked, Disposition, HostPacket, Layout};
use vmbus_wire::tagged::{place, TagWord};

const PLACES: usize = 8;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// The guest sends a command.
    Send {
        at: u8,
        channel: u8,
        opcode: u8,
        bytes: u16,
    },
    /// The host answers the n-th request, whether or not it was answered before.
    Answer {
        which: u8,
        channel: u8,
        packet: &'a [u8],
    },
    /// It answers a request that it made up.
    Forge {
        id: u64,
        channel: u8,
        packet: &'a [u8],
    },
    /// It withdraws a channel.
    Withdraw { channel: u8 },
}

#[derive(Default)]
struct Driver {
    words: [u64; PLACES],
    asked: [Option<Asked>; PLACES],
    /// The id of each request ever sent, and how often it ended.
    sent: Vec<(u64, u32)>,
}

impl Driver {
    fn ended(&mut self, at: usize) -> Asked {
        let word = TagWord::from_raw(self.words[at]);
        let id = word.id(at).expect("few places");
        let entry = self.sent.iter_mut().rev().find(|(sent, _)| *sent == id);
        entry.expect("only what was sent ends").1 += 1;
        self.asked[at]
            .take()
            .expect("a word under way has its request")
    }

    fn receive(&mut self, id: u64, channel: u16, packet: &[u8]) {
        let answer = match HostPacket::parse(packet, Layout::Long) {
            Ok(HostPacket::Completion(completion)) => completion.srb().expect("long enough"),
            _ => return,
        };
        let Ok(at) = place(id, PLACES) else { return };
        let word = TagWord::from_raw(self.words[at]);
        let Ok(after) = word.end(id, channel) else {
            return;
        };
        let asked = self.ended(at);
        self.words[at] = after.to_raw();
        let verdict = judge(&answer, &asked);
        assert!(verdict.transferred <= asked.bytes);
        assert!(verdict.sense.as_bytes().len() <= 20);
        assert!(verdict.follow_up.is_none() || verdict.disposition != Disposition::Answered);
    }
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut driver = Driver::default();
    for step in steps {
        match step {
            Step::Send {
                at,
                channel,
                opcode,
                bytes,
            } => {
                let at = usize::from(at) % PLACES;
                let word = TagWord::from_raw(driver.words[at]);
                assert_eq!(word.is_under_way(), driver.asked[at].is_some());
                let Some(word) = word.begin(channel.into()) else {
                    continue;
                };
                driver.words[at] = word.to_raw();
                driver.sent.push((word.id(at).expect("few places"), 0));
                driver.asked[at] = Some(Asked {
                    opcode,
                    bytes: bytes.into(),
                    fibre: false,
                });
            }
            Step::Answer {
                which,
                channel,
                packet,
            } => {
                let Some(&(id, _)) = driver.sent.get(usize::from(which)) else {
                    continue;
                };
                driver.receive(id, channel.into(), packet);
            }
            Step::Forge {
                id,
                channel,
                packet,
            } => driver.receive(id, channel.into(), packet),
            Step::Withdraw { channel } => {
                for at in 0..PLACES {
                    let word = TagWord::from_raw(driver.words[at]);
                    if word.is_under_way() && word.channel() == u16::from(channel) {
                        driver.ended(at);
                        driver.words[at] = word.end_any().to_raw();
                    }
                }
            }
        }
    }
    // The controller goes.
    for at in 0..PLACES {
        let word = TagWord::from_raw(driver.words[at]);
        if word.is_under_way() {
            driver.ended(at);
            driver.words[at] = word.end_any().to_raw();
        }
    }
    assert!(driver.sent.iter().all(|(_, ended)| *ended == 1));
});
