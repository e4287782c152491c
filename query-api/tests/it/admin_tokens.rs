//! Revocations of admin tokens: listed for those who see every tenant.

use signalbeam_authn::Role;
use signalbeam_domain::admin_token::{AdminTokenEvent, AdminTokenRevoked, AllAdminTokensRevoked};
use signalbeam_domain::{AdminTokenId, Reason, StreamId, TokenIssuer};

use crate::world::{World, day, tenant};

const PATH: &str = "/api/admin-tokens/revocations";

fn revoked(jti: &str) -> AdminTokenEvent {
    AdminTokenEvent::Revoked(AdminTokenRevoked {
        jti: AdminTokenId::parse(jti).unwrap(),
        issuer: TokenIssuer::built_in(),
        reason: Some(Reason::parse("laptop stolen").unwrap()),
        expires_at: Some(day(1)),
    })
}

#[tokio::test]
async fn revocations_are_listed_the_newest_first() {
    let world = World::new().await;
    for jti in ["a", "b"] {
        world.record(None, StreamId::admin_token(&AdminTokenId::parse(jti).unwrap()), [revoked(jti)]).await;
    }
    let all = AdminTokenEvent::AllRevoked(AllAdminTokensRevoked { issued_before: day(0), reason: None });
    world.record(None, StreamId::all_admin_tokens(), [all]).await;
    for role in Role::ALL {
        let items = world.get(PATH, &world.admin_of(role, None)).await.items();
        assert_eq!(items.len(), 3);
        assert_eq!(items[0]["issuedBefore"], day(0).to_string());
        assert!(items[0].get("jti").is_none() && items[0].get("issuer").is_none());
        assert_eq!((&items[1]["jti"], &items[2]["jti"]), (&"b".into(), &"a".into()));
        assert_eq!((&items[2]["issuer"], &items[2]["reason"]), (&"signalbeam".into(), &"laptop stolen".into()));
        assert_eq!((&items[2]["expiresAt"], &items[2]["revokedBy"]), (&day(1).to_string().into(), &"admin:ada".into()));
    }
    let pages = world.pages(&format!("{PATH}?limit=2"), &world.admin(), "revokedBy").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    for role in Role::ALL {
        let confined = world.admin_of(role, Some(tenant(1)));
        assert_eq!(world.get(PATH, &confined).await.refusal(), (403, "FORBIDDEN".to_owned()));
        assert!(world.get("/api/events", &confined).await.items().is_empty(), "nor are their events shown");
    }
}
