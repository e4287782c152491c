//! `signalbeam ca export`: certificates for whoever shall trust or show them, and, only when asked for, a key under a
//! passphrase.

use std::path::{Path, PathBuf};

use clap::Args;
use signalbeam_domain::authority::AuthorityStatus;
use signalbeam_pki::{
    BlockingPool, FileKeyStores, InvalidKeySlot, KeySlot, KeyStoreSecret, certificate_pem, certificates_from_pem,
};

use super::survey::{Survey, Surveyed};
use super::{Failure, PlaceArgs, file_stores};
use crate::cli::print;
use crate::data_dir::write_private;

const EXAMPLES: &str = "\
Examples:
  signalbeam ca export --output ca-cert.pem                 what devices and proxies trust, the signing root first
  signalbeam ca export --issuers                            the signing authority and its issuers, its own certificate first
  signalbeam ca export --with-key --slot root-2 --passphrase-file FILE --output root-2-key.pem

A key leaves only encrypted (PBES2; `openssl pkey -in FILE` reads it), and only where it is kept in a file.";

/// What to export, and where to.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Where to. Standard output by default; a key goes into a file alone, readable by its owner
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only the signing authority's certificate and those of its issuers, up to the root
    #[arg(long, conflicts_with = "with_key")]
    issuers: bool,
    /// The private key in a slot, encrypted under the passphrase
    #[arg(long, requires_all = ["passphrase_file", "output"])]
    with_key: bool,
    /// The file whose first line is the passphrase (mode 600)
    #[arg(long, value_name = "FILE", requires = "with_key")]
    passphrase_file: Option<PathBuf>,
    /// The key's slot, as `ca status` names it; by default the signing authority's
    #[arg(long, value_name = "NAME", requires = "with_key", value_parser = KeySlot::parse)]
    slot: Option<KeySlot>,
}

#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("no certificate authority signs: start the server on this directory first (`signalbeam serve`)")]
    NoneSigns,
    #[error("the log names a key slot that cannot be one")]
    Slot(#[from] InvalidKeySlot),
    #[error("the key cannot be encrypted: the system gives no random numbers")]
    Random,
}

pub(super) async fn run(args: &ExportArgs) -> Result<(), Failure> {
    let survey = Survey::of(&args.place.data_dir).await?;
    let signing = survey.signing().ok_or_else(|| Failure::of(ExportError::NoneSigns))?;
    if let (true, Some(passphrase), Some(output)) = (args.with_key, &args.passphrase_file, &args.output) {
        let slot = match &args.slot {
            Some(slot) => slot.clone(),
            None => slot_of(signing).map_err(|error| Failure::of(ExportError::from(error)))?,
        };
        return key(&file_stores(&args.place)?, &slot, passphrase, output).await;
    }
    let mut chain = chain(&survey, signing);
    if !args.issuers {
        chain.reverse();
        let trusted = survey.authorities.iter().filter(|one| one.known.status != AuthorityStatus::Retired);
        for one in trusted.flat_map(|one| self::chain(&survey, one).into_iter().rev()) {
            if !chain.contains(&one) {
                chain.push(one);
            }
        }
    }
    let bundle: String = chain.iter().map(|der| certificate_pem(der)).collect();
    match &args.output {
        None => print(&bundle),
        Some(path) => {
            std::fs::write(path, bundle).map_err(|error| Failure::of_output(&path.display().to_string(), error))
        }
    }
}

async fn key(stores: &FileKeyStores, slot: &KeySlot, passphrase: &Path, output: &Path) -> Result<(), Failure> {
    let passphrase = KeyStoreSecret::read(passphrase).map_err(Failure::of)?;
    let key = stores.file(slot).take_out().await.map_err(Failure::of)?;
    // To derive a key from a passphrase takes long, on purpose.
    let pem = BlockingPool::new(1).run(move || key.to_encrypted_pem(&passphrase)).await.map_err(Failure::of)?;
    let pem = pem.ok_or_else(|| Failure::of(ExportError::Random))?;
    write_private(output, pem.as_bytes()).map_err(Failure::of)?;
    print(&format!("{}: the key of slot {slot}, encrypted\n", output.display()))
}

fn slot_of(one: &Surveyed) -> Result<KeySlot, InvalidKeySlot> {
    one.known.created.key_slot.as_deref().map_or_else(|| Ok(KeySlot::main()), KeySlot::parse)
}

/// An authority's certificate and those of its issuers, up to the root.
fn chain(survey: &Survey, one: &Surveyed) -> Vec<Vec<u8>> {
    let created = &one.known.created;
    let pems = std::iter::once(&created.certificate_pem).chain(&created.issuers_pem);
    let mut chain: Vec<_> = pems.flat_map(|pem| certificates_from_pem(pem).unwrap_or_default()).collect();
    if let Some(issuer) = created.issuer_id.and_then(|id| survey.by_id(id)) {
        chain.extend(self::chain(survey, issuer));
    }
    chain
}
