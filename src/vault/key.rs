//! Passwords and the key files that they open.
//!
//! A key file is plain JSON: scrypt's parameters and salt, and the master key sealed with what scrypt makes of the
//! password. Every key file of a vault seals the same master key. Parameters in a key file come from whoever can write to
//! the store, so they are capped before memory is spent on them. Which files there are, and which of them may go, is the
//! business of the open vault.

use std::num::NonZeroUsize;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use scrypt::Params;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::crypto::{CryptoError, IV_LEN, KeyParts, MasterKey};
use super::whoami;
use crate::clock::Env;

/// A password or another secret. Zeroized when dropped; printed as `***`.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The secret made of exactly these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret in a password file: without a byte-order mark and without white space around it, as restic reads it.
    pub fn from_file_bytes(bytes: &[u8]) -> Self {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        Self::new(text.trim_ascii())
    }

    /// The bytes. Not to be printed, logged or put into an error.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How much work it is to try a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KdfCost {
    /// N = 2^14, r = 8, p = 5: one of the equivalent settings that OWASP's Password Storage Cheat Sheet recommends. Each of
    /// the five parts takes 16 MiB, and as many as there are processors are worked on at the same time.
    #[default]
    Standard,
    /// N = 2^10, r = 8, p = 1: 1 MiB and a millisecond. For vaults that are thrown away: in tests and in the demo.
    Cheap,
}

impl KdfCost {
    fn parameters(self) -> (u32, u32, u32) {
        match self {
            Self::Standard => (1 << 14, 8, 5),
            Self::Cheap => (1 << 10, 8, 1),
        }
    }
}

/// The most memory that a key file may ask scrypt to take, in bytes. restic asks for 60 MiB at most, rustic for 128.
const MAX_KDF_MEMORY: u64 = 512 << 20;
/// The most work that a key file may ask for, as N * r * p; a minute or so.
const MAX_KDF_WORK: u64 = 1 << 26;
/// Bytes that scrypt takes for parts that it works on at the same time; one part alone may take more.
const LANES_MEMORY: u64 = 96 << 20;
/// Bytes of a salt: stock restic accepts no other length.
const SALT_LEN: usize = 64;

/// Bytes that are overwritten when they are dropped.
type Wiped = Zeroizing<Vec<u8>>;

/// Why a key file cannot be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The one that means "try the next".
    #[error("open the key: the password is another")]
    WrongPassword,
    /// The file is no key file.
    #[error("read the key file")]
    Json(#[source] serde_json::Error),
    /// Fields that no key file has, or that ask for too much.
    #[error("accept the key file: {0}")]
    Malformed(&'static str),
    /// What the password opens is no master key.
    #[error("read the master key in the key file")]
    Master(#[source] CryptoError),
}

/// One file under `keys/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    /// When it was made; nothing when that cannot be read.
    #[serde(default, deserialize_with = "lenient_time")]
    pub created: Option<Timestamp>,
    /// Who made it.
    #[serde(default)]
    pub username: Option<String>,
    /// Where it was made.
    #[serde(default)]
    pub hostname: Option<String>,
    kdf: String,
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

/// The master key as a key file seals it.
#[derive(Serialize, Deserialize)]
struct SealedMaster {
    mac: SealedMac,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct SealedMac {
    k: String,
    r: String,
}

impl Drop for SealedMaster {
    fn drop(&mut self) {
        self.mac.k.zeroize();
        self.mac.r.zeroize();
        self.encrypt.zeroize();
    }
}

impl KeyFile {
    /// Seals `master` with `password`. Takes as long as `cost` says.
    pub fn seal(master: &MasterKey, password: &Secret, cost: KdfCost, env: &Env) -> Result<Self, KeyError> {
        let (n, r, p) = cost.parameters();
        let salt: [u8; SALT_LEN] = env.random_bytes();
        let user = derive(password, &salt, n, r, p)?;
        let parts = master.parts();
        let sealed = SealedMaster {
            mac: SealedMac { k: BASE64_STANDARD.encode(parts.mac_k), r: BASE64_STANDARD.encode(parts.mac_r) },
            encrypt: BASE64_STANDARD.encode(parts.encrypt),
        };
        // Roomy: when it grows, it leaves what it had behind.
        let mut json = Zeroizing::new(Vec::with_capacity(512));
        serde_json::to_writer(&mut *json, &sealed).map_err(KeyError::Json)?;
        let mut data = Vec::new();
        let iv: [u8; IV_LEN] = env.random_bytes();
        user.seal_into(iv, &json, &mut data).map_err(KeyError::Master)?;
        Ok(Self {
            created: Some(env.clock.now()),
            username: Some(whoami::username()),
            hostname: Some(whoami::hostname()),
            kdf: "scrypt".to_owned(),
            n,
            r,
            p,
            salt: BASE64_STANDARD.encode(salt),
            data: BASE64_STANDARD.encode(data),
        })
    }

    /// Reads a key file.
    pub fn parse(json: &[u8]) -> Result<Self, KeyError> {
        serde_json::from_slice(json).map_err(KeyError::Json)
    }

    /// Its JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, KeyError> {
        serde_json::to_vec(self).map_err(KeyError::Json)
    }

    /// The master key, if `password` opens this file. Takes as long as the file's parameters say.
    pub fn open(&self, password: &Secret) -> Result<MasterKey, KeyError> {
        let (salt, data) = self.fields()?;
        let user = derive(password, &salt, self.n, self.r, self.p)?;
        let json = match user.open(&data) {
            Ok(json) => Zeroizing::new(json),
            Err(CryptoError::Unauthentic) => return Err(KeyError::WrongPassword),
            Err(error) => return Err(KeyError::Master(error)),
        };
        decode_master(&json)
    }

    /// Whether a password can be tried on this file: its parameters are ones that scrypt has and that ask for no more
    /// memory or time than they may. Costs nothing.
    pub fn check(&self) -> Result<(), KeyError> {
        let (salt, _) = self.fields()?;
        parameters(&salt, self.n, self.r, self.p).map(drop)
    }

    /// Salt and sealed master key.
    fn fields(&self) -> Result<(Wiped, Wiped), KeyError> {
        if self.kdf != "scrypt" {
            return Err(KeyError::Malformed("its key derivation is not scrypt"));
        }
        Ok((decode(&self.salt)?, decode(&self.data)?))
    }
}

/// Reads the master key that a key file sealed.
pub fn decode_master(json: &[u8]) -> Result<MasterKey, KeyError> {
    // serde's error would quote what it stumbled over: a part of the key.
    let sealed: SealedMaster =
        serde_json::from_slice(json).map_err(|_| KeyError::Malformed("the password opens it, to no master key"))?;
    let mut parts = Zeroizing::new(KeyParts::default());
    copy_exact(&sealed.encrypt, &mut parts.encrypt)?;
    copy_exact(&sealed.mac.k, &mut parts.mac_k)?;
    copy_exact(&sealed.mac.r, &mut parts.mac_r)?;
    MasterKey::from_parts(&parts).map_err(KeyError::Master)
}

/// scrypt's parameters, once it is known that they may be used.
fn parameters(salt: &[u8], n: u32, r: u32, p: u32) -> Result<Params, KeyError> {
    let malformed = KeyError::Malformed;
    if salt.len() != SALT_LEN {
        return Err(malformed("its salt is not 64 bytes long"));
    }
    if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
        return Err(malformed("scrypt has no such parameters"));
    }
    let block = 128 * u64::from(r);
    let memory = block.saturating_mul(u64::from(n) + u64::from(p));
    let work = u64::from(n).saturating_mul(u64::from(r)).saturating_mul(u64::from(p));
    if memory > MAX_KDF_MEMORY || work > MAX_KDF_WORK {
        return Err(malformed("scrypt would take more memory or time than any tool asks for"));
    }
    let log_n = u8::try_from(n.ilog2()).map_err(|_| malformed("scrypt has no such parameters"))?;
    Params::new(log_n, r, p).map_err(|_| malformed("scrypt has no such parameters"))
}

fn derive(password: &Secret, salt: &[u8], n: u32, r: u32, p: u32) -> Result<MasterKey, KeyError> {
    let parameters = parameters(salt, n, r, p)?;
    let mut derived = Zeroizing::new([0; 64]);
    side_by_side(lanes(n, r, p), || scrypt::scrypt(password.expose(), salt, &parameters, &mut *derived))
        .map_err(|_| KeyError::Malformed("scrypt gives no 64 bytes"))?;
    MasterKey::from_derived(&derived).map_err(KeyError::Master)
}

/// How many of scrypt's `p` independent parts are worked on at the same time. Each takes its own memory, 128 * N * r bytes.
fn lanes(n: u32, r: u32, p: u32) -> usize {
    let one = 128 * u64::from(r) * u64::from(n);
    let fit = usize::try_from(LANES_MEMORY / one.max(1)).unwrap_or(usize::MAX);
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    fit.min(processors).min(p as usize).max(1)
}

/// Does something that asks rayon for threads on this many threads, and not on one for each processor.
fn side_by_side<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(work),
        // No thread is to be had: rayon then works on the one that there is.
        Err(_) => work(),
    }
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| KeyError::Malformed("a field is not base64"))?;
    Ok(Zeroizing::new(bytes))
}

fn copy_exact(text: &str, out: &mut [u8]) -> Result<(), KeyError> {
    let bytes = decode(text)?;
    if bytes.len() != out.len() {
        return Err(KeyError::Malformed("a part of the master key has another length"));
    }
    out.copy_from_slice(&bytes);
    Ok(())
}

/// A time that cannot be read must not stand between a password and its vault.
fn lenient_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::tests::env;

    #[test]
    fn a_password_file_is_read_as_restic_reads_it() {
        for (file, want) in [
            (&b"abc"[..], &b"abc"[..]),
            (b"abc\n", b"abc"),
            (b"  a b\t\r\n\n", b"a b"),
            (b"\xef\xbb\xbfabc\r\n", b"abc"),
            (b"\xff\xfe\n", b"\xff\xfe"),
            (b"\n", b""),
        ] {
            assert_eq!(Secret::from_file_bytes(file).expose(), want, "{file:?}");
        }
    }

    #[test]
    fn a_secret_prints_as_stars() {
        assert_eq!(format!("{:?} {:?}", Secret::new("abc"), Some(Secret::new("abc"))), "*** Some(***)");
    }

    #[test]
    fn only_the_right_password_opens_a_key_file() {
        let env = env();
        let master = MasterKey::generate(&*env.random).unwrap();
        let file = KeyFile::seal(&master, &Secret::new("right"), KdfCost::Cheap, &env).unwrap();
        let json = file.to_json().unwrap();
        let text = String::from_utf8(json.clone()).unwrap();
        assert!(text.starts_with("{\"created\":\"2026-01-01T00:00:00Z\",\"username\":"), "{text}");
        let file = KeyFile::parse(&json).unwrap();
        let opened = file.open(&Secret::new("right")).unwrap();
        assert_eq!(opened.parts().encrypt, master.parts().encrypt);
        assert_eq!(opened.parts().mac_k, master.parts().mac_k);
        assert_eq!(opened.parts().mac_r, master.parts().mac_r);
        for wrong in ["", "Right", "right "] {
            assert!(matches!(file.open(&Secret::new(wrong)), Err(KeyError::WrongPassword)), "{wrong}");
        }
    }

    #[test]
    fn the_standard_cost_is_one_that_stock_restic_takes() {
        let (n, r, p) = KdfCost::Standard.parameters();
        let memory = 128 * n * r;
        assert_eq!((n.is_power_of_two(), memory, p), (true, 16 << 20, 5));
    }

    /// Written by restic 0.18.
    #[test]
    fn a_key_file_of_restic_opens() {
        let json = include_bytes!("../../tests/fixtures/restic-key.json");
        assert!(KeyFile::parse(json).unwrap().open(&Secret::new("abc")).is_ok());
    }

    #[test]
    fn key_files_that_ask_for_too_much_or_make_no_sense_are_refused() {
        let env = env();
        let master = MasterKey::generate(&*env.random).unwrap();
        let good = KeyFile::seal(&master, &Secret::new("x"), KdfCost::Cheap, &env).unwrap();
        let changes: [fn(&mut KeyFile); 12] = [
            |file| file.n = 1 << 31,
            |file| file.n = 0,
            |file| file.n = 1000,
            |file| file.r = 0,
            |file| file.r = u32::MAX,
            |file| file.p = 0,
            |file| file.p = u32::MAX,
            |file| file.p = 1 << 14,
            |file| file.salt = BASE64_STANDARD.encode([1; 32]),
            |file| file.salt = "?".to_owned(),
            |file| file.data = BASE64_STANDARD.encode([1; 31]),
            |file| file.kdf = "argon2id".to_owned(),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut file = good.clone();
            change(&mut file);
            let refused = file.open(&Secret::new("x"));
            assert!(matches!(refused, Err(KeyError::Malformed(_) | KeyError::Master(_))), "{i}: {refused:?}");
            assert!(file.check().is_err() || matches!(refused, Err(KeyError::Master(_))), "{i} could be tried");
        }
    }

    #[test]
    fn fields_that_only_inform_may_be_missing() {
        let env = env();
        let master = MasterKey::generate(&*env.random).unwrap();
        let file = KeyFile::seal(&master, &Secret::new("x"), KdfCost::Cheap, &env).unwrap();
        let mut value = serde_json::to_value(&file).unwrap();
        let map = value.as_object_mut().unwrap();
        map.insert("created".to_owned(), "once".into());
        map.remove("username");
        map.insert("hostname".to_owned(), serde_json::Value::Null);
        let file = KeyFile::parse(value.to_string().as_bytes()).unwrap();
        assert_eq!(file.created, None);
        assert!(file.open(&Secret::new("x")).is_ok());
    }
}
