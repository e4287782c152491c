//! Read your writes: a query waits until the tables hold what was written before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use signalbeam_domain::Position;

use crate::progress::Behind;
use crate::projector::Projector;

/// Knows how far this node has written and how far the tables have come. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Freshness {
    projector: Arc<Projector>,
    appended: Arc<AtomicU64>,
}

impl Freshness {
    /// For the tables that this projector keeps.
    pub fn new(projector: Arc<Projector>) -> Self {
        Self { projector, appended: Arc::default() }
    }

    /// Notes that this node appended up to a position. Whoever appends says so before it answers.
    pub fn note_appended(&self, position: Position) {
        self.appended.fetch_max(position.0, Ordering::AcqRel);
    }

    /// The last position that this node appended.
    pub fn last_appended(&self) -> Position {
        Position(self.appended.load(Ordering::Acquire))
    }

    /// How far the tables have come.
    pub fn tables_position(&self) -> Position {
        self.projector.position()
    }

    /// Waits until the tables hold everything that this node appended before the call.
    ///
    /// # Errors
    /// [`Behind`] where they do not by then.
    pub async fn wait_for_own_writes(&self, timeout: Duration) -> Result<(), Behind> {
        self.wait_for(self.last_appended(), timeout).await
    }

    /// Waits until the tables have come to a position.
    ///
    /// # Errors
    /// [`Behind`] where they have not by then.
    pub async fn wait_for(&self, position: Position, timeout: Duration) -> Result<(), Behind> {
        self.projector.wait_for(position, timeout).await
    }
}
