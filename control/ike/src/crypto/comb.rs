//! Powers of a base that is always the same: the comb of Lim and Lee (Handbook of Applied Cryptography, algorithm 14.117),
//! over Montgomery forms.
//!
//! ```text
//! exponent, octets   |  tooth 3   |  tooth 2   |  tooth 1   |  tooth 0   |   each of `columns` octets
//!                       |        |   |        |   |        |   |        |
//! column 1, bit k ──────┴────────────┴────────────┴────────────┘        four bits: which entry of tables[1]
//! ```
//!
//! One bit of each tooth names one entry, so that four bits of the exponent cost one multiplication and, with a table for each
//! octet of a tooth, the whole exponent costs seven squarings. Entries are taken in constant time: all of a table are read,
//! whichever is meant, and the entry for four zeros is multiplied by like any other.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, CtAssign, CtEq, MontyForm, MontyMultiplier};
use zeroize::Zeroize;

/// Four: a fifth would double the tables to save a fifth of the multiplications, and would not divide octets.
const TEETH: usize = 4;
const ENTRIES: usize = 1 << TEETH;

type Multiplier<'a> = <BoxedMontyForm as MontyForm>::Multiplier<'a>;

/// Products of powers of the base, for exponents of one length.
pub(super) struct Comb {
    params: BoxedMontyParams,
    /// In Montgomery form, by column, the lowest first; by which teeth have a one there.
    tables: Vec<[BoxedUint; ENTRIES]>,
}

impl Comb {
    /// For exponents of `exponent_octets`, a multiple of four.
    pub(super) fn new(base: BoxedUint, exponent_octets: usize, params: &BoxedMontyParams) -> Self {
        assert!(exponent_octets.is_multiple_of(TEETH), "all teeth are as long as the others");
        let columns = exponent_octets / TEETH;
        // base^(2^0), base^(2^8), …: what the lowest bit of each octet stands for, the lowest octet first.
        let mut octets = Vec::with_capacity(exponent_octets);
        let mut power = BoxedMontyForm::new(base, params);
        let mut multiplier = Multiplier::from(params);
        for _ in 0..exponent_octets {
            octets.push(power.clone());
            for _ in 0..8 {
                multiplier.square_assign(&mut power);
            }
        }
        let table = |column: usize| {
            std::array::from_fn(|teeth| {
                let mut product = BoxedMontyForm::one(params);
                for tooth in (0..TEETH).filter(|tooth| teeth >> tooth & 1 == 1) {
                    product *= &octets[tooth * columns + column];
                }
                product.to_montgomery()
            })
        };
        Self { params: params.clone(), tables: (0..columns).map(table).collect() }
    }

    /// base^exponent. The time depends on the length of the exponent, which must be the one that the comb is for.
    pub(super) fn power(&self, exponent: &[u8]) -> BoxedMontyForm {
        let columns = self.tables.len();
        assert_eq!(exponent.len(), columns * TEETH, "the comb is for exponents of one length");
        let mut multiplier = Multiplier::from(&self.params);
        let mut power = BoxedMontyForm::one(&self.params);
        let mut entry = power.clone();
        for bit in (0..8).rev() {
            if bit < 7 {
                multiplier.square_assign(&mut power);
            }
            for (column, table) in self.tables.iter().enumerate() {
                // The highest octet comes first.
                let octets = exponent.iter().rev().skip(column).step_by(columns);
                let teeth = octets
                    .zip(0..)
                    .fold(0, |teeth, (octet, tooth)| teeth | (u64::from(*octet) >> bit & 1) << tooth);
                choose(table, teeth, entry.as_montgomery_mut());
                multiplier.mul_assign(&mut power, &entry);
            }
        }
        entry.zeroize();
        power
    }
}

/// Reads all of the table and keeps the one entry.
fn choose(table: &[BoxedUint; ENTRIES], wanted: u64, entry: &mut BoxedUint) {
    for (candidate, at) in table.iter().zip(0u64..) {
        entry.ct_assign(candidate, at.ct_eq(&wanted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entropy;
    use crate::testing::Seeded;
    use crypto_bigint::{Odd, Resize};

    /// Of no group of ours, and short, so that many exponents can be tried.
    fn params() -> BoxedMontyParams {
        let odd: Option<Odd<BoxedUint>> = Odd::new(
            BoxedUint::from_be_slice(&[0xff; 32], 256).unwrap().wrapping_sub(BoxedUint::from(188u8)),
        )
        .into();
        BoxedMontyParams::new_vartime(odd.unwrap())
    }

    fn check(comb: &Comb, base: &BoxedUint, exponent: &[u8]) {
        let number = BoxedUint::from_be_slice(exponent, u32::try_from(exponent.len() * 8).unwrap()).unwrap();
        let expected = BoxedMontyForm::new(base.clone(), &comb.params).pow(&number).retrieve();
        assert_eq!(comb.power(exponent).retrieve(), expected, "{}", hex::encode(exponent));
    }

    #[test]
    fn every_power_is_the_one_that_plain_exponentiation_gives() {
        let (params, mut entropy) = (params(), Seeded::new(7));
        for base in [2u8, 3, 255] {
            let base = BoxedUint::from(base).resize(256);
            for octets in [4, 8, 20] {
                let comb = Comb::new(base.clone(), octets, &params);
                check(&comb, &base, &vec![0; octets]);
                check(&comb, &base, &vec![0xff; octets]);
                for bit in 0..octets * 8 {
                    let mut exponent = vec![0; octets];
                    exponent[bit / 8] = 0x80 >> (bit % 8);
                    check(&comb, &base, &exponent);
                }
                for _ in 0..200 {
                    let mut exponent = vec![0; octets];
                    entropy.fill(&mut exponent);
                    check(&comb, &base, &exponent);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "one length")]
    fn an_exponent_of_another_length_is_a_mistake_and_not_cut() {
        Comb::new(BoxedUint::from(2u8).resize(256), 8, &params()).power(&[1; 12]);
    }
}
