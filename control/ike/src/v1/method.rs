//! The number of the authentication method in phase 1 transforms (RFC 2409 App. A, RFC 4754,
//! draft-beaulieu-ike-xauth §7).

use crate::wire::iana::ike_attribute as ike;
use crate::{Authentication, PeerConfig, Role, Xauth};

/// What our transforms offer and what we accept of the peer's, where we have that part in phase 1.
pub(crate) fn method(config: &PeerConfig, ours: Role) -> u16 {
    let other = match ours {
        Role::Initiator => Role::Responder,
        Role::Responder => Role::Initiator,
    };
    // The number says on which side of phase 1 the user sits.
    let user = match &config.xauth {
        Xauth::Off => None,
        Xauth::Client { .. } => Some(ours),
        Xauth::Server(_) => Some(other),
    };
    let plain = match &config.authentication {
        Authentication::PreSharedKey(_) => ike::PRE_SHARED_KEY,
        Authentication::Signature(credentials) => credentials.method() as u16,
    };
    match (plain, user) {
        (ike::PRE_SHARED_KEY, Some(Role::Initiator)) => ike::XAUTH_INIT_PRE_SHARED,
        (ike::PRE_SHARED_KEY, Some(Role::Responder)) => ike::XAUTH_RESP_PRE_SHARED,
        (ike::RSA_SIGNATURES, Some(Role::Initiator)) => ike::XAUTH_INIT_RSA,
        (ike::RSA_SIGNATURES, Some(Role::Responder)) => ike::XAUTH_RESP_RSA,
        // Nobody gave ECDSA numbers of its own; the user is asked all the same.
        (plain, _) => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use warren_policy::Secret;

    #[test] // draft-beaulieu-ike-xauth §7
    fn the_number_says_on_which_side_the_user_sits() {
        let [mut config, _] = crate::endpoint::peer_configs();
        let both = |config: &PeerConfig| [Role::Initiator, Role::Responder].map(|role| method(config, role));
        assert_eq!(both(&config), [1, 1]);
        config.xauth = Xauth::Client { user: "alice".to_owned(), password: Secret::new(vec![1]) };
        assert_eq!(both(&config), [65_001, 65_002]);
        config.xauth = Xauth::Server(Arc::default());
        assert_eq!(both(&config), [65_002, 65_001]);
    }
}
