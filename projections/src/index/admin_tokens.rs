//! Which admin tokens are revoked.

use std::collections::HashMap;

use signalbeam_domain::{AdminTokenId, Timestamp, TokenIssuer};

/// Single tokens, and the moment before which all of this installation's are.
#[derive(Debug, Default)]
pub(super) struct RevokedTokens {
    single: HashMap<AdminTokenId, Vec<TokenIssuer>>,
    issued_before: Option<Timestamp>,
}

impl RevokedTokens {
    pub(super) fn revoke(&mut self, issuer: TokenIssuer, jti: AdminTokenId) {
        let issuers = self.single.entry(jti).or_default();
        if !issuers.contains(&issuer) {
            issuers.push(issuer);
        }
    }

    pub(super) fn revoke_before(&mut self, moment: Timestamp) {
        self.issued_before = self.issued_before.max(Some(moment));
    }

    /// A token that does not tell when it was issued may be as old as any.
    pub(super) fn covers(
        &self,
        issuer: &TokenIssuer,
        jti: Option<&AdminTokenId>,
        issued_at: Option<Timestamp>,
    ) -> bool {
        let issuers = jti.and_then(|jti| self.single.get(jti));
        if issuers.is_some_and(|issuers| issuers.contains(issuer)) {
            return true;
        }
        let is_ours = issuer.as_str() == TokenIssuer::BUILT_IN;
        is_ours && self.issued_before.is_some_and(|moment| issued_at.is_none_or(|issued_at| issued_at < moment))
    }

    pub(super) fn forget(&mut self, issuer: &TokenIssuer, jti: &AdminTokenId) {
        if let Some(issuers) = self.single.get_mut(jti) {
            issuers.retain(|known| known != issuer);
            if issuers.is_empty() {
                self.single.remove(jti);
            }
        }
    }
}
