//! Every route and rule, in one process and without sockets: requests go straight into the router, client certificates
//! come with the connection as the listener would hand them over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod registration;
mod registration_tokens;
mod world;
