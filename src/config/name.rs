//! Names that operators give.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name (start with a lower-case letter or a digit; then also - and _; at most 64)")]
pub struct NotAName(pub String);

fn is_name(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    first && rest && text.len() <= 64
}

macro_rules! name {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $($(#[$doc])*
        ///
        /// Lower-case letters, digits, `-` and `_`, starting with one of the former two; at most 64 bytes.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                if is_name(text) { Ok(Self(text.to_owned())) } else { Err(NotAName(text.chars().take(80).collect())) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        })*
    };
}

name!(
    /// Names a vault.
    VaultName,
    /// Names a plan.
    PlanName,
    /// Names a set of retention tiers.
    RetentionName,
    /// Names a runbook.
    RunbookName,
    /// Names a step within its runbook.
    StepId,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["orders", "7-zip", "a_b-c", &"a".repeat(64)] {
            assert_eq!(good.parse::<PlanName>().unwrap().as_str(), good);
        }
        for bad in ["", "Orders", "_x", "a b", "a.b", "ü", "../x", &"a".repeat(65)] {
            assert_eq!(bad.parse::<PlanName>(), Err(NotAName(bad.to_owned())));
        }
    }
}
