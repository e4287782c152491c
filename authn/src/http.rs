//! What every route shares: problems, the request's context, bodies and parameters.

pub mod context;
mod echo;
pub mod extract;
pub mod problem;
