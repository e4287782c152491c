//! The parts of a server, opened in the order in which they need each other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use signalbeam_authn::authenticator::Parts as AuthenticatorParts;
use signalbeam_authn::secrets::SecretKeeper;
use signalbeam_authn::{AuthenticationPolicy, Authenticator, Limits};
use signalbeam_command_api::authorities::{AuthorityKeeper, Hierarchy};
use signalbeam_command_api::{
    CommandApi, CommandPolicy, OcspParts, OcspResponder, OcspSettings, Parts as CommandParts, ocsp_routes,
};
use signalbeam_domain::{OutOfBounds, Position, ValidityBounds};
use signalbeam_event_store::audit::AuditDurability;
use signalbeam_event_store::{Clock, EventReader, FloodGuard, OcspAnswerRecorder, SqliteAuditLog, SqliteEventStore};
use signalbeam_pki::profile::PublishedUrls;
use signalbeam_pki::{
    Authorities, AuthoritySettings, BlockingPool, CaKeyType, DeviceKeyGenerator, FileKeyStores, PublishedUrl,
    TrustDomain,
};
use signalbeam_projections::{CredentialIndex, Freshness, Projector, ReadModel, Surroundings, Tables};
use signalbeam_query_api::{CaCertificates, Parts as QueryParts, QueryApi, documentation};
use tokio::sync::watch;

use super::log_guard::{Finding, LogGuard};
use super::measured_store::MeasuredStore;
use super::secrets::Secrets;
use super::{AUDIT_FILE, AUTHORITY_FOLDER, EVENTS_FILE, PROJECTIONS_FILE};
use super::{StartError, audit_upkeep, limits};
use crate::config::{self, Config};
use crate::data_dir::DataDir;
use crate::oidc;
use crate::server_certificate::Issuance;

/// What a running server consists of.
pub(super) struct Parts {
    pub(super) store: Arc<MeasuredStore<SqliteEventStore>>,
    pub(super) audit: Arc<SqliteAuditLog>,
    /// Stands before the log where attempts are recorded.
    pub(super) flood_guard: Arc<FloodGuard>,
    /// Takes what is said of certificates.
    pub(super) ocsp_answers: Arc<OcspAnswerRecorder>,
    ocsp: OcspSettings,
    pub(super) audit_settings: watch::Sender<config::Audit>,
    pub(super) data_dir: PathBuf,
    pub(super) projector: Arc<Projector>,
    pub(super) index: Arc<CredentialIndex>,
    pub(super) authorities: Authorities,
    pub(super) keeper_of_authorities: Arc<AuthorityKeeper>,
    /// Whether this start made them.
    pub(super) authorities_are_new: bool,
    pub(super) clock: Arc<dyn Clock>,
    /// Keeps devices out where the log went back.
    pub(super) guard: Arc<LogGuard>,
    /// The end of the log before anything was served.
    pub(super) head_at_start: Position,
    /// One for reads and writes: what one side appends, the other waits for.
    freshness: Freshness,
    keeper: Arc<SecretKeeper>,
    authenticator: Arc<Authenticator>,
    pub(super) limits: Arc<Limits>,
    policy: CommandPolicy,
}

impl Parts {
    /// Opens or makes everything.
    ///
    /// # Errors
    /// [`StartError`] says which part failed.
    pub(super) async fn open(
        data_dir: &DataDir,
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StartError> {
        let oidc = oidc::verifier(&config.oidc)?;
        let store = SqliteEventStore::open(data_dir.join(EVENTS_FILE), Arc::clone(&clock)).await?;
        let store = Arc::new(store);
        let head_found = store.head().await?;
        Secrets::check(data_dir)?;
        // Before the tables are opened: those of another log are thrown away, and they may be the only witness.
        let finding = Finding::look(data_dir.path(), config, &*store, &*clock).await?;
        let tables = Tables::open(&data_dir.join(PROJECTIONS_FILE), &*store).await?;
        let projector = Arc::new(Projector::start(Arc::clone(&store) as _, tables.clone()));
        let freshness = Freshness::new(Arc::clone(&projector));
        let store = Arc::new(MeasuredStore::new(store, freshness.clone()));
        let durability = match config.audit.durability {
            config::Durability::Strict => AuditDurability::Strict,
            config::Durability::Relaxed => AuditDurability::Relaxed,
        };
        let audit = Arc::new(SqliteAuditLog::open(data_dir.join(AUDIT_FILE), durability).await?);
        let failure_limit = audit_upkeep::failure_limit(&config.audit);
        let flood_guard = Arc::new(FloodGuard::new(Arc::clone(&audit) as _, failure_limit));
        let ocsp_answers = Arc::new(OcspAnswerRecorder::new(Arc::clone(&audit) as _));
        let settings = authority_settings(&config.ca)?;
        Secrets::make_for_new_log(data_dir, head_found)?;
        let keys = Arc::new(FileKeyStores::new(data_dir.join(AUTHORITY_FOLDER), BlockingPool::per_processor()));
        let keeper_of_authorities = Arc::new(AuthorityKeeper::new(keys, settings));
        let hierarchy = match config.ca.hierarchy {
            config::Hierarchy::Root => Hierarchy::Root,
            config::Hierarchy::Intermediate => Hierarchy::Intermediate,
        };
        let opened = keeper_of_authorities.open(&*store, &*clock, hierarchy).await?;
        let (authorities, authorities_are_new) = (Authorities::new(opened.set), opened.is_new);
        // After all that may fail: secrets that are made for a server that does not start hide that others are missing.
        let secrets = Secrets::obtain(data_dir, head_found)?;
        let keeper = Arc::new(secrets.keeper(config.authentication.bcrypt_cost));

        let index = CredentialIndex::start(Arc::clone(&store) as _, Some(tables));
        let limits = Arc::new(limits::limits(config));
        let authenticator = Arc::new(Authenticator::new(AuthenticatorParts {
            store: Arc::clone(&store) as _,
            index: Arc::clone(&index),
            audit: Arc::clone(&flood_guard) as _,
            clock: Arc::clone(&clock),
            admins: secrets.admin_tokens(oidc),
            keeper: Arc::clone(&keeper),
            authorities: authorities.clone(),
            policy: authentication_policy(config),
            limits: Arc::clone(&limits),
        }));
        let guard = Arc::new(finding.into_guard(authenticator.log_lock().clone()));
        let policy = command_policy(config)?;
        let head_at_start = store.head().await?;
        Ok(Arc::new(Self {
            store,
            audit,
            flood_guard,
            ocsp_answers,
            ocsp: ocsp_settings(&config.pki),
            audit_settings: watch::Sender::new(config.audit.clone()),
            data_dir: data_dir.join(""),
            projector,
            index,
            authorities,
            keeper_of_authorities,
            authorities_are_new,
            clock,
            guard,
            head_at_start,
            freshness,
            keeper,
            authenticator,
            limits,
            policy,
        }))
    }

    /// What has to be closed at the end, when all else is gone.
    pub(super) fn stores(&self) -> Stores {
        Stores {
            store: Arc::clone(&self.store),
            audit: Arc::clone(&self.audit),
            flood_guard: Arc::clone(&self.flood_guard),
            ocsp_answers: Arc::clone(&self.ocsp_answers),
            tables: self.projector.tables().clone(),
        }
    }

    /// Every route of the API and its documentation, bare.
    pub(super) fn routes(&self) -> Router {
        let commands = signalbeam_command_api::router(self.command_api());
        let queries = signalbeam_query_api::router(self.query_api());
        let ocsp = ocsp_routes(self.ocsp_responder());
        let (routes, document) = commands.merge(queries).merge(ocsp).split_for_parts();
        routes.merge(documentation(document))
    }

    /// What our own TLS certificate is issued with.
    pub(super) fn issuance(&self) -> Issuance {
        Issuance {
            authorities: self.authorities.clone(),
            store: Arc::clone(&self.store) as _,
            clock: Arc::clone(&self.clock),
        }
    }

    /// What the monitors work with.
    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings {
            store: Arc::clone(&self.store) as _,
            read_model: ReadModel::new(self.projector.tables().clone()),
            freshness: self.freshness.clone(),
            clock: Arc::clone(&self.clock),
        }
    }

    fn command_api(&self) -> CommandApi {
        CommandApi::new(CommandParts {
            store: Arc::clone(&self.store) as _,
            index: Arc::clone(&self.index),
            read_model: Arc::new(ReadModel::new(self.projector.tables().clone())),
            freshness: self.freshness.clone(),
            authenticator: Arc::clone(&self.authenticator),
            keeper: Arc::clone(&self.keeper),
            authorities: self.authorities.clone(),
            keeper_of_authorities: Arc::clone(&self.keeper_of_authorities),
            device_keys: Arc::new(DeviceKeyGenerator::new(BlockingPool::per_processor())),
            clock: Arc::clone(&self.clock),
            policy: self.policy,
        })
    }

    fn ocsp_responder(&self) -> OcspResponder {
        OcspResponder::new(OcspParts {
            authorities: self.authorities.clone(),
            store: Arc::clone(&self.store) as _,
            index: Arc::clone(&self.index),
            read_model: ReadModel::new(self.projector.tables().clone()),
            freshness: self.freshness.clone(),
            authenticator: Arc::clone(&self.authenticator),
            limits: Arc::clone(&self.limits),
            answers: Arc::clone(&self.ocsp_answers),
            clock: Arc::clone(&self.clock),
            settings: self.ocsp,
        })
    }

    fn query_api(&self) -> QueryApi {
        QueryApi::new(QueryParts {
            read_model: ReadModel::new(self.projector.tables().clone()),
            index: Arc::clone(&self.index),
            freshness: self.freshness.clone(),
            events: Arc::clone(&self.store) as _,
            audit: Arc::clone(&self.audit) as _,
            authenticator: Arc::clone(&self.authenticator),
            clock: Arc::clone(&self.clock),
            ca: ca_certificates(self.authorities.clone()),
            renewal_window_days: self.policy.renewal_window_days,
        })
    }
}

/// What devices trust, as it is at each moment.
fn ca_certificates(authorities: Authorities) -> Arc<dyn Fn() -> CaCertificates + Send + Sync> {
    Arc::new(move || {
        let current = authorities.current();
        CaCertificates { pem: current.certificates_pem(), root_der: current.signing().root_der().to_vec() }
    })
}

/// The files that are open.
pub(super) struct Stores {
    store: Arc<MeasuredStore<SqliteEventStore>>,
    audit: Arc<SqliteAuditLog>,
    flood_guard: Arc<FloodGuard>,
    ocsp_answers: Arc<OcspAnswerRecorder>,
    tables: Tables,
}

impl Stores {
    /// Lets the writers finish and closes the files.
    pub(super) async fn close(self) {
        if let Err(error) = self.flood_guard.flush_all().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "counts of failed attempts were lost: they could not be written at the end");
        }
        if let Err(error) = self.ocsp_answers.flush_all().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "records of OCSP answers were lost: they could not be written at the end");
        }
        self.audit.close().await;
        self.store.close().await;
        self.tables.close().await;
    }
}

fn authority_settings(ca: &config::CertificateAuthority) -> Result<AuthoritySettings, StartError> {
    let url = |key: &'static str, text: &Option<String>| {
        let parsed = text.as_deref().map(PublishedUrl::parse).transpose();
        parsed.map_err(|error| StartError::Setting { key, reason: error.to_string() })
    };
    let trust_domain = TrustDomain::parse(&ca.trust_domain)
        .map_err(|error| StartError::Setting { key: "ca.trust_domain", reason: error.to_string() })?;
    Ok(AuthoritySettings {
        key_type: match ca.key_type {
            config::KeyType::Rsa2048 => CaKeyType::Rsa2048,
            config::KeyType::Rsa3072 => CaKeyType::Rsa3072,
            config::KeyType::Rsa4096 => CaKeyType::Rsa4096,
            config::KeyType::EcdsaP256 => CaKeyType::EcdsaP256,
            config::KeyType::EcdsaP384 => CaKeyType::EcdsaP384,
        },
        trust_domain,
        urls: PublishedUrls {
            crl: url("ca.crl_url", &ca.crl_url)?,
            ocsp: url("ca.ocsp_url", &ca.ocsp_url)?,
            issuer: url("ca.issuer_url", &ca.issuer_url)?,
        },
        ..AuthoritySettings::default()
    })
}

fn ocsp_settings(pki: &config::Pki) -> OcspSettings {
    OcspSettings {
        validity: Duration::from_mins(u64::from(pki.ocsp_validity_minutes)),
        signer_validity_days: pki.ocsp_signer_validity_days,
    }
}

fn authentication_policy(config: &Config) -> AuthenticationPolicy {
    AuthenticationPolicy {
        mtls_enabled: config.mtls.enabled,
        api_key_fallback: match config.authentication.api_key_fallback {
            config::ApiKeyFallback::Always => signalbeam_authn::ApiKeyFallback::Always,
            config::ApiKeyFallback::UnlessRevoked => signalbeam_authn::ApiKeyFallback::UnlessRevoked,
            config::ApiKeyFallback::Never => signalbeam_authn::ApiKeyFallback::Never,
        },
    }
}

fn command_policy(config: &Config) -> Result<CommandPolicy, StartError> {
    Ok(CommandPolicy {
        registration_token_validity: bounds("registration_tokens.default_validity_days", &config.registration_tokens)?,
        api_key_validity: bounds("api_keys.default_validity_days", &config.api_keys)?,
        certificate_validity: bounds("certificates.default_validity_days", &config.certificates)?,
        renewal_window_days: config.certificate_renewal.renewal_threshold_days,
    })
}

fn bounds(key: &'static str, validity: &config::Validity) -> Result<ValidityBounds, StartError> {
    let config::Validity { min_validity_days, max_validity_days, default_validity_days } = *validity;
    ValidityBounds::new(min_validity_days, max_validity_days, default_validity_days)
        .map_err(|error: OutOfBounds| StartError::Setting { key, reason: error.to_string() })
}
