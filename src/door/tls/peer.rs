//! What is read from a certificate, by the library that verified it.

use std::io;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use crate::domain::client_certificate::{CertificateThumbprint, ClientCertificate};

/// In the year 9999, after which no certificate is valid (RFC 5280).
const AFTER_ALL_S: u64 = 253_402_300_800;

pub(super) fn client_certificate(certificate: &CertificateDer<'_>) -> io::Result<ClientCertificate> {
    let parsed = EndEntityCert::try_from(certificate).map_err(io::Error::other)?;
    Ok(ClientCertificate {
        thumbprint: CertificateThumbprint::of(certificate),
        dns_names: parsed.valid_dns_names().map(str::to_owned).collect(),
        uris: parsed.valid_uri_names().map(str::to_owned).collect(),
    })
}

/// The library gives the end of a certificate only as the error of verifying it later. It checks that
/// before it looks for an authority.
pub(super) fn expires_at_s(certificate: &CertificateDer<'_>) -> Result<u64, Error> {
    let parsed = EndEntityCert::try_from(certificate)?;
    let later = UnixTime::since_unix_epoch(Duration::from_secs(AFTER_ALL_S));
    match parsed.verify_for_usage(&[], &[], &[], later, KeyUsage::server_auth(), None, None) {
        Err(Error::CertExpired { not_after, .. }) => Ok(not_after.as_secs()),
        Err(error) => Err(error),
        Ok(_) => Ok(AFTER_ALL_S),
    }
}
