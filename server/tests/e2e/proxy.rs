//! A TCP relay in front of the server: it outlives the server's restarts, and can lose an answer on demand.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The TLS record type of everything that is encrypted in TLS 1.3 (RFC 8446, section 5.1).
const APPLICATION_DATA: u8 = 23;
const RECORD_HEAD_BYTES: usize = 5;

#[derive(Default)]
struct State {
    upstream: Option<SocketAddr>,
    /// How many more connections pass before one loses its answer.
    pass_before_loss: Option<usize>,
    open: Vec<TcpStream>,
    is_ended: bool,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { upstream: Some(upstream), ..State::default() }));
        let shared = Arc::clone(&state);
        let accepting = std::thread::spawn(move || accept(&listener, &shared));
        Self { address, state, accepting: Some(accepting) }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The server has another address from now on.
    pub(crate) fn redirect(&self, upstream: SocketAddr) {
        self.state.lock().unwrap().upstream = Some(upstream);
    }

    /// After this many connections, the request of the next one arrives and its answer does not.
    pub(crate) fn lose_answer_after(&self, connections: usize) {
        self.state.lock().unwrap().pass_before_loss = Some(connections);
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        for stream in self.state.lock().unwrap().open.drain(..) {
            // It may be closed already.
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.lock().unwrap().is_ended = true;
        // Wakes the accepting thread.
        let _woken = TcpStream::connect(self.address);
        self.cut();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }
}

fn accept(listener: &TcpListener, state: &Mutex<State>) {
    loop {
        let (client, _) = listener.accept().unwrap();
        let mut state = state.lock().unwrap();
        if state.is_ended {
            return;
        }
        let loses = state.pass_before_loss == Some(0);
        state.pass_before_loss = state.pass_before_loss.and_then(|left| left.checked_sub(1));
        // A server that is down looks like one that is down.
        let Ok(server) = TcpStream::connect(state.upstream.unwrap()) else { continue };
        state.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
        let has_sent_request = Arc::new(AtomicBool::new(false));
        let (up, down) = ((client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client));
        let flag = Arc::clone(&has_sent_request);
        std::thread::spawn(move || relay_requests(up.0, up.1, &flag));
        std::thread::spawn(move || relay_answers(down.0, down.1, loses.then_some(&*has_sent_request)));
    }
}

/// Passes whole TLS records on. The first encrypted one from the client ends its handshake, and the request follows.
fn relay_requests(mut client: TcpStream, mut server: TcpStream, has_sent_request: &AtomicBool) {
    let mut head = [0; RECORD_HEAD_BYTES];
    while client.read_exact(&mut head).is_ok() {
        let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        if client.read_exact(&mut record).is_err() {
            break;
        }
        if head[0] == APPLICATION_DATA {
            has_sent_request.store(true, Ordering::SeqCst);
        }
        if server.write_all(&[&head, record.as_slice()].concat()).is_err() {
            break;
        }
    }
    let _closed = server.shutdown(Shutdown::Write);
}

/// Passes bytes on; with `lost`, only until that is set.
fn relay_answers(mut server: TcpStream, mut client: TcpStream, lost: Option<&AtomicBool>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        if lost.is_some_and(|lost| lost.load(Ordering::SeqCst)) {
            continue;
        }
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    if lost.is_none() {
        let _closed = client.shutdown(Shutdown::Both);
    }
}
