//! The parts of a server, opened in the order in which they need each other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use signalbeam_authn::authenticator::Parts as AuthenticatorParts;
use signalbeam_authn::secrets::SecretKeeper;
use signalbeam_authn::{Authenticator, Limits};
use signalbeam_command_api::authorities::AuthorityKeeper;
use signalbeam_command_api::{
    CommandApi, CommandPolicy, OcspParts, OcspResponder, Parts as CommandParts, PublishedCrls, ocsp_routes,
};
use signalbeam_domain::Position;
use signalbeam_event_store::{Clock, EventReader, FloodGuard, OcspAnswerRecorder, SqliteAuditLog, SqliteEventStore};
use signalbeam_pki::{Authorities, CertificateAuthority, DeviceKeyGenerator, Profiles};
use signalbeam_projections::{CredentialIndex, Freshness, Projector, ReadModel, Surroundings, Tables};
use signalbeam_query_api::{AuthorityCertificate, CaCertificates, Parts as QueryParts, QueryApi, documentation};
use tokio::sync::watch;

use super::key_stores::{WatchedKeyStores, key_stores};
use super::log_guard::{Finding, LogGuard};
use super::measured_store::MeasuredStore;
use super::secrets::Secrets;
use super::settings::{
    authentication_policy, authority_settings, command_policy, durability, hierarchy, ocsp_settings, profile_set,
};
use super::{AUDIT_FILE, EVENTS_FILE, PROJECTIONS_FILE};
use super::{AuthorityStartError, StartError, audit_upkeep, limits};
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
    /// One for every listener: what it keeps, and the certificates that it signs with, serve all.
    ocsp: OcspResponder,
    pub(super) audit_settings: watch::Sender<config::Audit>,
    pub(super) data_dir: PathBuf,
    /// Where the authorities' keys are.
    pub(super) key_stores: Arc<WatchedKeyStores>,
    pub(super) projector: Arc<Projector>,
    pub(super) index: Arc<CredentialIndex>,
    pub(super) authorities: Authorities,
    pub(super) keeper_of_authorities: Arc<AuthorityKeeper>,
    /// Whether this start made them.
    pub(super) authorities_are_new: bool,
    /// The revocation lists that are served.
    pub(super) crls: Arc<PublishedCrls>,
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
    /// What certificates say.
    pub(super) profiles: Profiles,
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
        let profiles = Profiles::new(profile_set(config)?);
        let Logs { stores, projector, freshness, head_found, finding } = Logs::open(data_dir, config, &clock).await?;
        let store = Arc::clone(&stores.store);
        let settings = authority_settings(&config.ca)?;
        Secrets::make_for_new_log(data_dir, head_found)?;
        let key_stores = key_stores(config, data_dir).map_err(AuthorityStartError::from)?;
        let keeper_of_authorities = Arc::new(AuthorityKeeper::new(Arc::clone(&key_stores) as _, settings));
        let opened = keeper_of_authorities.open(&*store, &*clock, hierarchy(&config.ca)).await?;
        let (authorities, authorities_are_new) = (Authorities::new(opened.set), opened.is_new);
        // After all that may fail: secrets that are made for a server that does not start hide that others are missing.
        let secrets = Secrets::obtain(data_dir, head_found)?;
        let keeper = Arc::new(secrets.keeper(config.authentication.bcrypt_cost));

        let index = CredentialIndex::start(Arc::clone(&store) as _, Some(stores.tables.clone()));
        let limits = Arc::new(limits::limits(config));
        let authenticator = Arc::new(Authenticator::new(AuthenticatorParts {
            store: Arc::clone(&store) as _,
            index: Arc::clone(&index),
            audit: Arc::clone(&stores.flood_guard) as _,
            clock: Arc::clone(&clock),
            admins: secrets.admin_tokens(oidc),
            keeper: Arc::clone(&keeper),
            authorities: authorities.clone(),
            policy: authentication_policy(config),
            limits: Arc::clone(&limits),
        }));
        let guard = Arc::new(finding.into_guard(authenticator.log_lock().clone()));
        let ocsp = OcspResponder::new(OcspParts {
            authorities: authorities.clone(),
            store: Arc::clone(&store) as _,
            index: Arc::clone(&index),
            read_model: ReadModel::new(stores.tables.clone()),
            freshness: freshness.clone(),
            authenticator: Arc::clone(&authenticator),
            limits: Arc::clone(&limits),
            answers: Arc::clone(&stores.ocsp_answers),
            clock: Arc::clone(&clock),
            settings: ocsp_settings(&config.pki),
        });
        let head_at_start = store.head().await?;
        Ok(Arc::new(Self {
            store,
            audit: stores.audit,
            flood_guard: stores.flood_guard,
            ocsp_answers: stores.ocsp_answers,
            ocsp,
            audit_settings: watch::Sender::new(config.audit.clone()),
            data_dir: data_dir.join(""),
            key_stores,
            projector,
            index,
            authorities,
            keeper_of_authorities,
            authorities_are_new,
            crls: Arc::default(),
            clock,
            guard,
            head_at_start,
            freshness,
            keeper,
            authenticator,
            limits,
            policy: command_policy(config)?,
            profiles,
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
        let ocsp = ocsp_routes(self.ocsp.clone());
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

    /// The routes for those who check certificates, bare.
    pub(super) fn pki_routes(&self) -> Router {
        let commands = signalbeam_command_api::pki_router(self.command_api());
        let (ocsp, _) = ocsp_routes(self.ocsp.clone()).split_for_parts();
        commands.merge(signalbeam_query_api::pki_router(self.query_api())).merge(ocsp)
    }

    /// Waits until the signing authority's revocation lists are served, unless the log is not relied on.
    pub(super) async fn wait_for_crls(&self, patience: Duration) {
        if self.guard.is_engaged() {
            return;
        }
        if !self.crls.wait_for(self.authorities.current().signing().id(), patience).await {
            tracing::warn!("no revocation list has been published yet");
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

    pub(super) fn command_api(&self) -> CommandApi {
        CommandApi::new(CommandParts {
            store: Arc::clone(&self.store) as _,
            index: Arc::clone(&self.index),
            read_model: Arc::new(ReadModel::new(self.projector.tables().clone())),
            freshness: self.freshness.clone(),
            authenticator: Arc::clone(&self.authenticator),
            keeper: Arc::clone(&self.keeper),
            authorities: self.authorities.clone(),
            crls: Arc::clone(&self.crls),
            keeper_of_authorities: Arc::clone(&self.keeper_of_authorities),
            profiles: self.profiles.clone(),
            device_keys: Arc::new(DeviceKeyGenerator::beside_other_work()),
            clock: Arc::clone(&self.clock),
            policy: self.policy,
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
            renewal_window_days: renewal_windows(self.profiles.clone(), self.policy.renewal_window_days),
        })
    }
}

/// How many days before its end a certificate of a profile may be renewed; `others` where that is not configured.
fn renewal_windows(profiles: Profiles, others: u16) -> Arc<dyn Fn(&str) -> u16 + Send + Sync> {
    Arc::new(move |profile| profiles.current().get(profile).map_or(others, |profile| profile.renewal_window_days()))
}

/// What devices trust, as it is at each moment.
fn ca_certificates(authorities: Authorities) -> Arc<dyn Fn() -> CaCertificates + Send + Sync> {
    Arc::new(move || {
        let current = authorities.current();
        let trusted = current.trusted().iter().map(|one| &one.authority);
        let all = trusted.chain(current.retired());
        CaCertificates {
            pem: current.certificates_pem(),
            root_der: current.signing().root_der().to_vec(),
            by_authority: all.map(|one| (one.id(), certificate_of(one))).collect(),
        }
    })
}

fn certificate_of(authority: &Arc<CertificateAuthority>) -> AuthorityCertificate {
    AuthorityCertificate { der: authority.certificate_der().to_vec(), pem: authority.certificate_pem() }
}

/// The logs and what is derived from them, before anything is decided by what they hold.
struct Logs {
    stores: Stores,
    projector: Arc<Projector>,
    freshness: Freshness,
    head_found: Position,
    finding: Finding,
}

impl Logs {
    async fn open(data_dir: &DataDir, config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, StartError> {
        let store = SqliteEventStore::open(data_dir.join(EVENTS_FILE), Arc::clone(clock)).await?;
        let store = Arc::new(store);
        let head_found = store.head().await?;
        Secrets::check(data_dir)?;
        // Before the tables are opened: those of another log are thrown away, and they may be the only witness.
        let finding = Finding::look(data_dir.path(), config, &*store, &**clock).await?;
        let tables = Tables::open(&data_dir.join(PROJECTIONS_FILE), &*store).await?;
        let projector = Arc::new(Projector::start(Arc::clone(&store) as _, tables.clone()));
        let freshness = Freshness::new(Arc::clone(&projector));
        let store = Arc::new(MeasuredStore::new(store, freshness.clone()));
        let audit = Arc::new(SqliteAuditLog::open(data_dir.join(AUDIT_FILE), durability(&config.audit)).await?);
        let failure_limit = audit_upkeep::failure_limit(&config.audit);
        let flood_guard = Arc::new(FloodGuard::new(Arc::clone(&audit) as _, failure_limit));
        let ocsp_answers = Arc::new(OcspAnswerRecorder::new(Arc::clone(&audit) as _));
        let stores = Stores { store, audit, flood_guard, ocsp_answers, tables };
        Ok(Self { stores, projector, freshness, head_found, finding })
    }
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
