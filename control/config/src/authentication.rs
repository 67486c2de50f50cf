//! How both sides prove who they are: a pre-shared key or certificates, and perhaps a user besides.

use crate::addresses::Addresses;
use crate::field::Field;
use crate::limits::CERTIFICATES_MAX;
use crate::peer::IkeMode;
use crate::report::{Report, Span};
use crate::secret::{SecretError, SecretSource, Weakness, weakness, without_line_end};
use crate::section::Section;
use crate::user;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::Path;
use warren_policy::Secret;

/// How phase 1 authenticates.
#[derive(Clone)]
pub enum Authentication {
    /// With a pre-shared key.
    PreSharedKey(Secret),
    /// With signatures.
    Certificate(Certificate),
}

/// Our certificate with its key, and whose certificates we believe. Everything is DER.
#[derive(Clone)]
pub struct Certificate {
    /// Ours first, then intermediates towards the authority; never empty.
    pub chain: Vec<Vec<u8>>,
    /// The private key (PKCS#8, PKCS#1 or SEC 1).
    pub key: Secret,
    /// Trust anchors; never empty.
    pub authorities: Vec<Vec<u8>>,
}

impl Authentication {
    /// The pre-shared key, where that is the method.
    #[must_use]
    pub const fn secret(&self) -> Option<&Secret> {
        match self {
            Self::PreSharedKey(secret) => Some(secret),
            Self::Certificate(_) => None,
        }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreSharedKey(_) => "PreSharedKey(..)",
            Self::Certificate(_) => "Certificate(..)",
        })
    }
}

/// Extended authentication after phase 1 (draft-beaulieu-ike-xauth).
#[derive(Clone)]
pub enum Xauth {
    /// None.
    Off,
    /// We answer for this user.
    Client {
        /// The user.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// The peer must be one of the file's users.
    Server,
}

impl fmt::Debug for Xauth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::Client { user, .. } => f.debug_struct("Client").field("user", user).finish_non_exhaustive(),
            Self::Server => f.write_str("Server"),
        }
    }
}

const SECRET_ACCEPTED: &str =
    "the name of a file that only its owner can read; `dpctl psk new --out FILE` makes one";
const STRONG_ACCEPTED: &str = "a generated key of at least 128 bits, as `dpctl psk new` makes, or `weak_secret = true` to use it all the same";
const CERTIFICATE_ACCEPTED: &str = "the name of a PEM file with our certificate, perhaps with intermediates";
const AUTHORITY_ACCEPTED: &str = "the name of a PEM file with the certificates of the authorities we believe";
const PRIVATE_KEY_ACCEPTED: &str =
    "the name of a PEM file with a private key (PKCS#8, PKCS#1 or SEC 1) that only its owner can read";
const USER_ACCEPTED: &str = "a user's name of 1 to 64 printable characters";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    PreSharedKey,
    Certificate,
}

/// Everything of a `[[peer]]` that proves something.
pub(crate) struct ReadProof {
    pub(crate) authentication: Option<Authentication>,
    pub(crate) xauth: Option<Xauth>,
    /// Of the secret, or of the table.
    pub(crate) span: Span,
}

impl ReadProof {
    pub(crate) fn read(
        section: &mut Section<'_>,
        mode: Option<IkeMode>,
        addresses: &Addresses,
        secrets: &dyn SecretSource,
        report: &mut Report<'_>,
    ) -> Self {
        let methods = [("psk", Method::PreSharedKey), ("certificate", Method::Certificate)];
        let method = section.or("authentication", Method::PreSharedKey, |field| field.word(report, &methods));
        let weak_allowed = section.or("weak_secret", false, |field| field.boolean(report));
        let group_field = section.optional("group_secret");
        let group = group_field.as_ref().map_or(Some(false), |field| field.boolean(report));
        let secret = Optional::of(section, "secret");
        let files = ["certificate", "private_key", "authority"].map(|key| Optional::of(section, key));
        let span = secret.field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let xauth = xauth(section, secrets, report);
        let authentication = match method {
            None => None,
            Some(Method::PreSharedKey) => {
                files.iter().for_each(|file| {
                    file.refuse(report, "says nothing without `authentication = \"certificate\"`");
                });
                let field = secret.required(section, report, SECRET_ACCEPTED);
                field
                    .zip(weak_allowed)
                    .and_then(|(field, weak)| pre_shared_key(&field, weak, mode, secrets, report))
                    .map(Authentication::PreSharedKey)
            }
            Some(Method::Certificate) => {
                secret.refuse(report, "says nothing with `authentication = \"certificate\"`");
                if let Some(field) = group_field.as_ref().filter(|_| group == Some(true)) {
                    let message = "`group_secret` says nothing with `authentication = \"certificate\"`";
                    report.error(&field.span, message, "one of the two");
                }
                certificate(section, secrets, report).map(Authentication::Certificate)
            }
        };
        if let (Some(Method::PreSharedKey), Some(mode), Some(group), Some(xauth)) =
            (method, mode, group, &xauth)
        {
            check_sharing(mode, addresses, group, xauth, &span, report);
        }
        Self { authentication, xauth, span }
    }
}

/// A secret that more than one peer holds proves only that somebody is one of them (REQUIREMENTS F-2, F-13).
fn check_sharing(
    mode: IkeMode,
    addresses: &Addresses,
    group: bool,
    xauth: &Xauth,
    span: &Span,
    report: &mut Report<'_>,
) {
    let any_address = matches!(addresses.pair, Some((_, None)));
    let any_identity = matches!(addresses.identity, Some(None));
    // Main mode finds the key by the addresses alone (RFC 2409 §5.4): all peers of any address share one. Whom discovery
    // finds is not known before, whatever it must be called.
    let shared = any_identity || (any_address && mode == IkeMode::Main) || addresses.is_discovered;
    let with_users = !matches!(xauth, Xauth::Off);
    if !shared && !with_users {
        return;
    }
    let (why, accepted) = if with_users {
        (
            "with `xauth` the secret is one that many users hold: any of them can pretend to be the gateway and take the others' passwords",
            "`authentication = \"certificate\"`, or `group_secret = true` to take that risk",
        )
    } else if addresses.is_discovered {
        (
            "one secret for whichever peer is discovered: whoever holds it can pretend to be any of them, and the gateway too",
            "`authentication = \"certificate\"`, or `group_secret = true` to take that risk",
        )
    } else {
        (
            "one secret for peers of any address or identity: whoever holds it can pretend to be any of them, and the gateway too",
            "`authentication = \"certificate\"`, an `identity` and `ike = \"v1-aggressive\"` or `\"v1-base\"`, or `group_secret = true` to take that risk",
        )
    };
    if group {
        report.warning(span, format!("{why}; `group_secret` takes that risk"));
    } else {
        report.error(span, why, accepted);
    }
}

/// A key that is asked for before it is known whether it must be there, so that unknown keys are told apart.
struct Optional<'a> {
    key: &'static str,
    field: Option<Field<'a>>,
}

impl<'a> Optional<'a> {
    fn of(section: &mut Section<'a>, key: &'static str) -> Self {
        Self { key, field: section.optional(key) }
    }

    fn refuse(&self, report: &mut Report<'_>, why: &str) {
        if let Some(field) = &self.field {
            report.error(&field.span, format!("`{}` {why}", self.key), "one of the two");
        }
    }

    fn required(
        &self,
        section: &mut Section<'a>,
        report: &mut Report<'_>,
        accepted: &str,
    ) -> Option<Field<'a>> {
        section.required(report, self.key, accepted)
    }
}

/// The pre-shared key. What goes wrong is told without the name when that could be the key itself.
pub(crate) fn pre_shared_key(
    field: &Field<'_>,
    weak_allowed: bool,
    mode: Option<IkeMode>,
    secrets: &dyn SecretSource,
    report: &mut Report<'_>,
) -> Option<Secret> {
    let secret = octets(field, report, SECRET_ACCEPTED, |name| secrets.secret(name))?;
    let secret = without_line_end(&secret);
    // In these modes the responder hands a hash of the key to whoever asks (REQUIREMENTS F-1).
    let exposed = mode.is_some_and(|mode| mode != IkeMode::Main);
    match (weakness(&secret), weak_allowed) {
        (None, _) => Some(secret),
        (Some(Weakness::Empty), _) => {
            report.error(&field.span, "the key file is empty", STRONG_ACCEPTED);
            None
        }
        (Some(Weakness::TooLong), _) => {
            report.error(&field.span, "the key is too long", SECRET_ACCEPTED);
            None
        }
        (Some(Weakness::Guessable), false) => {
            let who = if exposed { "any stranger who asks" } else { "one listener" };
            let message = format!("the key cannot hold 128 bits of chance: {who} could guess it at leisure");
            report.error(&field.span, message, STRONG_ACCEPTED);
            None
        }
        (Some(Weakness::Guessable), true) => {
            let message = if exposed {
                "THE KEY IS WEAK, AND THIS MODE HANDS A HASH OF IT TO ANY STRANGER WHO ASKS: take it for known; it is used all the same, as `weak_secret` asks for"
            } else {
                "the key is weak and used all the same, as `weak_secret` asks for"
            };
            report.warning(&field.span, message);
            Some(secret)
        }
    }
}

/// The octets behind a file name that may, by mistake, be the key itself.
pub(crate) fn octets<T>(
    field: &Field<'_>,
    report: &mut Report<'_>,
    accepted: &str,
    read: impl FnOnce(&Path) -> Result<T, SecretError>,
) -> Option<T> {
    let name = field.text(report, accepted)?;
    match read(Path::new(name)) {
        Ok(octets) => Some(octets),
        Err(SecretError::Missing) => {
            let message =
                format!("`{}` names no file; what it says is not repeated, for it may be a key", field.key);
            report.error(&field.span, message, accepted);
            None
        }
        Err(SecretError::Refused(why)) => {
            report.error(&field.span, why, accepted);
            None
        }
    }
}

fn certificate(
    section: &mut Section<'_>,
    secrets: &dyn SecretSource,
    report: &mut Report<'_>,
) -> Option<Certificate> {
    let chain = section
        .required(report, "certificate", CERTIFICATE_ACCEPTED)
        .and_then(|field| certificates(&field, secrets, report, CERTIFICATE_ACCEPTED));
    let key = section
        .required(report, "private_key", PRIVATE_KEY_ACCEPTED)
        .and_then(|field| private_key(&field, secrets, report));
    let authorities = section
        .required(report, "authority", AUTHORITY_ACCEPTED)
        .and_then(|field| certificates(&field, secrets, report, AUTHORITY_ACCEPTED));
    Some(Certificate { chain: chain?, key: key?, authorities: authorities? })
}

/// All certificates of a PEM file.
fn certificates(
    field: &Field<'_>,
    secrets: &dyn SecretSource,
    report: &mut Report<'_>,
    accepted: &str,
) -> Option<Vec<Vec<u8>>> {
    let octets = octets(field, report, accepted, |name| secrets.certificate(name))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    match read {
        Ok(read) if (1..=CERTIFICATES_MAX).contains(&read.len()) => {
            Some(read.into_iter().map(|certificate| certificate.to_vec()).collect())
        }
        Ok(read) => {
            report.error(&field.span, format!("the file holds {} certificates", read.len()), accepted);
            None
        }
        Err(_) => {
            report.error(&field.span, "the file is no PEM file", accepted);
            None
        }
    }
}

fn private_key(field: &Field<'_>, secrets: &dyn SecretSource, report: &mut Report<'_>) -> Option<Secret> {
    let octets = octets(field, report, PRIVATE_KEY_ACCEPTED, |name| secrets.private_key(name))?;
    // The decoder's own words might quote what it read.
    let Ok(key) = PrivateKeyDer::from_pem_slice(octets.expose()) else {
        report.error(&field.span, "the file holds no private key that can be read", PRIVATE_KEY_ACCEPTED);
        return None;
    };
    Some(Secret::new(key.secret_der().to_vec()))
}

fn xauth(section: &mut Section<'_>, secrets: &dyn SecretSource, report: &mut Report<'_>) -> Option<Xauth> {
    #[derive(Clone, Copy, PartialEq)]
    enum Part {
        Off,
        Client,
        Server,
    }
    let parts = [("off", Part::Off), ("client", Part::Client), ("server", Part::Server)];
    let part = section.or("xauth", Part::Off, |field| field.word(report, &parts));
    let fields = ["xauth_user", "xauth_password"].map(|key| Optional::of(section, key));
    match part? {
        Part::Client => {
            let user = fields[0]
                .required(section, report, USER_ACCEPTED)
                .and_then(|field| user::name(&field, report));
            let password = fields[1]
                .required(section, report, user::PASSWORD_ACCEPTED)
                .and_then(|field| user::password(&field, secrets, report));
            Some(Xauth::Client { user: user?.to_owned(), password: password? })
        }
        part => {
            fields.iter().for_each(|field| field.refuse(report, "says nothing without `xauth = \"client\"`"));
            Some(if part == Part::Server { Xauth::Server } else { Xauth::Off })
        }
    }
}
