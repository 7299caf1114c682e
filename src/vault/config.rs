//! The vault's configuration: its format's version, its id, and the polynomial of stock chunkers.
//!
//! Sealed, never compressed, named `config`. Nothing of ours is put into it (see [`super::settings`]): stock tools read it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::crypto::MasterKey;
use super::error::{Damage, VaultError};
use super::layout::CONFIG;
use super::polynomial;
use crate::clock::Env;

/// The version that is written.
pub const VERSION: u32 = 2;

/// What the object `config` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub(super) version: u32,
    pub(super) id: String,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub(super) chunker_polynomial: u64,
}

impl Config {
    /// A new vault's configuration; its polynomial is drawn unless it has to be another vault's.
    pub(super) fn generate(env: &Env, chunker_polynomial: Option<u64>) -> Self {
        let id = hex::encode(env.random_bytes::<32>());
        let chunker_polynomial = chunker_polynomial.unwrap_or_else(|| polynomial::random(&*env.random));
        Self { version: VERSION, id, chunker_polynomial }
    }

    /// Reads what the object `config` opened to.
    ///
    /// The polynomial is checked even when nothing is cut with it, as stock restic does.
    pub fn parse(json: &[u8]) -> Result<Self, VaultError> {
        let damaged = |why: Damage| VaultError::damaged(CONFIG, why);
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(json).map_err(|error| damaged(error.into()))?;
        match version {
            0 => return Err(damaged(Damage::Content("there is no version 0 of the format"))),
            1 | VERSION => {}
            _ => return Err(VaultError::NewerVersion { object: CONFIG, version }),
        }
        let config: Self = serde_json::from_slice(json).map_err(|error| damaged(error.into()))?;
        let polynomial = config.chunker_polynomial;
        if polynomial::degree(polynomial) != polynomial::DEGREE || !polynomial::is_irreducible(polynomial) {
            return Err(damaged(Damage::Content("its polynomial is not irreducible of degree 53")));
        }
        Ok(config)
    }

    pub(super) fn seal(&self, key: &MasterKey, env: &Env) -> Result<Vec<u8>, VaultError> {
        seal_json(self, key, env)
    }
}

/// Seals a value's JSON as it is, without the compression that objects outside packs have otherwise.
pub(super) fn seal_json<T: Serialize>(value: &T, key: &MasterKey, env: &Env) -> Result<Vec<u8>, VaultError> {
    let json = serde_json::to_vec(value).map_err(VaultError::seal)?;
    let mut sealed = Vec::new();
    key.seal_into(env.random_bytes(), &json, &mut sealed).map_err(VaultError::seal)?;
    Ok(sealed)
}

fn to_hex<S: Serializer>(polynomial: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{polynomial:x}"))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::tests::env;

    #[test]
    fn it_is_written_as_restic_writes_it() {
        let config = Config { version: 2, id: "ab".to_owned(), chunker_polynomial: 0x0020_43f1_2de8_0ac5 };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(json, r#"{"version":2,"id":"ab","chunker_polynomial":"2043f12de80ac5"}"#);
        assert_eq!(Config::parse(json.as_bytes()).unwrap(), config);
    }

    #[test]
    fn what_is_generated_is_accepted_and_can_take_a_given_polynomial() {
        let env = env();
        let config = Config::generate(&env, None);
        assert_eq!(config.id.len(), 64);
        assert_eq!(Config::parse(&serde_json::to_vec(&config).unwrap()).unwrap(), config);
        assert_eq!(
            Config::generate(&env, Some(config.chunker_polynomial)).chunker_polynomial,
            config.chunker_polynomial
        );
    }

    #[test]
    fn versions_that_are_not_known_are_refused_by_name() {
        let json = |version: u32, polynomial: &str| {
            format!(r#"{{"version":{version},"id":"ab","chunker_polynomial":"{polynomial}","extra":1}}"#).into_bytes()
        };
        assert!(Config::parse(&json(1, "2043f12de80ac5")).is_ok());
        assert!(Config::parse(&json(2, "2043f12de80ac5")).is_ok());
        assert!(matches!(Config::parse(&json(3, "")), Err(VaultError::NewerVersion { version: 3, .. })));
        for bad in [json(0, "2043f12de80ac5"), json(2, "2043f12de80ac4"), json(2, "b"), json(2, "x"), b"{}".to_vec()] {
            assert!(
                matches!(Config::parse(&bad), Err(VaultError::Damaged { .. })),
                "{}",
                String::from_utf8_lossy(&bad)
            );
        }
    }
}
