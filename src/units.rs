//! Bytes, spans and rates: parsed and printed in one place.
