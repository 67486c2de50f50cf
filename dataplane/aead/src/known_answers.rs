//! What each transform must make of two packets whose every octet follows from the constants below.
//!
//! Computed by OpenSSL through another language's binding, with the IV of AES-CBC derived as `cbc.rs` says.

use crate::transform::{Integrity, KeyLength, Transform};

/// SPI of both packets.
pub(crate) const SPI: [u8; 4] = [0x0a, 0x0b, 0x0c, 0x0d];
/// Salt of the AEADs.
pub(crate) const SALT: [u8; 4] = [0xf0, 0xf1, 0xf2, 0xf3];
/// Sequence number of the short packet, extended.
pub(crate) const SEQUENCE_SHORT: u64 = 0x0102_0304_0506_0708;
/// Sequence number of the long packet, not extended.
pub(crate) const SEQUENCE_LONG: u32 = 0x0506_0708;
/// Octets of the short packet's text: two AES blocks.
pub(crate) const TEXT_SHORT: usize = 32;
/// Octets of the long packet's text: enough for the widest unrolled loop of any library, and a remainder.
pub(crate) const TEXT_LONG: usize = 1424;

/// The octet of a cipher key at that place.
pub(crate) fn encryption_octet(at: usize) -> u8 {
    at.to_le_bytes()[0]
}

/// The octet of an integrity key at that place.
pub(crate) fn integrity_octet(at: usize) -> u8 {
    (0x80 + at).to_le_bytes()[0]
}

/// The octet of a text at that place.
pub(crate) fn text_octet(at: usize) -> u8 {
    (7 * at + 3).to_le_bytes()[0]
}

/// What must come out.
pub(crate) struct KnownAnswer {
    /// Of which transform.
    pub(crate) transform: Transform,
    /// IV, ciphertext and ICV of the short packet, in hexadecimal.
    pub(crate) short: &'static str,
    /// ICV of the long packet, in hexadecimal; it depends on every octet of the ciphertext.
    pub(crate) long_icv: &'static str,
}

/// One row for each transform.
#[rustfmt::skip]
pub(crate) const KNOWN_ANSWERS: [KnownAnswer; 16] = [
    KnownAnswer {
        transform: Transform::AesGcm16(KeyLength::B128),
        short: concat!(
            "010203040506070845d2123e2d9d4427cd5c9b077f37c5d0f10dcc7ec547784aa9adafd26f03927a16ae972f022cd055",
            "400a5708a9764aa7",
        ),
        long_icv: "960d188798919f9b76737982eadeb921",
    },
    KnownAnswer {
        transform: Transform::AesGcm16(KeyLength::B192),
        short: concat!(
            "0102030405060708fc1766250abab9b57c77d681fdce7e286924a4ce8629601b564f37024c0a4f82aec918ffc7fe864b",
            "6a20731d4591f68e",
        ),
        long_icv: "f7800d30ea880c40ca9134951f846fcd",
    },
    KnownAnswer {
        transform: Transform::AesGcm16(KeyLength::B256),
        short: concat!(
            "0102030405060708255049869d1aaf482fc5d5168e966e2acb65f79c60240d05368a9cc073b1e2bced5e0dcbbf3f5eec",
            "71a669818cc4eb81",
        ),
        long_icv: "92044a1adfa00d38300ec45b84323be7",
    },
    KnownAnswer {
        transform: Transform::ChaCha20Poly1305,
        short: concat!(
            "0102030405060708d10c9b1eab12b4c52508a59eb56f12cf027128c082962c97408909874a36f7286ff65e9c8cb438a5",
            "4c2c69a2a3ed9e3b",
        ),
        long_icv: "3e315ebdc24837326b9608b04107b198",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B128, Integrity::Sha1),
        short: concat!(
            "bd3b4d325f72eeca50f4bf40531f2b6bc716cff64406d3874bb23f38b155a500f7b63940726ff2eb959a4e446d349225",
            "3efd1089810c604c679363dd",
        ),
        long_icv: "b659b20112c21ac04cc35176",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B128, Integrity::Sha256),
        short: concat!(
            "bd3b4d325f72eeca50f4bf40531f2b6bc716cff64406d3874bb23f38b155a500f7b63940726ff2eb959a4e446d349225",
            "343477b044135439dc494c69dfe02e83",
        ),
        long_icv: "21f61728b09182000b3859b02a46c9c7",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B128, Integrity::Sha384),
        short: concat!(
            "bd3b4d325f72eeca50f4bf40531f2b6bc716cff64406d3874bb23f38b155a500f7b63940726ff2eb959a4e446d349225",
            "72e8ca227f4c72814e561c2744768a9b47f52aecb1287f5f",
        ),
        long_icv: "98ddbbd9c37813653ebaae86f135c28423a34da660f313c9",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B128, Integrity::Sha512),
        short: concat!(
            "bd3b4d325f72eeca50f4bf40531f2b6bc716cff64406d3874bb23f38b155a500f7b63940726ff2eb959a4e446d349225",
            "c03b1815d9399b75ce838bde0f1dd633026f24b6418e3ba55642eb0441ea6539",
        ),
        long_icv: "d494de44c5e496c76b083b8754787570b6c626cbbbc33a4b1a3f45db42ddd1d6",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B192, Integrity::Sha1),
        short: concat!(
            "0f90aefb901f6fa2a896754b280572536653830d58eec297ed5cd2c382d191c5352a33dffc19adb5ddf02bc11b0bd90e",
            "e81e84af4f146c4a53c90e6c",
        ),
        long_icv: "4b3d43ebbe5f9833a73c7d18",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B192, Integrity::Sha256),
        short: concat!(
            "0f90aefb901f6fa2a896754b280572536653830d58eec297ed5cd2c382d191c5352a33dffc19adb5ddf02bc11b0bd90e",
            "ab8aa5913fb5b706937d9c2a145df17b",
        ),
        long_icv: "353df98a45872de6fef5427784f55f08",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B192, Integrity::Sha384),
        short: concat!(
            "0f90aefb901f6fa2a896754b280572536653830d58eec297ed5cd2c382d191c5352a33dffc19adb5ddf02bc11b0bd90e",
            "6f0bde3f0e8c28bb5ce791e3661b09286fe553296f73e2aa",
        ),
        long_icv: "4a296743dc90a7314069a3035f3b07f8719f077a7b200d1a",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B192, Integrity::Sha512),
        short: concat!(
            "0f90aefb901f6fa2a896754b280572536653830d58eec297ed5cd2c382d191c5352a33dffc19adb5ddf02bc11b0bd90e",
            "11fe664471e5ed761b524ff6774bb36eb43015c8ddee54a59fa54522b067962d",
        ),
        long_icv: "e8a6583caa2424bfed6afc4900d1e7fd4d7e28125e60bbae55eb5e7a4ec1651b",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B256, Integrity::Sha1),
        short: concat!(
            "a2ccbb358bdd4707fd4e3e31e4a1de5332f0b23ac867da0a6f8a18a2ade122eea8c5bf2366ba3fcc2caff61a5ae5c12a",
            "19cde31c613515e0fb514936",
        ),
        long_icv: "7130a043d11dc103cf96821b",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B256, Integrity::Sha256),
        short: concat!(
            "a2ccbb358bdd4707fd4e3e31e4a1de5332f0b23ac867da0a6f8a18a2ade122eea8c5bf2366ba3fcc2caff61a5ae5c12a",
            "2f1f45e9131406f26a1ab07ad99144d3",
        ),
        long_icv: "2d3f5cb62f11ed8c60cfb5cedb5d0dd5",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B256, Integrity::Sha384),
        short: concat!(
            "a2ccbb358bdd4707fd4e3e31e4a1de5332f0b23ac867da0a6f8a18a2ade122eea8c5bf2366ba3fcc2caff61a5ae5c12a",
            "105f0eb5c82db0e5738af631b283dafcccbab737942fcab6",
        ),
        long_icv: "df176f85f70cfdac2ab9302dcc6b1229400b1b43c9e6887f",
    },
    KnownAnswer {
        transform: Transform::AesCbcHmac(KeyLength::B256, Integrity::Sha512),
        short: concat!(
            "a2ccbb358bdd4707fd4e3e31e4a1de5332f0b23ac867da0a6f8a18a2ade122eea8c5bf2366ba3fcc2caff61a5ae5c12a",
            "a05b268183f9a2e0f6d92942f7fdc8dfc1d1aec56d467545f074cd56dbc65030",
        ),
        long_icv: "b45ca6e17f48cab4cd1601e28b4148c637eb136c00ee54fddece39dc8672819b",
    },
];
