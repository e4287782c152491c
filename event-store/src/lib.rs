//! The append, read and subscribe port of the event log, its adapters, and the audit log beside it.
