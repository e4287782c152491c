//! `signalbeam-agent register`: the claim secret is on disk before anything is sent, so that a lost answer costs nothing.

use serde_json::json;
use tracing::warn;

use super::{Context, Outcome};
use crate::api::{self, RegisterDevice, RegisteredDevice};
use crate::cli::RegisterArgs;
use crate::credentials::{Credentials, CredentialsFile, DeviceStatus};
use crate::durable::{PRIVATE_FILE, perform_all, replace_file};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::printable;
use crate::secret::{Secret, draw_claim_secret, parse_registration_token};
use crate::transport::{CallError, Client, Credential};
use crate::trust::{CaFingerprint, FetchError, PinnedCa, Roots};

/// Registers this device with the server.
pub fn execute(args: &RegisterArgs, context: &mut Context<'_>) -> Outcome {
    let token =
        parse_registration_token(args.token.expose()).map_err(|reason| Failure::Usage(format!("--token: {reason}")))?;
    let file = CredentialsFile::open_on(context.locations.disk().clone(), &context.locations.credentials)?;
    let former = file.load()?;
    refuse_to_overwrite(args, former.as_ref(), &file)?;
    let (roots, ca_fingerprint) = establish_trust(args, &file)?;

    let claim_secret = match former.as_ref().and_then(|former| unfinished_claim_secret(former, &token)) {
        Some(claim_secret) => claim_secret,
        None => {
            draw_claim_secret().map_err(|error| Failure::system("cannot draw a claim secret", error.to_string()))?
        }
    };
    let mut credentials = Credentials {
        device_id: None,
        tenant_id: args.tenant_id,
        device_name: args.device_name.clone(),
        cloud_url: args.cloud_url.clone(),
        status: DeviceStatus::Unregistered,
        claim_secret,
        registration_token: Some(token),
        api_key: None,
        api_key_expires_at: None,
        api_key_obtained_at: None,
        next_api_key: None,
        ca_fingerprint,
        certificate: None,
    };
    let identity_given_up = former.filter(|former| former.device_id.is_some());
    if let Some(identity) = &identity_given_up {
        keep_copy(identity, &file)?;
    }
    file.save(&credentials)?;
    if let Err(failure) = register(&mut credentials, &roots) {
        restore_if_refused(&failure, identity_given_up.as_ref(), &file)?;
        return Err(failure);
    }
    file.save(&credentials)?;
    report(&credentials, context)
}

fn refuse_to_overwrite(
    args: &RegisterArgs,
    former: Option<&Credentials>,
    file: &CredentialsFile,
) -> Result<(), Failure> {
    let Some(former) = former else { return Ok(()) };
    match former.device_id {
        Some(device_id) if !args.force => Err(Failure::AlreadyRegistered {
            device_id,
            status: former.status.as_str().to_owned(),
            path: file.path().to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The claim secret of an attempt with the same token whose answer was lost.
fn unfinished_claim_secret(former: &Credentials, token: &Secret) -> Option<Secret> {
    (former.device_id.is_none() && former.registration_token.as_ref() == Some(token))
        .then(|| former.claim_secret.clone())
}

fn establish_trust(args: &RegisterArgs, file: &CredentialsFile) -> Result<(Roots, Option<CaFingerprint>), Failure> {
    let pinned = match (&args.ca_cert, &args.ca_fingerprint) {
        (Some(path), _) => Roots::from_file(path)?,
        (None, Some(fingerprint)) => PinnedCa::fetch(&args.cloud_url, fingerprint).map_err(|error| match error {
            FetchError::Call(error) => Failure::from(error),
            FetchError::Trust(error) => Failure::from(error),
        })?,
        (None, None) => return Ok((Roots::of_system()?, None)),
    };
    pinned.store(&**file.disk(), file.path())?;
    Ok((pinned.roots().clone(), Some(pinned.fingerprint().clone())))
}

fn register(credentials: &mut Credentials, roots: &Roots) -> Result<(), Failure> {
    let Some(token) = credentials.registration_token.as_ref() else { return Ok(()) };
    let call = api::register(&RegisterDevice {
        tenant_id: credentials.tenant_id,
        token,
        device_name: &credentials.device_name,
        claim_secret: &credentials.claim_secret,
    })?;
    let answer: RegisteredDevice = Client::new(&credentials.cloud_url, roots, None).send(&call, Credential::None)?;
    credentials.device_id = Some(answer.device_id);
    credentials.device_name = answer.device_name;
    credentials.status = answer.status;
    credentials.claim_secret = answer.claim_secret;
    credentials.registration_token = None;
    Ok(())
}

/// `--force` gives an identity up, but a person may want it back.
fn keep_copy(identity: &Credentials, file: &CredentialsFile) -> Result<(), Failure> {
    let Some(device_id) = identity.device_id else { return Ok(()) };
    let path = file.path().with_file_name(format!("credentials-{device_id}.json"));
    let bytes = serde_json::to_vec_pretty(identity)
        .map_err(|error| Failure::system("cannot write the credentials as JSON", error))?;
    perform_all(&**file.disk(), &replace_file(&path, bytes, PRIVATE_FILE))?;
    warn!(path = %path.display(), "the former identity is kept");
    Ok(())
}

/// A refused registration made no new identity, so the former one stays. After a lost answer there may be a new one.
fn restore_if_refused(failure: &Failure, former: Option<&Credentials>, file: &CredentialsFile) -> Result<(), Failure> {
    match (failure, former) {
        (Failure::Call(CallError::Refused(problem)), Some(former)) if problem.status < 500 => file.save(former),
        _ => Ok(()),
    }
}

fn report(credentials: &Credentials, context: &mut Context<'_>) -> Outcome {
    let device_id = credentials.device_id.unwrap_or_default();
    let status = credentials.status.as_str();
    let text = format!(
        "✅ Device registered successfully!\n\n\
         Device ID:      {device_id}\n\
         Tenant ID:      {}\n\
         Status:         {}\n\n\
         Credentials saved to {}\n\
         Ask an administrator to approve the device, then run 'signalbeam-agent status'.",
        credentials.tenant_id,
        match credentials.status {
            DeviceStatus::Pending => "⏳ Pending (awaiting admin approval)".to_owned(),
            _ => printable(status),
        },
        context.locations.credentials.display(),
    );
    let json = json!({
        "deviceId": device_id,
        "tenantId": credentials.tenant_id,
        "deviceName": credentials.device_name,
        "status": status,
        "caFingerprint": credentials.ca_fingerprint,
    });
    context.output.show(&text, &json)?;
    Ok(Exit::Fine)
}
