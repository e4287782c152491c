//! One token: its sessions, and how it is reached again after it was gone.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use super::module::{Live, LoggedIn, Module, rest};
use super::objects::Failure;
use crate::key_store::{KeyStoreError, KeyStoreSecret};

/// How often a job is tried, and how long it rests in between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// Which token, and how to get into it.
#[derive(Debug, Clone)]
pub struct Pkcs11TokenSettings {
    /// The PKCS#11 library.
    pub module: PathBuf,
    /// The token's label.
    pub token_label: String,
    /// The user's PIN.
    pub pin: KeyStoreSecret,
    /// How long something new waits for what other nodes create at the same time, see [`Self::SETTLING`].
    pub settling: Duration,
}

impl Pkcs11TokenSettings {
    /// Enough for tokens that show an object to all their clients within a second.
    pub const SETTLING: Duration = Duration::from_secs(2);
}

/// A PKCS#11 token, shared by the stores on it.
#[derive(Debug)]
pub struct Pkcs11Token {
    settings: Pkcs11TokenSettings,
    module: Arc<Module>,
    /// Whether the token has refused the PIN. Tokens lock themselves after a few wrong ones, so it is tried once.
    pin_refused: Mutex<bool>,
}

impl Pkcs11Token {
    /// Makes one; nothing is loaded or opened before it is used.
    pub fn new(settings: Pkcs11TokenSettings) -> Arc<Self> {
        let module = Module::of(&settings.module);
        Arc::new(Self { settings, module, pin_refused: Mutex::new(false) })
    }

    /// Runs a job in a session. Where the token fails everything is opened anew, and the job is tried again.
    pub(super) fn with<T>(&self, job: impl Fn(&mut LoggedIn) -> Result<T, Failure>) -> Result<T, KeyStoreError> {
        let mut attempts = 0;
        loop {
            let (error, generation) = match self.attempt(&job) {
                Ok(value) => return Ok(value),
                Err((Failure::Store(error), _)) => return Err(error),
                Err((Failure::Token(error), generation)) => (error, generation),
            };
            if let Some(generation) = generation {
                self.module.close(generation);
            }
            attempts += 1;
            if attempts == ATTEMPTS {
                return Err(self.unavailable(error));
            }
            tracing::debug!(%error, token = self.settings.token_label, "a PKCS#11 token failed: opening it anew");
            // SoftHSM shows no token for a moment while another process writes into it.
            rest(PAUSE);
        }
    }

    pub(super) fn settling(&self) -> Duration {
        self.settings.settling
    }

    /// The error of a token that does not do what it should.
    pub(super) fn unavailable(&self, reason: impl Display) -> KeyStoreError {
        KeyStoreError::Unavailable { location: self.location(), reason: reason.to_string() }
    }

    fn location(&self) -> String {
        format!("PKCS#11 token `{}` ({})", self.settings.token_label, self.settings.module.display())
    }

    /// One attempt; a failure comes with the generation of the library in which it happened.
    fn attempt<T>(&self, job: &impl Fn(&mut LoggedIn) -> Result<T, Failure>) -> Result<T, (Failure, Option<u64>)> {
        let label = &self.settings.token_label;
        let in_use = self.module.start(&self.settings.module).map_err(|error| (error.into(), None))?;
        let failed = |failure| (failure, Some(in_use.generation()));
        let live = in_use.live().ok_or_else(|| failed(Error::NotSupported.into()))?;
        let mut session = match live.take(label) {
            Some(session) => session,
            None => self.log_in(live).map_err(failed)?,
        };
        let outcome = job(&mut session);
        if !matches!(outcome, Err(Failure::Token(_))) {
            live.give_back(label, session);
        }
        outcome.map_err(failed)
    }

    fn log_in(&self, live: &Live) -> Result<LoggedIn, Failure> {
        let mut refused = self.pin_refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *refused {
            return Err(self.refusal().into());
        }
        let session = self.open_session(live)?;
        let pin = AuthPin::from(self.settings.pin.expose().to_owned());
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                Ok(LoggedIn { session, keys: std::collections::HashMap::new() })
            }
            Err(Error::Pkcs11(
                RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked,
                _,
            )) => {
                *refused = true;
                Err(self.refusal().into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open_session(&self, live: &Live) -> Result<Session, Failure> {
        for slot in live.context.get_slots_with_token()? {
            let info = live.context.get_token_info(slot);
            if info.is_ok_and(|info| info.label() == self.settings.token_label) {
                return Ok(live.context.open_rw_session(slot)?);
            }
        }
        Err(Error::Pkcs11(RvError::TokenNotPresent, cryptoki::context::Function::GetSlotList).into())
    }

    fn refusal(&self) -> KeyStoreError {
        KeyStoreError::PinRefused { location: self.location() }
    }
}
