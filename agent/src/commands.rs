//! One file a command; each reads what it needs, acts, and says what it did.

use crate::clock::Clock;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::locations::Locations;
use crate::output::Output;

pub mod certificate_status;
pub mod completions;
pub mod register;
pub mod renew_certificate;
pub mod request_certificate;
pub mod run;
pub mod status;
pub mod version;

/// What every command works with.
pub struct Context<'a> {
    /// Where things are kept.
    pub locations: Locations,
    /// Where results go.
    pub output: Output<'a>,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// How a command ends.
pub type Outcome = Result<Exit, Failure>;
