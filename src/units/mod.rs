//! Bytes, spans and rates: parsed and printed in one place.
//!
//! Invariant: what a type prints in full (`exact`, and `Display` of spans, ages, rates and percentages), it parses back
//! to the same value. Refusals say what is wrong with the text and show one that would do.

mod bytes;
mod span;

pub use bytes::{ByteSize, Percent, Rate};
pub use span::{Age, Span};

/// A text that is none of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {noun}: {why} (write it like {example})")]
pub struct NotAUnit {
    /// The text as it was given, cut short.
    pub text: String,
    /// What it should have been, with its article: "a size".
    pub noun: &'static str,
    /// What is wrong with it.
    pub why: String,
    /// Texts that would have done.
    pub example: &'static str,
}

impl NotAUnit {
    /// The problem without the example, for places that show one of their own.
    pub fn problem(&self) -> String {
        format!("{:?} is not {}: {}", self.text, self.noun, self.why)
    }
}

/// Digits, an optional fraction, and whatever follows: `"1.5 GiB"` is `(1, "5", "GiB")`.
fn split_number(text: &str) -> Option<(u64, &str, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    let whole = whole.parse().ok()?;
    match rest.strip_prefix('.') {
        None => Some((whole, "", rest)),
        Some(rest) => {
            let (fraction, rest) = rest.split_at(digits(rest));
            (!fraction.is_empty() && fraction.len() <= 12).then_some((whole, fraction, rest))
        }
    }
}

/// `whole.fraction` units of `unit`, rounded down to a whole number; `None` when that is more than a u64 holds.
fn scale(whole: u64, fraction: &str, unit: u64) -> Option<u64> {
    let ten_to = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let total = u128::from(whole) * u128::from(unit) + part * u128::from(unit) / ten_to;
    u64::try_from(total).ok()
}

/// Serde and JSON Schema by way of `FromStr` and `Display`.
macro_rules! as_text {
    ($type:ty, $name:literal, $pattern:literal, $description:literal, $example:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(|refused: $crate::units::NotAUnit| serde::de::Error::custom(refused.problem()))
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string", "pattern": $pattern, "description": $description, "examples": [$example]
                })
            }
        }
    };
}
use as_text;
