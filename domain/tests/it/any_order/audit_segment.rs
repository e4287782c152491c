//! Segments follow each other without a gap, and what is dropped stays dropped.

use proptest::prelude::*;
use signalbeam_domain::audit_segment::{AuditSegmentCommand as Command, AuditSegments, SegmentSealed, UtcDay};

use super::{Life, steps};
use crate::fixtures::{day, digest};

#[derive(Debug, Clone)]
enum Step {
    /// The day, the first row relative to the one that is next, and how many rows there are.
    Seal(i64, u64, u64),
    Drop(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_i64..300, prop_oneof![4 => Just(1_u64), 1 => 0_u64..3], 0_u64..20)
            .prop_map(|(number, offset, count)| Step::Seal(number, offset, count)),
        1 => (0_u32..40).prop_map(Step::Drop),
    ]
}

fn command(state: &AuditSegments, step: &Step) -> Command {
    match *step {
        Step::Seal(number, offset, count) => {
            let first_row = state.last_row() + offset;
            Command::Seal(SegmentSealed {
                day: UtcDay::of(day(number)),
                first_row,
                last_row: first_row + count,
                count,
                root_hash: digest(u8::try_from(number % 250).unwrap()),
                previous: state.sealed().last().map(|last| last.root_hash),
            })
        }
        Step::Drop(retention_days) => Command::Drop { retention_days },
    }
}

proptest! {
    #[test]
    fn segments_leave_no_row_out_and_only_old_ones_are_dropped(steps in steps(step())) {
        let mut life = Life::<AuditSegments>::new();
        for (hours, step) in steps {
            life.wait(hours);
            let dropped = life.state.dropped_through();
            let _refused = life.ask(command(&life.state, &step));
            let state = &life.state;
            let mut next = 1;
            for segment in state.sealed() {
                prop_assert_eq!(segment.first_row, next);
                next = segment.last_row + 1;
            }
            prop_assert!(dropped <= state.dropped_through() && state.dropped_through() <= state.last_row());
            if state.dropped_through() > dropped {
                let Step::Drop(days) = step else { panic!("only dropping drops") };
                let last = state.sealed().iter().find(|segment| segment.last_row == state.dropped_through()).unwrap();
                prop_assert!(last.day.end().plus_days(i64::from(days)) <= life.now);
            }
        }
        life.replays()?;
    }
}
