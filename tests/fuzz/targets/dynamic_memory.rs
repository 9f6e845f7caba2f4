// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A host talks dynamic memory: a byte for each message's length, then the message. What the parser
//! accepts goes through the session, and what that asks for is done on paper.
#![no_main]

use balloon_wire::guest::{balloon_ranges, BalloonResponse, Capabilities, HotAddResult};
use balloon_wire::range::{MAX_COUNT, MAX_PAGE};
use balloon_wire::session::{Session, State, Step};
use balloon_wire::{HostMessage, PageRange};
use libfuzzer_sys::fuzz_target;

fn possible(range: PageRange) {
    assert!(range.count() >= 1 && range.count() <= MAX_COUNT);
    assert!(range.end() <= MAX_PAGE);
    assert_eq!(PageRange::from_wire(range.to_wire()), Some(range));
}

fn take(session: &mut Session, step: Step<'_>, bytes: usize) {
    match step {
        Step::Inflate { pages } => {
            let mut buffer = [0; 64];
            let mut response = BalloonResponse::new(&mut buffer).expect("room for ranges");
            // Pages with gaps, so that nothing is joined, until the message is full.
            let given = (0..u64::from(pages.min(10)))
                .filter_map(|at| PageRange::new(at * 2, 1))
                .take_while(|range| response.push(*range))
                .count();
            let message = session
                .balloon_response(response, false)
                .expect("it is due");
            assert_eq!(balloon_ranges(message).count(), given);
            assert_eq!(message.len(), 16 + 8 * given);
        }
        Step::Deflate { ranges, .. } => {
            assert!(16 + 8 * ranges.len() <= bytes);
            ranges.filter_map(Result::ok).for_each(possible);
        }
        Step::HotAdd(request) => {
            possible(request.range);
            request.region.into_iter().for_each(possible);
            if let Some(whole) = request.range.whole_units(1 << 15) {
                possible(whole);
                assert_eq!(request.range.overlap(whole), Some(whole));
            }
            assert!(session.hot_added(HotAddResult::TryLater).is_some());
        }
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let mut session = Session::new(Capabilities::new(1 << 15));
    let _ = session.start();
    let mut rest = data;
    while let Some((&length, bytes)) = rest.split_first() {
        let (payload, left) = bytes.split_at(usize::from(length).min(bytes.len()));
        rest = left;
        let message = match HostMessage::parse(payload) {
            Ok(message) => message,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let before = session.state();
        match session.receive(message) {
            Ok(step) => take(&mut session, step, payload.len()),
            Err(error) => {
                assert_eq!((error.state, session.state()), (before, before));
                assert!(!error.to_string().is_empty());
            }
        }
        assert!(!matches!(
            session.state(),
            State::Closed | State::BalloonUp | State::HotAdd
        ));
    }
});
