//! The `signalbeam` server.
fn main() {}
