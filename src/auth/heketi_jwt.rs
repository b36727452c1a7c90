//! Heketi's tokens: a JWT signed with a shared secret, bound by `qsh` to one method and path. The
//! texts and statuses of refusals are those that Heketi gives.
//!
//! The check is a pure function of the header, the request line, the keys and the time.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// How far a client's clock may be ahead of ours, in seconds, unless it is configured otherwise.
pub const DEFAULT_IAT_LEEWAY: u64 = 120;

/// Longest Authorization header that is looked at, in bytes. A token of Heketi's clients has about 300.
const MAX_HEADER: usize = 16 * 1024;

/// The paths that a token of the role `user` opens.
const USER_PATH: &str = "/volumes";

/// The shared secrets, and how far clocks may differ.
#[derive(Clone)]
pub struct Keys {
    admin: Vec<u8>,
    user: Vec<u8>,
    iat_leeway: u64,
}

/// What a token lets its bearer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Listing and creating volumes.
    User,
}

/// A request that was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// The HTTP status: 400 for a header of the wrong form, else 401.
    pub status: u16,
    /// What the client is told.
    pub text: String,
}

impl Keys {
    /// The key of administrators, for what the server seals for itself.
    pub fn admin_secret(&self) -> &[u8] {
        &self.admin
    }

    /// Keys from the bytes of both secrets. A token issued more than `iat_leeway` seconds ahead of
    /// our clock is refused.
    pub fn new(admin: impl Into<Vec<u8>>, user: impl Into<Vec<u8>>, iat_leeway: u64) -> Self {
        Self { admin: admin.into(), user: user.into(), iat_leeway }
    }
}

impl fmt::Debug for Keys {
    /// The secrets are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("iat_leeway", &self.iat_leeway).finish_non_exhaustive()
    }
}

/// Checks the Authorization header of a request and says in which role it comes.
///
/// `method` is in upper case, `path` is percent-decoded and has no query, `now` is in whole seconds
/// since 1970.
pub fn check(
    header: Option<&[u8]>,
    method: &str,
    path: &str,
    keys: &Keys,
    now: i64,
) -> Result<Role, Refusal> {
    let (role, claims) = verified(bearer(header)?, keys, now)?;
    let wanted = qsh(method, path);
    if claims.qsh.as_deref() != Some(wanted.as_str()) {
        return Err(unauthorized("Invalid qsh claim in token"));
    }
    if role == Role::User && path != USER_PATH {
        return Err(unauthorized("Administrator access required"));
    }
    Ok(role)
}

/// What binds a token to a request: the lower-case hex SHA-256 of `METHOD&path`.
pub fn qsh(method: &str, path: &str) -> String {
    let digest = Sha256::digest(format!("{method}&{path}").as_bytes());
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        use fmt::Write;
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: serde_json::Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    iss: Option<String>,
    exp: Option<i64>,
    iat: Option<i64>,
    nbf: Option<i64>,
    qsh: Option<String>,
}

fn unauthorized(text: impl Into<String>) -> Refusal {
    Refusal { status: 401, text: text.into() }
}

fn invalid(text: impl fmt::Display) -> Refusal {
    unauthorized(format!("Invalid JWT token: {text}"))
}

/// The token in the header.
fn bearer(header: Option<&[u8]>) -> Result<&str, Refusal> {
    let header = header.unwrap_or_default();
    if header.is_empty() {
        return Err(unauthorized("Required authorization token not found"));
    }
    let malformed =
        || Refusal { status: 400, text: "Authorization header format must be Bearer {token}".into() };
    if header.len() > MAX_HEADER {
        return Err(malformed());
    }
    let text = std::str::from_utf8(header).map_err(|_| malformed())?;
    let mut parts = text.split_ascii_whitespace();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(scheme), Some(token), None) if scheme.eq_ignore_ascii_case("bearer") => Ok(token),
        _ => Err(malformed()),
    }
}

/// Reads a token, chooses the key by its issuer, and checks signature and times. A bad signature is
/// told before a bad time, so that nobody learns the clock's opinion of a forged token.
fn verified(token: &str, keys: &Keys, now: i64) -> Result<(Role, Claims), Refusal> {
    let parts: Vec<&str> = token.split('.').collect();
    let &[header, claims, signature] = parts.as_slice() else {
        return Err(invalid("token contains an invalid number of segments"));
    };
    let signed = &token[..header.len() + 1 + claims.len()];
    let header: Header = parsed(header)?;
    let claims: Claims = parsed(claims)?;
    let algorithm = algorithm(&header.alg)?;
    let (role, key) = match claims.iss.as_deref() {
        None | Some("") => return Err(invalid("Token missing iss claim")),
        Some("admin") => (Role::Admin, &keys.admin),
        Some("user") => (Role::User, &keys.user),
        Some(_) => return Err(invalid("Unknown user")),
    };
    let key = DecodingKey::from_secret(key);
    let good = jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, algorithm);
    if !good.unwrap_or(false) {
        return Err(invalid("signature is invalid (client and server secrets may not match)"));
    }
    check_times(&claims, keys, now)?;
    Ok((role, claims))
}

fn check_times(claims: &Claims, keys: &Keys, now: i64) -> Result<(), Refusal> {
    if claims.nbf.is_some_and(|nbf| now < nbf) {
        return Err(invalid("token is not valid yet"));
    }
    let leeway = i64::try_from(keys.iat_leeway).unwrap_or(i64::MAX);
    if claims.iat.is_some_and(|iat| now < iat.saturating_sub(leeway)) {
        return Err(invalid("Token used before issued (client and server clocks may differ)"));
    }
    let exp = claims.exp.unwrap_or(0);
    if now > exp {
        let late = duration(now.saturating_sub(exp));
        return Err(invalid(format_args!("Token is expired by {late}")));
    }
    Ok(())
}

/// Any HMAC is taken. The names of the other algorithms are known, and refused by name.
fn algorithm(alg: &serde_json::Value) -> Result<Algorithm, Refusal> {
    let Some(alg) = alg.as_str() else {
        return Err(invalid("signing method (alg) is unspecified."));
    };
    match alg {
        "HS256" => Ok(Algorithm::HS256),
        "HS384" => Ok(Algorithm::HS384),
        "HS512" => Ok(Algorithm::HS512),
        "none" | "RS256" | "RS384" | "RS512" | "ES256" | "ES384" | "ES512" | "PS256" | "PS384" | "PS512" => {
            Err(invalid(format_args!("Unexpected signing method: {alg}")))
        }
        _ => Err(invalid("signing method (alg) is unavailable.")),
    }
}

/// The JSON object in a segment.
fn parsed<T: for<'de> Deserialize<'de>>(segment: &str) -> Result<T, Refusal> {
    let bytes = decoded(segment)?;
    serde_json::from_slice(&bytes).map_err(invalid)
}

/// Decodes base64url; the text of a refusal names the first bad byte as Go's decoder counts.
fn decoded(segment: &str) -> Result<Vec<u8>, Refusal> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone);
    let illegal = |at: usize| invalid(format_args!("illegal base64 data at input byte {at}"));
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if let Some(at) = segment.bytes().position(|b| !good(b)) {
        return Err(illegal(at));
    }
    GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT).decode(segment).map_err(|_| illegal(segment.len()))
}

/// Whole seconds as Go writes a duration: `1h1m40s`, `5m0s`, `1s`.
fn duration(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
    use jsonwebtoken::EncodingKey;
    use serde_json::{Value, json};

    const NOW: i64 = 1_700_000_000;

    fn token(alg: &str, key: &str, claims: &Value) -> String {
        let head = B64.encode(json!({"alg": alg, "typ": "JWT"}).to_string());
        let text = format!("{head}.{}", B64.encode(claims.to_string()));
        let algorithm = match alg {
            "HS384" => Algorithm::HS384,
            "HS512" => Algorithm::HS512,
            _ => Algorithm::HS256,
        };
        let key = EncodingKey::from_secret(key.as_bytes());
        let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, algorithm).unwrap();
        format!("{text}.{signature}")
    }

    fn claims(change: Value) -> Value {
        let mut claims =
            json!({"iss": "admin", "iat": NOW, "exp": NOW + 300, "qsh": qsh("GET", "/clusters")});
        for (key, value) in change.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(key);
            } else {
                claims[key] = value.clone();
            }
        }
        claims
    }

    fn ask(header: &str, path: &str) -> Result<Role, (u16, String)> {
        let keys = Keys::new("adminkey", "userkey", DEFAULT_IAT_LEEWAY);
        check(Some(header.as_bytes()), "GET", path, &keys, NOW)
            .map_err(|refusal| (refusal.status, refusal.text))
    }

    fn refused(change: Value) -> String {
        let header = format!("bearer {}", token("HS256", "adminkey", &claims(change)));
        ask(&header, "/clusters").unwrap_err().1
    }

    #[test]
    fn good_tokens_are_taken() {
        for alg in ["HS256", "HS384", "HS512"] {
            for scheme in ["bearer", "Bearer", "BEARER"] {
                let header = format!("{scheme} {}", token(alg, "adminkey", &claims(json!({}))));
                assert_eq!(ask(&header, "/clusters"), Ok(Role::Admin), "{alg} {scheme}");
            }
        }
        for change in [
            json!({"iat": null}),
            json!({"iat": NOW + 120}),
            json!({"iat": 1}),
            json!({"exp": NOW}),
            json!({"nbf": NOW}),
        ] {
            let header = format!("bearer {}", token("HS256", "adminkey", &claims(change.clone())));
            assert_eq!(ask(&header, "/clusters"), Ok(Role::Admin), "{change}");
        }
    }

    #[test]
    fn headers_of_another_form_are_refused() {
        let none = "Required authorization token not found";
        let keys = Keys::new("a", "b", 0);
        let missing = check(None, "GET", "/", &keys, NOW).unwrap_err();
        assert_eq!((missing.status, missing.text.as_str()), (401, none));
        assert_eq!(ask("", "/").unwrap_err(), (401, none.into()));
        let form = "Authorization header format must be Bearer {token}";
        for header in ["x", "Basic eDp5", "bearer", "bearer  ", "bearer a b", "\u{e9} x"] {
            assert_eq!(ask(header, "/").unwrap_err(), (400, form.into()), "{header}");
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (change, text) in [
            (json!({"iss": null}), "Invalid JWT token: Token missing iss claim"),
            (json!({"iss": ""}), "Invalid JWT token: Token missing iss claim"),
            (json!({"iss": "root"}), "Invalid JWT token: Unknown user"),
            (json!({"exp": NOW - 1}), "Invalid JWT token: Token is expired by 1s"),
            (json!({"exp": NOW - 300}), "Invalid JWT token: Token is expired by 5m0s"),
            (json!({"exp": NOW - 3700}), "Invalid JWT token: Token is expired by 1h1m40s"),
            (
                json!({"iat": NOW + 121}),
                "Invalid JWT token: Token used before issued (client and server clocks may differ)",
            ),
            (json!({"nbf": NOW + 1}), "Invalid JWT token: token is not valid yet"),
            (json!({"qsh": null}), "Invalid qsh claim in token"),
            (json!({"qsh": qsh("GET", "/volumes")}), "Invalid qsh claim in token"),
            (json!({"qsh": qsh("POST", "/clusters")}), "Invalid qsh claim in token"),
        ] {
            assert_eq!(refused(change), text);
        }
    }

    #[test]
    fn a_bad_signature_wins_over_a_bad_time() {
        let late = claims(json!({"exp": 1}));
        let (status, text) = ask(&format!("bearer {}", token("HS256", "wrong", &late)), "/").unwrap_err();
        assert_eq!(status, 401);
        assert_eq!(text, "Invalid JWT token: signature is invalid (client and server secrets may not match)");
    }

    #[test]
    fn what_is_no_hmac_is_refused_by_name() {
        for alg in ["none", "RS256", "ES512"] {
            let header = format!("bearer {}", token(alg, "adminkey", &claims(json!({}))));
            let text = format!("Invalid JWT token: Unexpected signing method: {alg}");
            assert_eq!(ask(&header, "/clusters").unwrap_err().1, text);
        }
        let header = format!("bearer {}", token("XX", "adminkey", &claims(json!({}))));
        assert_eq!(
            ask(&header, "/clusters").unwrap_err().1,
            "Invalid JWT token: signing method (alg) is unavailable."
        );
    }

    #[test]
    fn broken_tokens_are_refused() {
        let text = |token: &str| ask(&format!("bearer {token}"), "/").unwrap_err().1;
        assert_eq!(text("x.y.z"), "Invalid JWT token: illegal base64 data at input byte 1");
        assert_eq!(text("abc!.y.z"), "Invalid JWT token: illegal base64 data at input byte 3");
        assert_eq!(text("a.b"), "Invalid JWT token: token contains an invalid number of segments");
        assert!(text(&format!("{0}.{0}.z", B64.encode("{"))).starts_with("Invalid JWT token: "));
        let wrong = B64.encode(r#"{"exp":"soon"}"#);
        let head = B64.encode(r#"{"alg":"HS256"}"#);
        assert!(text(&format!("{head}.{wrong}.z")).starts_with("Invalid JWT token: "));
    }

    #[test]
    fn a_user_may_only_use_the_volumes_path() {
        let header = |path: &str| {
            let change = json!({"iss": "user", "qsh": qsh("GET", path)});
            format!("bearer {}", token("HS256", "userkey", &claims(change)))
        };
        assert_eq!(ask(&header("/volumes"), "/volumes"), Ok(Role::User));
        for path in ["/volumes/", "/volumes/abc", "/clusters", "/queue/abc", "/"] {
            let refusal = ask(&header(path), path).unwrap_err();
            assert_eq!(refusal, (401, "Administrator access required".into()), "{path}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", Keys::new("hush", "hush", 0)).contains("104"));
    }
}
