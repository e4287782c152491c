//! PKCS#11 libraries, of which a process has each one once: `C_Initialize` and `C_Finalize` are for all its users.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

static MODULES: LazyLock<Mutex<HashMap<PathBuf, Arc<Module>>>> = LazyLock::new(Mutex::default);
static CREATION: Mutex<()> = Mutex::new(());

/// Held while something is created in a token.
pub(super) fn creation() -> MutexGuard<'static, ()> {
    CREATION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets time pass.
#[expect(clippy::disallowed_methods, reason = "the jobs of tokens run on blocking threads alone")]
pub(super) fn rest(duration: Duration) {
    std::thread::sleep(duration);
}

/// A library and what is open in it.
#[derive(Debug, Default)]
pub(super) struct Module {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<Live>,
    /// Counts the initialisations, so that of several that notice one failure only the first begins anew.
    generation: u64,
}

/// An initialised library.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) context: Pkcs11,
    /// Sessions that nobody uses, by their token's label.
    idle: Mutex<Vec<(String, LoggedIn)>>,
}

/// A session in which the user is logged in.
#[derive(Debug)]
pub(super) struct LoggedIn {
    pub(super) session: Session,
    /// Signing keys that were found before, by label.
    pub(super) keys: HashMap<String, (ObjectHandle, crate::key_store::CaKeyType)>,
}

impl Live {
    pub(super) fn take(&self, token: &str) -> Option<LoggedIn> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let place = idle.iter().position(|(label, _)| label == token)?;
        Some(idle.swap_remove(place).1)
    }

    pub(super) fn give_back(&self, token: &str, session: LoggedIn) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((token.to_owned(), session));
    }
}

/// A library that stays initialised while this is held.
pub(super) struct InUse<'m> {
    state: RwLockReadGuard<'m, State>,
}

impl InUse<'_> {
    pub(super) fn live(&self) -> Option<&Live> {
        self.state.live.as_ref()
    }

    pub(super) fn generation(&self) -> u64 {
        self.state.generation
    }
}

impl Module {
    /// The module of a library, which is loaded when it is used.
    pub(super) fn of(path: &Path) -> Arc<Self> {
        // One library by two names must not be initialised twice.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Arc::clone(MODULES.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default())
    }

    /// Initialises the library if it is not, and keeps it so while the answer is held.
    pub(super) fn start(&self, path: &Path) -> Result<InUse<'_>, Error> {
        loop {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.live.is_some() {
                return Ok(InUse { state });
            }
            drop(state);
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if state.live.is_none() {
                state.live = Some(initialise(path)?);
                state.generation += 1;
            }
        }
    }

    /// Closes everything of that generation, so that the next use begins anew. Waits for those who use the library.
    pub(super) fn close(&self, generation: u64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.generation != generation {
            return;
        }
        if let Some(Live { context, idle }) = state.live.take() {
            // Before the library forgets their handles and gives them to others.
            drop(idle);
            if let Err(error) = context.finalize() {
                tracing::debug!(%error, "the PKCS#11 library could not be finalised");
            }
        }
    }
}

fn initialise(path: &Path) -> Result<Live, Error> {
    let context = Pkcs11::new(path)?;
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(error),
    }
    Ok(Live { context, idle: Mutex::default() })
}
