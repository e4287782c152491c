//! The machine and the server that runs on it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Check, Subject, in_words};
use crate::backup::progress::readable_size;
use crate::data_dir::{reachable, running};

const DISK_SPACE: &str = "disk-space";
const SERVER: &str = "server";

const SPACE_ERROR_BYTES: u64 = 100 << 20;
const SPACE_WARNING_BYTES: u64 = 1 << 30;
/// How long the server may take to tell how it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most of an answer that is read.
const ANSWER_MAX_BYTES: u64 = 1 << 20;

pub(super) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    vec![disk_space(subject), server(subject)]
}

fn disk_space(subject: &Subject<'_>) -> Check {
    let space = match rustix::fs::statvfs(subject.data_dir) {
        Ok(space) => space,
        Err(error) => return Check::skipped(DISK_SPACE, format!("the file system does not tell: {error}")),
    };
    judge_space(space.f_bavail.saturating_mul(space.f_frsize))
}

fn judge_space(free: u64) -> Check {
    let message = format!("{} are free", readable_size(free));
    let action = "make room: where nothing can be written, no device is let in";
    match free {
        ..SPACE_ERROR_BYTES => Check::error(DISK_SPACE, message, action),
        SPACE_ERROR_BYTES..SPACE_WARNING_BYTES => Check::warning(DISK_SPACE, message, action),
        _ => Check::ok(DISK_SPACE, message),
    }
}

fn server(subject: &Subject<'_>) -> Check {
    let running = match running(subject.data_dir) {
        Ok(Some(running)) => running,
        Ok(None) => return Check::ok(SERVER, "no server is running on this directory"),
        Err(error) => return Check::skipped(SERVER, in_words(&error)),
    };
    let who = format!("a server is running (pid {})", running.pid);
    let Some(address) = running.ops_address else {
        return Check::warning(SERVER, format!("{who}, which does not listen yet"), "wait, or look into its log");
    };
    match ask(reachable(address)) {
        Ok((200, _)) => Check::ok(SERVER, format!("{who} and ready")),
        Ok((status, body)) => {
            let message = format!("{who} and not ready ({status}): {}", unready(&body));
            Check::error(SERVER, message, "look into its log; the other checks may tell why")
        }
        Err(error) => {
            let message = format!("{who}, and http://{address}/health/ready does not answer: {error}");
            Check::warning(
                SERVER,
                message,
                "ask from where its operations listener can be reached, or look into its log",
            )
        }
    }
}

/// One plain request; its status and body.
fn ask(address: SocketAddr) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer is not cut into pieces and ends with the connection.
    write!(stream, "GET /health/ready HTTP/1.0\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX_BYTES).read_to_string(&mut answer)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
    Ok((status, body.to_owned()))
}

/// What the parts that are not ready say of themselves.
fn unready(body: &str) -> String {
    let parsed: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let components = parsed["components"].as_object();
    let unready: Vec<String> = components
        .into_iter()
        .flatten()
        .filter(|(_, component)| component["ready"] != true)
        .map(|(name, component)| format!("{name}: {}", component["detail"].as_str().unwrap_or_default()))
        .collect();
    unready.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn little_space_is_a_warning_and_nearly_none_an_error() {
        assert_eq!(judge_space(0).status, Status::Error);
        assert_eq!(judge_space(SPACE_ERROR_BYTES).status, Status::Warning);
        assert_eq!(judge_space(SPACE_WARNING_BYTES).status, Status::Ok);
    }

    #[test]
    fn only_what_is_not_ready_is_told() {
        let body = r#"{"components": {"a": {"ready": true, "detail": "x"}, "b": {"ready": false, "detail": "y"}}}"#;
        assert_eq!(unready(body), "b: y");
        assert_eq!(unready("nonsense"), "");
    }
}
