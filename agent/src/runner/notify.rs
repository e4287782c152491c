//! Words to the service manager (`sd_notify(3)`): ready, alive, stopping. Without one nothing is said.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use tracing::debug;

/// The way to the service manager, where there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let is_for_us = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| is_for_us).map(Duration::from_micros);
        Self::to(&socket, watchdog)
    }

    fn to(socket: &OsStr, watchdog: Option<Duration>) -> Self {
        if socket.is_empty() {
            return Self::default();
        }
        match connect(socket) {
            Ok(manager) => Self { manager: Some(manager), watchdog },
            Err(error) => {
                debug!(%error, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// The longest pause between two signs of life: half of what the service manager allows.
    pub fn pulse(&self) -> Option<Duration> {
        self.watchdog.map(|allowed| allowed / 2)
    }

    /// The program has started.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// A sign of life.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.say("WATCHDOG=1");
        }
    }

    /// What the program does, for people.
    pub fn status(&self, text: &str) {
        self.say(&format!("STATUS={text}"));
    }

    /// The program is about to end.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, message: &str) {
        let Some((socket, manager)) = &self.manager else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), manager) {
            debug!(%error, "the service manager does not listen");
        }
    }
}

/// A path, or with a leading `@` an abstract name.
fn connect(socket: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    datagram.set_nonblocking(true)?;
    Ok((datagram, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 100];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_service_manager_hears_by_path_and_by_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("signalbeam-agent-test-{}", process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (manager, socket) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            let notifier = Notifier::to(&socket, Some(Duration::from_secs(10)));
            notifier.ready();
            notifier.alive();
            notifier.status("fine");
            notifier.stopping();
            assert_eq!([(); 4].map(|()| heard(&manager)), ["READY=1", "WATCHDOG=1", "STATUS=fine", "STOPPING=1"]);
            assert_eq!(notifier.pulse(), Some(Duration::from_secs(5)));
        }
    }

    #[test]
    fn nobody_to_tell_is_no_failure() {
        for socket in ["", "/nowhere/at/all", "@nobody-listens-here"] {
            let notifier = Notifier::to(OsStr::new(socket), None);
            notifier.ready();
            notifier.alive();
            assert_eq!(notifier.pulse(), None);
        }
    }
}
