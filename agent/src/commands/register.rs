//! `signalbeam-agent register`: the claim secret is on disk before anything is sent, so that a lost answer costs nothing.
//!
//! An identity that `--force` replaces stays in force until the server has answered; the attempt stands beside it until then.

use std::path::{Path, PathBuf};

use serde_json::json;
use tracing::warn;
use uuid::Uuid;

use super::{Context, Outcome};
use crate::api::{self, RegisterDevice, RegisteredDevice};
use crate::cli::RegisterArgs;
use crate::credentials::{Credentials, CredentialsFile, DeviceStatus};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::printable;
use crate::secret::{Secret, draw_claim_secret, parse_registration_token};
use crate::server_url::ServerUrl;
use crate::transport::{CallError, Client, Credential};
use crate::trust::{CaFingerprint, FetchError, PinnedCa, Roots};

const NO_SERVER: &str =
    "the server is not known: give --cloud-url, or set SIGNALBEAM_CLOUD_URL; the token is sent there";

/// Registers this device with the server.
pub fn execute(args: &RegisterArgs, context: &mut Context<'_>) -> Outcome {
    let token =
        parse_registration_token(args.token.expose()).map_err(|reason| Failure::Usage(format!("--token: {reason}")))?;
    let server = args.cloud_url.as_ref().ok_or_else(|| Failure::Usage(NO_SERVER.to_owned()))?;
    let file = CredentialsFile::open_on(context.locations.disk().clone(), &context.locations.credentials)?;
    let former = file.load()?;
    refuse_to_overwrite(args, former.as_ref(), &file)?;
    let (roots, ca_fingerprint) = establish_trust(args, server, &file)?;

    let replaced = former.as_ref().and_then(|former| Some((former.device_id?, former)));
    let begun = if replaced.is_some() { file.load_attempt()? } else { former.clone() };
    let claim_secret = match begun.as_ref().and_then(|begun| unfinished_claim_secret(begun, &token)) {
        Some(claim_secret) => claim_secret,
        None => {
            draw_claim_secret().map_err(|error| Failure::system("cannot draw a claim secret", error.to_string()))?
        }
    };
    let mut credentials = Credentials {
        device_id: None,
        tenant_id: args.tenant_id,
        device_name: args.device_name.clone(),
        cloud_url: server.clone(),
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
    let kept = match replaced {
        None => {
            file.save(&credentials)?;
            register(&mut credentials, &roots)?;
            None
        }
        Some((device_id, former)) => {
            file.save_attempt(&credentials)?;
            if let Err(failure) = register(&mut credentials, &roots) {
                forget_if_over(&failure, &file);
                warn!(%device_id, "nothing was replaced: this device goes on by the identity it has");
                return Err(failure);
            }
            // The same token gives the same device: there is nothing to go back to.
            let is_other = credentials.device_id != Some(device_id);
            if is_other { Some((device_id, file.keep_former(device_id, former)?)) } else { None }
        }
    };
    file.save(&credentials)?;
    forget(&file);
    report(&credentials, kept, context)
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

fn establish_trust(
    args: &RegisterArgs,
    server: &ServerUrl,
    file: &CredentialsFile,
) -> Result<(Roots, Option<CaFingerprint>), Failure> {
    let pinned = match (&args.ca_cert, &args.ca_fingerprint) {
        (Some(path), _) => Roots::from_file(path)?,
        (None, Some(fingerprint)) => PinnedCa::fetch(server, fingerprint).map_err(|error| match error {
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

/// A token that is refused for good will not go on with this attempt. After any other failure the same command may.
fn forget_if_over(failure: &Failure, file: &CredentialsFile) {
    if matches!(failure, Failure::Call(CallError::Refused(problem)) if problem.ends_registration_token()) {
        forget(file);
    }
}

/// What is left over does no harm: it goes on with its own token only.
fn forget(file: &CredentialsFile) {
    if let Err(failure) = file.forget_attempt() {
        warn!(reason = %failure, "the attempt to register cannot be removed");
    }
}

/// How to go back to the identity that was replaced, and what the server still believes.
fn former_text(former: Uuid, copy: &Path, credentials: &Path) -> String {
    format!(
        "\n\nThe former identity, device {former}, is kept in {copy}.\n\
         The server accepts it until an administrator decommissions it.\n\
         To go back: cp {copy} {credentials}",
        copy = copy.display(),
        credentials = credentials.display(),
    )
}

fn report(credentials: &Credentials, former: Option<(Uuid, PathBuf)>, context: &mut Context<'_>) -> Outcome {
    let device_id = credentials.device_id.unwrap_or_default();
    let status = credentials.status.as_str();
    let mut text = format!(
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
    let mut json = json!({
        "deviceId": device_id,
        "tenantId": credentials.tenant_id,
        "deviceName": credentials.device_name,
        "status": status,
        "caFingerprint": credentials.ca_fingerprint,
    });
    if let Some((former, copy)) = former {
        text.push_str(&former_text(former, &copy, &context.locations.credentials));
        json["formerIdentity"] = json!({"deviceId": former, "path": copy});
    }
    context.output.show(&text, &json)?;
    Ok(Exit::Fine)
}
