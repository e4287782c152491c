//! The HTTP routes that only read.
