//! The `signalbeam-agent` program.
fn main() {}
