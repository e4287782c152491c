//! Processes that are killed, and disks that are full. The process that suffers is this test binary, started again.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use signalbeam_event_store::{
    AppendError, AttemptFilter, AuditDurability, AuditLog, EventReader, EventStore, ExpectedVersion, SqliteAuditLog,
    SqliteEventStore, SystemClock,
};
use tokio::task::JoinSet;

use crate::audit::{all, failure, success};
use crate::fixture::{
    ManualClock, batch, device_id, everything, exactly, new_stream, reinstated, single, suspended, tenant_id, write,
};

/// Names the folder in which a child works. Without it the children's tests have nothing to do.
const FOLDER: &str = "SIGNALBEAM_TEST_CHILD_FOLDER";

fn child_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// The command that runs one test of this binary in a process of its own.
fn child(program: &str, arguments: &[&str], test: &str, folder: &Path) -> Child {
    Command::new(program)
        .args(arguments)
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn this_binary() -> String {
    std::env::current_exe().unwrap().into_os_string().into_string().unwrap()
}

fn say(line: &str) {
    // A parent that has gone is no concern of the child's.
    let _ = writeln!(std::io::stdout().lock(), "\n{line}");
}

async fn open(folder: &Path) -> (SqliteEventStore, SqliteAuditLog) {
    let store = SqliteEventStore::open(folder.join("events.db"), Arc::new(SystemClock)).await.unwrap();
    (store, SqliteAuditLog::open(folder.join("audit.db"), AuditDurability::Strict).await.unwrap())
}

/// Appends and records until it is killed; says what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes_until_it_is_killed() {
    let Some(folder) = child_folder() else { return };
    let (store, log) = open(&folder).await;
    let (store, log) = (Arc::new(store), Arc::new(log));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (store, log) = (Arc::clone(&store), Arc::clone(&log));
        tasks.spawn(async move {
            let (one, other) = (new_stream(), new_stream());
            for version in 0.. {
                let writes = vec![
                    write(&one, exactly(version), vec![suspended("to be killed")]),
                    write(&other, exactly(version * 2), vec![reinstated(), reinstated()]),
                ];
                for recorded in store.append(batch(writes)).await.unwrap().events {
                    say(&format!("event {} {}", recorded.envelope.position, recorded.hash));
                }
                let attempt = failure(ManualClock::START, "INVALID_API_KEY");
                let id = attempt.id;
                log.record(vec![attempt]).await.unwrap();
                say(&format!("attempt {id}"));
            }
        });
    }
    tasks.join_all().await;
}

/// Numbers that are the same in every run (xorshift).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut seeded = Seeded(0x5eed_0f5e_ed0f_5eed);
    let mut acknowledged = vec![];
    for _ in 0..6 {
        let test = "crash::child_that_writes_until_it_is_killed";
        let mut child = child(&this_binary(), &[], test, folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let kill_after = usize::try_from(30 + seeded.below(600)).unwrap();
        acknowledged
            .extend(lines.by_ref().map(Result::unwrap).filter(|line| is_acknowledgement(line)).take(kill_after));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.map_while(Result::ok).filter(|line| is_acknowledgement(line)));
        hold_against(folder.path(), &acknowledged).await;
    }
    assert!(acknowledged.len() > 180);
}

/// The last line may have been cut off by the kill; nobody has read it as an acknowledgement then.
fn is_acknowledgement(line: &str) -> bool {
    (line.starts_with("event ") && line.len() > 70) || (line.starts_with("attempt ") && line.len() == 44)
}

/// Opens what a killed process left behind: everything that it acknowledged is there, and the log is whole.
async fn hold_against(folder: &Path, acknowledged: &[String]) {
    let (store, log) = open(folder).await;
    let events = everything(&store).await;
    let mut latest = events[0].envelope.recorded_at;
    let mut versions = std::collections::HashMap::new();
    for (recorded, position) in events.iter().zip(1..) {
        let envelope = &recorded.envelope;
        assert_eq!(envelope.position.0, position, "no gap");
        assert!(envelope.recorded_at >= latest);
        latest = envelope.recorded_at;
        let version = versions.entry(envelope.stream.clone()).or_insert(0);
        *version += 1;
        assert_eq!(envelope.version.0, *version, "no gap in {}", envelope.stream);
        assert_eq!(recorded.hash.0, digest(&SHA256, &envelope.canonical_encoding()).as_ref());
    }
    let attempts: std::collections::HashSet<_> =
        all(&log, &AttemptFilter::default(), 500).await.iter().map(|attempt| attempt.id.to_string()).collect();
    for line in acknowledged {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["event", position, hash] => {
                let index = position.parse::<usize>().unwrap() - 1;
                assert_eq!(
                    events.get(index).map(|recorded| recorded.hash.to_string()).as_deref(),
                    Some(hash),
                    "{line}"
                );
            }
            ["attempt", id] => assert!(attempts.contains(id), "{line}"),
            _ => panic!("{line}"),
        }
    }
    store.append(single(&new_stream())).await.unwrap();
    store.close().await;
    log.close().await;
}

/// Runs under a limit on the size of files; raises it when it has seen that nothing can be written any more.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn child_whose_disk_is_full() {
    let Some(folder) = child_folder() else { return };
    let store = SqliteEventStore::open(folder.join("events.db"), Arc::new(SystemClock)).await.unwrap();
    let stream = new_stream();
    let large = || {
        let events = std::iter::repeat_with(|| suspended(&"x".repeat(500))).take(100).collect();
        batch(vec![write(&stream, ExpectedVersion::Any, events)])
    };
    // Reopening may fold the write-ahead log into the file and find a little space once more: full is what stays full.
    let (mut appended, mut refused) = (0, 0);
    while refused < 5 {
        match store.append(large()).await {
            Ok(outcome) => (appended, refused) = (appended + outcome.events.len(), 0),
            Err(AppendError::Store(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(appended > 0, "the limit leaves room to begin with");
    let read = store.read_stream(&stream).await.unwrap().len();
    assert!(read >= appended && read % 100 == 0, "reading goes on; {appended} of {read}");

    let log = SqliteAuditLog::open(folder.join("audit.db"), AuditDurability::Relaxed).await.unwrap();
    let (device, tenant) = (device_id(), tenant_id());
    let mut answered = 0;
    let mut refused = 0;
    while refused < 5 {
        let attempts = (0..500).map(|_| success(device, tenant, ManualClock::START)).collect();
        if log.record(attempts).await.is_ok() {
            answered += 500;
        }
        // A failed attempt waits for the disk, so the queue does not run ahead of it.
        match log.record(vec![failure(ManualClock::START, "INVALID_API_KEY")]).await {
            Ok(()) => (answered, refused) = (answered + 1, 0),
            Err(_) => refused += 1,
        }
    }
    // A failure has an index entry of its own, so a success may still find room; once there is none, it is refused as well.
    let mut fitted = 0;
    while log.record(vec![success(device, tenant, ManualClock::START)]).await.is_ok() {
        fitted += 1;
        assert!(fitted < 10_000, "while it cannot write, a success is refused as well");
    }
    answered += fitted;

    raise_limit();
    store.append(large()).await.unwrap();
    assert_eq!(store.read_stream(&stream).await.unwrap().len(), read + 100);
    log.record(vec![failure(ManualClock::START, "INVALID_API_KEY")]).await.unwrap();
    let kept = all(&log, &AttemptFilter::default(), 500).await.len();
    assert!(kept > answered, "{kept} kept of {answered}: what was queued when the disk was full is written after");
    store.close().await;
    log.close().await;
    say("recovered");
}

#[cfg(unix)]
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_until_there_is_space_again() {
    let folder = tempfile::tempdir().unwrap();
    // The signal that comes with the limit would end the process; ignored, a write fails as on a full disk.
    let script = "trap '' XFSZ; ulimit -S -f 3000; exec \"$0\" \"$@\"";
    let arguments = ["-c", script, &this_binary()];
    let child = child("sh", &arguments, "crash::child_whose_disk_is_full", folder.path());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("\nrecovered\n"), "{said}");
}
