//! Counters of a text's blocks as octets on the wire (NIST SP 800-38D §6.5), made beforehand: counting costs a kernel an
//! addition and a shuffle for each register.

/// Blocks after which the counter's second octet changes.
const COUNTED: usize = 256;

/// From 2 on, because 1 belongs to the tag. Their lowest octet is right for ever, the one above it for the first 256
/// blocks: [`later`] is what is missing.
static COUNTERS: Counters = {
    let mut counters = [0; COUNTED];
    let mut at = 0;
    while at < COUNTED {
        counters[at] = ((at as u32 + 2).swap_bytes() as u128) << 96;
        at += 1;
    }
    Counters(counters)
};

#[repr(align(64))]
struct Counters([u128; COUNTED]);

/// Counters of a piece of so many blocks, a divisor of 256; the first is piece 0.
#[inline]
pub(super) fn of_piece<const BLOCKS: usize>(piece: usize) -> &'static [u128; BLOCKS] {
    let (pieces, _) = COUNTERS.0.as_chunks();
    &pieces[piece % (COUNTED / BLOCKS)]
}

/// What is to be added to the last word of each of them. The longest packet has 4,096 blocks and changes the second
/// octet only: no carry leaves the word.
#[inline]
pub(super) const fn later<const BLOCKS: usize>(piece: usize) -> i32 {
    ((piece / (COUNTED / BLOCKS)) << 16) as i32
}
