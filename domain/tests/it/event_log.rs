//! A rollback of the event log is acknowledged once.

use signalbeam_domain::event_log::{EventLog, EventLogCommand as Command, RollbackAcknowledged, RollbackCause};
use signalbeam_domain::{Position, RollbackId};
use uuid::Uuid;

use crate::fixtures::day;
use crate::given::given;

fn acknowledged(number: u128) -> RollbackAcknowledged {
    RollbackAcknowledged {
        rollback_id: RollbackId::from_uuid(Uuid::from_u128(number)),
        cause: RollbackCause::Behind,
        witnessed_position: Some(Position(9)),
        found_position: Position(7),
        detected_at: day(0),
        acknowledged_at: day(1),
        reason: None,
    }
}

#[test]
fn an_acknowledgement_is_recorded() {
    given::<EventLog>([]).when(Command::AcknowledgeRollback(acknowledged(1))).then([acknowledged(1).into()]);
}

#[test]
fn the_same_rollback_is_acknowledged_once() {
    given::<EventLog>([acknowledged(1).into()]).when(Command::AcknowledgeRollback(acknowledged(1))).then_nothing();
}

#[test]
fn every_rollback_needs_an_acknowledgement_of_its_own() {
    let history = [acknowledged(1).into()];
    given::<EventLog>(history).when(Command::AcknowledgeRollback(acknowledged(2))).then([acknowledged(2).into()]);
}
