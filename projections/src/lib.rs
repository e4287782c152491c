//! From the event log to read models: SQL tables and the in-memory credential index.
