//! `signalbeam ca import`: an authority that was made elsewhere becomes the successor of the one that signs, or the key of
//! one that the log knows is put back.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use signalbeam_domain::authority::AuthorityStatus;
use signalbeam_event_store::{Clock, SystemClock};
use signalbeam_pki::{
    AuthoritySettings, CaKeyStores, CaMaterial, CertificateAuthority, FileKeyStores, KeySlot, KeyStoreSecret,
    PortableKey, Timeliness, UnreadableKey, certificate_pem, certificates_from_pem,
};
use zeroize::Zeroizing;

use super::rotate::{ROUTE, told_of_prepared};
use super::running_server::RunningServer;
use super::survey::{Survey, Surveyed};
use super::{Failure, PlaceArgs, file_stores};
use crate::cli::print;
use crate::data_dir::DataDir;
use crate::serve::EVENTS_FILE;

const EXAMPLES: &str = "\
Examples:
  signalbeam ca import --certificate ca.pem --key ca-key.pem                        a root; it becomes the prepared successor
  signalbeam ca import --certificate sub.pem --key sub-key.pem --issuers root.pem   an issuing authority under a foreign root
  signalbeam ca import --certificate ca-cert.pem --key ca-key.pem                   put a lost key back: the server need not run

Keys: PKCS#8, also encrypted, PKCS#1 and SEC1, in PEM. Docs: docs/runbooks/ca-disaster-recovery.md";

/// What to import.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ImportArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The authority's certificate, PEM
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where it is no root: its issuer's certificate, and so on up to the root, PEM
    #[arg(long, value_name = "FILE")]
    issuers: Option<PathBuf>,
    /// The file whose first line is the key's passphrase (mode 600)
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The slot for the key; by default `imported-N`
    #[arg(long, value_name = "NAME", value_parser = KeySlot::parse)]
    slot: Option<KeySlot>,
}

#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is not one certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no certificates in PEM", .0.display())]
    NoIssuers(PathBuf),
    #[error("{} cannot be imported", path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: UnreadableKey,
    },
    #[error("the key does not belong to the certificate")]
    OtherKey,
    #[error("the certificate cannot be an authority's: {0}")]
    Unfit(&'static str),
    #[error(
        "the last certificate is no root, which signed itself: name those of its issuers, up to the root, with --issuers"
    )]
    NoRoot,
    #[error("the authority, or one that vouches for it, is not valid now")]
    NotNow,
    #[error("the log knows this authority, and it is retired: it cannot come back")]
    Retired,
    #[error("the slot {0} holds another key or certificate: choose another --slot, or move its files aside")]
    Taken(KeySlot),
    #[error(
        "an authority under a foreign root cannot be the first one: start the server (`signalbeam serve`), then import it again as \
         the successor"
    )]
    FirstIsNoRoot,
    #[error("the first authority's slot is main")]
    FirstSlot,
    #[error("no free slot was found; name one with --slot")]
    NoSlot,
}

/// An authority on its way in.
struct Candidate {
    certificate: Vec<u8>,
    issuers_pem: Option<String>,
    key: PortableKey,
}

pub(super) async fn run(args: &ImportArgs) -> Result<(), Failure> {
    let stores = file_stores(&args.place)?;
    let (candidate, authority) = read(args, &stores)?;
    let data_dir = &args.place.data_dir.data_dir;
    let has_log = data_dir.join(EVENTS_FILE).exists();
    let survey = if has_log { Some(Survey::of(&args.place.data_dir).await?) } else { None };
    let Some(survey) = survey.filter(|survey| !survey.authorities.is_empty()) else {
        judge(&authority).map_err(Failure::of)?;
        return become_first(args, candidate, &stores).await;
    };
    if let Some(known) = survey.authorities.iter().find(|one| one.known.created.fingerprint == authority.fingerprint())
    {
        return put_back(known, candidate, &stores).await;
    }
    judge(&authority).map_err(Failure::of)?;
    let server = RunningServer::find(&args.place).await?;
    let slot = match &args.slot {
        Some(slot) => slot.clone(),
        None => free_slot(&survey)?,
    };
    let mut body = json!({"keySlot": slot.as_str()});
    if let Some(pem) = &candidate.issuers_pem {
        body["issuersPem"] = json!(pem);
    }
    put(&stores, &slot, candidate).await?;
    let changed = server.post(ROUTE, &body).await.map_err(Failure::of)?;
    told_of_prepared(&changed)
}

/// Before the first start: that takes what it finds in the main slot.
async fn become_first(args: &ImportArgs, candidate: Candidate, stores: &FileKeyStores) -> Result<(), Failure> {
    if candidate.issuers_pem.is_some() {
        return Err(Failure::of(ImportError::FirstIsNoRoot));
    }
    if args.slot.as_ref().is_some_and(|slot| !slot.is_main()) {
        return Err(Failure::Usage(ImportError::FirstSlot.into()));
    }
    // Held all the while, so that no server makes a first authority of its own meanwhile.
    let _held = DataDir::open(&args.place.data_dir.data_dir).map_err(Failure::of)?;
    put(stores, &KeySlot::main(), candidate).await?;
    print("it becomes the first certificate authority when the server is started: signalbeam serve\n")
}

/// Puts a lost key where the log says that it belongs.
async fn put_back(known: &Surveyed, candidate: Candidate, stores: &FileKeyStores) -> Result<(), Failure> {
    if known.known.status == AuthorityStatus::Retired {
        return Err(Failure::of(ImportError::Retired));
    }
    let slot = known.known.created.key_slot.as_deref().map_or_else(|| Ok(KeySlot::main()), KeySlot::parse);
    let slot = slot.map_err(Failure::of)?;
    put(stores, &slot, candidate).await?;
    print(&format!("the key of {} is in its place (slot {slot}); start the server\n", known.known.created.fingerprint))
}

/// Puts key and certificate into a slot that is empty, or holds these.
async fn put(stores: &FileKeyStores, slot: &KeySlot, candidate: Candidate) -> Result<(), Failure> {
    let taken = || Failure::of(ImportError::Taken(slot.clone()));
    let opened = stores.open(slot).map_err(Failure::of)?;
    let wanted = candidate.key.public_key().clone();
    if stores.file(slot).put_key(candidate.key).await.map_err(Failure::of)? != wanted {
        return Err(taken());
    }
    let kept = opened.store_certificate(&candidate.certificate).await.map_err(Failure::of)?;
    match opened.load().await.map_err(Failure::of)? {
        CaMaterial::Complete { public_key, .. } if public_key == wanted && kept == candidate.certificate => Ok(()),
        _ => Err(taken()),
    }
}

fn free_slot(survey: &Survey) -> Result<KeySlot, Failure> {
    let names = (1..).map(|number| format!("imported-{number}")).take(survey.authorities.len() + 1);
    let is_free =
        |name: &String| survey.authorities.iter().all(|one| one.known.created.key_slot.as_deref() != Some(name));
    let slot = names.filter(is_free).find_map(|name| KeySlot::parse(&name).ok());
    slot.ok_or_else(|| Failure::of(ImportError::NoSlot))
}

fn read(args: &ImportArgs, stores: &FileKeyStores) -> Result<(Candidate, CertificateAuthority), Failure> {
    let certificate = certificates_from_pem(&text(&args.certificate)?).unwrap_or_default();
    let [certificate] = <[Vec<u8>; 1]>::try_from(certificate)
        .map_err(|_| Failure::of(ImportError::NoCertificate(args.certificate.clone())))?;
    let issuers = match &args.issuers {
        None => Vec::new(),
        Some(path) => certificates_from_pem(&text(path)?)
            .filter(|found| !found.is_empty())
            .ok_or_else(|| Failure::of(ImportError::NoIssuers(path.clone())))?,
    };
    let passphrase = args.passphrase_file.as_deref().map(KeyStoreSecret::read).transpose().map_err(Failure::of)?;
    let key = PortableKey::from_pem(&text(&args.key)?, passphrase.as_ref());
    let key = key.map_err(|source| Failure::of(ImportError::Key { path: args.key.clone(), source }))?;
    let issuers_pem = (!issuers.is_empty()).then(|| issuers.iter().map(|der| certificate_pem(der)).collect());
    let chain: Vec<_> = std::iter::once(certificate.clone()).chain(issuers).collect();
    let store = stores.open(&KeySlot::main()).map_err(Failure::of)?;
    let authority = CertificateAuthority::from_certificates(store, AuthoritySettings::default(), chain);
    let authority = authority.map_err(Failure::of)?;
    if authority.public_key() != key.public_key() {
        return Err(Failure::of(ImportError::OtherKey));
    }
    Ok((Candidate { certificate, issuers_pem, key }, authority))
}

/// What an authority must be that is new here.
fn judge(authority: &CertificateAuthority) -> Result<(), ImportError> {
    if let Some(lacking) = authority.lacks() {
        return Err(ImportError::Unfit(lacking));
    }
    if !authority.ends_at_root() {
        return Err(ImportError::NoRoot);
    }
    let timeliness = authority.own_validity().timeliness(SystemClock.now().to_offset_date_time());
    if timeliness == Timeliness::Within { Ok(()) } else { Err(ImportError::NotNow) }
}

fn text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let read = fs::read_to_string(path).map(Zeroizing::new);
    read.map_err(|source| Failure::of(ImportError::Read { path: path.to_owned(), source }))
}
