//! A TCP proxy that misbehaves on request: what a network does to a server that is well.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to connections, those that are open included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Each piece that passes is held back this long, in both directions.
    Delay(Duration),
    /// The connection is cut once this many bytes of answers have passed (counted from when the fault was set).
    CutAfter(u64),
    /// New connections are closed at once; open ones are cut.
    Refuse,
    /// Connections are accepted and nothing passes any more: a peer that lost its power.
    Stall,
}

#[derive(Debug)]
struct State {
    fault: Mutex<Fault>,
    answered: AtomicU64,
    connections: AtomicU64,
    over: AtomicBool,
}

/// Listens on a port of its own until it is dropped.
#[derive(Debug)]
pub(crate) struct TcpProxy {
    at: SocketAddr,
    state: Arc<State>,
}

impl TcpProxy {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let state = Arc::new(State {
            fault: Mutex::new(Fault::None),
            answered: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let accepting = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                if accepting.fault() == Fault::Refuse {
                    continue; // dropping closes it
                }
                if let Ok(server) = TcpStream::connect(target) {
                    accepting.join(&client, &server);
                }
            }
        });
        Self { at, state }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.at
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
        self.state.answered.store(0, Ordering::SeqCst);
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Bytes of answers that passed since the last fault was set.
    pub(crate) fn answered(&self) -> u64 {
        self.state.answered.load(Ordering::SeqCst)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.at)); // wakes the listener
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

impl State {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn join(self: &Arc<Self>, client: &TcpStream, server: &TcpStream) {
        let ways = [(Direction::Request, client, server), (Direction::Answer, server, client)];
        for (direction, from, to) in ways {
            let (from, to, state) = (from.try_clone().unwrap(), to.try_clone().unwrap(), self.clone());
            std::thread::spawn(move || state.pass(direction, from, to));
        }
    }

    /// Carries bytes until either side ends or the fault says so; then both sides are closed.
    fn pass(&self, direction: Direction, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 << 10];
        from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        loop {
            let fault = self.fault();
            if fault == Fault::Refuse || self.over.load(Ordering::SeqCst) {
                break;
            }
            if fault == Fault::Stall {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let len = match from.read(&mut buffer) {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write); // half closed: the other way goes on
                    return;
                }
                Ok(len) => len,
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    continue;
                }
                Err(_) => break,
            };
            let mut piece = &buffer[..len];
            let mut cut = false;
            match self.fault() {
                Fault::Delay(span) => std::thread::sleep(span),
                Fault::CutAfter(most) if direction == Direction::Answer => {
                    let left = most.saturating_sub(self.answered());
                    cut = left <= len as u64;
                    piece = &piece[..len.min(usize::try_from(left).unwrap_or(len))];
                }
                Fault::None | Fault::CutAfter(_) | Fault::Refuse | Fault::Stall => {}
            }
            if to.write_all(piece).is_err() {
                break;
            }
            if direction == Direction::Answer {
                self.answered.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
            if cut {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }
}

mod tests {
    use std::time::Instant;

    use super::*;

    /// A server that answers with what it is sent.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut { stream }));
            }
        });
        at
    }

    fn ask(proxy: &TcpProxy, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut answer = Vec::new();
        if stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)).is_ok() {
            let _ = stream.read_to_end(&mut answer);
        }
        answer
    }

    #[test]
    fn bytes_pass_whole_and_are_counted() {
        let proxy = TcpProxy::to(echo());
        let bytes = super::super::Numbers::seeded(3).bytes(300_000);
        assert!(ask(&proxy, &bytes) == bytes);
        assert!(ask(&proxy, b"x") == b"x");
        assert_eq!((proxy.connections(), proxy.answered()), (2, 300_001));
    }

    #[test]
    fn each_fault_does_what_it_says_and_ends_when_it_is_lifted() {
        let proxy = TcpProxy::to(echo());
        let bytes = [7; 50_000];

        proxy.set(Fault::CutAfter(20_000));
        assert_eq!(ask(&proxy, &bytes).len(), 20_000);

        proxy.set(Fault::Refuse);
        assert_eq!(ask(&proxy, &bytes).len(), 0);

        proxy.set(Fault::Stall);
        assert_eq!(ask(&proxy, &bytes).len(), 0);

        proxy.set(Fault::Delay(Duration::from_millis(60)));
        let begin = Instant::now();
        assert_eq!(ask(&proxy, b"x"), b"x");
        assert!(begin.elapsed() >= Duration::from_millis(120), "once there and once back: {:?}", begin.elapsed());

        proxy.set(Fault::None);
        assert_eq!(ask(&proxy, &bytes), bytes);
    }

    #[test]
    fn an_open_connection_is_cut_when_the_server_is_refused() {
        let proxy = TcpProxy::to(echo());
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut byte = [0];
        stream.write_all(b"a").unwrap();
        stream.read_exact(&mut byte).unwrap();
        proxy.set(Fault::Refuse);
        assert!(matches!(stream.read(&mut byte), Ok(0) | Err(_)));
    }
}
