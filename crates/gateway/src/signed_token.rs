//! Who asks, as a signed token says: `Authorization: Bearer` (RFC 6750) with a JSON Web Token (RFC 7519) of somebody whom
//! the agency trusts to know people.
//!
//! The key's kind decides the one algorithm that counts, never the token. The rules of tokens are `jsonwebtoken`'s, the
//! signatures `ring`'s. Nothing of a token is kept, logged or told.

use std::fmt;

use axum::http::{HeaderMap, header};
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{self, ErrorKind};
use jsonwebtoken::signature::{self as of_tokens, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use ring::hmac;
use ring::signature::{self, UnparsedPublicKey};
use serde_json::{Map, Value};
use spki::der::DecodePem as _;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoOwned};

use crate::problem::{Kind, Problem};

/// How far the clocks of whoever signs and of this machine may be apart, s.
const LEEWAY_S: u64 = 30;
/// Fewest bytes of a secret: those of the hash that it goes into (RFC 7518, 3.2).
const SECRET_BYTES: usize = 32;
/// Fewest bits of an RSA key (RFC 7518, 3.3).
const RSA_BITS: usize = 2_048;

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The key by which tokens are checked, and with it the one algorithm that they may have.
#[derive(Clone)]
pub struct IdentityKey {
    key: DecodingKey,
    algorithm: Algorithm,
}

/// Why a text is no key: what would be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnIdentityKey(&'static str);

impl fmt::Display for NotAnIdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotAnIdentityKey {}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({:?})", self.algorithm)
    }
}

impl IdentityKey {
    /// Whether a key file is PEM. What is none is a secret, and nobody else's to read.
    pub fn is_pem(text: &str) -> bool {
        text.contains("-----BEGIN")
    }

    /// The public key of a PEM file (`PUBLIC KEY`): Ed25519 checks EdDSA, P-256 ES256, RSA of 2,048 bits or more
    /// RS256.
    ///
    /// # Errors
    ///
    /// Where it is another key or none.
    pub fn from_pem(text: &str) -> Result<Self, NotAnIdentityKey> {
        if text.contains("PRIVATE KEY-----") {
            return Err(NotAnIdentityKey(
                "a private key, which is to stay with whoever signs; `openssl pkey -in FILE -pubout` gives the public one",
            ));
        }
        let wrong = NotAnIdentityKey(
            "no public key of PEM (BEGIN PUBLIC KEY); of a certificate `openssl x509 -in FILE -pubkey -noout` gives it",
        );
        let text = in_short_lines(text);
        let info = SubjectPublicKeyInfoOwned::from_pem(text).map_err(|_| wrong.clone())?;
        let key = info.subject_public_key.as_bytes().ok_or(wrong)?;
        let parameters = info.algorithm.parameters.as_ref();
        let curve = parameters.and_then(|it| it.decode_as::<ObjectIdentifier>().ok());
        let (key, algorithm) = match (info.algorithm.oid, curve) {
            (ED25519, _) if key.len() == 32 => (DecodingKey::from_ed_der(key), Algorithm::EdDSA),
            (EC, Some(P256)) => (DecodingKey::from_ec_der(key), Algorithm::ES256),
            (RSA, _) if rsa_bits(key) >= RSA_BITS => {
                (DecodingKey::from_rsa_der(key), Algorithm::RS256)
            }
            _ => {
                return Err(NotAnIdentityKey(
                    "is to be an Ed25519 or P-256 key, or an RSA key of 2,048 bits or more",
                ));
            }
        };
        Ok(Self { key, algorithm })
    }

    /// The secret of a file, its characters as they are without white space around them: checks HS256.
    ///
    /// # Errors
    ///
    /// Where it is shorter than 32 bytes.
    pub fn from_secret(text: &str) -> Result<Self, NotAnIdentityKey> {
        let secret = text.trim().as_bytes();
        let short = NotAnIdentityKey(
            "a secret is to have 32 characters or more; `openssl rand -hex 32` makes one",
        );
        if secret.len() < SECRET_BYTES {
            return Err(short);
        }
        let key = DecodingKey::from_secret(secret).map_err(|_| short)?;
        Ok(Self { key, algorithm: Algorithm::HS256 })
    }
}

/// A text of PEM in lines of 64 characters, as its reader wants them (RFC 7468, 2): some
/// programs write others.
fn in_short_lines(text: &str) -> String {
    let (mut out, mut length) = (String::new(), 0);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let is_boundary = line.starts_with('-');
        if is_boundary && length > 0 {
            out.push('\n');
            length = 0;
        }
        if is_boundary {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        for c in line.chars() {
            out.push(c);
            length += 1;
            if length == 64 {
                out.push('\n');
                length = 0;
            }
        }
    }
    out
}

/// Bits of the modulus of an RSA key as it stands within a public key; 0: it is none.
fn rsa_bits(key: &[u8]) -> usize {
    use spki::der::{Decode as _, Reader as _, SliceReader, asn1::UintRef};
    let modulus = || {
        let mut reader = SliceReader::new(key).ok()?;
        reader
            .sequence(|inner| {
                let modulus = UintRef::decode(inner)?;
                let _exponent = UintRef::decode(inner)?;
                Ok::<_, spki::der::Error>(modulus)
            })
            .ok()
    };
    let Some(modulus) = modulus() else { return 0 };
    let bytes = modulus.as_bytes();
    let zeros = bytes.first().map_or(0, |first| first.leading_zeros() as usize);
    bytes.len() * 8 - zeros
}

/// Whose tokens are believed, and what in them says who asks.
#[derive(Debug, Clone)]
pub struct SignedTokens {
    key: DecodingKey,
    validation: Validation,
    account: String,
    applicant: Option<String>,
}

/// What a token has to say beside its signature and its time.
#[derive(Debug, Clone)]
pub struct TokenRules {
    /// The audience that is this gateway's; none: a token that names any is for somebody else.
    pub audience: Option<String>,
    /// Who has to have issued it; none: whoever has the key.
    pub issuer: Option<String>,
    /// The claim with the account.
    pub account_claim: String,
    /// The claim with the verified applicant; none: nobody has verified any.
    pub applicant_claim: Option<String>,
}

impl SignedTokens {
    /// Tokens that this key checks, and that keep these rules.
    pub fn new(key: IdentityKey, rules: TokenRules) -> Self {
        // Once for a process; a second time it is there already.
        let _ = SIGNATURES.install_default();
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        let mut needed = vec!["exp"];
        if let Some(audience) = &rules.audience {
            validation.set_audience(&[audience]);
            needed.push("aud");
        }
        if let Some(issuer) = &rules.issuer {
            validation.set_issuer(&[issuer]);
            needed.push("iss");
        }
        validation.set_required_spec_claims(&needed);
        let TokenRules { account_claim: account, applicant_claim: applicant, .. } = rules;
        Self { key: key.key, validation, account, applicant }
    }

    /// Whether tokens name the applicant who was verified.
    pub(crate) const fn name_applicants(&self) -> bool {
        self.applicant.is_some()
    }

    /// Account and verified applicant of a token.
    ///
    /// # Errors
    ///
    /// `invalid_token`: what is wrong with it, and no word of what it says.
    pub(crate) fn read(&self, token: &str) -> Result<(String, Option<String>), Problem> {
        let checked = decode::<Map<String, Value>>(token, &self.key, &self.validation);
        let claims = checked.map_err(|error| invalid(&self.why(error.kind())))?.claims;
        let text = |name: &String| match claims.get(name).map(Value::as_str) {
            Some(Some(text)) if !text.is_empty() => Ok(text.to_owned()),
            Some(_) => Err(invalid(&format!("its claim `{name}` is no text"))),
            None => Err(invalid(&format!("it has no claim `{name}`"))),
        };
        Ok((text(&self.account)?, self.applicant.as_ref().map(text).transpose()?))
    }

    fn why(&self, kind: &ErrorKind) -> String {
        let [algorithm] = self.validation.algorithms[..] else { unreachable!("there is one") };
        match kind {
            ErrorKind::ExpiredSignature => "it has expired (`exp`)".to_owned(),
            ErrorKind::ImmatureSignature => "it does not count yet (`nbf`)".to_owned(),
            ErrorKind::InvalidSignature => {
                "its signature is not by the key that counts here".to_owned()
            }
            ErrorKind::InvalidAlgorithm => format!("its algorithm (`alg`) is not {algorithm:?}"),
            ErrorKind::InvalidAudience => "it is for another audience (`aud`)".to_owned(),
            ErrorKind::InvalidIssuer => "it is of another issuer (`iss`)".to_owned(),
            ErrorKind::MissingRequiredClaim(claim) => format!("it has no claim `{claim}`"),
            ErrorKind::InvalidClaimFormat(claim) => {
                format!("its claim `{claim}` is not what it should be")
            }
            _ => "it is no JSON Web Token that can be read here".to_owned(),
        }
    }
}

fn invalid(why: &str) -> Problem {
    Problem::new(Kind::InvalidToken)
        .detail(format!("Authorization: the token does not count: {why}"))
}

/// The token of a request; none: it has none. Other schemes are those of a proxy in front.
///
/// # Errors
///
/// `malformed` where there are several headers, of which nobody knows which counts.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Problem::malformed("Authorization: more than once"));
    }
    // What is no text is no token, and is told so.
    let value = first.to_str().unwrap_or("Bearer ?");
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()))
}

/// Signatures of the algorithms that there are keys for here, and of no others.
static SIGNATURES: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// What checks the signature of one token.
struct SignatureCheck {
    algorithm: Algorithm,
    by: By,
}

enum By {
    Secret(hmac::Key),
    Public(UnparsedPublicKey<Vec<u8>>),
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> errors::Result<Box<dyn JwtVerifier>> {
    // A key is never taken for one of another kind.
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    let bytes = key.try_get_as_bytes()?;
    let by = match algorithm {
        Algorithm::HS256 => By::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes)),
        Algorithm::EdDSA => By::Public(UnparsedPublicKey::new(&signature::ED25519, bytes.to_vec())),
        Algorithm::ES256 => {
            By::Public(UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, bytes.to_vec()))
        }
        Algorithm::RS256 => By::Public(UnparsedPublicKey::new(
            &signature::RSA_PKCS1_2048_8192_SHA256,
            bytes.to_vec(),
        )),
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(Box::new(SignatureCheck { algorithm: *algorithm, by }))
}

impl Verifier<Vec<u8>> for SignatureCheck {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), of_tokens::Error> {
        let checked = match &self.by {
            By::Secret(key) => hmac::verify(key, message, signature),
            By::Public(key) => key.verify(message, signature),
        };
        checked.map_err(|_| of_tokens::Error::new())
    }
}

impl JwtVerifier for SignatureCheck {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    /// What openssl made: a public key, and a token by its private one, which nobody has kept.
    const RSA_KEY: &str = include_str!("testdata/rsa.pem");
    const RSA_TOKEN: &str = include_str!("testdata/rsa.jwt");
    const SECRET: &str = "a secret of thirty-two characters";

    fn now() -> i64 {
        giliran_nats::clock::now().as_millis() / 1_000
    }

    fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// A public key as openssl writes it: what says of which kind it is, and its bytes.
    fn pem(kind: &str, key: &[u8]) -> String {
        let whole = [const_hex::decode(kind).unwrap().as_slice(), key].concat();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(whole)
        )
    }

    fn ed25519() -> (Ed25519KeyPair, IdentityKey) {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap();
        let pem = pem("302a300506032b6570032100", pair.public_key().as_ref());
        let key = IdentityKey::from_pem(&pem).unwrap();
        (pair, key)
    }

    fn rules() -> TokenRules {
        let account_claim = "sub".to_owned();
        TokenRules { audience: None, issuer: None, account_claim, applicant_claim: None }
    }

    /// Claims that count, with these in place of theirs; null takes one away.
    fn claims(more: &Value) -> Value {
        let mut claims = json!({ "sub": "u-1", "exp": now() + 600 });
        for (name, value) in more.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    fn detail(read: Result<(String, Option<String>), Problem>) -> String {
        let problem = read.unwrap_err();
        assert_eq!(problem.kind, Kind::InvalidToken);
        let body: Value = serde_json::from_str(&problem.body()).unwrap();
        body["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_token_counts_by_the_key_of_its_kind_and_no_other() {
        let random = SystemRandom::new();
        let (ed, ed_key) = ed25519();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
        let ec = ec.unwrap();
        let p256 = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let ec_key = IdentityKey::from_pem(&pem(p256, ec.public_key().as_ref())).unwrap();
        let secret = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let all = claims(&json!({}));
        let alg = |name: &str| json!({ "alg": name, "typ": "JWT" });
        let by_secret = |key: &hmac::Key, m: &[u8]| hmac::sign(key, m).as_ref().to_vec();
        let tokens = [
            token(&alg("EdDSA"), &all, |m| ed.sign(m).as_ref().to_vec()),
            token(&alg("ES256"), &all, |m| ec.sign(&random, m).unwrap().as_ref().to_vec()),
            RSA_TOKEN.trim().to_owned(),
            token(&alg("HS256"), &all, |m| by_secret(&secret, m)),
        ];
        let keys = [
            ed_key,
            ec_key,
            IdentityKey::from_pem(RSA_KEY).unwrap(),
            IdentityKey::from_secret(&format!("{SECRET}\n")).unwrap(),
        ];
        for (of, key) in keys.into_iter().enumerate() {
            let bytes = key.key.try_get_as_bytes().unwrap().to_vec();
            let checks = SignedTokens::new(key, rules());
            for (by, token) in tokens.iter().enumerate() {
                let read = checks.read(token);
                assert_eq!(read.is_ok(), of == by, "the key {of}, the token {by}");
                if let Ok(named) = read {
                    assert_eq!(named, ("u-1".to_owned(), None));
                }
            }
            // One character of the signature, the claims, the header.
            let right = &tokens[of];
            for at in [right.len() - 5, right.find('.').unwrap() + 12, 8] {
                let mut forged = right.clone().into_bytes();
                forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
                assert!(checks.read(&String::from_utf8(forged).unwrap()).is_err(), "{of}, {at}");
            }
            // Without a signature, and with the key that everybody knows as a secret.
            let none = |name: &str| token(&alg(name), &all, |_| Vec::new());
            for name in ["none", "None", "", "EdDSA", "ES256", "RS256", "HS256", "PS256"] {
                assert!(checks.read(&none(name)).is_err(), "{of}: {name}");
            }
            let known = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
            let confused = token(&alg("HS256"), &all, |m| by_secret(&known, m));
            // Of the secret itself it is no forgery.
            assert_eq!(checks.read(&confused).is_ok(), of == 3, "{of}");
        }
    }

    #[test]
    fn a_token_counts_in_its_time_for_its_audience_of_its_issuer() {
        let (pair, key) = ed25519();
        let signed = |claims: &Value| {
            token(&json!({ "alg": "EdDSA" }), claims, |m| pair.sign(m).as_ref().to_vec())
        };
        let rules = TokenRules {
            audience: Some("giliran".to_owned()),
            issuer: Some("https://id.example".to_owned()),
            account_claim: "phone".to_owned(),
            applicant_claim: Some("nik".to_owned()),
        };
        let checks = SignedTokens::new(key.clone(), rules);
        let all = claims(&json!({
            "aud": ["other", "giliran"], "iss": "https://id.example", "phone": "+62811", "nik": "2171",
        }));
        let read = |more: &Value| {
            let mut claims = all.clone();
            for (name, value) in more.as_object().unwrap() {
                claims[name] = value.clone();
            }
            claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            checks.read(&signed(&claims))
        };
        let named = ("+62811".to_owned(), Some("2171".to_owned()));
        let now = now();
        // Clocks may be apart a little.
        for right in [json!({}), json!({ "exp": now - 20 }), json!({ "nbf": now + 20 })] {
            assert_eq!(read(&right).unwrap(), named, "{right}");
        }
        for (wrong, why) in [
            (json!({ "exp": now - 60 }), "expired (`exp`)"),
            (json!({ "exp": null }), "no claim `exp`"),
            (json!({ "exp": "tomorrow" }), "`exp`"),
            (json!({ "nbf": now + 60 }), "not count yet (`nbf`)"),
            (json!({ "aud": "other" }), "another audience"),
            (json!({ "aud": null }), "no claim `aud`"),
            (json!({ "iss": "https://evil.example" }), "another issuer"),
            (json!({ "iss": null }), "no claim `iss`"),
            (json!({ "phone": null }), "no claim `phone`"),
            (json!({ "phone": 62_811 }), "`phone` is no text"),
            (json!({ "nik": "" }), "`nik` is no text"),
            (json!({ "nik": null }), "no claim `nik`"),
        ] {
            let told = detail(read(&wrong));
            assert!(told.contains(why), "{wrong}: {told}");
            assert!(!told.contains("62811") && !told.contains("2171"), "{told}");
        }
        // Of whom it is for, whoever has named no audience cannot know that it is them.
        let open = SignedTokens::new(key, self::rules());
        assert!(detail(open.read(&signed(&all))).contains("another audience"));
        assert!(open.read(&signed(&claims(&json!({})))).is_ok());
        // An extension that has to be understood, and is not.
        let header = json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false });
        let critical = token(&header, &claims(&json!({})), |m| pair.sign(m).as_ref().to_vec());
        assert!(open.read(&critical).is_err());
        for wrong in ["", "a", "a.b", "a.b.c", "a.b.c.d", "..", "ä.ä.ä"] {
            let told = detail(open.read(wrong));
            assert!(told.contains("no JSON Web Token"), "{wrong}: {told}");
        }
    }

    #[test]
    fn a_key_is_one_that_is_strong_enough_and_public() {
        let refused = |text: &str| IdentityKey::from_pem(text).unwrap_err().to_string();
        assert!(refused(include_str!("testdata/rsa-1024.pem")).contains("2,048 bits"));
        let p384 = "3076301006072a8648ce3d020106052b81040022036200";
        assert!(refused(&pem(p384, &[4; 97])).contains("P-256"));
        let private = "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n";
        assert!(refused(private).contains("-pubout"));
        assert!(refused(&RSA_KEY.replace("PUBLIC KEY", "CERTIFICATE")).contains("openssl x509"));
        assert!(refused(&RSA_KEY.replace("MIIB", "MIIC")).contains("no public key"));
        assert!(IdentityKey::from_secret(&"x".repeat(31)).is_err());
        let shown = format!("{:?}", IdentityKey::from_secret(SECRET).unwrap());
        assert_eq!(shown, "IdentityKey(HS256)");
    }

    #[test]
    fn a_token_stands_behind_its_scheme_once() {
        let read = |all: &[&str]| {
            let mut headers = HeaderMap::new();
            for one in all {
                headers.append(header::AUTHORIZATION, one.parse().unwrap());
            }
            bearer(&headers).map(|token| token.map(str::to_owned)).map_err(|problem| problem.kind)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["Basic YTpi"]), Ok(None), "of a proxy in front");
        assert_eq!(read(&["Bearer a.b.c"]), Ok(Some("a.b.c".to_owned())));
        assert_eq!(read(&["bearer  a.b.c"]), Ok(Some("a.b.c".to_owned())));
        assert_eq!(read(&["Bearer"]), Ok(Some(String::new())));
        assert!(read(&["Bearer a.b.c", "Bearer a.b.c"]).is_err());
    }
}
