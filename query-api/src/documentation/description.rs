//! What the routes do not say of themselves: the API as a whole, its security schemes and its errors.

use std::fmt::Write as _;

use signalbeam_authn::http::problem::{FieldError, ProblemBody};
use signalbeam_authn::{ErrorCode, access};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ArrayItems, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, Content, Info, License, OpenApi, Ref, RefOr, Response, Server, Tag};
use utoipa::{PartialSchema, ToSchema};

use super::examples;

const PROBLEM_JSON: &str = "application/problem+json";
const ERROR_CODE: &str = "ErrorCode";
/// Lists the credentials of which any one is enough; empty where the route is public.
const ACCESS_EXTENSION: &str = "x-signalbeam-permission";

const INTRODUCTION: &str = "SignalBeam gives edge devices an identity. A device registers with a one-time token, an admin \
approves it, the device claims its API key and gets an X.509 certificate, and authenticates every request with either.

## First steps

1. `signalbeam admin-token` prints an admin token. Send it in `Authorization`, as `Bearer` and the token.
2. `POST /api/registration-tokens` makes a one-time token for a device of a tenant.
3. The device registers with it (`POST /api/devices`) and follows `GET /api/devices/{id}/registration-status`.
4. `POST /api/devices/{id}/approve` lets it in; the device claims its API key and requests its certificate.

## Conventions

- Times are RFC 3339 in UTC, ids are UUIDs, serial numbers are 40 lower-case hex digits (upper case and colons are read too).
- Lists answer `{\"items\": [...], \"nextCursor\": ...}`. Give `nextCursor` back as `cursor`; `null` is the end.
- A command answers with `X-Event-Position`, how far the log reaches after it. Any `GET` takes that as `minPosition`, and
  waits up to two seconds until the answer holds it.
- Unknown fields and unknown query parameters are refused: a typing error is no silent default.
- Every answer has an `X-Correlation-Id`; the same id stands in the logs, in the events and in the authentication log.
";

const IDEMPOTENCY_KEY: &str = "Names the command, with 1 to 255 characters: the same name and body again get the first \
    outcome, and change nothing. Where that showed a secret once, `ALREADY_PROCESSED`.";

const TAGS: [(&str, &str); 8] = [
    ("Registration tokens", "One-time tokens with which devices register."),
    ("Devices", "Registered by themselves, decided on by admins."),
    ("API keys", "Claimed with the claim secret, rotated, revoked."),
    ("Certificates", "Issued, renewed, revoked; the authority's own certificate."),
    ("EST", "Enrolment over secure transport (RFC 7030, RFC 8951), for devices and tools that speak it."),
    ("Authentication log", "Every attempt to authenticate, successful or not."),
    ("Events", "The event log: everything that happened, in order."),
    ("Admin tokens", "Revoked one by one, or all that were issued before a moment."),
];

/// Completes the merged document of all routes: what the API is, how callers authenticate, and every error there is.
pub fn describe(mut api: OpenApi) -> OpenApi {
    api.info = Info::new("SignalBeam API", env!("CARGO_PKG_VERSION"));
    api.info.description = Some(format!("{INTRODUCTION}\n{}", error_table()));
    api.info.license = Some(License::new("MIT OR Apache-2.0"));
    api.servers = Some(vec![Server::new("/")]);
    api.tags = Some(tags(&api));
    for (path, item) in &mut api.paths.paths {
        add_access(path, item);
        operations(item).for_each(|operation| {
            complete(operation);
            examples::attach(operation);
        });
    }
    let components = api.components.get_or_insert_with(Components::new);
    name_listed_items(components);
    add_security_schemes(components);
    add_errors(components);
    api
}

/// The tags that routes have, ours first and with what they mean.
fn tags(api: &OpenApi) -> Vec<Tag> {
    let mut tags: Vec<Tag> = TAGS
        .map(|(name, description)| {
            let mut tag = Tag::new(name);
            tag.description = Some(description.to_owned());
            tag
        })
        .into();
    for item in api.paths.paths.values() {
        let mut item = item.clone();
        for name in operations(&mut item).filter_map(|operation| operation.tags.clone()).flatten() {
            if tags.iter().all(|tag| tag.name != name) {
                tags.push(Tag::new(name));
            }
        }
    }
    tags
}

/// Who may call each route, from the one table that says so.
fn add_access(path: &str, item: &mut PathItem) {
    let PathItem { get, put, post, delete, options, head, patch, .. } = item;
    for (method, operation) in [
        ("GET", get),
        ("PUT", put),
        ("POST", post),
        ("DELETE", delete),
        ("OPTIONS", options),
        ("HEAD", head),
        ("PATCH", patch),
    ] {
        let (Some(operation), Some(access)) = (operation, access::of_route(method, path)) else { continue };
        let text = operation.description.take().unwrap_or_default();
        operation.description = Some(format!("{text}\n\n{}", access.sentence()).trim_start().to_owned());
        let credentials: Vec<_> = access.credentials.iter().map(|credential| credential.name()).collect();
        let extensions = operation.extensions.get_or_insert_default();
        extensions.merge(Extensions::from_iter([(ACCESS_EXTENSION, credentials)]));
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, .. } = item;
    [get, put, post, delete, options, head, patch].into_iter().flatten()
}

/// A summary is a title, not a sentence. Errors are problem JSON, and any route may be limited or fail.
fn complete(operation: &mut Operation) {
    if let Some(summary) = &mut operation.summary {
        summary.truncate(summary.trim_end_matches('.').len());
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && parameter.name == "Idempotency-Key"
        {
            parameter.description.get_or_insert_with(|| IDEMPOTENCY_KEY.to_owned());
        }
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.content.values_mut().for_each(unwrap_optional);
    }
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response
            && !status.starts_with('2')
            && let Some(content) = response.content.swap_remove("application/json")
        {
            response.content.insert(PROBLEM_JSON.to_owned(), content);
        }
    }
    for (status, name) in [("429", "RateLimited"), ("default", "Problem")] {
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::Ref(Ref::from_response_name(name)));
    }
}

/// That a body may be left out is said by `required`; the generator says it again by "this or null", behind which readers
/// do not see its fields.
fn unwrap_optional(content: &mut RefOr<Content>) {
    if let RefOr::T(content) = content
        && let Some(RefOr::T(Schema::OneOf(alternatives))) = &content.schema
        && let Some(stated) = alternatives.items.iter().find(|item| matches!(item, RefOr::Ref(_)))
    {
        content.schema = Some(stated.clone());
    }
}

/// Lists name what they hold, where the generator wrote it out again: a reader then finds each thing described once.
fn name_listed_items(components: &mut Components) {
    for (name, schema) in &mut components.schemas {
        if let Some(item) = name.strip_prefix("List_")
            && let RefOr::T(Schema::Object(list)) = schema
            && let Some(RefOr::T(Schema::Array(items))) = list.properties.get_mut("items")
        {
            items.items = ArrayItems::RefOrSchema(Box::new(RefOr::Ref(Ref::from_schema_name(item))));
        }
    }
}

fn add_security_schemes(components: &mut Components) {
    let bearer = |format: &str, description: &str| {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some(format.to_owned());
        scheme.description = Some(description.to_owned());
        SecurityScheme::Http(scheme)
    };
    let api_key = ApiKeyValue::with_description("X-API-Key", "A device's API key, `sb_device_...`.");
    components
        .add_security_scheme("adminToken", bearer("JWT", "An admin's token; `signalbeam admin-token` makes one."));
    components.add_security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(api_key)));
    components.add_security_scheme(
        "clientCertificate",
        SecurityScheme::MutualTls {
            description: Some("A device's certificate, presented in the TLS handshake.".to_owned()),
            deprecated: None,
            extensions: None,
        },
    );
    let mut basic = Http::new(HttpAuthScheme::Basic);
    let description = "A device's id with its API key, or a tenant's id with a registration token.";
    basic.description = Some(description.to_owned());
    components.add_security_scheme("basic", SecurityScheme::Http(basic));
    components.add_security_scheme(
        "claimSecret",
        bearer("sbc_...", "The secret that a device registered with; it fetches the first API key."),
    );
}

fn add_errors(components: &mut Components) {
    let codes = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("A stable error code. Each always comes with the same HTTP status."))
        .enum_values(Some(ErrorCode::ALL.iter().map(|code| code.as_str())))
        .build();
    components.schemas.insert(ERROR_CODE.to_owned(), RefOr::T(Schema::Object(codes)));
    let mut problem = ProblemBody::schema();
    if let RefOr::T(Schema::Object(problem)) = &mut problem {
        problem.properties.insert("code".to_owned(), RefOr::Ref(Ref::from_schema_name(ERROR_CODE)));
    }
    components.schemas.insert(ProblemBody::name().into_owned(), problem);
    components.schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    for (name, description) in [
        ("Problem", "Any other error; `code` says which"),
        ("RateLimited", "`RATE_LIMITED`: too many requests; `Retry-After` says how many seconds to wait"),
    ] {
        let schema = Ref::from_schema_name(ProblemBody::name());
        let mut response = Response::new(description);
        response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(Content::new(Some(schema))));
        components.responses.insert(name.to_owned(), RefOr::T(response));
    }
}

fn error_table() -> String {
    let mut table = "## Errors\n\nEvery error is problem JSON (RFC 9457) with a stable `code`.\n\n\
                     | code | status | meaning |\n|---|---|---|\n"
        .to_owned();
    for code in ErrorCode::ALL {
        // Writing into a string does not fail.
        let _ = writeln!(table, "| `{}` | {} | {} |", code.as_str(), code.status().as_u16(), code.title());
    }
    table
}
