//! Numbers of bytes, bytes per second, and shares.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{NotAUnit, as_text, scale, split_number};

/// Names of the powers of 1024 from the first up.
const BINARY: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const SIZES: &str = "16MiB, 1.5G, 500 MB or 1048576";

/// A number of bytes. Printed in binary units, rounded to a tenth ("1.4 GiB"); [`ByteSize::exact`] does not round.
///
/// Parsed from a number with `B`, `K`, `KiB` (1024), `KB` (1000), and so on up to `E`; upper and lower case are the
/// same, blanks before the unit are fine. A fraction of a byte is dropped. As JSON it is a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The size in the largest binary unit of which it is a whole number, without a blank: "16MiB", "1001B".
    pub fn exact(self) -> String {
        let power = (self.0.trailing_zeros() / 10).min(6);
        match (self.0, usize::try_from(power)) {
            (0, _) | (_, Ok(0) | Err(_)) => format!("{}B", self.0),
            (bytes, Ok(index)) => format!("{}{}", bytes >> (10 * power), BINARY[index - 1]),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut unit = 1024_u128;
        let mut tenths = 0;
        let mut name = "";
        for next in BINARY {
            tenths = (u128::from(self.0) * 10 + unit / 2) / unit;
            name = next;
            if tenths < 10_240 {
                break;
            }
            unit *= 1024;
        }
        match tenths % 10 {
            0 => f.pad(&format!("{} {name}", tenths / 10)),
            tenth => f.pad(&format!("{}.{tenth} {name}", tenths / 10)),
        }
    }
}

impl FromStr for ByteSize {
    type Err = NotAUnit;

    fn from_str(text: &str) -> Result<Self, NotAUnit> {
        parse_size(text.trim()).map_err(|why| NotAUnit {
            text: text.chars().take(40).collect(),
            noun: "a size",
            why,
            example: SIZES,
        })
    }
}

fn parse_size(text: &str) -> Result<ByteSize, String> {
    let (whole, fraction, rest) = split_number(text).ok_or("it does not start with a number")?;
    let unit = unit_of(rest.trim_start())?;
    if unit == 1 && !fraction.is_empty() {
        return Err("there is no part of a byte".to_owned());
    }
    scale(whole, fraction, unit).map(ByteSize).ok_or_else(|| "that is more than 16 EiB".to_owned())
}

/// Bytes in a unit. A lone letter is binary, as in restic and in coreutils; "KB" is decimal, as on a disk's label.
fn unit_of(name: &str) -> Result<u64, String> {
    let lower = name.to_ascii_lowercase();
    let (prefix, base) = match lower.as_str() {
        "" | "b" => return Ok(1),
        text => match (text.strip_suffix("ib"), text.strip_suffix('b')) {
            (Some(prefix), _) => (prefix, 1024_u64),
            (None, Some(prefix)) => (prefix, 1000),
            (None, None) => (text, 1024),
        },
    };
    let power = match prefix {
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        "e" => 6,
        _ => return Err(format!("there is no unit {name:?}")),
    };
    Ok(base.pow(power))
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size")
            }

            fn visit_u64<E>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom(format!("{bytes} is below zero")))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(|refused: NotAUnit| E::custom(refused.problem()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "minimum": 0,
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([kmgtpeKMGTPE]?[iI]?[bB]?)?\s*$",
            "description": "Bytes: a number, or a text like \"16MiB\" (1024), \"500 MB\" (1000), \"1.5G\" (1024).",
            "examples": ["16MiB"]
        })
    }
}

/// Bytes per second: "10MiB/s". The "/s" may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub ByteSize);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/s", self.0.exact()))
    }
}

impl FromStr for Rate {
    type Err = NotAUnit;

    fn from_str(text: &str) -> Result<Self, NotAUnit> {
        let refuse = |why: String| NotAUnit {
            text: text.chars().take(40).collect(),
            noun: "a rate",
            why,
            example: "10MiB/s or 500 KB/s",
        };
        let size = text.trim().strip_suffix("/s").unwrap_or(text.trim());
        match parse_size(size.trim_end()).map_err(refuse)? {
            ByteSize(0) => Err(refuse("nothing would ever be transferred".to_owned())),
            size => Ok(Self(size)),
        }
    }
}

as_text!(
    Rate,
    "Rate",
    r"^\s*[0-9]+(\.[0-9]+)?\s*([kmgtpeKMGTPE]?[iI]?[bB]?)?\s*(/s)?\s*$",
    "Bytes per second, like \"10MiB/s\".",
    "10MiB/s"
);

/// A share in whole percent, from "0%" to "100%".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

impl Percent {
    /// `None` above 100.
    pub const fn new(percent: u8) -> Option<Self> {
        if percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// From 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", self.0))
    }
}

impl FromStr for Percent {
    type Err = NotAUnit;

    fn from_str(text: &str) -> Result<Self, NotAUnit> {
        let refuse = |why: &str| NotAUnit {
            text: text.chars().take(40).collect(),
            noun: "a share",
            why: why.to_owned(),
            example: "5%",
        };
        let number = text.trim().strip_suffix('%').ok_or_else(|| refuse("it does not end in %"))?.trim_end();
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refuse("it is no whole number"));
        }
        number.parse().ok().and_then(Self::new).ok_or_else(|| refuse("it is more than 100%"))
    }
}

as_text!(Percent, "Percent", "^\\s*[0-9]{1,3}\\s*%\\s*$", "A share in whole percent, like \"5%\".", "5%");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_with_every_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("7B", 7),
            ("16MiB", 16 << 20),
            ("16 mib", 16 << 20),
            ("1.5G", 3 << 29),
            ("500 MB", 500_000_000),
            (" 2T ", 2 << 40),
            ("0.1KiB", 102),
            ("15.999999999999E", 18_446_744_073_708_398_694),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn a_bad_size_says_why_and_shows_a_good_one() {
        for (text, message) in [
            ("", r#""" is not a size: it does not start with a number (write it like 16MiB, 1.5G, 500 MB or 1048576)"#),
            ("16MX", r#""16MX" is not a size: there is no unit "MX" (write it like 16MiB, 1.5G, 500 MB or 1048576)"#),
            (
                "-1K",
                r#""-1K" is not a size: it does not start with a number (write it like 16MiB, 1.5G, 500 MB or 1048576)"#,
            ),
            (
                "1.5B",
                r#""1.5B" is not a size: there is no part of a byte (write it like 16MiB, 1.5G, 500 MB or 1048576)"#,
            ),
            ("16E", r#""16E" is not a size: that is more than 16 EiB (write it like 16MiB, 1.5G, 500 MB or 1048576)"#),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn sizes_are_printed_rounded_to_a_tenth() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1_503_238_553, "1.4 GiB"),
            (1_048_575, "1 MiB"),
            (16 << 20, "16 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        assert_eq!(format!("[{:>8}]", ByteSize(5)), "[     5 B]");
    }

    #[test]
    fn rates_and_shares_are_read_and_refused() {
        assert_eq!("10MiB/s".parse(), Ok(Rate(ByteSize(10 << 20))));
        assert_eq!("1.5 MB".parse(), Ok(Rate(ByteSize(1_500_000))));
        assert_eq!(
            "0/s".parse::<Rate>().unwrap_err().to_string(),
            r#""0/s" is not a rate: nothing would ever be transferred (write it like 10MiB/s or 500 KB/s)"#
        );
        assert_eq!("5%".parse(), Ok(Percent(5)));
        for (text, message) in [
            ("5", r#""5" is not a share: it does not end in % (write it like 5%)"#),
            ("1.5%", r#""1.5%" is not a share: it is no whole number (write it like 5%)"#),
            ("101%", r#""101%" is not a share: it is more than 100% (write it like 5%)"#),
            ("999%", r#""999%" is not a share: it is more than 100% (write it like 5%)"#),
        ] {
            assert_eq!(text.parse::<Percent>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn json_holds_a_number_and_takes_a_text() {
        assert_eq!(serde_json::to_string(&ByteSize(1024)).unwrap(), "1024");
        assert_eq!(serde_json::from_str::<ByteSize>("1024").unwrap(), ByteSize(1024));
        assert_eq!(serde_json::from_str::<ByteSize>("\"1K\"").unwrap(), ByteSize(1024));
        let below = serde_json::from_str::<ByteSize>("-1").unwrap_err().to_string();
        assert!(below.starts_with("-1 is below zero"), "{below}");
    }

    proptest! {
        #[test]
        fn exact_sizes_come_back(bytes: u64, shift in 0_u32..64) {
            for size in [ByteSize(bytes), ByteSize(bytes >> shift << shift)] {
                prop_assert_eq!(size.exact().parse(), Ok(size));
                prop_assert_eq!(Rate(ByteSize(size.0.max(1))).to_string().parse(), Ok(Rate(ByteSize(size.0.max(1)))));
            }
        }

        #[test]
        fn printed_sizes_are_within_a_twentieth_of_the_unit(bytes: u64) {
            let back = ByteSize(bytes).to_string().parse::<ByteSize>();
            // 16 EiB, to which the topmost values round, is more than a u64 holds.
            let back = back.map_or(u64::MAX, |size| size.0);
            prop_assert!(back.abs_diff(bytes) <= bytes / 10);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _: (Result<ByteSize, _>, Result<Rate, _>, Result<Percent, _>) = (text.parse(), text.parse(), text.parse());
        }
    }
}
