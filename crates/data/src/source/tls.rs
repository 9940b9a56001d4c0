//! TLS to a PostgreSQL server, as libpq's `sslmode` and `sslrootcert` in its URL ask for it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What of the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Nothing: the connection is encrypted, with whomever it is.
    Nothing,
    /// That an authority vouches for it.
    Authority,
    /// That it is of the host that was asked for, too.
    Host,
}

/// What a URL says of TLS.
#[derive(Debug)]
pub(super) struct Tls {
    /// The URL as the crate `postgres` understands it, which leaves certificates to us.
    pub(super) url: String,
    check: Check,
    /// The file of the authorities; those of the system when absent.
    roots: Option<PathBuf>,
}

impl Tls {
    pub(super) fn of(url: &str) -> Self {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut roots, mut others) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(decoded(value)),
                _ => others.push(pair.to_owned()),
            }
        }
        let check = match mode {
            Some("verify-ca") => Check::Authority,
            Some("verify-full") => Check::Host,
            Some("require") if roots.is_some() => Check::Authority, // as libpq has it
            _ => Check::Nothing,
        };
        if let Some(mode) = mode {
            others.push(format!("sslmode={}", if check == Check::Nothing { mode } else { "require" }));
        }
        let url = if others.is_empty() { place.to_owned() } else { format!("{place}?{}", others.join("&")) };
        let roots = roots.filter(|path| path != "system").map(PathBuf::from);
        Self { url, check, roots }
    }

    /// What connects as the URL asks for.
    ///
    /// # Errors
    /// Authorities that cannot be read, or none at all.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let authority = match self.check {
            Check::Host => {
                return Ok(MakeRustlsConnect::new(
                    builder.with_root_certificates(self.authorities()?).with_no_client_auth(),
                ));
            }
            Check::Authority => {
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(self.authorities()?), provider.clone());
                Some(verifier.build().map_err(|error| error.to_string())?)
            }
            Check::Nothing => None,
        };
        let verifier = Arc::new(AnyHost { provider, authority });
        let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }

    fn authorities(&self) -> Result<RootCertStore, String> {
        let mut store = RootCertStore::empty();
        match &self.roots {
            Some(path) => {
                let bad = |error: String| format!("sslrootcert {}: {error}", path.display());
                for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
                    let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                    store.add(certificate).map_err(|error| bad(error.to_string()))?;
                }
            }
            None => {
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if store.is_empty() {
            return Err("no certificate of an authority is known: name a file by sslrootcert=".into());
        }
        Ok(store)
    }
}

/// A value of a URL's query; unlike in that of a form, a plus sign is one.
fn decoded(value: &str) -> String {
    let pair = format!("value={}", value.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Takes a certificate for any host, from an authority if one is asked for.
#[derive(Debug)]
struct AnyHost {
    provider: Arc<CryptoProvider>,
    authority: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        // The name comes last: where it alone is wrong, all else is right.
        match authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            told => told,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_libpq() {
        let check = |query: &str, url: &str, check: Check, roots: Option<&str>| {
            let tls = Tls::of(&format!("postgres://me@host/db{query}"));
            assert_eq!(tls.url, format!("postgres://me@host/db{url}"), "{query}");
            assert_eq!((tls.check, tls.roots), (check, roots.map(PathBuf::from)), "{query}");
        };
        check("", "", Check::Nothing, None);
        check("?connect_timeout=3", "?connect_timeout=3", Check::Nothing, None);
        check("?sslmode=prefer", "?sslmode=prefer", Check::Nothing, None);
        check("?sslmode=require", "?sslmode=require", Check::Nothing, None);
        check("?sslmode=verify-full&a=b", "?a=b&sslmode=require", Check::Host, None);
        check("?sslmode=verify-full&sslrootcert=system", "?sslmode=require", Check::Host, None);
        check(
            "?sslrootcert=%2Fa+b%20c.crt&sslmode=verify-ca",
            "?sslmode=require",
            Check::Authority,
            Some("/a+b c.crt"),
        );
        check("?sslmode=require&sslrootcert=a.crt", "?sslmode=require", Check::Authority, Some("a.crt"));
        check("?sslmode=disable&sslrootcert=a.crt", "?sslmode=disable", Check::Nothing, Some("a.crt"));
    }
}
