use std::collections::HashSet;
use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::vault::Id;

const MIB: usize = 1 << 20;
/// Drawn by restic 0.18 for the repository that the golden lengths come from.
const POLYNOMIAL: u64 = 0x003c_8e44_205a_0611;

/// The bytes of SplitMix64, as little-endian words, for a seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    out.truncate(length);
    out
}

/// Noise, a hole, one byte over and over, four-bit noise, and an end that fits nothing.
fn mixed() -> Vec<u8> {
    let mut out = noise(2, 3 * MIB + 12_345);
    out.resize(out.len() + 5 * MIB, 0);
    out.resize(out.len() + 9 * MIB, 1);
    out.extend(noise(3, 6 * MIB + 7).iter().map(|byte| byte & 15));
    out
}

fn lengths(data: &[u8], cutter: Cutter) -> Vec<usize> {
    chunks(data, cutter).map(|chunk| chunk.unwrap().len()).collect()
}

/// One id for all the chunks of a stream, in order.
fn ids(data: &[u8], cutter: Cutter) -> String {
    let ids: String = chunks(data, cutter).map(|chunk| Id::of(&chunk.unwrap()).to_string()).collect();
    Id::of(ids.as_bytes()).to_string()
}

fn gear() -> Cutter {
    Cutter::gear(b"a secret of thirty-two bytes ...")
}

fn rabin() -> Cutter {
    Cutter::rabin(POLYNOMIAL).unwrap()
}

fn all() -> [Cutter; 3] {
    [gear(), rabin(), Cutter::Fixed { size: NonZeroU32::new(600_000).unwrap() }]
}

/// What restic 0.18.0 stored of the same bytes: lengths, and the SHA-256 of its blobs' ids in hex, one after another.
#[test]
fn rabin_cuts_as_restic_does() {
    let data = noise(1, 24 * MIB);
    let restic = [
        705_663, 1_184_896, 643_949, 2_244_533, 1_485_265, 1_531_109, 793_962, 2_002_911, 2_316_528, 2_351_688,
        1_573_664, 2_636_760, 1_213_721, 3_543_324, 937_851,
    ];
    assert_eq!(lengths(&data, rabin()), restic);
    assert_eq!(ids(&data, rabin()), "f29cb21e5ae99ef80cbbfbc926929b0c7bf00dca662de91b03142e9be1745600");

    let restic = [
        575_350, 933_989, 811_494, 837_304, 524_288, 524_288, 524_288, 524_288, 524_288, 524_288, 524_288, 524_288,
        524_288, 8_388_608, 2_723_015, 589_982, 1_020_111, 986_023, 2_017_957, 527_175,
    ];
    assert_eq!(lengths(&mixed(), rabin()), restic);
    assert_eq!(ids(&mixed(), rabin()), "be874c71be7879b99ebfef7d1ee38c436e0b83c63c68a1702672995fa82a4f29");
}

/// A format: these numbers never change.
#[test]
fn gear_cuts_where_it_always_did() {
    let golden = [
        1_826_231, 1_075_962, 1_126_271, 1_061_196, 1_214_409, 1_827_150, 580_185, 1_060_099, 1_167_978, 1_372_319,
        1_467_982, 1_116_670, 1_178_946, 1_538_488, 1_167_104, 1_440_419, 1_222_310, 1_369_881, 1_132_653, 1_072_849,
        146_722,
    ];
    assert_eq!(lengths(&noise(1, 24 * MIB), gear()), golden);
    let golden = [
        1_084_374, 1_236_743, 851_968, 524_288, 524_288, 524_288, 524_288, 524_288, 524_288, 524_288, 524_288, 524_288,
        8_388_608, 1_926_266, 1_452_377, 1_326_414, 835_066, 1_401_401, 907_791,
    ];
    assert_eq!(lengths(&mixed(), gear()), golden);
    let golden = [1_117_543, 1_250_305, 1_073_098, 1_055_413, 1_842_735, 1_173_310, 683_644, 192_560];
    assert_eq!(lengths(&noise(1, 8 * MIB), Cutter::gear(&[0; 32])), golden);
}

/// The rule of `gear`'s documentation, word for word, one length after another.
fn gear_by_the_book(secret: &[u8], data: &[u8]) -> usize {
    let word = |byte: u8| {
        let digest = Id::of(&[b"drctl gear 1", secret, &[byte / 4]].concat());
        let at = usize::from(byte % 4) * 8;
        u64::from_le_bytes(digest.0[at..at + 8].try_into().unwrap())
    };
    let table: Vec<u64> = (0..=255).map(word).collect();
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let ends = |length: usize| {
        let hash = || data[length - 64..length].iter().fold(0u64, |h, b| (h << 1).wrapping_add(table[usize::from(*b)]));
        length == MAX
            || length == MIN && zero(&data[..MIN])
            || length.is_multiple_of(64 << 10) && data.get(length..length + (64 << 10)).is_some_and(zero)
            || hash() < if length < AVERAGE { 1 << 42 } else { 1 << 46 }
    };
    (MIN..data.len()).find(|length| ends(*length)).unwrap_or(data.len())
}

#[test]
fn gear_keeps_the_rule_that_it_documents() {
    let secret = b"a secret of thirty-two bytes ...";
    for data in [mixed(), noise(5, 9 * MIB), vec![0; 2 * MIB + 5], vec![7; 9 * MIB], noise(6, MIN), noise(7, MIN + 1)] {
        let mut rest = &data[..];
        for length in lengths(&data, gear()) {
            assert_eq!(length, gear_by_the_book(secret, rest));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn chunks_have_the_length_that_is_promised() {
    let data = noise(9, 96 * MIB);
    for (cutter, mean) in [(gear(), 1_000_000..1_500_000), (rabin(), 1_200_000..1_900_000)] {
        let lengths = lengths(&data, cutter);
        assert!(mean.contains(&(data.len() / lengths.len())), "{}", data.len() / lengths.len());
        assert!(lengths[..lengths.len() - 1].iter().all(|length| (MIN..=MAX).contains(length)));
    }
}

#[test]
fn an_inserted_byte_changes_few_chunks() {
    let data = noise(4, 40 * MIB);
    for cutter in [gear(), rabin()] {
        let ids = |data: &[u8]| -> HashSet<Id> {
            chunks(data, cutter.clone()).map(|chunk| Id::of(&chunk.unwrap())).collect()
        };
        let before = ids(&data);
        for at in [0, 20 * MIB] {
            let mut shifted = data.clone();
            shifted.insert(at, 0x55);
            let after = ids(&shifted);
            assert!(after.difference(&before).count() <= 4, "{cutter:?} at {at}");
        }
    }
}

#[test]
fn holes_become_chunks_of_zeros_alone() {
    let hole = 16 * MIB;
    let data = [noise(1, 700_001), vec![0; hole], noise(2, 2 * MIB)].concat();
    for cutter in [gear(), rabin()] {
        let zeros = chunks(&data[..], cutter.clone()).filter(|chunk| chunk.as_ref().unwrap() == &vec![0; MIN]).count();
        assert!(zeros * MIN > hole - 2 * MIN, "{zeros} chunks of zeros");
        assert_eq!(lengths(&vec![0; 2 * MIB + 1], cutter), [MIN, MIN, MIN, MIN, 1]);
    }
}

#[test]
fn another_secret_cuts_elsewhere() {
    let data = noise(1, 12 * MIB);
    assert_ne!(lengths(&data, gear()), lengths(&data, Cutter::gear(&[1; 32])));
    assert!(format!("{:?}", gear()).contains("***"));
}

#[test]
fn an_empty_stream_has_no_chunk_and_a_short_one_has_one() {
    for cutter in all() {
        assert!(lengths(&[], cutter.clone()).is_empty());
        assert_eq!(lengths(&[0], cutter.clone()), [1]);
        assert_eq!(lengths(&noise(1, MIN), cutter), [MIN]);
    }
}

#[test]
fn a_polynomial_of_another_degree_is_refused() {
    for polynomial in [0, 1, 1 << 52, 1 << 54, u64::MAX] {
        assert_eq!(Cutter::rabin(polynomial).unwrap_err(), WrongDegree(polynomial));
    }
}

#[test]
fn a_reader_that_fails_ends_the_chunks() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("torn"))
        }
    }
    let data = vec![1; MIB];
    let mut chunks = chunks(data.chain(Fails), gear());
    assert_eq!(chunks.next().unwrap().unwrap_err().to_string(), "torn");
    assert!(chunks.next().is_none());
}

/// Calls `cut` as a pipeline would whose reads return `step` bytes each, in turn.
fn cut_as_it_arrives(data: &[u8], mut cutter: Cutter, steps: &[usize]) -> Vec<usize> {
    let (mut start, mut end, mut found) = (0, 0, Vec::new());
    let mut steps = steps.iter().cycle();
    while start < data.len() {
        match cutter.cut(&data[start..end], end == data.len()) {
            Some(length) => {
                found.push(length);
                start += length;
            }
            None => {
                assert!(end - start < cutter.longest(), "a full buffer has an answer");
                end = data.len().min(end + steps.next().unwrap());
            }
        }
    }
    found
}

fn stretch() -> impl Strategy<Value = Vec<u8>> {
    let length = 1..3 * MIB;
    prop_oneof![
        3 => (any::<u64>(), length.clone()).prop_map(|(seed, length)| noise(seed, length)),
        1 => (any::<u8>(), length.clone()).prop_map(|(byte, length)| vec![byte; length]),
        1 => length.prop_map(|length| vec![0; length]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 50, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn chunks_are_the_stream_however_it_arrives(
        stretches in prop::collection::vec(stretch(), 0..6),
        steps in prop::collection::vec(1usize..400_000, 1..20),
    ) {
        let data = stretches.concat();
        for cutter in all() {
            let whole: Vec<Vec<u8>> = chunks(&data[..], cutter.clone()).map(Result::unwrap).collect();
            prop_assert!(whole.concat() == data);
            let lengths: Vec<usize> = whole.iter().map(Vec::len).collect();
            prop_assert!(lengths.iter().rev().skip(1).all(|length| (MIN..=MAX).contains(length)));
            prop_assert!(lengths.iter().all(|length| (1..=MAX).contains(length)));
            prop_assert_eq!(cut_as_it_arrives(&data, cutter, &steps), lengths);
        }
    }
}
