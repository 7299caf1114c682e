//! What a server's answers become: tests against scripted HTTP and TLS servers on this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::s3_admin::{BucketFacts, describe};
use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");

/// Serves `answers` in turn, the last one for ever, each on a connection of its own; sends each request's head back.
fn serve(answers: Vec<String>, tls: Option<Arc<rustls::ServerConfig>>) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, seen) = mpsc::channel();
    std::thread::spawn(move || {
        let mut turn = 0;
        for stream in listener.incoming() {
            let mut tcp = stream.unwrap();
            let answer = &answers[turn.min(answers.len() - 1)];
            let answered = match &tls {
                None => answer_one(&mut tcp, answer, &heads),
                Some(config) => {
                    let mut session = rustls::ServerConnection::new(config.clone()).unwrap();
                    let mut secure = rustls::Stream::new(&mut session, &mut tcp);
                    let answered = answer_one(&mut secure, answer, &heads);
                    secure.conn.send_close_notify();
                    let _ = secure.flush();
                    answered
                }
            };
            // A client that does not trust us hangs up in the handshake: no head, no turn.
            turn += usize::from(answered.is_some());
        }
    });
    (address, seen)
}

/// The head is told before the answer is given: whoever has the answer finds the head.
fn answer_one(stream: &mut (impl Read + Write), answer: &str, heads: &mpsc::Sender<String>) -> Option<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    while request.len() < end + length {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
    }
    let _ = heads.send(head);
    stream.write_all(answer.as_bytes()).ok()?;
    stream.flush().ok()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn refusal(status: &str, code: &str) -> String {
    let body = format!("<Error><Code>{code}</Code><Message>because of {code}</Message></Error>");
    answer(status, "content-type: application/xml\r\n", &body)
}

fn object(body: &str) -> String {
    answer("200 OK", "etag: \"1\"\r\nlast-modified: Mon, 23 Nov 2026 08:00:00 GMT\r\n", body)
}

fn options() -> OpenOptions {
    let credentials = Credentials::Keys {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: Zeroizing::new("hush".into()),
        session_token: None,
    };
    OpenOptions { credentials, ..OpenOptions::default() }
}

async fn open(scheme: &str, server: SocketAddr, options: &OpenOptions) -> Result<Store, StoreError> {
    Store::open(&format!("s3://bucket/team/vault?endpoint={scheme}://{server}"), options).await
}

async fn answered(answers: Vec<String>) -> (Store, mpsc::Receiver<String>) {
    let (server, seen) = serve(answers, None);
    (open("http", server, &options()).await.unwrap(), seen)
}

/// The message with all its causes, as the command line prints it.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(link) = cause {
        text.push_str(&format!(": {link}"));
        cause = link.source();
    }
    text
}

#[tokio::test]
async fn refusals_keep_their_meaning_whatever_was_asked() {
    use StoreErrorKind::*;
    let table = [
        ("403 Forbidden", "AccessDenied", Denied),
        ("403 Forbidden", "InvalidAccessKeyId", Denied),
        ("401 Unauthorized", "", Denied),
        ("400 Bad Request", "ExpiredToken", Denied),
        ("404 Not Found", "NoSuchBucket", NoBucket),
        ("403 Forbidden", "QuotaExceeded", NoSpace),
        ("507 Insufficient Storage", "XMinioStorageFull", NoSpace),
        ("507 Insufficient Storage", "", NoSpace),
        ("400 Bad Request", "AuthorizationHeaderMalformed", Config),
        ("301 Moved Permanently", "PermanentRedirect", Config),
        ("501 Not Implemented", "NotImplemented", Config),
        ("400 Bad Request", "Surprise", Io),
    ];
    for (status, code, expected) in table {
        let (store, _seen) = answered(vec![refusal(status, code)]).await;
        let mut kinds = vec![store.get("k").await.unwrap_err()];
        kinds.push(store.put("k", "x".into()).await.unwrap_err());
        kinds.push(store.list("data").await.unwrap_err());
        kinds.push(store.delete("k").await.unwrap_err());
        for error in kinds {
            assert_eq!(error.kind, expected, "{status} {code}: {}", chain(&error));
            assert!(!chain(&error).contains("hush"));
        }
    }
}

#[tokio::test]
async fn a_refusal_reads_as_one_short_line() {
    let (store, _seen) = answered(vec![refusal("403 Forbidden", "AccessDenied")]).await;
    let error = store.get("data/ab/abcd").await.unwrap_err();
    let url = store.url();
    assert!(url.starts_with("s3://bucket/team/vault?endpoint=http://127.0.0.1:"), "{url}");
    assert_eq!(
        chain(&error),
        format!(
            "get data/ab/abcd from {url}: access denied: the server answered 403, AccessDenied, because of AccessDenied"
        )
    );
    assert_eq!(error.reaction(), Reaction::FixConfig);
    assert!(error.kind.hint().contains("credentials"));
}

#[tokio::test]
async fn a_missing_object_is_not_a_missing_bucket() {
    let (store, _seen) = answered(vec![refusal("404 Not Found", "NoSuchKey")]).await;
    assert_eq!(store.get("k").await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(store.size("k").await.unwrap(), None);
    let (store, _seen) = answered(vec![answer("403 Forbidden", "", "")]).await;
    assert_eq!(store.size("k").await.unwrap_err().kind, StoreErrorKind::Denied, "never read as missing");
}

#[tokio::test]
async fn requests_are_signed_sent_to_the_bucket_and_conditional() {
    let (store, seen) = answered(vec![answer("200 OK", "etag: \"1\"\r\n", "")]).await;
    assert_eq!(store.put_new("snapshots/ab", "body".into()).await.unwrap(), PutNew::Created);
    let head = seen.recv().unwrap();
    assert!(head.starts_with("put /bucket/team/vault/snapshots/ab http/1.1"), "{head}");
    assert!(head.contains("if-none-match: *"), "{head}");
    assert!(head.contains("user-agent: drctl/"), "{head}");
    assert!(head.contains("authorization: aws4-hmac-sha256 credential=akidexample/"), "{head}");
    assert!(head.contains("/us-east-1/s3/aws4_request"), "{head}");
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let busy = refusal("503 Slow Down", "SlowDown");
    let (store, seen) = answered(vec![busy.clone(), busy, object("body")]).await;
    assert_eq!(store.get("k").await.unwrap(), "body");
    assert_eq!(seen.try_iter().count(), 3);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_fetched_on() {
    let mut broken = object("0123456789");
    broken.truncate(broken.len() - 6);
    let rest = answer("206 Partial Content", "etag: \"1\"\r\ncontent-range: bytes 4-9/10\r\n", "456789");
    let rest = rest.replace("etag", "last-modified: Mon, 23 Nov 2026 08:00:00 GMT\r\netag");
    let (store, seen) = answered(vec![object("0123456789").clone(), broken, rest]).await;
    assert_eq!(store.get("k").await.unwrap(), "0123456789");
    assert_eq!(store.get("k").await.unwrap(), "0123456789");
    let heads: Vec<_> = seen.try_iter().collect();
    assert!(heads[2].contains("range: bytes=4-9"), "{heads:?}");
}

#[tokio::test]
async fn nobody_there_fails_soon_and_says_so() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = open("http", address, &options()).await.unwrap();
    let asked = tokio::time::timeout(std::time::Duration::from_secs(30), store.get("k")).await;
    let error = asked.expect("minutes of retries are for servers that were there before").unwrap_err();
    assert_eq!((error.kind, error.reaction()), (StoreErrorKind::Unreachable, Reaction::Retry));
    assert!(chain(&error).contains("Connection refused"), "{}", chain(&error));
    let error = describe(store.url(), &options()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable, "{}", chain(&error));
}

fn secure(answers: Vec<String>) -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(format!("{FIXTURES}/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{FIXTURES}/server.key")).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    serve(answers, Some(Arc::new(config.unwrap()))).0
}

#[tokio::test]
async fn a_certificate_is_trusted_only_when_its_authority_is_named() {
    let server = secure(vec![object("body")]);
    let store = open("https", server, &options()).await.unwrap();
    let error = store.get("k").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Untrusted, "{}", chain(&error));
    assert!(error.kind.hint().contains("ca_file"));
    let address = format!("s3://bucket?endpoint=https://{server}");
    let error = describe(&address, &options()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Untrusted, "{}", chain(&error));

    let trusting = OpenOptions { ca_file: Some(format!("{FIXTURES}/authority.pem").into()), ..options() };
    assert_eq!(open("https", server, &trusting).await.unwrap().get("k").await.unwrap(), "body");
    assert!(describe(&address, &trusting).await.unwrap().exists);
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_once() {
    let somewhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
    for (path, expected) in [("/nowhere/ca.pem", "cannot be read"), ("/etc/hostname", "holds no PEM certificate")] {
        let options = OpenOptions { ca_file: Some(path.into()), ..options() };
        let error = open("https", somewhere, &options).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Config);
        assert!(chain(&error).contains(expected), "{}", chain(&error));
    }
    let proxied = OpenOptions { proxy: Some("me:hush@proxy".into()), ..options() };
    let error = open("https", somewhere, &proxied).await.unwrap_err();
    assert!(chain(&error).contains("the proxy is not an http") && !chain(&error).contains("hush"), "{}", chain(&error));
    let proxied = OpenOptions { proxy: Some("http://me:hush@proxy".into()), ..options() };
    assert!(!format!("{proxied:?}").contains("hush"), "{proxied:?}");
    let error = Store::open("s3://id:hush@bucket", &options()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Config);
    assert!(!chain(&error).contains("hush"), "{}", chain(&error));
}

#[tokio::test]
async fn a_profile_without_keys_says_what_to_set() {
    let credentials = Credentials::Profile("drctl-has-no-such-profile".into());
    let options = OpenOptions { credentials, ..OpenOptions::default() };
    let address = "s3://bucket?endpoint=http://127.0.0.1:9&region=us-east-1";
    let store = Store::open(address, &options).await.unwrap();
    for error in [store.get("k").await.unwrap_err(), describe(address, &options).await.unwrap_err()] {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{}", chain(&error));
        assert!(chain(&error).contains("set AWS_ACCESS_KEY_ID"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_proxy_is_asked_instead() {
    let (proxy, seen) = serve(vec![object("body")], None);
    let options = OpenOptions { proxy: Some(format!("http://{proxy}")), ..options() };
    let address = "s3://bucket?endpoint=http://store.invalid:8333";
    assert_eq!(Store::open(address, &options).await.unwrap().get("k").await.unwrap(), "body");
    assert!(seen.recv().unwrap().starts_with("get http://store.invalid:8333/bucket/k http/1.1"));
    assert!(describe(address, &options).await.unwrap().exists);
    assert!(seen.recv().unwrap().starts_with("head http://store.invalid:8333/bucket"));
}

#[tokio::test]
async fn a_bucket_that_is_not_there_or_not_ours_is_told_apart() {
    let (server, _seen) = serve(vec![answer("404 Not Found", "", "")], None);
    let facts = describe(&format!("s3://bucket?endpoint=http://{server}"), &options()).await.unwrap();
    assert_eq!(facts, BucketFacts { exists: false, versioning: None, object_lock: None });
    let (server, _seen) = serve(vec![answer("403 Forbidden", "", "")], None);
    let error = describe(&format!("s3://bucket?endpoint=http://{server}"), &options()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{}", chain(&error));
    let error = describe("file:///srv", &options()).await.unwrap_err();
    assert!(chain(&error).contains("only s3:// addresses"), "{}", chain(&error));
}

#[tokio::test]
async fn facts_that_a_server_keeps_to_itself_stay_unknown() {
    let versioned = answer(
        "200 OK",
        "content-type: application/xml\r\n",
        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    );
    let (server, _seen) =
        serve(vec![answer("200 OK", "", ""), versioned, refusal("403 Forbidden", "AccessDenied")], None);
    let facts = describe(&format!("s3://bucket?endpoint=http://{server}"), &options()).await.unwrap();
    let expected = BucketFacts { exists: true, versioning: Some(s3_admin::Versioning::Enabled), object_lock: None };
    assert_eq!(facts, expected);
}
