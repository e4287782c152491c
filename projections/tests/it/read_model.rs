//! The query API's questions: lists in pages, single things, confinement to a tenant, counts.

use signalbeam_domain::api_key::KeyOrigin;
use signalbeam_domain::certificate::Standing;
use signalbeam_domain::{AuthorityId, DeviceId, DeviceStatus, SerialNumber, Tag, Tags, Timestamp};
use signalbeam_event_store::Clock;
use signalbeam_projections::{
    CertificateFilter, CertificateStatus, CertificateType, Cursor, DeviceFilter, ReadModel, RevokedTokens, TokenFilter,
    TokenStatus,
};

use crate::fleet::{Fleet, Step, admin_token, tenant};
use crate::rows::{Projected, query};

async fn asked(fleet: &Fleet) -> (ReadModel, Projected) {
    let projected = Projected::of(fleet).await;
    (ReadModel::new(projected.projector.tables().clone()), projected)
}

/// Six devices, by turns of one tenant and of another.
async fn six_devices() -> Fleet {
    let mut fleet = Fleet::new();
    for nth in 0..6 {
        fleet.perform(Step::IssueToken).await;
        fleet.perform(Step::Register(nth)).await;
    }
    fleet
}

async fn device_pages(model: &ReadModel, filter: &DeviceFilter, limit: usize) -> Vec<Vec<DeviceId>> {
    let mut pages = vec![];
    let mut after: Option<Cursor> = None;
    loop {
        let page = model.devices(None, filter, after, limit).await.unwrap();
        pages.push(page.items.iter().map(|device| device.device_id).collect());
        match page.next {
            // As a caller hands it back.
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn devices_come_in_pages_the_newest_first() {
    let fleet = six_devices().await;
    let (model, _projected) = asked(&fleet).await;
    let newest_first: Vec<_> = fleet.devices.iter().rev().copied().collect();
    for limit in [1, 2, 4, 6, 500] {
        let pages = device_pages(&model, &DeviceFilter::default(), limit).await;
        assert_eq!(pages.len(), 6_usize.div_ceil(limit), "{limit}");
        assert_eq!(pages.concat(), newest_first, "{limit}");
    }
}

#[tokio::test]
async fn devices_are_found_by_status_tenant_and_part_of_the_name() {
    let mut fleet = six_devices().await;
    fleet.perform(Step::Approve(4)).await;
    let (model, _projected) = asked(&fleet).await;
    let find = async |filter: DeviceFilter| device_pages(&model, &filter, 500).await.concat();
    let filter = |status, tenant_id, name: Option<&str>| DeviceFilter {
        status,
        tenant_id,
        name_contains: name.map(ToOwned::to_owned),
        tags: Tags::default(),
    };
    let approved = find(filter(Some(DeviceStatus::Approved), None, None)).await;
    assert_eq!(approved, [fleet.devices[4]]);
    let named = find(filter(None, None, Some("WAY 1"))).await;
    assert_eq!(named, [fleet.devices[4], fleet.devices[1]]);
    for odd in ["%", "_", "'", "\" OR 1=1 --"] {
        assert!(find(filter(None, None, Some(odd))).await.is_empty(), "{odd}");
    }
    let of_first = fleet.tokens.iter().filter(|token| token.tenant_id == tenant(0)).count();
    assert_eq!(find(filter(None, Some(tenant(0)), None)).await.len(), of_first);
    assert!(find(filter(None, Some(tenant(7)), None)).await.is_empty());
}

fn tags(texts: &[&str]) -> Tags {
    Tags::new(texts.iter().map(|text| Tag::parse(text).unwrap())).unwrap()
}

#[tokio::test]
async fn devices_are_found_by_every_one_of_their_tags_in_the_order_of_the_list() {
    let mut fleet = six_devices().await;
    let (east, both) = (tags(&["site:east"]), tags(&["rack 1", "site:east"]));
    for (nth, tags) in [(0, &both), (1, &both), (2, &east), (3, &Tags::default()), (4, &both), (5, &east)] {
        fleet.tag(nth, tags).await;
    }
    let (model, projected) = asked(&fleet).await;
    let ids = |nths: &[usize]| ids_of(&fleet, nths);
    let of = |tags: &Tags| DeviceFilter { tags: tags.clone(), ..DeviceFilter::default() };
    for limit in [1, 2, 500] {
        assert_eq!(device_pages(&model, &of(&east), limit).await.concat(), ids(&[5, 4, 2, 1, 0]), "{limit}");
        assert_eq!(device_pages(&model, &of(&both), limit).await.concat(), ids(&[4, 1, 0]), "{limit}");
    }
    assert!(device_pages(&model, &of(&tags(&["site"])), 9).await.concat().is_empty(), "a part of a tag is no tag");
    assert!(device_pages(&model, &of(&tags(&["SITE:east"])), 9).await.concat().is_empty(), "case counts");
    let (own, other) = (fleet.tokens[0].tenant_id, fleet.tokens[1].tenant_id);
    let confined = model.devices(Some(own), &of(&both), None, 9).await.unwrap().items;
    assert_eq!(confined.iter().map(|row| row.device_id).collect::<Vec<_>>(), ids(&[4, 0]));
    assert_eq!(confined[0].tags, both);
    let asked_for_another = DeviceFilter { tenant_id: Some(other), ..of(&both) };
    assert!(model.devices(Some(own), &asked_for_another, None, 9).await.unwrap().items.is_empty());
    let of_other = DeviceFilter { tenant_id: Some(other), ..of(&both) };
    assert_eq!(device_pages(&model, &of_other, 9).await.concat(), ids(&[1]));
    fleet.tag(4, &east).await;
    projected.catch_up(&fleet).await;
    assert_eq!(device_pages(&model, &of(&both), 9).await.concat(), ids_of(&fleet, &[1, 0]), "tags are replaced");
}

fn ids_of(fleet: &Fleet, nths: &[usize]) -> Vec<DeviceId> {
    nths.iter().map(|nth| fleet.devices[*nth]).collect()
}

#[tokio::test]
async fn who_is_confined_to_a_tenant_sees_nothing_of_another() {
    let (mut fleet, device) = Fleet::with_device().await;
    fleet.perform(Step::IssueCertificate(0)).await;
    let (model, _projected) = asked(&fleet).await;
    let (own, other) = (Some(fleet.tokens[0].tenant_id), Some(tenant(9)));
    let now = fleet.clock.now();
    let token = fleet.tokens[0].token_id;
    assert!(model.device(own, device).await.unwrap().is_some());
    assert!(model.device(other, device).await.unwrap().is_none());
    assert!(model.registration_token(own, token).await.unwrap().is_some());
    assert!(model.registration_token(other, token).await.unwrap().is_none());
    let certificate = model.certificates_of_device(None, device).await.unwrap().remove(0);
    let serial_number = certificate.serial_number;
    assert!(model.certificate(certificate.tenant_id, serial_number).await.unwrap().is_some());
    assert!(model.certificate(other, serial_number).await.unwrap().is_none());
    assert!(model.certificates_of_device(other, device).await.unwrap().is_empty());
    let asking_for_all = DeviceFilter { tenant_id: own, ..DeviceFilter::default() };
    assert!(model.devices(other, &asking_for_all, None, 10).await.unwrap().items.is_empty());
    let tokens = model.registration_tokens(other, &TokenFilter::default(), now, None, 10).await.unwrap();
    assert!(tokens.items.is_empty());
    let certificates = model.certificates(other, &CertificateFilter::default(), now, None, 10).await.unwrap();
    assert!(certificates.items.is_empty());
}

#[tokio::test]
async fn one_device_is_shown_with_what_it_authenticates_by() {
    let mut fleet = six_devices().await;
    let device = fleet.devices[0];
    let (model, projected) = asked(&fleet).await;
    let bare = model.device(None, device).await.unwrap().unwrap();
    assert!(bare.api_key.is_none() && bare.certificate.is_none());
    assert_eq!(bare.device.name.as_str(), "Gateway 0");
    assert_eq!(bare.device.metadata.entries().len(), 2);
    // The fourth device has the same name and another tenant.
    assert_ne!(fleet.tokens[0].tenant_id, fleet.tokens[3].tenant_id);
    assert!(!bare.name_is_duplicate);
    for step in [
        Step::Approve(0),
        Step::IssueKey(0, KeyOrigin::Claim),
        Step::IssueKey(0, KeyOrigin::DeviceRotation),
        Step::IssueCertificate(0),
        Step::IssueCertificate(0),
        Step::UseCertificates(0),
    ] {
        fleet.perform(step).await;
    }
    projected.catch_up(&fleet).await;
    let full = model.device(None, device).await.unwrap().unwrap();
    let key = full.api_key.unwrap();
    assert_eq!(key.expires_at, key.created_at.plus_days(60));
    assert_eq!(key.created_at.to_string(), "2026-01-31T12:00:15.000000Z", "the newest one");
    let certificate = full.certificate.unwrap();
    assert_eq!(certificate.standing, Standing::Active);
    assert!(certificate.first_used_at.is_some());
    let all = model.certificates_of_device(None, device).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0], certificate);
    assert_eq!(all[1].standing, Standing::Superseded { by: certificate.serial_number });
    assert_eq!(all[1].status(fleet.clock.now()), CertificateStatus::Superseded);
    assert!(model.device(None, DeviceId::from_uuid(uuid::Uuid::nil())).await.unwrap().is_none());
}

#[tokio::test]
async fn a_name_that_two_devices_of_a_tenant_have_is_flagged() {
    let mut fleet = six_devices().await;
    // A seventh device has the name of the first; those in between went to either tenant.
    for nth in 6..10 {
        fleet.perform(Step::IssueToken).await;
        fleet.perform(Step::Register(nth)).await;
    }
    let (model, _projected) = asked(&fleet).await;
    for (nth, device) in fleet.devices.iter().enumerate() {
        let is_twin = |other: usize| {
            other != nth && other % 3 == nth % 3 && fleet.tokens[other].tenant_id == fleet.tokens[nth].tenant_id
        };
        let expected = (0..fleet.devices.len()).any(is_twin);
        assert_eq!(model.device(None, *device).await.unwrap().unwrap().name_is_duplicate, expected, "{nth}");
    }
}

#[tokio::test]
async fn tokens_are_listed_by_where_they_stand_now() {
    let mut fleet = Fleet::of(&[
        Step::IssueToken,
        Step::Wait { days: 40 },
        Step::IssueToken,
        Step::IssueToken,
        Step::Register(1),
        Step::IssueToken,
        Step::RevokeToken(3),
    ])
    .await;
    fleet.perform(Step::Wait { days: 1 }).await;
    let (model, _projected) = asked(&fleet).await;
    let now = fleet.clock.now();
    for (status, nth) in
        [(TokenStatus::Expired, 0), (TokenStatus::Used, 1), (TokenStatus::Active, 2), (TokenStatus::Revoked, 3)]
    {
        assert_eq!(TokenStatus::parse(status.as_str()), Some(status));
        let filter = TokenFilter { status: Some(status), tenant_id: None };
        let found = model.registration_tokens(None, &filter, now, None, 10).await.unwrap().items;
        assert_eq!(found.len(), 1, "{status:?}");
        assert_eq!(found[0].id, fleet.tokens[nth].token_id, "{status:?}");
        assert_eq!(found[0].status(now), status);
    }
    // Of the first tenant are an expired and an active one, of the second a used and a revoked one.
    for (tenant_id, active) in [(fleet.tokens[0].tenant_id, 1), (fleet.tokens[1].tenant_id, 0)] {
        assert_eq!(model.active_registration_tokens(tenant_id, now).await.unwrap(), active);
    }
    let all = model.registration_tokens(None, &TokenFilter::default(), now, None, 3).await.unwrap();
    assert_eq!(all.items.len(), 3);
    let rest = model.registration_tokens(None, &TokenFilter::default(), now, all.next, 3).await.unwrap();
    assert_eq!(rest.items[0].id, fleet.tokens[0].token_id);
    assert_eq!(rest.next, None);
}

/// A device whose certificates are superseded and then revoked, superseded, and active; and an authority.
async fn with_certificates() -> (Fleet, Vec<SerialNumber>) {
    let (mut fleet, device) = Fleet::with_device().await;
    for step in [
        Step::IssueCertificate(0),
        Step::IssueCertificate(0),
        Step::IssueCertificate(0),
        Step::RevokeCertificate(0, 0),
        Step::CreateAuthority,
    ] {
        fleet.perform(step).await;
    }
    let (model, _projected) = asked(&fleet).await;
    let newest_first = model.certificates_of_device(None, device).await.unwrap();
    let serials = newest_first.iter().rev().map(|certificate| certificate.serial_number).collect();
    (fleet, serials)
}

#[tokio::test]
async fn the_state_of_every_certificate_that_was_signed_is_known_and_of_no_other() {
    let (mut fleet, serials) = with_certificates().await;
    fleet.perform(Step::IntendServiceCertificate).await;
    let (model, projected) = asked(&fleet).await;
    let state = async |serial| model.certificate_state(serial).await.unwrap();
    for (serial, standing) in
        serials.iter().zip([Standing::Revoked, Standing::Superseded { by: serials[2] }, Standing::Active])
    {
        let state = state(*serial).await.unwrap();
        assert_eq!((state.standing, state.revoked_at.is_some()), (standing, standing != Standing::Active));
    }
    let path = projected.projector.tables().path();
    for table in ["service_certificates", "device_certificates WHERE type = 'RootCA'"] {
        let rows = query(path, format!("SELECT serial_number, authority_id FROM {table}")).await;
        let [(_, Some(serial)), (_, Some(authority))] = &rows[0][..] else { panic!("{rows:?}") };
        let state = state(SerialNumber::from_hex(serial).unwrap()).await.unwrap();
        assert_eq!((state.standing, state.authority_id.to_string()), (Standing::Active, authority.clone()), "{table}");
    }
    assert_eq!(state(SerialNumber::from_random([9; 20])).await, None);
}

#[tokio::test]
async fn certificates_are_listed_by_where_they_stand_now() {
    let (fleet, serials) = with_certificates().await;
    let (model, _projected) = asked(&fleet).await;
    let list = async |filter: CertificateFilter, now: Timestamp| {
        let page = model.certificates(None, &filter, now, None, 10).await.unwrap();
        page.items.iter().map(|certificate| certificate.serial_number).collect::<Vec<_>>()
    };
    let device_only = CertificateFilter { kind: Some(CertificateType::Device), ..CertificateFilter::default() };
    let by_status = |status| CertificateFilter { status: Some(status), ..device_only.clone() };
    let now = fleet.clock.now();
    let later = now.plus_days(100);
    assert_eq!(list(by_status(CertificateStatus::Revoked), now).await, serials[..1]);
    assert_eq!(list(by_status(CertificateStatus::Superseded), now).await, serials[1..2]);
    assert_eq!(list(by_status(CertificateStatus::Active), now).await, serials[2..]);
    assert!(list(by_status(CertificateStatus::Active), later).await.is_empty());
    assert_eq!(list(by_status(CertificateStatus::Expired), later).await, serials[2..]);
    let expiring = |days| CertificateFilter { expiring_within_days: Some(days), ..CertificateFilter::default() };
    assert!(list(expiring(44), now).await.is_empty());
    assert_eq!(list(expiring(45), now).await, serials[2..]);
    let everything = list(CertificateFilter::default(), now).await;
    assert_eq!(everything.len(), 4, "the authority's too");
    let of_devices = CertificateFilter { device_ids: fleet.devices.clone(), ..CertificateFilter::default() };
    assert_eq!(list(of_devices, now).await.len(), 3);
    let of_others =
        CertificateFilter { device_ids: vec![DeviceId::from_uuid(uuid::Uuid::nil())], ..CertificateFilter::default() };
    assert!(list(of_others, now).await.is_empty());
    let other_profile = CertificateFilter { profile: Some("server".into()), ..CertificateFilter::default() };
    assert!(list(other_profile, now).await.is_empty());
    let second = model.certificate(None, serials[1]).await.unwrap().unwrap();
    let third = model.certificate(None, serials[2]).await.unwrap().unwrap();
    let between = CertificateFilter {
        issued_from: Some(second.issued_at),
        issued_before: Some(third.issued_at),
        ..CertificateFilter::default()
    };
    assert_eq!(list(between, now).await, serials[1..2]);
    let unrevoked = CertificateFilter { unrevoked: true, ..device_only.clone() };
    assert_eq!(list(unrevoked, later).await, serials[2..], "whether or not it has expired");
    let signed_by = |authority_id| CertificateFilter { authority_id: Some(authority_id), ..device_only.clone() };
    assert_eq!(list(signed_by(third.authority_id), now).await.len(), 3);
    assert!(list(signed_by(AuthorityId::from_uuid(uuid::Uuid::nil())), now).await.is_empty());
}

#[tokio::test]
async fn a_crl_lists_what_ended_before_its_time() {
    let (fleet, serials) = with_certificates().await;
    let (model, _projected) = asked(&fleet).await;
    let now = fleet.clock.now();
    let revocations = model.revocations(now).await.unwrap();
    let listed: Vec<_> = revocations.iter().map(|revocation| revocation.serial_number).collect();
    assert_eq!(listed, serials[..2]);
    assert_eq!(revocations[0].standing, Standing::Revoked);
    assert_eq!(revocations[1].standing, Standing::Superseded { by: serials[2] });
    let first = model.certificate(None, serials[0]).await.unwrap().unwrap();
    assert_eq!(first.superseded_by, Some(serials[1]), "also after the revocation");
    assert!(model.revocations(now.plus_days(100)).await.unwrap().is_empty());
}

#[tokio::test]
async fn expiring_api_keys_are_listed_once() {
    let (mut fleet, device) = Fleet::with_device().await;
    fleet.perform(Step::IssueKey(0, KeyOrigin::Claim)).await;
    fleet.perform(Step::IssueKey(0, KeyOrigin::AdminRotation)).await;
    let (model, _projected) = asked(&fleet).await;
    let now = fleet.clock.now();
    let found = model.api_keys_expiring(now, now.plus_days(61), 7, None, 10).await.unwrap().items;
    assert_eq!(found.iter().map(|key| key.device_id).collect::<Vec<_>>(), [device], "not the revoked one");
    assert!(model.api_keys_expiring(now, now.plus_days(59), 7, None, 10).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn the_counts_add_up() {
    let mut fleet = six_devices().await;
    for nth in 0..4 {
        fleet.perform(Step::Approve(nth)).await;
        fleet.perform(Step::IssueCertificate(nth)).await;
    }
    fleet.perform(Step::Suspend(3)).await;
    fleet.perform(Step::RevokeCertificate(2, 0)).await;
    fleet.perform(Step::CreateAuthority).await;
    let (model, _projected) = asked(&fleet).await;
    let devices = model.devices_by_status().await.unwrap();
    assert_eq!(
        devices,
        [
            (DeviceStatus::Pending, 2),
            (DeviceStatus::Approved, 3),
            (DeviceStatus::Rejected, 0),
            (DeviceStatus::Suspended, 1),
            (DeviceStatus::Decommissioned, 0),
        ]
    );
    let now = fleet.clock.now();
    let active = model.active_certificates_by_tenant(now, 1).await.unwrap();
    assert_eq!(active.largest, [(tenant(0), 3)]);
    assert_eq!(active.other, 0);
    let none_by_name = model.active_certificates_by_tenant(now, 0).await.unwrap();
    assert_eq!((none_by_name.largest.len(), none_by_name.other), (0, 3));
    let expired = model.active_certificates_by_tenant(now.plus_days(46), 1).await.unwrap();
    assert_eq!(expired.largest, []);
    assert_eq!(model.certificates_expiring(now, &[30, 60]).await.unwrap(), [(30, 0), (60, 3)]);
    assert_eq!(model.certificates_expiring(now.plus_days(40), &[1, 7]).await.unwrap(), [(1, 0), (7, 3)]);
}

#[tokio::test]
async fn revocations_of_admin_tokens_come_in_pages_the_newest_first() {
    let mut fleet = Fleet::new();
    for step in [Step::RevokeAdminToken(0), Step::RevokeAdminToken(5), Step::RevokeAllAdminTokens] {
        fleet.perform(step).await;
    }
    let (model, _projected) = asked(&fleet).await;
    let first = model.admin_token_revocations(None, 2).await.unwrap();
    let second = model.admin_token_revocations(first.next, 2).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (2, 1, None));
    let rows: Vec<_> = first.items.into_iter().chain(second.items).collect();
    let single = |nth| {
        let (jti, issuer, expires_at) = admin_token(nth);
        RevokedTokens::Single { jti, issuer, expires_at }
    };
    let revoked: Vec<_> = rows.iter().map(|row| row.revoked.clone()).collect();
    assert_eq!(revoked, [RevokedTokens::IssuedBefore(fleet.clock.now()), single(5), single(0)]);
    let reasons: Vec<_> = rows.iter().map(|row| row.reason.as_deref()).collect();
    assert_eq!(reasons, [None, Some("lost"), Some("lost")]);
}
