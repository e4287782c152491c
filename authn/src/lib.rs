//! Who is calling: a device with its certificate or API key, whoever holds a claim secret, or an admin with a token.
//! Every attempt is recorded. Beside it, what all HTTP routes share: problems, the request's context, strict parsing.

pub mod access;
pub mod admin;
pub mod admission;
pub mod authenticator;
pub mod claim;
pub mod client_address;
pub mod code;
pub mod connection;
pub mod device;
pub mod draw;
pub mod extractors;
pub mod forwarded_certificate;
mod forwarded_list;
pub mod http;
pub mod limits;
pub mod log_lock;
pub mod permission;
pub mod recorder;
mod reuse;
pub mod secrets;
pub mod tls;
mod unrecorded;

pub use admin::{AdminPrincipal, AdminSession, AdminTokens};
pub use authenticator::Authenticator;
pub use code::ErrorCode;
pub use connection::Connection;
pub use device::{ApiKeyFallback, AuthenticationPolicy, DevicePrincipal};
pub use extractors::{Admin, Caller, Device, KeyHolder, SignedInAdmin};
pub use http::context::RequestContext;
pub use http::problem::Problem;
pub use limits::Limits;
pub use permission::{Permission, Role};
pub use recorder::Recorder;
pub use unrecorded::UNRECORDED_CERTIFICATES;
