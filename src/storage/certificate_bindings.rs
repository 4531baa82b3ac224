//! The columns of what a client is bound to.
//!
//! A value that cannot be read must be an error: without its binding, a client needs only its secret.

use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::StorageError;
use crate::domain::client_certificate::{BoundDnsName, BoundUri, CertificateBinding, CertificateThumbprint};

const WHAT: &str = "certificate of a client";

pub(super) struct BindingColumns {
    pub sha256: Option<Vec<u8>>,
    pub san_dns: Option<String>,
    pub san_uri: Option<String>,
}

pub(super) fn columns(binding: Option<&CertificateBinding>) -> BindingColumns {
    let mut columns = BindingColumns { sha256: None, san_dns: None, san_uri: None };
    match binding {
        Some(CertificateBinding::Sha256(thumbprint)) => columns.sha256 = Some(thumbprint.0.to_vec()),
        Some(CertificateBinding::SanDns(name)) => columns.san_dns = Some(name.as_str().to_owned()),
        Some(CertificateBinding::SanUri(uri)) => columns.san_uri = Some(uri.as_str().to_owned()),
        None => {}
    }
    columns
}

pub(super) fn read(row: &PgRow) -> Result<Option<CertificateBinding>, StorageError> {
    let unreadable = || StorageError::Unreadable { what: WHAT };
    let sha256: Option<Vec<u8>> = row.try_get("certificate_sha256")?;
    let san_dns: Option<String> = row.try_get("certificate_san_dns")?;
    let san_uri: Option<String> = row.try_get("certificate_san_uri")?;
    Ok(match (sha256, san_dns, san_uri) {
        (None, None, None) => None,
        (Some(bytes), None, None) => {
            let bytes = bytes.try_into().map_err(|_| unreadable())?;
            Some(CertificateBinding::Sha256(CertificateThumbprint(bytes)))
        }
        (None, Some(name), None) => {
            Some(CertificateBinding::SanDns(BoundDnsName::parse(&name).map_err(|_| unreadable())?))
        }
        (None, None, Some(uri)) => {
            Some(CertificateBinding::SanUri(BoundUri::parse(&uri).map_err(|_| unreadable())?))
        }
        _ => return Err(unreadable()),
    })
}

/// As the audit log has it, with the names of the API.
pub(super) fn state(binding: &CertificateBinding) -> Value {
    match binding {
        CertificateBinding::Sha256(thumbprint) => json!({"sha256": thumbprint.to_string()}),
        CertificateBinding::SanDns(name) => json!({"san_dns": name.as_str()}),
        CertificateBinding::SanUri(uri) => json!({"san_uri": uri.as_str()}),
    }
}
