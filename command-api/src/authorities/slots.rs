//! Where the keys of authorities that are to be made go: slots that no authority has, nor anybody else's leftovers.

use std::sync::Arc;

use signalbeam_authn::Problem;
use signalbeam_pki::{AuthoritySettings, CaKeyStore, CaKeyType, CaMaterial, CertificateAuthority, KeySlot, Timeliness};
use signalbeam_projections::authorities::KnownAuthority;

use super::keeper::slot_of;
use super::unavailable;
use crate::command::internal;
use crate::state::CommandApi;

/// The first authorities have names of their own.
const FIRST_NUMBER: usize = 2;

/// What an authority is made as.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Root,
    Issuing,
}

/// The slots, and the authorities that the log knows to be in some of them.
pub(super) struct Slots<'a>(pub(super) &'a CommandApi, pub(super) Vec<KnownAuthority>);

impl Slots<'_> {
    /// Whether the log knows an authority in a slot.
    pub(super) fn is_taken(&self, slot: &KeySlot) -> bool {
        self.1.iter().any(|one| slot_of(&one.created).is_ok_and(|taken| taken == *slot))
    }

    /// A slot's store, and what an authority with a key of this type is made by.
    pub(super) fn opened(
        &self,
        slot: &KeySlot,
        key_type: CaKeyType,
    ) -> Result<(Arc<dyn CaKeyStore>, AuthoritySettings), Problem> {
        let keeper = &self.0.keeper_of_authorities;
        let store = keeper.store(slot).map_err(|error| unavailable(&error))?;
        Ok((store, AuthoritySettings { key_type, ..keeper.settings().clone() }))
    }

    /// The first slot that is empty, or holds what an interrupted attempt to make the very same has left, with the name
    /// that goes with it. What else is found in a slot is not touched: it may be of another type, under another root, or
    /// put there by an operator.
    pub(super) async fn free(
        &self,
        kind: Kind,
        key_type: CaKeyType,
        issuers: &[Vec<u8>],
    ) -> Result<(KeySlot, String), Problem> {
        let mut number = FIRST_NUMBER - 1;
        loop {
            number += 1;
            let (name, common_name) = match kind {
                Kind::Root => (format!("root-{number}"), format!("SignalBeam Root CA {number}")),
                Kind::Issuing => (format!("issuing-{number}"), format!("SignalBeam Issuing CA {number}")),
            };
            let slot = KeySlot::parse(&name).map_err(|error| internal(&error))?;
            if !self.is_taken(&slot) && self.fits(&slot, key_type, issuers, &common_name).await? {
                return Ok((slot, common_name));
            }
        }
    }

    async fn fits(
        &self,
        slot: &KeySlot,
        key_type: CaKeyType,
        issuers: &[Vec<u8>],
        common_name: &str,
    ) -> Result<bool, Problem> {
        let (store, settings) = self.opened(slot, key_type)?;
        let found = store.load().await.map_err(|error| unavailable(&error))?;
        let certificate = match found {
            CaMaterial::Absent => return Ok(true),
            CaMaterial::KeyOnly(public_key) => return Ok(public_key.key_type() == key_type),
            CaMaterial::Complete { certificate, .. } => certificate,
        };
        let chain = std::iter::once(certificate).chain(issuers.iter().cloned()).collect();
        Ok(CertificateAuthority::from_certificates(store, settings, chain).is_ok_and(|left| {
            let now = self.0.now().to_offset_date_time();
            left.ends_at_root()
                && left.public_key().key_type() == key_type
                && left.subject().starts_with(&format!("CN={common_name}, "))
                && left.own_validity().timeliness(now) == Timeliness::Within
        }))
    }
}
