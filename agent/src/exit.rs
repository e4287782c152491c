//! The exit codes that scripts branch on.

/// How a command ended; the numbers are part of the program's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `status`: approved, for `certificate-status`: valid.
    Fine = 0,
    /// Something failed.
    Failed = 1,
    /// Wrong arguments or configuration.
    Usage = 2,
    /// The device waits for approval.
    Pending = 3,
    /// The device was rejected, suspended or decommissioned.
    NotApproved = 4,
    /// A credential that is needed has expired or is missing.
    CredentialMissing = 5,
}

impl Exit {
    /// The number for the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }
}
