//! Certificates: profiles, signing requests, issuing, chain checks, and the certificate authority's key store.
