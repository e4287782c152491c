//! The event log itself, as far as something happens to it: it went back to an earlier state, and an operator took note.

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Context};
use crate::envelope::Position;
use crate::event::events;
use crate::ids::RollbackId;
use crate::text::Reason;
use crate::timestamp::Timestamp;

/// How it was noticed that the log is not the one that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackCause {
    /// It was restored from a backup: what happened after that is unknown.
    Restored,
    /// It ends before a position that was witnessed.
    Behind,
    /// Another event stands at a position that was witnessed.
    OtherHistory,
    /// What stands at a position that was witnessed cannot be read.
    Unreadable,
}

impl RollbackCause {
    /// As it is written in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::Behind => "behind",
            Self::OtherHistory => "other_history",
            Self::Unreadable => "unreadable",
        }
    }
}

/// An operator acknowledged that the log had gone back; from here on it is relied on again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RollbackAcknowledged {
    /// The rollback.
    pub rollback_id: RollbackId,
    /// How it was noticed.
    pub cause: RollbackCause,
    /// The last position that is known to have existed; absent where nobody witnessed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witnessed_position: Option<Position>,
    /// The position at which the log ended when it was noticed. What follows in the log was recorded afterwards.
    pub found_position: Position,
    /// When it was noticed.
    pub detected_at: Timestamp,
    /// When the operator acknowledged it.
    pub acknowledged_at: Timestamp,
    /// What the operator had to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

events! {
    /// What can happen to the event log.
    EventLogEvent {
        /// That it had gone back was acknowledged.
        RollbackAcknowledged(RollbackAcknowledged) = ("event_log.rollback_acknowledged", 1),
    }
}

/// What can be asked of the event log.
#[derive(Debug, Clone)]
pub enum EventLogCommand {
    /// Record an operator's acknowledgement.
    AcknowledgeRollback(RollbackAcknowledged),
}

/// What is known of the event log: the rollbacks that were acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventLog {
    acknowledged: Vec<RollbackId>,
}

impl Aggregate for EventLog {
    type Command = EventLogCommand;
    type Event = EventLogEvent;
    type Error = std::convert::Infallible;

    fn decide(&self, command: Self::Command, _context: &Context) -> Result<Vec<Self::Event>, Self::Error> {
        let EventLogCommand::AcknowledgeRollback(acknowledged) = command;
        let is_known = self.acknowledged.contains(&acknowledged.rollback_id);
        Ok(if is_known { vec![] } else { vec![acknowledged.into()] })
    }

    fn evolve(mut self, event: &Self::Event) -> Self {
        let EventLogEvent::RollbackAcknowledged(acknowledged) = event;
        self.acknowledged.push(acknowledged.rollback_id);
        self
    }
}
