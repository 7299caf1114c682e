//! Polynomials over GF(2): the modulus that a Rabin chunker of a vault cuts with.
//!
//! A polynomial is a `u64` whose bit i is the coefficient of x^i. Stock restic refuses a vault whose polynomial is
//! reducible, even when nothing is cut with it.

use crate::clock::Random;

/// The degree that the format asks for.
pub const DEGREE: u32 = 53;

/// The degree of a polynomial; zero for the constants.
pub fn degree(f: u64) -> u32 {
    f.checked_ilog2().unwrap_or(0)
}

/// A random irreducible polynomial of degree 53. About one odd polynomial in 27 is.
pub fn random(random: &dyn Random) -> u64 {
    loop {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        let f = (u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1)) | (1 << DEGREE) | 1;
        if is_irreducible(f) {
            return f;
        }
    }
}

/// Whether `f` has no divisors but constants and itself (Ben-Or's test; degree 1 to 63).
///
/// x^(2^i) - x is the product of all irreducible polynomials whose degree divides i, so `f` is irreducible if and only if
/// it has nothing in common with any of them for i up to half its degree.
pub fn is_irreducible(f: u64) -> bool {
    const X: u64 = 2;
    let degree = degree(f);
    if degree == 0 {
        return false;
    }
    let mut power = X;
    (1..=degree / 2).all(|_| {
        power = mul_mod(power, power, f);
        gcd(power ^ X, f) == 1
    })
}

/// The remainder of `a` divided by `f`, which is not zero.
pub fn rem(mut a: u64, f: u64) -> u64 {
    while a != 0 && degree(a) >= degree(f) {
        a ^= f << (degree(a) - degree(f));
    }
    a
}

fn mul_mod(a: u64, b: u64, f: u64) -> u64 {
    let top = 1 << degree(f);
    let mut a = rem(a, f);
    let mut product = 0;
    for i in 0..=degree(b) {
        if b >> i & 1 == 1 {
            product ^= a;
        }
        a <<= 1;
        if a & top != 0 {
            a ^= f;
        }
    }
    product
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, rem(a, b));
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Seeded;

    fn product(a: u64, b: u64) -> u64 {
        (0..32).filter(|i| b >> i & 1 == 1).fold(0, |sum, i| sum ^ (a << i))
    }

    #[test]
    fn the_sieve_agrees() {
        let mut reducible = vec![false; 1 << 11];
        for a in 2..1u64 << 10 {
            for b in 2..1u64 << 10 {
                if let Some(hit) = usize::try_from(product(a, b)).ok().and_then(|p| reducible.get_mut(p)) {
                    *hit = true;
                }
            }
        }
        for f in 2..1u64 << 11 {
            assert_eq!(is_irreducible(f), !reducible[usize::try_from(f).unwrap()], "{f:b}");
        }
    }

    #[test]
    fn what_stock_restic_drew_is_irreducible() {
        for f in [0x0020_43f1_2de8_0ac5, 0x002c_78d6_1397_39ab, 0x0039_a0d1_3807_a667] {
            assert_eq!(degree(f), DEGREE);
            assert!(is_irreducible(f), "{f:x}");
        }
    }

    #[test]
    fn a_random_one_is_of_degree_53_and_a_product_is_not_irreducible() {
        for seed in 0..20 {
            let f = random(&Seeded::new(seed));
            assert_eq!(degree(f), DEGREE);
            assert!(is_irreducible(f));
            assert!(!is_irreducible(f ^ 1), "divisible by x");
        }
        assert!(!is_irreducible(product(0x0fff_fffb, 0x03ff_ffef)));
        assert!(!is_irreducible(0) && !is_irreducible(1));
    }
}
