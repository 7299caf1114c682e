//! A cheap guess whether data is worth compressing.
//!
//! Only ever a matter of time and size: what is guessed wrong is stored larger, or compressed in vain, and reads the same.

/// Below this many bytes zstd itself is cheap enough to ask.
const MIN_LEN: usize = 32 << 10;
/// Slices looked at, spread evenly.
const SLICES: usize = 32;
/// Bytes of a slice.
const SLICE: usize = 256;
/// A slice of random bytes has 162 different ones on average and practically never fewer than this; text has some 50,
/// machine code some 100.
const FEW_SYMBOLS: u32 = 136;
/// Slices with few symbols that are put down to chance.
const STRAY_SLICES: u32 = 1;

/// Whether `plain` looks as if it had been compressed or encrypted already.
///
/// Looks at 8 KiB: every slice must hold many different bytes, and all of them together must be nearly evenly spread (the
/// sum of squares at most 1.2 times that of a flat histogram, which is about 0.15 bit a byte to be gained). What this does
/// not see are long repeats of random bytes within one blob.
pub(super) fn looks_incompressible(plain: &[u8]) -> bool {
    if plain.len() < MIN_LEN {
        return false;
    }
    let mut histogram = [0u64; 256];
    let mut poor = 0;
    for i in 0..SLICES {
        let start = i * (plain.len() - SLICE) / (SLICES - 1);
        let mut seen = [0u64; 4];
        for byte in &plain[start..start + SLICE] {
            histogram[usize::from(*byte)] += 1;
            seen[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
        let symbols: u32 = seen.iter().map(|bits| bits.count_ones()).sum();
        poor += u32::from(symbols < FEW_SYMBOLS);
    }
    let total = (SLICES * SLICE) as u64;
    let squares: u64 = histogram.iter().map(|count| count * count).sum();
    poor <= STRAY_SLICES && squares * 256 * 10 <= total * total * 12
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Random, Seeded};

    fn random(len: usize, seed: u64) -> Vec<u8> {
        let mut out = vec![0; len];
        Seeded::new(seed).fill(&mut out);
        out
    }

    #[test]
    fn random_bytes_are_left_alone_whatever_their_length() {
        for seed in 0..200 {
            let len = MIN_LEN + usize::try_from(seed).unwrap() * 7001;
            assert!(looks_incompressible(&random(len, seed)), "seed {seed}");
        }
    }

    #[test]
    fn what_zstd_could_shrink_is_given_to_it() {
        let text: Vec<u8> =
            b"the quick brown fox jumps over the lazy dog. ".iter().copied().cycle().take(1 << 20).collect();
        let hex: Vec<u8> = hex::encode(random(1 << 19, 1)).into_bytes();
        let base64: Vec<u8> = random(1 << 20, 2)
            .iter()
            .map(|b| b" ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+"[usize::from(b % 64)])
            .collect();
        let floats: Vec<u8> = (0..1 << 18).flat_map(|i: i32| (f64::from(i).sqrt() as f32).to_le_bytes()).collect();
        let mut tenth = random(1 << 20, 3);
        tenth[500_000..600_000].copy_from_slice(&text[..100_000]);
        for (name, plain) in [
            ("text", text),
            ("zeros", vec![0; 1 << 20]),
            ("hex", hex),
            ("base64", base64),
            ("floats", floats),
            ("a tenth", tenth),
        ] {
            assert!(!looks_incompressible(&plain), "{name}");
        }
    }

    #[test]
    fn short_plaintext_is_not_guessed_about() {
        assert!(!looks_incompressible(&random(MIN_LEN - 1, 1)));
    }
}
