//! The HTTP routes that change things.
