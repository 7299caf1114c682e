//! How near backup and restore come to what a distant store can do.
//!
//!     scripts/test-deps && cargo build --release && cargo bench --bench distant [-- FOLDER]
//!
//! Starts an S3 server (SeaweedFS) behind a proxy that adds 20 ms to the way there and back, and 100 MB/s in each direction
//! to be shared, puts and gets the bytes of a backup plainly with 1 to 16 requests at a time, and backs up and restores the
//! folder: by default a gigabyte that does not compress. Once more without the bound. Prints bytes a second, and what drctl
//! reaches of the best plain rate.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "it measures, and prints"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use drctl::clock::{Random, Seeded};
use futures::{StreamExt, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStoreExt, PutPayload};

const ONE_WAY: Duration = Duration::from_millis(10);
const PACK: usize = 16 << 20;
const BUCKET: &str = "vaults";

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let named = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let source = named.unwrap_or_else(|| noise(folder.path()));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for bound in [Some(100_000_000), None] {
        let data = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(data.path());
        let proxy = proxy(server.at, bound);
        runtime.block_on(server.ready());
        let shown = bound.map_or("no bound".to_owned(), |rate| format!("{} MB/s each way", rate / 1_000_000));
        println!("20 ms of delay, {shown}");
        let room = tempfile::tempdir().expect("a temporary folder");
        let (stored, saved) = back_up(room.path(), proxy, &source);
        let (fetched, restored) = restore(room.path(), proxy);
        let count = (stored as usize).div_ceil(PACK);
        let (puts, gets) = runtime.block_on(plain(proxy, count));
        for (what, bytes, took, best) in [("backup", stored, saved, puts), ("restore", fetched, restored, gets)] {
            let rate = bytes as f64 / took.as_secs_f64();
            println!("  {what:8} {:6.1} MB/s, plain {:6.1} MB/s: {:.2}", rate / 1e6, best / 1e6, rate / best);
        }
    }
}

/// A gigabyte in four files that does not compress.
fn noise(folder: &Path) -> PathBuf {
    let (source, random) = (folder.join("noise"), Seeded::new(1));
    std::fs::create_dir(&source).expect("a new folder");
    let mut part = vec![0; PACK];
    for number in 0..4 {
        let mut file = std::fs::File::create(source.join(number.to_string())).expect("a new file");
        for _ in 0..16 {
            random.fill(&mut part);
            file.write_all(&part).expect("room for a gigabyte");
        }
    }
    source
}

struct Server {
    process: Child,
    at: SocketAddr,
}

impl Server {
    fn start(data: &Path) -> Self {
        let home = std::env::var("HOME").unwrap_or_default();
        let peers = std::env::var("DRCTL_PEERS").unwrap_or(format!("{home}/.cache/drctl-peers"));
        let ports = [13_330, 13_331, 13_332, 13_333];
        let mut command = Command::new(format!("{peers}/bin/weed"));
        command.arg("mini").arg(format!("-dir={}", data.display())).arg(format!("-bucket={BUCKET}"));
        for (name, port) in ["s3", "master", "volume", "filer"].iter().zip(ports) {
            command.arg(format!("-{name}.port={port}"));
        }
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0"]);
        command.args(["-s3.port.lance=0", "-master.telemetry=false"]).envs(keys()).env("HOME", data);
        command.current_dir(data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("scripts/test-deps has fetched weed");
        Self { process, at: SocketAddr::from(([127, 0, 0, 1], ports[0])) }
    }

    async fn ready(&self) {
        let store = client(self.at);
        let probe = object_store::path::Path::from("probe");
        while store.put(&probe, PutPayload::from_static(b"probe")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn keys() -> [(&'static str, &'static str); 3] {
    [("AWS_ACCESS_KEY_ID", "bench"), ("AWS_SECRET_ACCESS_KEY", "only for measurements"), ("AWS_REGION", "us-east-1")]
}

fn client(at: SocketAddr) -> AmazonS3 {
    let builder = AmazonS3Builder::new().with_endpoint(format!("http://{at}")).with_allow_http(true);
    let builder = builder.with_bucket_name(BUCKET).with_region("us-east-1");
    builder.with_access_key_id(keys()[0].1).with_secret_access_key(keys()[1].1).build().expect("a client")
}

/// The best rates of plain puts and gets of so many packs, in bytes a second.
async fn plain(at: SocketAddr, count: usize) -> (f64, f64) {
    let store = client(at);
    let mut body = vec![0; PACK];
    Seeded::new(2).fill(&mut body);
    let body = bytes::Bytes::from(body);
    let name = |number: usize| object_store::path::Path::from(format!("plain/{number}"));
    let (mut puts, mut gets): (f64, f64) = (0.0, 0.0);
    for at_once in [1, 2, 4, 8, 16] {
        let begun = Instant::now();
        let put = |number| {
            let (store, body) = (&store, PutPayload::from_bytes(body.clone()));
            async move { store.put(&name(number), body).await.expect("a put") }
        };
        stream::iter(0..count).map(put).buffer_unordered(at_once).for_each(|_| async {}).await;
        let put = (count * PACK) as f64 / begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let get = |number| {
            let store = &store;
            async move { store.get(&name(number)).await.expect("a get").bytes().await.expect("a body") }
        };
        stream::iter(0..count).map(get).buffer_unordered(at_once).for_each(|_| async {}).await;
        let got = (count * PACK) as f64 / begun.elapsed().as_secs_f64();
        println!("  {at_once:2} at a time: put {:6.1} MB/s, get {:6.1} MB/s", put / 1e6, got / 1e6);
        (puts, gets) = (puts.max(put), gets.max(got));
    }
    (puts, gets)
}

fn drctl(room: &Path, at: SocketAddr, words: &[&str]) -> (serde_json::Value, Duration) {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or("target".to_owned());
    let key = room.join("key");
    let mut file = std::fs::File::options();
    file.write(true).create(true).truncate(true).mode(0o600);
    file.open(&key).and_then(|mut file| file.write_all(b"only for measurements")).expect("a key file");
    let url = format!("s3://{BUCKET}/vault?endpoint=http://{at}&region=us-east-1&path_style=true");
    let mut command = Command::new(format!("{target}/release/drctl"));
    command.args(words).arg("--json").envs(keys()).env("HOME", room).env("DRCTL_STATE_DIR", room.join("state"));
    command.env("DRCTL_VAULT", url).env("DRCTL_KEY_FILE", key);
    let begun = Instant::now();
    let output = command.output().expect("cargo build --release has made drctl");
    let took = begun.elapsed();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), took)
}

fn back_up(room: &Path, at: SocketAddr, source: &Path) -> (u64, Duration) {
    drctl(room, at, &["init"]);
    let (said, took) = drctl(room, at, &["backup", "--path", &source.display().to_string()]);
    let summary = &said["summary"];
    println!("  backup asked {} for a terabyte: {}", summary["requests_per_terabyte"], summary["requests"]);
    (summary["bytes_uploaded"].as_u64().expect("bytes"), took)
}

fn restore(room: &Path, at: SocketAddr) -> (u64, Duration) {
    let target = room.join("restored");
    let (said, took) = drctl(room, at, &["restore", "latest", "--to", &target.display().to_string()]);
    let summary = &said["summary"];
    println!("  restore asked {} for a terabyte: {}", summary["requests_per_terabyte"], summary["requests"]);
    (summary["bytes_fetched"].as_u64().expect("bytes"), took)
}

/// Stands before `to`; what passes comes 10 ms later each way, and at most at `bound` bytes a second for all together.
fn proxy(to: SocketAddr, bound: Option<u64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("a bound port");
    let lines = [(); 2].map(|()| Arc::new(Line { bound, free: Mutex::new(Instant::now()) }));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(to) else { continue };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let pairs = [(client.try_clone(), server.try_clone()), (server.try_clone(), client.try_clone())];
            for ((from, to), line) in pairs.into_iter().zip(&lines) {
                let (Ok(from), Ok(to), line) = (from, to, line.clone()) else { continue };
                std::thread::spawn(move || line.carry(from, to));
            }
        }
    });
    at
}

/// One direction, shared by all connections.
struct Line {
    bound: Option<u64>,
    /// When it has carried what it was given.
    free: Mutex<Instant>,
}

impl Line {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        // Enough for the delay at any rate, so that only the bound holds anything up.
        let (send, receive) = mpsc::sync_channel::<(Instant, Vec<u8>)>(1024);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (due, bytes) in receive {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if to.write_all(&bytes).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Write);
            });
            let mut buffer = vec![0; 256 << 10];
            while let Ok(read) = from.read(&mut buffer) {
                if read == 0 || send.send((self.due(read), buffer[..read].to_vec())).is_err() {
                    break;
                }
            }
            drop(send);
        });
    }

    fn due(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let Some(bound) = self.bound else { return now + ONE_WAY };
        let mut free = self.free.lock().unwrap_or_else(|error| error.into_inner());
        *free = (*free).max(now) + Duration::from_secs_f64(bytes as f64 / bound as f64);
        let gone = *free;
        drop(free);
        // The sender feels the bound too: what it has given waits for its turn here.
        std::thread::sleep(gone.saturating_duration_since(Instant::now()));
        gone.max(now) + ONE_WAY
    }
}
