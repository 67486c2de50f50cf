//! Vendor IDs (RFC 2408 §3.16) that change what we send, and the names of some that do not.

/// NAT traversal (RFC 3947 §3.1): MD5 of `RFC 3947`.
pub const NAT_T_RFC_3947: [u8; 16] = 0x4a13_1c81_0703_5845_5c57_28f2_0e95_452f_u128.to_be_bytes();
/// NAT traversal, draft 03.
pub const NAT_T_DRAFT_03: [u8; 16] = 0x7d94_19a6_5310_ca6f_2c17_9d92_1552_9d56_u128.to_be_bytes();
/// NAT traversal, draft 02 as most peers hashed it: with a line feed at the end.
pub const NAT_T_DRAFT_02_N: [u8; 16] = 0x90cb_8091_3ebb_696e_0863_81b5_ec42_7b1f_u128.to_be_bytes();
/// NAT traversal, draft 02 as it is written.
pub const NAT_T_DRAFT_02: [u8; 16] = 0xcd60_4643_35df_21f8_7cfd_b2fc_68b6_a448_u128.to_be_bytes();
/// Dead peer detection 1.0 (RFC 3706 §5.1).
pub const DPD: [u8; 16] = 0xafca_d713_68a1_f1c9_6b86_96fc_7757_0100_u128.to_be_bytes();
/// IKEv1 fragmentation; four octets of capabilities may follow.
pub const FRAGMENTATION: [u8; 16] = 0x4048_b7d5_6ebc_e885_25e7_de7f_00d6_c2d3_u128.to_be_bytes();
/// XAuth, draft 06.
pub const XAUTH: [u8; 8] = 0x0900_2689_dfd6_b712_u64.to_be_bytes();
/// Cisco Unity.
pub const UNITY: [u8; 16] = 0x12f5_f28c_4571_68a9_702d_9fe2_74cc_0100_u128.to_be_bytes();
/// strongSwan: MD5 of that name.
pub const STRONGSWAN: [u8; 16] = 0x882f_e56d_6fd2_0dbc_2251_613b_2ebe_5beb_u128.to_be_bytes();
/// Policy over configuration mode (REQUIREMENTS W2): MD5 of `Warren policy over config mode v1`.
pub const POLICY: [u8; 16] = 0x17a4_4aef_1233_c5fe_5ba7_7de8_2d2a_10e7_u128.to_be_bytes();

/// Which of the above a Vendor ID payload's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vendor {
    /// [`NAT_T_RFC_3947`].
    NatTRfc3947,
    /// [`NAT_T_DRAFT_03`].
    NatTDraft03,
    /// [`NAT_T_DRAFT_02`] or [`NAT_T_DRAFT_02_N`].
    NatTDraft02,
    /// [`DPD`], of any minor version.
    Dpd,
    /// [`FRAGMENTATION`], with or without capabilities.
    Fragmentation,
    /// [`XAUTH`].
    XAuth,
    /// [`UNITY`], of any version.
    Unity,
    /// [`POLICY`].
    Policy,
    /// [`STRONGSWAN`].
    StrongSwan,
    /// None of them: to be ignored (RFC 2408 §3.16).
    Unknown,
}

impl Vendor {
    /// Recognises the body of a Vendor ID payload.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let is = |known: &[u8]| body == known;
        // The last two octets are a version (RFC 3706 §5.1); a newer minor one changes nothing we rely on.
        let is_version_of =
            |known: &[u8; 16], kept: usize| body.len() == 16 && known.get(..kept) == body.get(..kept);
        match () {
            () if is(&NAT_T_RFC_3947) => Self::NatTRfc3947,
            () if is(&NAT_T_DRAFT_03) => Self::NatTDraft03,
            () if is(&NAT_T_DRAFT_02) || is(&NAT_T_DRAFT_02_N) => Self::NatTDraft02,
            () if is_version_of(&DPD, 15) => Self::Dpd,
            () if body.starts_with(&FRAGMENTATION) => Self::Fragmentation,
            () if is(&XAUTH) => Self::XAuth,
            () if is_version_of(&UNITY, 14) => Self::Unity,
            () if is(&POLICY) => Self::Policy,
            () if is(&STRONGSWAN) => Self::StrongSwan,
            () => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vendor(text: &str) -> Vendor {
        Vendor::of(&hex::decode(text).unwrap())
    }

    #[test]
    fn versions_and_capabilities_do_not_hide_a_vendor() {
        for (text, expected) in [
            ("4a131c81070358455c5728f20e95452f", Vendor::NatTRfc3947),
            ("7d9419a65310ca6f2c179d9215529d56", Vendor::NatTDraft03),
            ("90cb80913ebb696e086381b5ec427b1f", Vendor::NatTDraft02),
            ("cd60464335df21f87cfdb2fc68b6a448", Vendor::NatTDraft02),
            ("afcad71368a1f1c96b8696fc77570100", Vendor::Dpd),
            ("afcad71368a1f1c96b8696fc77570103", Vendor::Dpd),
            ("4048b7d56ebce88525e7de7f00d6c2d3", Vendor::Fragmentation),
            ("4048b7d56ebce88525e7de7f00d6c2d380000000", Vendor::Fragmentation),
            ("09002689dfd6b712", Vendor::XAuth),
            ("12f5f28c457168a9702d9fe274cc0204", Vendor::Unity),
            ("882fe56d6fd20dbc2251613b2ebe5beb", Vendor::StrongSwan),
            ("17a44aef1233c5fe5ba77de82d2a10e7", Vendor::Policy),
            ("afcad71368a1f1c96b8696fc77570200", Vendor::Unknown),
            ("afcad71368a1f1c96b8696fc775701", Vendor::Unknown),
            ("4a131c81070358455c5728f20e95452f00", Vendor::Unknown),
            ("", Vendor::Unknown),
        ] {
            assert_eq!(vendor(text), expected, "{text}");
        }
    }
}
