//! A real S3 server (SeaweedFS) for one test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::{Numbers, peers};

/// Runs until it is dropped; its data go with it. Two of them are two regions.
#[derive(Debug)]
pub(crate) struct S3Server {
    process: Child,
    at: SocketAddr,
    _data: TempDir,
}

impl S3Server {
    /// The bucket that is there from the start.
    pub(crate) const BUCKET: &str = "vaults";
    const KEY: &str = "test";
    const SECRET: &str = "test-secret";

    pub(crate) fn start() -> Self {
        let mut numbers = Numbers::seeded(Numbers::fresh_seed());
        for _ in 0..5 {
            if let Some(server) = Self::try_start(&mut numbers) {
                return server;
            }
        }
        panic!("SeaweedFS does not start on any of five sets of ports");
    }

    /// None: it ended, most likely because somebody took one of its ports meanwhile.
    fn try_start(numbers: &mut Numbers) -> Option<Self> {
        let weed = peers::required("weed");
        let data = tempfile::Builder::new().prefix("drctl-s3-").tempdir().unwrap();
        let ports = free_ports(numbers);
        // `timeout` ends it even when the tests are killed, and both are one process group
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "1200"]).arg(weed).arg("mini").arg(format!("-dir={}", data.path().display()));
        for (name, port) in ["s3", "master", "volume", "filer"].iter().zip(ports) {
            command.arg(format!("-{name}.port={port}"));
        }
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]);
        command.arg(format!("-bucket={}", Self::BUCKET)).current_dir(data.path()).env_clear();
        command.envs([
            ("AWS_ACCESS_KEY_ID", Self::KEY),
            ("AWS_SECRET_ACCESS_KEY", Self::SECRET),
            ("PATH", "/usr/bin:/bin"),
        ]);
        command.env("HOME", data.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let at = SocketAddr::from(([127, 0, 0, 1], ports[0]));
        let mut server = Self { process: command.spawn().unwrap(), at, _data: data };
        let begin = Instant::now();
        while server.process.try_wait().unwrap().is_none() {
            // the bucket is made after the server answers, and known to all of its parts a little later
            if status(at, "/healthz") == Some(200) && server.has_bucket() {
                return Some(server);
            }
            assert!(begin.elapsed() < Duration::from_secs(120), "SeaweedFS runs and does not get ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// Whether an object can be put into the bucket, listed and removed. To look for an object is not enough: without a
    /// bucket that ends as without the object, with 404 `NoSuchKey`.
    fn has_bucket(&self) -> bool {
        let store = AmazonS3Builder::new().with_endpoint(format!("http://{}", self.at)).with_allow_http(true);
        let store = store.with_bucket_name(Self::BUCKET).with_region("us-east-1");
        let store = store.with_access_key_id(Self::KEY).with_secret_access_key(Self::SECRET);
        let store = store.with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() }).build().unwrap();
        let probe = object_store::path::Path::from("is-it-there/probe");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let put = store.put(&probe, PutPayload::from_static(b"here")).await;
            let listed = store.list_with_delimiter(Some(&"is-it-there".into())).await;
            put.is_ok() && listed.is_ok_and(|listed| listed.objects.len() == 1) && store.delete(&probe).await.is_ok()
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.at
    }

    /// The vault below `prefix`, as drctl names it. Credentials are in `env`.
    pub(crate) fn url(&self, prefix: &str) -> String {
        Self::url_at(self.at, prefix)
    }

    /// The same through somebody in between.
    pub(crate) fn url_at(at: SocketAddr, prefix: &str) -> String {
        format!("s3://{}/{prefix}?endpoint=http://{at}&region=us-east-1&path_style=true", Self::BUCKET)
    }

    /// The same as restic names it.
    pub(crate) fn restic_url(&self, prefix: &str) -> String {
        format!("s3:http://{}/{}/{prefix}", self.at, Self::BUCKET)
    }

    /// The standard AWS environment for it.
    pub(crate) fn env(&self) -> [(&'static str, String); 3] {
        let region = ("AWS_REGION", "us-east-1".to_owned());
        [("AWS_ACCESS_KEY_ID", Self::KEY.to_owned()), ("AWS_SECRET_ACCESS_KEY", Self::SECRET.to_owned()), region]
    }

    /// Ends it at once, as a lost region would.
    pub(crate) fn kill(self) {}
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let group = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.wait();
    }
}

/// Four ports that are free, each with its gRPC port 10000 above; all below those that outgoing connections take.
fn free_ports(numbers: &mut Numbers) -> [u16; 4] {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let first = 11_000 + u16::try_from(numbers.below(1_100)).unwrap_or(0) * 10;
        let ports = [first, first + 1, first + 2, first + 3];
        if ports.iter().all(|port| is_free(*port) && is_free(*port + 10_000)) {
            return ports;
        }
    }
}

/// The status that an unsigned GET is answered with.
fn status(at: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::support::house::House;
    use crate::support::peers::restic18;
    use crate::support::proxy::{Fault, TcpProxy};

    #[test]
    fn two_servers_hold_a_repository_each_and_one_survives_the_other() {
        let (first, second) = (S3Server::start(), S3Server::start());
        let house = House::new();
        for server in [&first, &second] {
            let url = server.restic_url("repository");
            let restic = |args: &[&str]| restic18().at(&house, OsStr::new(&url), args).envs(&server.env());
            restic(&["init"]).ok();
            restic(&["backup", "/etc/hostname"]).ok();
            restic(&["check"]).ok();
        }
        let gone = first.address();
        first.kill();
        assert_eq!(status(gone, "/healthz"), None);
        let url = second.restic_url("repository");
        restic18().at(&house, OsStr::new(&url), ["snapshots", "--no-lock"]).envs(&second.env()).ok();
    }

    #[test]
    fn a_proxy_may_stand_before_it() {
        let server = S3Server::start();
        let proxy = TcpProxy::to(server.address());
        assert_eq!(status(proxy.address(), "/healthz"), Some(200));
        proxy.set(Fault::Refuse);
        assert_eq!(status(proxy.address(), "/healthz"), None);
        assert!(
            S3Server::url_at(proxy.address(), "p")
                .starts_with(&format!("s3://vaults/p?endpoint=http://{}", proxy.address()))
        );
        assert_eq!(server.url("p"), S3Server::url_at(server.address(), "p"));
    }
}
