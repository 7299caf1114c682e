//! Sealing: AES-256-CTR with Poly1305-AES, as restic's format has it.
//!
//! A sealed message is `IV (16) | ciphertext | MAC (16)`. The IV is the whole start value of a 128-bit big-endian counter
//! and the nonce of the MAC, which covers the ciphertext and nothing else. Invariant: no byte of plaintext is handed out
//! before its MAC was compared, and no message is sealed under a zero IV or a zero key. What a message is for (its name,
//! its type) is not authenticated here: objects and blobs are named by their SHA-256, and their readers check that.

use std::io::{self, BufRead, Read};

use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use aes::{Aes128, Aes256};
use ctr::{CtrCore, flavors};
use poly1305::universal_hash::UniversalHash;
use poly1305::{Block, Poly1305};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::clock::Random;

/// Bytes that sealing adds: a 16-byte IV before, a 16-byte MAC after.
pub const OVERHEAD: usize = IV_LEN + MAC_LEN;
/// Bytes of an IV.
pub const IV_LEN: usize = 16;
const MAC_LEN: usize = 16;

/// Why something cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The MAC differs: another key sealed it, or its bytes were changed.
    #[error("authenticate it: sealed with another key, or changed since")]
    Unauthentic,
    /// Shorter than an IV and a MAC.
    #[error("find an IV and a MAC in {0} bytes")]
    TooShort(usize),
    /// An all-zero IV, which only a broken generator draws.
    #[error("accept an IV of zeros")]
    ZeroIv,
    /// A part of the key is all zeros.
    #[error("accept a key of zeros")]
    ZeroKey,
}

/// The key that seals everything in a vault. Zeroized when dropped; never printed.
///
/// It lies in one place on the heap, so that passing it on leaves no copies behind; and what working with it leaves on the
/// stack is overwritten each time.
pub struct MasterKey(Box<Keys>);

struct Keys {
    parts: Zeroizing<KeyParts>,
    encrypt: Aes256,
    nonce: Aes128,
    /// Poly1305 under `r`, with nothing added to the sum: its powers are worked out once.
    sum: Poly1305,
}

/// Bytes below a caller's frame that may hold round keys after a call: more than any of the functions here takes.
const FRAMES: usize = 16 << 10;

/// Overwrites what calls that have returned left on the stack. For whoever called something that has keys in its frame and
/// is never inlined.
#[inline(never)]
pub(super) fn scrub() {
    // Whoever takes a look at the array, as far as the compiler can tell, must find zeros.
    std::hint::black_box(&mut [0_u8; FRAMES]);
}

/// The raw parts of a master key, for key files.
#[derive(Clone, Default)]
pub struct KeyParts {
    /// AES-256 key of the cipher.
    pub encrypt: [u8; 32],
    /// AES-128 key that turns an IV into the MAC's one-time pad.
    pub mac_k: [u8; 16],
    /// The MAC's multiplier. May be stored unclamped; it is clamped when used.
    pub mac_r: [u8; 16],
}

impl Zeroize for KeyParts {
    fn zeroize(&mut self) {
        self.encrypt.zeroize();
        self.mac_k.zeroize();
        self.mac_r.zeroize();
    }
}

impl std::fmt::Debug for KeyParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyParts(***)")
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

impl MasterKey {
    /// A fresh key.
    pub fn generate(random: &dyn Random) -> Result<Self, CryptoError> {
        let mut parts = Box::new(Zeroizing::new(KeyParts::default()));
        random.fill(&mut parts.encrypt);
        random.fill(&mut parts.mac_k);
        random.fill(&mut parts.mac_r);
        for (byte, mask) in parts.mac_r.iter_mut().zip(R_MASK) {
            *byte &= mask;
        }
        Self::from_parts(&parts)
    }

    /// The key made of these parts; none of them may be all zeros.
    pub fn from_parts(parts: &KeyParts) -> Result<Self, CryptoError> {
        let made = Self::made_of(parts);
        scrub();
        made
    }

    #[inline(never)]
    fn made_of(parts: &KeyParts) -> Result<Self, CryptoError> {
        let zero = |part: &[u8]| part.iter().all(|b| *b == 0);
        if zero(&parts.encrypt) || zero(&parts.mac_k) || zero(&parts.mac_r) {
            return Err(CryptoError::ZeroKey);
        }
        let encrypt = Aes256::new((&parts.encrypt).into());
        let nonce = Aes128::new((&parts.mac_k).into());
        let mut one_time = Zeroizing::new([0; 32]);
        one_time[..16].copy_from_slice(&parts.mac_r);
        let sum = Poly1305::new((&*one_time).into());
        Ok(Self(Box::new(Keys { parts: Zeroizing::new(parts.clone()), encrypt, nonce, sum })))
    }

    /// The key that a key derivation gave: encrypt 32, k 16, r 16.
    pub fn from_derived(derived: &[u8; 64]) -> Result<Self, CryptoError> {
        let mut parts = Box::new(Zeroizing::new(KeyParts::default()));
        parts.encrypt.copy_from_slice(&derived[..32]);
        parts.mac_k.copy_from_slice(&derived[32..48]);
        parts.mac_r.copy_from_slice(&derived[48..]);
        Self::from_parts(&parts)
    }

    /// The raw parts, to be sealed into a key file.
    pub fn parts(&self) -> &KeyParts {
        &self.0.parts
    }

    /// Appends `plain`, sealed, to `out`.
    pub fn seal_into(&self, iv: [u8; IV_LEN], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CryptoError> {
        out.reserve(plain.len() + OVERHEAD);
        let start = out.len();
        out.extend_from_slice(&iv);
        out.extend_from_slice(plain);
        self.seal_from(out, start).inspect_err(|_| out.truncate(start))
    }

    /// Seals what stands at the end of `out` where it is: an IV at `start`, the plaintext behind it.
    ///
    /// On an error `out` is as it was.
    pub fn seal_from(&self, out: &mut Vec<u8>, start: usize) -> Result<(), CryptoError> {
        let message = out.get_mut(start..).unwrap_or_default();
        let len = message.len();
        let Some((iv, text)) = message.split_first_chunk_mut::<IV_LEN>() else {
            return Err(CryptoError::TooShort(len));
        };
        if *iv == [0; IV_LEN] {
            return Err(CryptoError::ZeroIv);
        }
        self.keystream(iv, text);
        let mac = self.mac(iv, text);
        scrub();
        out.extend_from_slice(&mac);
        Ok(())
    }

    /// The plaintext of a sealed message.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (iv, text) = self.authenticate(sealed)?;
        let mut plain = text.to_vec();
        self.keystream(iv, &mut plain);
        scrub();
        Ok(plain)
    }

    /// Opens a sealed message where it stands; the part that is the plaintext is given back.
    pub fn open_in_place<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], CryptoError> {
        let (iv, text) = self.authenticate(sealed)?;
        let (iv, len) = (*iv, text.len());
        let plain = &mut sealed[IV_LEN..IV_LEN + len];
        self.keystream(&iv, plain);
        scrub();
        Ok(plain)
    }

    /// Opens a sealed message into `out`, which is made longer where it must be and never shorter: cleared for each
    /// message, it would be filled with zeros first.
    pub fn open_to<'a>(&self, sealed: &[u8], out: &'a mut Vec<u8>) -> Result<&'a [u8], CryptoError> {
        let (iv, text) = self.authenticate(sealed)?;
        if out.len() < text.len() {
            // Not resized: what was in it would be copied.
            *out = vec![0; text.len()];
        }
        let plain = &mut out[..text.len()];
        Self::keystream_to(&mut self.cipher(iv), text, plain);
        scrub();
        Ok(plain)
    }

    /// Opens a sealed message, to be read piece by piece: for one that should not be copied as a whole.
    pub fn open_to_read<'a>(&'a self, sealed: &'a [u8]) -> Result<Plain<'a>, CryptoError> {
        let (iv, text) = self.authenticate(sealed)?;
        Ok(Plain { cipher: self.cipher(iv), rest: text, piece: Vec::new(), read: 0 })
    }

    /// Whether a sealed message is, byte for byte, what this key once sealed.
    pub fn prove(&self, sealed: &[u8]) -> Result<(), CryptoError> {
        self.authenticate(sealed)?;
        scrub();
        Ok(())
    }

    fn authenticate<'a>(&self, sealed: &'a [u8]) -> Result<(&'a [u8; IV_LEN], &'a [u8]), CryptoError> {
        let short = CryptoError::TooShort(sealed.len());
        let (iv, rest) = sealed.split_first_chunk::<IV_LEN>().ok_or(short)?;
        let (text, mac) = rest.split_last_chunk::<MAC_LEN>().ok_or(short)?;
        if *iv == [0; IV_LEN] {
            return Err(CryptoError::ZeroIv);
        }
        // What it leaves on the stack goes with what the cipher leaves there, unless it ends here.
        if bool::from(self.mac(iv, text).ct_eq(mac)) {
            Ok((iv, text))
        } else {
            scrub();
            Err(CryptoError::Unauthentic)
        }
    }

    #[inline(never)]
    fn keystream(&self, iv: &[u8; IV_LEN], text: &mut [u8]) {
        self.cipher(iv).apply_keystream(text);
    }

    #[inline(never)]
    fn keystream_to(cipher: &mut Cipher<'_>, text: &[u8], plain: &mut [u8]) {
        cipher.apply_keystream_b2b(text, plain);
    }

    fn cipher(&self, iv: &[u8; IV_LEN]) -> Cipher<'_> {
        StreamCipherCoreWrapper::from_core(CtrCore::inner_iv_init(&self.0.encrypt, iv.into()))
    }

    /// Poly1305-AES of `text`, not padded. Whole blocks go through `update`, which takes four at a time.
    #[inline(never)]
    fn mac(&self, iv: &[u8; IV_LEN], text: &[u8]) -> [u8; MAC_LEN] {
        let mut pad = (*iv).into();
        self.0.nonce.encrypt_block(&mut pad);
        let mut sum = self.0.sum.clone();
        let (blocks, tail) = Block::slice_as_chunks(text);
        sum.update(blocks);
        let sum = u128::from_le_bytes(sum.compute_unpadded(tail).into());
        sum.wrapping_add(u128::from_le_bytes(pad.into())).to_le_bytes()
    }
}

/// AES-256-CTR at some place of its keystream.
type Cipher<'a> = StreamCipherCoreWrapper<CtrCore<&'a Aes256, flavors::Ctr128BE>>;

/// Bytes of a message that are decrypted at a time when it is read piece by piece.
const PIECE: usize = 128 << 10;

/// The plaintext of a message that was authenticated, decrypted as it is read.
pub struct Plain<'a> {
    cipher: Cipher<'a>,
    /// Not decrypted yet.
    rest: &'a [u8],
    piece: Vec<u8>,
    /// Bytes of the piece that were read.
    read: usize,
}

impl Read for Plain<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(out.len());
        out[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Plain<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.piece.len() && !self.rest.is_empty() {
            let (next, rest) = self.rest.split_at(self.rest.len().min(PIECE));
            self.piece.resize(next.len(), 0);
            MasterKey::keystream_to(&mut self.cipher, next, &mut self.piece);
            scrub();
            (self.rest, self.read) = (rest, 0);
        }
        Ok(&self.piece[self.read..])
    }

    fn consume(&mut self, count: usize) {
        self.read += count;
    }
}

/// The bits of `r` that Poly1305 uses.
#[rustfmt::skip]
const R_MASK: [u8; 16] = [
    0xff, 0xff, 0xff, 0x0f, 0xfc, 0xff, 0xff, 0x0f,
    0xfc, 0xff, 0xff, 0x0f, 0xfc, 0xff, 0xff, 0x0f,
];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::clock::Seeded;
    use proptest::prelude::*;

    /// A key that any test may use.
    pub(crate) fn key() -> MasterKey {
        MasterKey::generate(&Seeded::new(1)).unwrap()
    }

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    fn mac_key(k: &str, r: &str) -> MasterKey {
        let parts = KeyParts { encrypt: [1; 32], mac_k: bytes(k), mac_r: bytes(r) };
        MasterKey::from_parts(&parts).unwrap()
    }

    /// Appendix B of D. J. Bernstein, "The Poly1305-AES message-authentication code" (2005).
    #[test]
    fn poly1305_aes_agrees_with_its_paper() {
        for (k, r, nonce, text, want) in [
            (
                "ec074c835580741701425b623235add6",
                "851fc40c3467ac0be05cc20404f3f700",
                "fb447350c4e868c52ac3275cf9d4327e",
                "f3f6",
                "f4c633c3044fc145f84f335cb81953de",
            ),
            (
                "75deaa25c09f208e1dc4ce6b5cad3fbf",
                "a0f3080000f46400d0c7e9076c834403",
                "61ee09218d29b0aaed7e154a2c5509cc",
                "",
                "dd3fab2251f11ac759f0887129cc2ee7",
            ),
            (
                "6acb5f61a7176dd320c5c1eb2edcdc74",
                "48443d0bb0d21109c89a100b5ce2c208",
                "ae212a55399729595dea458bc621ff0e",
                "663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
                "0ee1c16bb73f0f4fd19881753c01cdbe",
            ),
            (
                "e1a5668a4d5b66a5f68cc5424ed5982d",
                "12976a08c4426d0ce8a82407c4f48207",
                "9ae831e743978d3a23527c7128149e3a",
                "ab0812724a7f1e342742cbed374d94d136c6b8795d45b3819830f2c04491faf0990c62e48b8018b2c3e4a0fa3134cb67fa83e158c994d961c4cb21095c1bf9",
                "5154ad0d2cb26e01274fc51148491f1b",
            ),
        ] {
            let mac = mac_key(k, r).mac(&bytes(nonce), &hex::decode(text).unwrap());
            assert_eq!(hex::encode(mac), want, "{text}");
        }
    }

    /// NIST SP 800-38A, F.5.5.
    #[test]
    fn the_cipher_agrees_with_nist() {
        let encrypt = bytes("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let parts = KeyParts { encrypt, mac_k: [1; 16], mac_r: [1; 16] };
        let key = MasterKey::from_parts(&parts).unwrap();
        let mut text = hex::decode(concat!(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
        ))
        .unwrap();
        key.keystream(&bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"), &mut text);
        assert_eq!(
            hex::encode(text),
            concat!(
                "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5",
                "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
            )
        );
    }

    #[test]
    fn the_counter_carries_through_all_128_bits() {
        let key = key();
        let mut text = vec![0; 64];
        key.keystream(&[0xff; 16], &mut text);
        for (i, counter) in [u128::MAX, 0, 1, 2].into_iter().enumerate() {
            let mut block = counter.to_be_bytes().into();
            key.0.encrypt.encrypt_block(&mut block);
            assert_eq!(text[16 * i..][..16], block[..], "block {i}");
        }
    }

    #[test]
    fn the_mac_is_the_same_whichever_way_blocks_are_fed() {
        let key = key();
        let text: Vec<u8> = (0..=255).cycle().take(700).collect();
        let iv = [7; 16];
        for len in 0..text.len() {
            let mut pad = iv.into();
            key.0.nonce.encrypt_block(&mut pad);
            let one_time: [u8; 32] = [key.0.parts.mac_r, pad.into()].concat().try_into().unwrap();
            let plain: [u8; 16] = Poly1305::new((&one_time).into()).compute_unpadded(&text[..len]).into();
            assert_eq!(key.mac(&iv, &text[..len]), plain, "{len} bytes");
        }
    }

    #[test]
    fn a_fresh_key_is_clamped_and_clamping_changes_no_mac() {
        let key = key();
        assert_eq!(key.0.parts.mac_r[3] & 0xf0, 0);
        assert_eq!(key.0.parts.mac_r[4] & 0x03, 0);
        let mut parts = key.0.parts.clone();
        for (byte, mask) in parts.mac_r.iter_mut().zip(R_MASK) {
            *byte |= !mask;
        }
        assert_eq!(MasterKey::from_parts(&parts).unwrap().mac(&[1; 16], b"text"), key.mac(&[1; 16], b"text"));
    }

    #[test]
    fn zeros_are_refused() {
        for parts in [
            KeyParts { encrypt: [0; 32], mac_k: [1; 16], mac_r: [1; 16] },
            KeyParts { encrypt: [1; 32], mac_k: [0; 16], mac_r: [1; 16] },
            KeyParts { encrypt: [1; 32], mac_k: [1; 16], mac_r: [0; 16] },
        ] {
            assert_eq!(MasterKey::from_parts(&parts).unwrap_err(), CryptoError::ZeroKey);
        }
        let mut out = b"before".to_vec();
        assert_eq!(key().seal_into([0; 16], b"text", &mut out), Err(CryptoError::ZeroIv));
        assert_eq!(out, b"before");
        assert_eq!(key().open(&[0; 40]), Err(CryptoError::ZeroIv));
    }

    #[test]
    fn a_long_message_is_read_piece_by_piece() {
        let key = key();
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 77] {
            let plain: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let mut sealed = Vec::new();
            key.seal_into([3; 16], &plain, &mut sealed).unwrap();
            let mut read = Vec::new();
            key.open_to_read(&sealed).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == plain, "{len}");
            sealed[16 + len / 2] ^= 1;
            assert!(key.open_to_read(&sealed).is_err());
        }
    }

    #[test]
    fn nothing_prints_a_key() {
        let key = key();
        assert_eq!(format!("{key:?} {:?}", key.parts()), "MasterKey(***) KeyParts(***)");
    }

    #[test]
    fn another_key_does_not_open_it() {
        let mut out = Vec::new();
        key().seal_into([1; 16], b"text", &mut out).unwrap();
        let other = MasterKey::generate(&Seeded::new(2)).unwrap();
        assert_eq!(other.open(&out), Err(CryptoError::Unauthentic));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(plain in prop::collection::vec(any::<u8>(), 0..300), iv in 1u128.., lead in 0usize..20, scratch in 0usize..300) {
            let key = key();
            let mut out = vec![9; lead];
            key.seal_into(iv.to_be_bytes(), &plain, &mut out).unwrap();
            prop_assert_eq!(out.len(), lead + plain.len() + OVERHEAD);
            prop_assert_eq!(&out[..lead], &vec![9; lead][..]);
            prop_assert_eq!(key.open(&out[lead..]).unwrap(), plain.clone());
            let mut scratch = vec![7; scratch];
            prop_assert_eq!(key.open_to(&out[lead..], &mut scratch).unwrap(), &plain[..]);
            prop_assert_eq!(key.open_in_place(&mut out[lead..]).unwrap(), &plain[..]);
        }

        #[test]
        fn what_was_changed_does_not_open(len in 0usize..100, bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
            let key = key();
            let mut out = Vec::new();
            key.seal_into([5; 16], &vec![3; len], &mut out).unwrap();
            prop_assert!(key.open(&out[..cut.index(out.len())]).is_err());
            let bit = bit.index(out.len() * 8);
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(key.open(&out).is_err());
            prop_assert!(key.open_to(&out, &mut Vec::new()).is_err() && key.prove(&out).is_err());
            prop_assert!(key.open_in_place(&mut out).is_err());
        }
    }
}
