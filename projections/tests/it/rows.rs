//! What each event makes of the rows, seen through plain SQL as an analyst sees them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use signalbeam_domain::api_key::KeyOrigin;
use signalbeam_projections::{Projector, Tables};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Column, Connection, Row, SqliteConnection, TypeInfo, ValueRef};

use crate::fleet::{Fleet, Step};

/// A row's columns in order, as text.
pub(crate) type TextRow = Vec<(String, Option<String>)>;

pub(crate) const LONG: Duration = Duration::from_mins(1);

/// Every row that a query answers.
pub(crate) async fn query(path: &Path, sql: String) -> Vec<TextRow> {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(text_row).collect()
}

fn text_row(row: &SqliteRow) -> TextRow {
    let value = |at: usize| {
        let raw = row.try_get_raw(at).unwrap();
        if raw.is_null() {
            return None;
        }
        Some(match raw.type_info().name() {
            "INTEGER" => row.get::<i64, _>(at).to_string(),
            "REAL" => row.get::<f64, _>(at).to_string(),
            _ => row.get::<String, _>(at),
        })
    };
    row.columns().iter().enumerate().map(|(at, column)| (column.name().to_owned(), value(at))).collect()
}

/// Every table's rows.
pub(crate) async fn dump(path: &Path) -> BTreeMap<&'static str, Vec<TextRow>> {
    let tables = [
        "checkpoints",
        "devices",
        "device_tags",
        "device_api_keys",
        "device_registration_tokens",
        "device_certificates",
        "service_certificates",
        "admin_token_revocations",
    ];
    let mut dump = BTreeMap::new();
    for table in tables {
        dump.insert(table, query(path, format!("SELECT * FROM {table} ORDER BY 1, 2")).await);
    }
    dump
}

/// Tables that have come to the head of a fleet's log, and what they hold.
pub(crate) struct Projected {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) projector: Projector,
}

impl Projected {
    pub(crate) async fn of(fleet: &Fleet) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::open(&folder.path().join("projections.db"), &*fleet.store).await.unwrap();
        let projector = Projector::start(fleet.store.clone(), tables);
        let projected = Self { folder, projector };
        projected.catch_up(fleet).await;
        projected
    }

    pub(crate) async fn catch_up(&self, fleet: &Fleet) {
        self.projector.wait_for(fleet.head().await, LONG).await.unwrap();
    }

    pub(crate) async fn dump(&self) -> BTreeMap<&'static str, Vec<TextRow>> {
        dump(self.projector.tables().path()).await
    }

    /// The only row of a query, as `column=value` lines without those that are NULL.
    async fn only_row(&self, sql: &str) -> String {
        let rows = query(self.projector.tables().path(), sql.to_owned()).await;
        assert_eq!(rows.len(), 1, "{sql}");
        let columns = rows[0].iter().filter_map(|(column, value)| Some(format!("{column}={}", value.as_ref()?)));
        columns.collect::<Vec<_>>().join("\n")
    }
}

const ADMIN: &str = "admin:alice";
const TENANT: &str = "00000000-0000-0000-0000-0000aaaa0000";

#[tokio::test]
async fn a_token_is_issued_used_or_revoked() {
    let fleet = Fleet::of(&[Step::IssueToken, Step::Register(0), Step::IssueToken, Step::RevokeToken(1)]).await;
    let projected = Projected::of(&fleet).await;
    let used = projected.only_row("SELECT * FROM device_registration_tokens WHERE is_used").await;
    assert_eq!(
        used,
        format!(
            "id=00000000-0000-0000-0000-000000000001\ntenant_id={TENANT}\ntoken_hash=$2b$12$2\n\
             token_prefix=T0000001\nexpires_at=2026-03-02T12:00:01.000000Z\nis_used=1\n\
             used_at=2026-01-31T12:00:02.000000Z\nused_by_device_id={}\ncreated_at=2026-01-31T12:00:01.000000Z\n\
             created_by={ADMIN}\ndescription=for the \"east\" site\nmac={}03\nmac_key_id=k1",
            fleet.devices[0],
            "d1".repeat(16) + &"00".repeat(15),
        )
    );
    let revoked = projected.only_row("SELECT * FROM device_registration_tokens WHERE NOT is_used").await;
    assert!(
        revoked.ends_with(&format!(
            "is_used=0\ncreated_at=2026-01-31T12:00:03.000000Z\ncreated_by={ADMIN}\ndescription=for the \"east\" site\n\
         mac={}\nmac_key_id=k1\nrevoked_at=2026-01-31T12:00:04.000000Z\nrevoked_by={ADMIN}\nrevocation_reason=lost",
            fleet.tokens[1].verifier.mac
        )),
        "{revoked}"
    );
}

#[tokio::test]
async fn a_device_goes_through_its_life() {
    let mut fleet = Fleet::of(&[Step::IssueToken, Step::Register(0)]).await;
    let projected = Projected::of(&fleet).await;
    let status = "SELECT status, status_changed_at, status_reason, approved_by, api_key_validity_days FROM devices";
    let registered = projected.only_row("SELECT * FROM devices").await;
    assert!(registered.contains(&format!("tenant_id={TENANT}\nname=Gateway 0\nstatus=Pending\n")), "{registered}");
    assert!(registered.contains("metadata={\"load\":0.1,\"site\":\"east\"}\n"), "{registered}");
    assert!(registered.contains("token_prefix=T0000001\nclaim_secret_sha256=d1d1"), "{registered}");
    for (step, expected) in [
        (Step::Approve(0), "Approved\nstatus_changed_at=2026-01-31T12:00:03.000000Z"),
        (Step::Suspend(0), "Suspended\nstatus_changed_at=2026-01-31T12:00:04.000000Z\nstatus_reason=stolen"),
        (Step::Reinstate(0), "Approved\nstatus_changed_at=2026-01-31T12:00:05.000000Z\nstatus_reason=found"),
        (Step::Decommission(0), "Decommissioned\nstatus_changed_at=2026-01-31T12:00:06.000000Z\nstatus_reason=scrap"),
    ] {
        fleet.perform(step).await;
        projected.catch_up(&fleet).await;
        let row = projected.only_row(status).await;
        assert_eq!(row, format!("status={expected}\napproved_by={ADMIN}\napi_key_validity_days=90"));
    }
}

#[tokio::test]
async fn a_rejection_and_a_new_name_stand_in_the_row() {
    let fleet = Fleet::of(&[Step::IssueToken, Step::Register(0), Step::Rename(0), Step::Reject(0)]).await;
    let projected = Projected::of(&fleet).await;
    let row = projected
        .only_row("SELECT name, status, rejected_at, rejected_by, rejection_reason, status_reason FROM devices")
        .await;
    assert!(row.starts_with("name=renamed "), "{row}");
    assert!(
        row.ends_with(&format!(
            "status=Rejected\nrejected_at=2026-01-31T12:00:04.000000Z\nrejected_by={ADMIN}\nrejection_reason=unknown\n\
         status_reason=unknown"
        )),
        "{row}"
    );
}

#[tokio::test]
async fn a_key_is_issued_used_and_superseded() {
    let (mut fleet, device) = Fleet::with_device().await;
    for step in [Step::IssueKey(0, KeyOrigin::Claim), Step::UseKeys(0), Step::IssueKey(0, KeyOrigin::AdminRotation)] {
        fleet.perform(step).await;
    }
    fleet.perform(Step::RevokeKeys(0)).await;
    let projected = Projected::of(&fleet).await;
    let row = |origin: &str| {
        format!(
            "SELECT device_id, expires_at, revoked_at, last_used_at, created_at, created_by, first_used_at, \
             revocation_cause, revocation_reason FROM device_api_keys WHERE origin = '{origin}'"
        )
    };
    assert_eq!(
        projected.only_row(&row("claim")).await,
        format!(
            "device_id={device}\nexpires_at=2026-04-01T12:00:04.000000Z\nrevoked_at=2026-01-31T12:00:06.000000Z\n\
             last_used_at=2026-01-31T12:00:05.000000Z\ncreated_at=2026-01-31T12:00:04.000000Z\ncreated_by={ADMIN}\n\
             first_used_at=2026-01-31T12:00:05.000000Z\nrevocation_cause=superseded"
        )
    );
    let rotated = projected.only_row(&row("admin_rotation")).await;
    assert!(rotated.ends_with("revocation_cause=admin\nrevocation_reason=leaked"), "{rotated}");
}

#[tokio::test]
async fn a_certificate_is_superseded_and_then_revoked() {
    let (mut fleet, device) = Fleet::with_device().await;
    for step in [
        Step::IssueCertificate(0),
        Step::UseCertificates(0),
        Step::NoticeExpiry(0),
        Step::RequestRenewal(0),
        Step::IssueCertificate(0),
        Step::UseCertificates(0),
        Step::SuspectReuse(0, 0),
        Step::AbandonCertificate(0),
        Step::RevokeCertificate(0, 0),
    ] {
        fleet.perform(step).await;
    }
    let projected = Projected::of(&fleet).await;
    let first = projected.only_row("SELECT * FROM device_certificates WHERE standing = 'revoked'").await;
    for line in [
        format!("device_id={device}"),
        "type=Device".into(),
        "issued_at=2026-01-31T12:00:04.000000Z".into(),
        "expires_at=2026-03-17T12:00:04.000000Z".into(),
        "not_before=2026-01-31T11:55:04.000000Z".into(),
        "revoked_at=2026-01-31T12:00:08.000000Z".into(),
        "renewal_window_start=2026-01-31T12:00:07.000000Z".into(),
        "renewal_window_end=2026-02-01T12:00:07.000000Z".into(),
        "reuse_suspected_at=2026-01-31T12:00:10.000000Z".into(),
        "revocation_reason=key compromise".into(),
        "revocation_reason_code=keyCompromise".into(),
        "first_used_at=2026-01-31T12:00:05.000000Z".into(),
        "noticed_days=7".into(),
        "ended_position=11".into(),
        "revocation_position=17".into(),
        "profile=device".into(),
        format!("subject=CN=device-{device}, O=SignalBeam"),
        "certificate_pem=-----BEGIN CERTIFICATE-----".into(),
    ] {
        assert!(first.lines().any(|found| found == line), "{line} in {first}");
    }
    let second = projected.only_row("SELECT serial_number FROM device_certificates WHERE revoked_at IS NULL").await;
    let successor = second.replace("serial_number=", "superseded_by=");
    assert!(first.contains(&successor), "{successor} in {first}");
}

#[tokio::test]
async fn an_authority_has_a_row_until_it_retires() {
    let mut fleet = Fleet::of(&[Step::CreateAuthority]).await;
    let projected = Projected::of(&fleet).await;
    let row = projected.only_row("SELECT type, device_id, tenant_id, subject, standing FROM device_certificates").await;
    assert_eq!(row, "type=RootCA\nsubject=CN=SignalBeam Root CA, O=SignalBeam, C=US\nstanding=active");
    fleet.perform(Step::CreateAuthority).await;
    fleet.perform(Step::RotateAuthority).await;
    projected.catch_up(&fleet).await;
    let row = projected.only_row("SELECT rotated_at FROM device_certificates WHERE rotated_at IS NOT NULL").await;
    assert_eq!(row, "rotated_at=2026-01-31T12:00:03.000000Z");
    fleet.perform(Step::RetireAuthority).await;
    projected.catch_up(&fleet).await;
    let row = projected
        .only_row("SELECT standing, revoked_at, revoked_by, ended_position FROM device_certificates WHERE standing = 'revoked'")
        .await;
    assert_eq!(
        row,
        format!("standing=revoked\nrevoked_at=2026-01-31T12:00:04.000000Z\nrevoked_by={ADMIN}\nended_position=5")
    );
}

#[tokio::test]
async fn a_certificate_of_our_own_has_a_row_before_it_is_signed() {
    let fleet = Fleet::of(&[Step::CreateAuthority, Step::IntendServiceCertificate]).await;
    let projected = Projected::of(&fleet).await;
    let row = projected.only_row("SELECT purpose, subject, expires_at, intended_at FROM service_certificates").await;
    assert_eq!(
        row,
        "purpose=ocsp_signer\nsubject=CN=SignalBeam OCSP responder, O=SignalBeam\n\
         expires_at=2026-02-07T12:00:02.000000Z\nintended_at=2026-01-31T12:00:02.000000Z"
    );
}
