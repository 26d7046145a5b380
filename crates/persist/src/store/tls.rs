//! TLS to PostgreSQL, by the parameters that every PostgreSQL client has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use giliran_nats::private::{read, read_secret};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// What is asked of the server's certificate, `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A plain connection, whatever the server offers.
    Disable,
    /// TLS where the server offers it, whoever that is.
    Prefer,
    /// TLS, whoever the server is; with `sslrootcert` as `verify-ca`.
    Require,
    /// TLS with a server whose certificate is of a known authority.
    VerifyCa,
    /// The same, and it is of the host that was asked for.
    VerifyFull,
}

const MODES: [(&str, Mode); 5] = [
    ("disable", Mode::Disable),
    ("prefer", Mode::Prefer),
    ("require", Mode::Require),
    ("verify-ca", Mode::VerifyCa),
    ("verify-full", Mode::VerifyFull),
];

/// What a URL says of TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tls {
    mode: Mode,
    /// Certificates of the authorities that are believed, in place of the system's.
    root: Option<PathBuf>,
    /// The client's own certificate.
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// Takes a URL apart: the connection without TLS, and what is said of that.
///
/// # Errors
///
/// What is wrong, without the URL.
pub(super) fn split(url: &str) -> Result<(Config, Tls), String> {
    let mut tls = Tls { mode: Mode::Prefer, root: None, certificate: None, key: None };
    let (place, parameters) = url.split_once('?').unwrap_or((url, ""));
    let mut others = Vec::new();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "sslmode" => tls.mode = mode(value)?,
            "sslrootcert" => tls.root = Some(path(name, value)?),
            "sslcert" => tls.certificate = Some(path(name, value)?),
            "sslkey" => tls.key = Some(path(name, value)?),
            _ => others.push(parameter),
        }
    }
    if tls.certificate.is_some() != tls.key.is_some() {
        return Err("sslcert and sslkey belong together".to_owned());
    }
    let given = [&tls.root, &tls.certificate].into_iter().any(Option::is_some);
    if given && matches!(tls.mode, Mode::Disable | Mode::Prefer) {
        return Err("certificates without sslmode=require, verify-ca or verify-full".to_owned());
    }
    let url =
        if others.is_empty() { place.to_owned() } else { format!("{place}?{}", others.join("&")) };
    let mut config: Config =
        url.parse().map_err(|error: tokio_postgres::Error| error.to_string())?;
    config.ssl_mode(match tls.mode {
        Mode::Disable => SslMode::Disable,
        Mode::Prefer => SslMode::Prefer,
        Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
    });
    Ok((config, tls))
}

fn mode(value: &str) -> Result<Mode, String> {
    let known = MODES.iter().find(|(name, _)| *name == value);
    known.map(|(_, mode)| *mode).ok_or_else(|| {
        let names: Vec<&str> = MODES.iter().map(|(name, _)| *name).collect();
        format!("sslmode={value}: one of {}", names.join(", "))
    })
}

fn path(name: &str, value: &str) -> Result<PathBuf, String> {
    if value.is_empty() || value.contains('%') {
        return Err(format!("{name}={value}: a path, written as it is"));
    }
    Ok(value.into())
}

impl Tls {
    /// What makes the connections. Reads the files, at each time anew: certificates are
    /// replaced while this runs.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read or used.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match self.checked() {
            Mode::VerifyFull => builder.with_root_certificates(self.roots()?),
            Mode::VerifyCa => {
                let roots = Arc::new(self.roots()?);
                let known = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                let known = Some(known.map_err(|error| error.to_string())?);
                let verifier = Arc::new(AnyName { known, provider: ring::default_provider() });
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
            Mode::Disable | Mode::Prefer | Mode::Require => {
                let verifier = AnyName { known: None, provider: ring::default_provider() };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let config = match self.certificate.as_deref().zip(self.key.as_deref()) {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate, "sslcert")?;
                let text = read_secret(key, "sslkey").map_err(|error| error.to_string())?;
                let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
                    .map_err(|error| format!("sslkey {}: {error}", key.display()))?;
                let own = builder.with_client_auth_cert(chain, key);
                own.map_err(|error| format!("sslcert {}: {error}", certificate.display()))?
            }
        };
        Ok(MakeRustlsConnect::new(config))
    }

    /// The mode that counts: a named authority is not named for nothing.
    fn checked(&self) -> Mode {
        match self.mode {
            Mode::Require if self.root.is_some() => Mode::VerifyCa,
            mode => mode,
        }
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        let Some(file) = &self.root else {
            let found = rustls_native_certs::load_native_certs();
            let (known, _) = roots.add_parsable_certificates(found.certs);
            return if known > 0 {
                Ok(roots)
            } else {
                Err("this machine knows no certificate authority: install ca-certificates, or \
                     name one with sslrootcert"
                    .to_owned())
            };
        };
        for certificate in certificates(file, "sslrootcert")? {
            let wrong = |error| format!("sslrootcert {}: {error}", file.display());
            roots.add(certificate).map_err(wrong)?;
        }
        Ok(roots)
    }
}

fn certificates(file: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(file, what).map_err(|error| error.to_string())?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(format!("{what} {}: no certificate in it (PEM)", file.display())),
        Err(error) => Err(format!("{what} {}: {error}", file.display())),
    }
}

/// Believes a server of whatever name, if a known authority has signed it; `known` is
/// none: believes every server. That it has the key to its certificate, it has to
/// show in any case.
#[derive(Debug)]
struct AnyName {
    known: Option<Arc<WebPkiServerVerifier>>,
    provider: CryptoProvider,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(known) = &self.known else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last, when the chain has been found good.
        match known.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_tls_are_taken_out_of_the_url() {
        let url = "postgres://u:p@db/giliran?sslmode=verify-full&sslrootcert=/etc/ca.pem&connect_timeout=3";
        let (config, tls) = split(url).unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config.get_connect_timeout(), Some(&std::time::Duration::from_secs(3)));
        assert_eq!(tls.checked(), Mode::VerifyFull);
        assert_eq!(tls.root.as_deref(), Some(Path::new("/etc/ca.pem")));
        let (config, tls) = split("postgres://u@db/giliran").unwrap();
        assert_eq!((config.get_ssl_mode(), tls.checked()), (SslMode::Prefer, Mode::Prefer));
        let (_, tls) = split("postgres://u@db/x?sslmode=require&sslrootcert=ca.pem").unwrap();
        assert_eq!(tls.checked(), Mode::VerifyCa, "an authority that is named is asked");
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        let refused =
            |parameters: &str| split(&format!("postgres://u@db/x?{parameters}")).unwrap_err();
        assert!(refused("sslmode=allow").contains("one of disable, prefer, require"));
        assert!(refused("sslrootcert=ca.pem").contains("without sslmode=require"));
        assert!(refused("sslmode=disable&sslrootcert=ca.pem").contains("without sslmode"));
        assert!(refused("sslmode=require&sslcert=me.pem").contains("belong together"));
        assert!(refused("sslmode=verify-ca&sslrootcert=").contains("a path"));
    }
}
