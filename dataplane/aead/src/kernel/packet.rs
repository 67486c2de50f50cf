//! AES-GCM over one packet, written once for registers of either width.
//!
//! ```text
//!   text   | piece | piece | piece | ... | piece | end |      a piece is four registers
//!          '--- stretch ---'                                  a stretch is 1,536 octets
//! ```
//!
//! A stretch is hashed with one reduction, and so is what is left behind the last one. A packet is done in one go, and
//! the core is left to overlap what does not depend on each other: a piece's hashing with the next piece's encryption,
//! a packet's end with the next packet's beginning. Mixing them by hand, round by round, was no faster.
//!
//! A macro, because a function that works on registers must name the instructions it may use, and no generic function
//! can. Who uses it has `Register` and the functions on it, each a single instruction or two.

macro_rules! packet {
    ($features:literal) => {
        use super::associated::{Associated, MASK_COUNTER, Nonce};
        use super::counters;
        use super::expanded::{BLOCKS_MAX, Expanded, block, number};
        use std::arch::x86_64::{
            __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_shuffle_epi8, _mm_xor_si128,
        };

        /// Octets of a register.
        const REGISTER_OCTETS: usize = size_of::<Register>();
        /// Blocks of a register.
        const REGISTER_BLOCKS: usize = REGISTER_OCTETS / 16;
        /// Registers of a piece: as many as keep the AES units busy. Of more, the core's schedulers are full, and do not reach
        /// the hashing that could go on beside it.
        const PIECE: usize = 4;
        /// Octets of a piece.
        const PIECE_OCTETS: usize = PIECE * REGISTER_OCTETS;
        /// Blocks of a piece.
        const PIECE_BLOCKS: usize = PIECE * REGISTER_BLOCKS;
        /// Pieces that are hashed with one reduction.
        const STRETCH: usize = BLOCKS_MAX / PIECE_BLOCKS;
        /// Octets of those.
        const STRETCH_OCTETS: usize = STRETCH * PIECE_OCTETS;

        /// What [`seal`] and [`open`] share: the text is changed in place, the tag comes out.
        #[inline]
        #[target_feature(enable = $features)]
        fn crypt<const SEAL: bool, const ROUNDS: usize>(
            key: &Expanded,
            nonce: Nonce,
            aad: Associated,
            text: &mut [u8],
        ) -> u128 {
            let whitened = nonce.0 ^ key.round_keys()[0];
            // The end is never empty, unless the text is.
            let lengths = block(aad.lengths(text.len()));
            let stretches = text.len().saturating_sub(1) / STRETCH_OCTETS;
            let (stretches, rest) = text.split_at_mut(stretches * STRETCH_OCTETS);
            let blocks = rest.len().div_ceil(16);
            let highest = if stretches.is_empty() { blocks + 1 } else { BLOCKS_MAX };
            let mut packet = Packet {
                key,
                counter: broadcast(block(whitened)),
                pieces: 0,
                waiting: None,
                sum: Sum::one(block(aad.block), block(key.power(highest + 1))),
                hash: block(0),
            };
            for stretch in stretches.as_chunks_mut::<STRETCH_OCTETS>().0 {
                for (at, piece) in stretch.as_chunks_mut().0.iter_mut().enumerate() {
                    packet.piece::<SEAL, ROUNDS>(piece, BLOCKS_MAX - at * PIECE_BLOCKS, at + 1 == STRETCH);
                }
            }
            let mut highest = blocks + 1;
            let pieces = rest.len().saturating_sub(1) / PIECE_OCTETS;
            let (pieces, end) = rest.split_at_mut(pieces * PIECE_OCTETS);
            for piece in pieces.as_chunks_mut().0 {
                packet.piece::<SEAL, ROUNDS>(piece, highest, false);
                highest -= PIECE_BLOCKS;
            }
            let mask = block(whitened ^ MASK_COUNTER);
            let mask = match end.len().div_ceil(REGISTER_OCTETS) {
                0 => encrypt::<ROUNDS, 0>(key, &mut [], mask),
                1 => packet.end::<SEAL, ROUNDS, 1>(end, mask),
                2 => packet.end::<SEAL, ROUNDS, 2>(end, mask),
                3 => packet.end::<SEAL, ROUNDS, 3>(end, mask),
                _ => packet.end::<SEAL, ROUNDS, 4>(end, mask),
            };
            let lengths = Sum::one(lengths, block(key.power(1)));
            number(_mm_xor_si128(_mm_shuffle_epi8(packet.sum.plus(lengths).reduced(), block(REVERSED)), mask))
        }

        /// A packet on its way.
        struct Packet<'a> {
            key: &'a Expanded,
            /// Nonce and first round key; a block's counter is still missing.
            counter: Register,
            /// Pieces done.
            pieces: usize,
            /// A piece that was sealed and is not hashed yet: that can be done while the next one is encrypted.
            waiting: Option<Sealed<PIECE>>,
            /// What was hashed since the last reduction.
            sum: Sum,
            /// What the last reduction left, to be hashed with the next block.
            hash: __m128i,
        }

        /// Ciphertext to be hashed.
        struct Sealed<const N: usize> {
            blocks: [Register; N],
            /// The power of the first block.
            highest: usize,
            /// Its stretch ends with it.
            closes: bool,
        }

        impl Packet<'_> {
            /// The next blocks, all set up for the round keys.
            #[inline]
            #[target_feature(enable = $features)]
            fn states<const N: usize>(&self) -> [Register; N] {
                let later = counters::later::<PIECE_BLOCKS>(self.pieces);
                let counters = counters::of_piece::<PIECE_BLOCKS>(self.pieces).as_chunks().0;
                let mut states = [self.counter; N];
                for (state, counters) in states.iter_mut().zip(counters) {
                    *state = xor(*state, add_to_counters(load_blocks(counters), later));
                }
                states
            }

            /// A whole piece, whose first block is multiplied by that power.
            #[inline]
            #[target_feature(enable = $features)]
            fn piece<const SEAL: bool, const ROUNDS: usize>(
                &mut self,
                text: &mut [u8; PIECE_OCTETS],
                highest: usize,
                closes: bool,
            ) {
                let mut states = self.states::<PIECE>();
                encrypt::<ROUNDS, PIECE>(self.key, &mut states, block(0));
                let mut blocks = [zero(); PIECE];
                for ((octets, state), block) in text.as_chunks_mut().0.iter_mut().zip(states).zip(&mut blocks)
                {
                    *block = crypt_register::<SEAL>(octets, state);
                }
                self.pieces += 1;
                let sealed = Sealed { blocks, highest, closes };
                let due = if SEAL { self.waiting.replace(sealed) } else { Some(sealed) };
                if let Some(due) = due {
                    self.hash(due);
                }
            }

            /// What is left, with N registers begun. The tag's mask, encrypted.
            #[inline]
            #[target_feature(enable = $features)]
            fn end<const SEAL: bool, const ROUNDS: usize, const N: usize>(
                &mut self,
                text: &mut [u8],
                mask: __m128i,
            ) -> __m128i {
                let highest = text.len().div_ceil(16) + 1;
                let (whole, last) = text.split_at_mut(REGISTER_OCTETS * (N - 1));
                let mut states = self.states::<N>();
                let mask = encrypt::<ROUNDS, N>(self.key, &mut states, mask);
                let mut blocks = [zero(); N];
                for ((octets, state), block) in
                    whole.as_chunks_mut().0.iter_mut().zip(states).zip(&mut blocks)
                {
                    *block = crypt_register::<SEAL>(octets, state);
                }
                let input = load_part(last);
                let output = xor(input, states[N - 1]);
                store_part(last, output);
                // Behind the text, GHASH takes zeros, and not the key stream that is there.
                let ciphertext = if SEAL { first_octets(output, last.len()) } else { input };
                blocks[N - 1] = reversed(ciphertext);
                if let Some(due) = self.waiting.take() {
                    self.hash(due);
                }
                self.hash(Sealed { blocks, highest, closes: false });
                mask
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn hash<const N: usize>(&mut self, sealed: Sealed<N>) {
                let Sealed { mut blocks, highest, closes } = sealed;
                blocks[0] = xor(blocks[0], extended(self.hash));
                self.hash = block(0);
                self.sum = self.sum.add_all(&blocks, self.key.powers(highest, REGISTER_BLOCKS * N));
                if closes {
                    self.hash = std::mem::replace(&mut self.sum, Sum::zero()).reduced();
                }
            }
        }

        /// Changes a whole register of text; its ciphertext, as GHASH takes it.
        #[inline]
        #[target_feature(enable = $features)]
        fn crypt_register<const SEAL: bool>(
            octets: &mut [u8; REGISTER_OCTETS],
            key_stream: Register,
        ) -> Register {
            let input = load(octets);
            let output = xor(input, key_stream);
            store(octets, output);
            reversed(if SEAL { output } else { input })
        }

        /// The rounds of AES, after the whitening, over N registers and one block more.
        #[inline]
        #[target_feature(enable = $features)]
        fn encrypt<const ROUNDS: usize, const N: usize>(
            key: &Expanded,
            states: &mut [Register; N],
            mut one: __m128i,
        ) -> __m128i {
            for &round_key in &key.round_keys()[1..ROUNDS] {
                let round_key = broadcast(block(round_key));
                for state in states.iter_mut() {
                    *state = encrypt_round(*state, round_key);
                }
                one = _mm_aesenc_si128(one, lowest(round_key));
            }
            let round_key = broadcast(block(key.round_keys()[ROUNDS]));
            for state in states.iter_mut() {
                *state = encrypt_last(*state, round_key);
            }
            _mm_aesenclast_si128(one, lowest(round_key))
        }

        /// A sum of products that is not reduced yet. Karatsuba: three multiplications instead of four, and the low and the
        /// high part are still in the middle one.
        #[derive(Clone, Copy)]
        struct Sum {
            low: Register,
            high: Register,
            middle: Register,
        }

        impl Sum {
            #[inline]
            #[target_feature(enable = $features)]
            fn zero() -> Self {
                let zero = zero();
                Self { low: zero, high: zero, middle: zero }
            }

            /// One block times a power.
            #[inline]
            #[target_feature(enable = $features)]
            fn one(block: __m128i, power: __m128i) -> Self {
                Self::zero().add(extended(block), extended(power))
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn plus(self, other: Self) -> Self {
                Self {
                    low: xor(self.low, other.low),
                    high: xor(self.high, other.high),
                    middle: xor(self.middle, other.middle),
                }
            }

            /// Adds each block times the power in its place.
            #[inline]
            #[target_feature(enable = $features)]
            fn add(self, blocks: Register, powers: Register) -> Self {
                let halves = xor(blocks, swapped(blocks));
                let power_halves = xor(powers, swapped(powers));
                Self {
                    low: xor(self.low, multiplied::<0x00>(blocks, powers)),
                    high: xor(self.high, multiplied::<0x11>(blocks, powers)),
                    middle: xor(self.middle, multiplied::<0x00>(halves, power_halves)),
                }
            }

            /// [`Self::add`] twice, with the halves of both packed, which saves a shuffle for each.
            #[inline]
            #[target_feature(enable = $features)]
            fn add_two(self, blocks: [Register; 2], powers: [Register; 2]) -> Self {
                let [first, second] = blocks;
                let [first_powers, second_powers] = powers;
                let halves = xor(low_halves(first, second), high_halves(first, second));
                let power_halves =
                    xor(low_halves(first_powers, second_powers), high_halves(first_powers, second_powers));
                Self {
                    low: xor3(
                        self.low,
                        multiplied::<0x00>(first, first_powers),
                        multiplied::<0x00>(second, second_powers),
                    ),
                    high: xor3(
                        self.high,
                        multiplied::<0x11>(first, first_powers),
                        multiplied::<0x11>(second, second_powers),
                    ),
                    middle: xor3(
                        self.middle,
                        multiplied::<0x00>(halves, power_halves),
                        multiplied::<0x11>(halves, power_halves),
                    ),
                }
            }

            /// Adds N registers, each with its powers.
            #[inline]
            #[target_feature(enable = $features)]
            fn add_all<const N: usize>(mut self, blocks: &[Register; N], powers: &[u128]) -> Self {
                let (powers, _) = powers.as_chunks::<REGISTER_BLOCKS>();
                let (pairs, single) = blocks.as_chunks::<2>();
                let (power_pairs, single_power) = powers.as_chunks::<2>();
                for (pair, powers) in pairs.iter().zip(power_pairs) {
                    self = self.add_two(*pair, [load_blocks(&powers[0]), load_blocks(&powers[1])]);
                }
                if let ([single], [powers]) = (single, single_power) {
                    self = self.add(*single, load_blocks(powers));
                }
                self
            }

            /// The sum of all lanes, reduced.
            #[inline]
            #[target_feature(enable = $features)]
            fn reduced(self) -> __m128i {
                let polynomial = reduction();
                let middle = xor3(self.middle, self.low, self.high);
                let reduced = multiplied::<0x00>(self.low, polynomial);
                let middle = xor3(middle, reduced, swapped(self.low));
                let reduced = multiplied::<0x00>(middle, polynomial);
                sum_of_lanes(xor3(self.high, reduced, swapped(middle)))
            }
        }

        /// Encrypts the text; the tag.
        #[target_feature(enable = $features)]
        pub(super) fn seal(key: &Expanded, nonce: Nonce, aad: Associated, text: &mut [u8]) -> u128 {
            match key.rounds() {
                10 => crypt::<true, 10>(key, nonce, aad, text),
                12 => crypt::<true, 12>(key, nonce, aad, text),
                _ => crypt::<true, 14>(key, nonce, aad, text),
            }
        }

        /// Decrypts the text; the tag that it should have had.
        #[target_feature(enable = $features)]
        pub(super) fn open(key: &Expanded, nonce: Nonce, aad: Associated, text: &mut [u8]) -> u128 {
            match key.rounds() {
                10 => crypt::<false, 10>(key, nonce, aad, text),
                12 => crypt::<false, 12>(key, nonce, aad, text),
                _ => crypt::<false, 14>(key, nonce, aad, text),
            }
        }
    };
}

pub(super) use packet;
