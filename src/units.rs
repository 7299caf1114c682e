//! Bytes, spans and rates: parsed and printed in one place.

/// A number of bytes. Printed in binary units ("1.4 GiB").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);
