// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What answers mean: the cases that hosts are known for, and whatever a host may make up.

use proptest::prelude::*;
use storvsc_wire::scsi::{opcode, ScsiStatus, Sense, SenseBytes, SenseKey};
use storvsc_wire::{
    judge, Address, Asked, Disposition, FollowUp, SrbCompletion, SrbStatus, Verdict,
};

const READ: Asked = Asked {
    opcode: opcode::READ_10,
    bytes: 4096,
    fibre: false,
};

fn answer(srb_status: SrbStatus, scsi_status: ScsiStatus, transferred: u32) -> SrbCompletion {
    SrbCompletion {
        address: Address::default(),
        srb_status,
        scsi_status,
        transferred,
        sense: SenseBytes::EMPTY,
    }
}

fn check(sense: Sense) -> SrbCompletion {
    SrbCompletion {
        sense: sense.fixed(),
        ..answer(
            SrbStatus::ERROR.with_autosense(),
            ScsiStatus::CHECK_CONDITION,
            0,
        )
    }
}

fn asked(opcode: u8) -> Asked {
    Asked { opcode, ..READ }
}

#[test]
fn a_good_answer() {
    let verdict = judge(&answer(SrbStatus::SUCCESS, ScsiStatus::GOOD, 4096), &READ);
    let wanted = Verdict {
        disposition: Disposition::Answered,
        status: ScsiStatus::GOOD,
        transferred: 4096,
        sense: SenseBytes::EMPTY,
        follow_up: None,
        overrun: false,
    };
    assert_eq!(verdict, wanted);
    // Some hosts set the flag for sense data that a good answer doesn't have.
    let flagged = SrbStatus::SUCCESS.with_autosense();
    assert_eq!(
        judge(&answer(flagged, ScsiStatus::GOOD, 4096), &READ),
        wanted
    );
    let short = judge(&answer(SrbStatus::SUCCESS, ScsiStatus::GOOD, 512), &READ);
    assert_eq!((short.transferred, short.overrun), (512, false));
}

#[test]
fn more_than_there_was_is_cut_and_told() {
    for transferred in [4097, u32::MAX] {
        let verdict = judge(
            &answer(SrbStatus::SUCCESS, ScsiStatus::GOOD, transferred),
            &READ,
        );
        assert_eq!((verdict.transferred, verdict.overrun), (4096, true));
    }
    // What a failed request says of it isn't believed, but for an overrun.
    let failed = judge(&answer(SrbStatus::ERROR, ScsiStatus::GOOD, 4096), &READ);
    assert_eq!(failed.transferred, 0);
    let overrun = judge(
        &answer(SrbStatus::DATA_OVERRUN, ScsiStatus::GOOD, 100),
        &READ,
    );
    assert_eq!(overrun.transferred, 100);
    assert_eq!(overrun.disposition, Disposition::Error);
}

#[test]
fn sense_data_are_for_the_upper_layers() {
    let sense = Sense::UNRECOVERED_READ_ERROR;
    let verdict = judge(&check(sense), &READ);
    assert_eq!(verdict.disposition, Disposition::Answered);
    assert_eq!(verdict.status, ScsiStatus::CHECK_CONDITION);
    assert_eq!(verdict.sense.parse(), Some(sense));
    assert_eq!(verdict.follow_up, None);
}

#[test]
fn sense_data_that_ask_for_a_look_at_the_unit() {
    let changed = Sense::new(SenseKey::UNIT_ATTENTION, 0x3f, 0x01);
    for sense in [Sense::CAPACITY_CHANGED, changed] {
        let verdict = judge(&check(sense), &READ);
        assert_eq!(verdict.disposition, Disposition::Requeue, "{sense}");
        assert_eq!(verdict.follow_up, Some(FollowUp::Rescan), "{sense}");
    }
    let named = Sense::new(SenseKey::UNIT_ATTENTION, 0x3f, 0x03);
    for sense in [Sense::REPORTED_LUNS_CHANGED, named, Sense::POWER_ON] {
        let verdict = judge(&check(sense), &READ);
        assert_eq!(verdict.disposition, Disposition::Answered, "{sense}");
        assert_eq!(verdict.follow_up, None, "{sense}");
    }
}

#[test]
fn promised_sense_data_that_are_none() {
    for code in [SrbStatus::ERROR, SrbStatus::SUCCESS] {
        for sense in [SenseBytes::EMPTY, SenseBytes::new(&[0x7f; 18])] {
            let made_up = SrbCompletion {
                sense,
                ..answer(code.with_autosense(), ScsiStatus::CHECK_CONDITION, 0)
            };
            let verdict = judge(&made_up, &READ);
            assert_eq!(verdict.disposition, Disposition::Error, "{code} {sense:?}");
            assert_eq!(verdict.sense, SenseBytes::EMPTY);
        }
    }
    // Not promised: not looked at.
    let unflagged = SrbCompletion {
        srb_status: SrbStatus::ERROR,
        ..check(Sense::CAPACITY_CHANGED)
    };
    assert_eq!(judge(&unflagged, &READ).follow_up, None);
}

#[test]
fn units_that_are_not_there() {
    let gone = judge(&answer(SrbStatus::INVALID_LUN, ScsiStatus::GOOD, 0), &READ);
    assert_eq!(gone.disposition, Disposition::NoConnect);
    assert_eq!(gone.follow_up, Some(FollowUp::Remove));
    for code in [
        SrbStatus::NO_DEVICE,
        SrbStatus::INVALID_TARGET,
        SrbStatus::INVALID_PATH,
    ] {
        let verdict = judge(&answer(code, ScsiStatus::GOOD, 0), &READ);
        assert_eq!(verdict.disposition, Disposition::NoConnect, "{code}");
        assert_eq!(verdict.follow_up, None, "{code}");
    }
    // An INQUIRY whose failure is overlooked would find a unit at every address.
    let inquiry = asked(opcode::INQUIRY);
    let verdict = judge(
        &answer(SrbStatus::INVALID_LUN, ScsiStatus::GOOD, 36),
        &inquiry,
    );
    assert_eq!(verdict.disposition, Disposition::NoConnect);
    assert_eq!(verdict.transferred, 0);
}

#[test]
fn failures_that_are_overlooked() {
    for opcode in [opcode::INQUIRY, opcode::MODE_SENSE_6, opcode::MODE_SENSE_10] {
        let verdict = judge(&check(Sense::INVALID_FIELD_IN_CDB), &asked(opcode));
        assert_eq!(verdict.disposition, Disposition::Answered);
        assert_eq!(verdict.status, ScsiStatus::GOOD);
        assert_eq!(verdict.sense, SenseBytes::EMPTY);
    }
    for (fibre, overlooked) in [
        (true, ScsiStatus::GOOD),
        (false, ScsiStatus::CHECK_CONDITION),
    ] {
        let reserve_in = Asked {
            opcode: 0x5e,
            fibre,
            ..READ
        };
        let verdict = judge(&check(Sense::INVALID_OPCODE), &reserve_in);
        assert_eq!(verdict.status, overlooked);
    }
}

#[test]
fn failures_without_sense_data() {
    for code in [
        SrbStatus::ABORTED,
        SrbStatus::ERROR,
        SrbStatus::INVALID_REQUEST,
        SrbStatus::TIMEOUT,
        SrbStatus::SELECTION_TIMEOUT,
        SrbStatus::BUS_RESET,
        SrbStatus::INTERNAL_ERROR,
        // Never answered, and a number that nobody knows: no success.
        SrbStatus::PENDING,
        SrbStatus(0x3e),
    ] {
        let verdict = judge(&answer(code, ScsiStatus::GOOD, 4096), &READ);
        assert_eq!(verdict.disposition, Disposition::Error, "{code}");
        assert_eq!(verdict.transferred, 0, "{code}");
    }
    let error = answer(SrbStatus::ERROR, ScsiStatus::GOOD, 0);
    let passed = judge(&error, &asked(0x85)).disposition;
    assert_eq!(passed, Disposition::Passthrough);
    let ready = judge(&error, &asked(opcode::TEST_UNIT_READY)).disposition;
    assert_eq!(ready, Disposition::Answered);
}

#[test]
fn units_that_are_busy() {
    for status in [
        ScsiStatus::BUSY,
        ScsiStatus::TASK_SET_FULL,
        ScsiStatus::RESERVATION_CONFLICT,
    ] {
        for code in [SrbStatus::ERROR, SrbStatus::SUCCESS] {
            let verdict = judge(&answer(code, status, 0), &READ);
            assert_eq!(
                verdict.disposition,
                Disposition::Answered,
                "{code} {status}"
            );
            assert_eq!(verdict.status, status);
        }
    }
}

proptest! {
    /// Whatever a host says: nothing is made of nothing, and no failure becomes a success.
    #[test]
    fn any_answer(
        srb in any::<u8>(),
        scsi in any::<u8>(),
        transferred in any::<u32>(),
        sense in proptest::collection::vec(any::<u8>(), 0..24),
        opcode in any::<u8>(),
        bytes in 0u32..1 << 22,
        fibre in any::<bool>(),
    ) {
        let answer = SrbCompletion {
            sense: SenseBytes::new(&sense),
            ..answer(SrbStatus(srb), ScsiStatus(scsi), transferred)
        };
        let asked = Asked { opcode, bytes, fibre };
        let verdict = judge(&answer, &asked);
        prop_assert!(verdict.transferred <= bytes);
        prop_assert_eq!(verdict.overrun, transferred > bytes);
        prop_assert!(verdict.sense.as_bytes().len() <= 20);
        if verdict.sense != SenseBytes::EMPTY {
            prop_assert!(verdict.sense.parse().is_some());
            prop_assert_eq!(verdict.status, ScsiStatus::CHECK_CONDITION);
        }
        let overlooked = matches!(opcode, 0x12 | 0x1a | 0x5a) || (fibre && matches!(opcode, 0xa3 | 0x5e));
        let success = verdict.disposition == Disposition::Answered && verdict.status == ScsiStatus::GOOD;
        if success && !overlooked && opcode != opcode::TEST_UNIT_READY {
            prop_assert!(answer.srb_status.is_success());
            prop_assert_eq!(answer.scsi_status, ScsiStatus::GOOD);
        }
        if verdict.follow_up == Some(FollowUp::Remove) {
            prop_assert_eq!(answer.srb_status.code(), SrbStatus::INVALID_LUN);
        }
    }
}
