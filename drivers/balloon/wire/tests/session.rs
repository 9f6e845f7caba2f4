// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The state machine, talked through with a host that is a list of messages.

use balloon_wire::guest::*;
use balloon_wire::message::*;
use balloon_wire::session::*;
use balloon_wire::{policy, PageRange};

const CAPABILITIES: Capabilities = Capabilities::new(128 << 8);

fn version(accepted: bool) -> HostMessage<'static> {
    HostMessage::VersionResponse { accepted }
}

fn capabilities(accepted: bool, no_status_reports: bool) -> HostMessage<'static> {
    HostMessage::CapabilitiesResponse(CapabilitiesResponse {
        accepted,
        hot_remove: true,
        no_status_reports,
    })
}

fn ready() -> Session {
    let mut session = Session::new(CAPABILITIES);
    assert!(matches!(session.start(), Step::AskVersion(_)));
    assert!(matches!(
        session.receive(version(true)),
        Ok(Step::ReportCapabilities(_))
    ));
    assert!(matches!(
        session.receive(capabilities(true, false)),
        Ok(Step::Ready)
    ));
    session
}

/// An un-balloon request of no ranges.
fn unballoon(more: bool) -> Vec<u8> {
    let mut bytes = vec![8, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[8] = more.into();
    bytes
}

const HOT_ADD: HostMessage<'static> = HostMessage::HotAddRequest(HotAddRequest {
    range: PageRange::new(0x10_0000, 0x8000).unwrap(),
    region: None,
});

#[test]
fn versions_are_tried_newest_first() {
    let mut session = Session::new(CAPABILITIES);
    assert_eq!((session.state(), session.version()), (State::Closed, None));
    let mut step = session.start();
    for (number, (wire, last)) in [(0x2_0000u32, 0u32), (0x1_0000, 0), (3, 1)]
        .into_iter()
        .enumerate()
    {
        let Step::AskVersion(request) = step else {
            panic!("{step:?}");
        };
        let bytes = request.as_bytes();
        assert_eq!(bytes[4..8], (number as u32 + 1).to_le_bytes());
        assert_eq!(bytes[8..12], wire.to_le_bytes());
        assert_eq!(bytes[12..16], last.to_le_bytes());
        assert_eq!(session.version(), None);
        step = session.receive(version(false)).unwrap();
    }
    assert!(matches!(step, Step::Fail(Refusal::Versions)));
    assert_eq!(session.state(), State::Failed(Refusal::Versions));
    assert!(session.receive(version(true)).is_err());
    // A new channel, a new chance.
    assert!(matches!(session.start(), Step::AskVersion(_)));
    assert_eq!(session.state(), State::Negotiating);
}

#[test]
fn an_older_version_can_be_agreed_on() {
    let mut session = Session::new(CAPABILITIES);
    let _ = session.start();
    let _ = session.receive(version(false)).unwrap();
    assert!(matches!(
        session.receive(version(true)),
        Ok(Step::ReportCapabilities(_))
    ));
    assert_eq!(session.version().unwrap().to_string(), "1.0");
    assert!(matches!(
        session.receive(capabilities(false, false)),
        Ok(Step::Fail(Refusal::Capabilities))
    ));
    assert!(!session.is_ready());
}

#[test]
fn nothing_is_taken_before_both_have_agreed() {
    let mut session = Session::new(CAPABILITIES);
    let request = unballoon(false);
    let early = || {
        [
            capabilities(true, false),
            HostMessage::BalloonRequest { pages: 1 },
            HostMessage::parse(&request).unwrap(),
            HOT_ADD,
            HostMessage::Info(Information::MaxPages(1)),
        ]
    };
    assert!(session.receive(version(true)).is_err());
    let _ = session.start();
    for message in early() {
        let kind = message.kind();
        let error = session.receive(message).unwrap_err();
        assert_eq!(
            error,
            SessionError {
                kind,
                state: State::Negotiating
            }
        );
    }
    assert_eq!(session.state(), State::Negotiating);
    assert!(session.status_report(1, 1).is_none());
    assert!(session.hot_added(HotAddResult::Never).is_none());
}

#[test]
fn a_host_can_do_without_reports() {
    let mut session = ready();
    assert_eq!(session.version().unwrap().to_string(), "2.0");
    let report = session.status_report(5, 6).unwrap();
    assert_eq!(report.as_bytes()[8..16], 5u64.to_le_bytes());

    let mut session = Session::new(CAPABILITIES);
    let _ = session.start();
    let _ = session.receive(version(true)).unwrap();
    let _ = session.receive(capabilities(true, true)).unwrap();
    assert!(session.is_ready() && !session.wants_reports());
    assert!(session.status_report(5, 6).is_none());
}

#[test]
fn balloon_up_ends_with_the_last_response() {
    let mut session = ready();
    let mut buffer = [0; 64];
    assert!(session
        .balloon_response(BalloonResponse::new(&mut buffer).unwrap(), true)
        .is_none());
    assert!(matches!(
        session.receive(HostMessage::BalloonRequest { pages: 1000 }),
        Ok(Step::Inflate { pages: 1000 })
    ));
    // One transaction at a time.
    assert!(session
        .receive(HostMessage::BalloonRequest { pages: 1 })
        .is_err());
    assert!(session.receive(HOT_ADD).is_err());
    assert!(session
        .receive(HostMessage::parse(&unballoon(false)).unwrap())
        .is_err());
    // Reports and information go on.
    assert!(session.status_report(1, 1).is_some());
    assert!(session
        .receive(HostMessage::Info(Information::Other(3)))
        .is_ok());

    for more in [true, true, false] {
        assert_eq!(session.state(), State::BalloonUp);
        let response = BalloonResponse::new(&mut buffer).unwrap();
        let bytes = session.balloon_response(response, more).unwrap();
        assert_eq!(bytes[12], more.into());
    }
    assert_eq!(session.state(), State::Idle);
}

#[test]
fn balloon_down_is_answered_once() {
    let mut session = ready();
    for more in [true, true, false] {
        let bytes = unballoon(more);
        let Ok(Step::Deflate { answer, .. }) = session.receive(HostMessage::parse(&bytes).unwrap())
        else {
            panic!("not taken");
        };
        assert_eq!(answer.is_none(), more);
        assert_eq!(
            session.state(),
            if more {
                State::BalloonDown
            } else {
                State::Idle
            }
        );
        assert_eq!(
            session
                .receive(HostMessage::BalloonRequest { pages: 0 })
                .is_err(),
            more
        );
        if !more {
            assert_eq!(session.state(), State::BalloonUp);
        }
    }
}

#[test]
fn hot_add_is_answered_once() {
    let mut session = ready();
    assert!(matches!(session.receive(HOT_ADD), Ok(Step::HotAdd(_))));
    assert!(session.receive(HOT_ADD).is_err());
    assert!(session.hot_added(HotAddResult::TryLater).is_some());
    assert!(session.hot_added(HotAddResult::TryLater).is_none());
    assert_eq!(session.state(), State::Idle);
}

#[test]
fn floor_is_continuous_and_known_points_hold() {
    let mib = |mib: u64| mib << 8;
    for (total, floor) in [
        (128, 72),
        (512, 168),
        (2048, 360),
        (8192, 744),
        (32768, 1512),
    ] {
        assert_eq!(policy::floor(mib(total)), mib(floor), "{total} MiB");
        let below = policy::floor(mib(total) - 1);
        assert!(mib(floor) - below <= 1, "{total} MiB: a step");
    }
    assert!(policy::floor(u64::MAX) > 0);
    // 512 MiB, 400 to be had, 168 to be kept.
    assert_eq!(policy::to_give(65_536, mib(400), mib(512)), 59_392);
    assert_eq!(policy::to_give(100, mib(400), mib(512)), 100);
    assert_eq!(policy::to_give(100, mib(168), mib(512)), 0);
    assert_eq!(policy::to_give(u32::MAX, u64::MAX, 0), u32::MAX);
    assert_eq!(policy::committed(1, 2, mib(128)), 3 + mib(72));
    assert_eq!(policy::committed(u64::MAX, 1, 1), u64::MAX);
}

#[test]
fn portions_shrink_and_end() {
    let mut portions = policy::Portions::new();
    assert_eq!(portions.next_order(0), None);
    assert_eq!(portions.next_order(65_536), Some(9));
    assert_eq!(portions.next_order(512), Some(9));
    assert!(portions.smaller());
    assert_eq!(portions.next_order(512), Some(8));
    assert_eq!(portions.next_order(3), Some(1));
    // Not large again: there was nothing large left.
    assert_eq!(portions.next_order(512), Some(1));
    assert!(portions.smaller());
    assert_eq!(portions.next_order(512), Some(0));
    assert!(!portions.smaller());
}
