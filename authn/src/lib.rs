//! Who is calling: device certificate, API key, admin token; every attempt recorded.
