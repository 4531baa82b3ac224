//! Authorities and certificates, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Runs openssl in a folder.
pub fn openssl(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let made = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// For the command `ca`.
const CONFIGURATION: &str = "[ca]\ndefault_ca = here\n[here]\nnew_certs_dir = .\ndatabase = index\nserial = serial\n\
                             default_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n";

/// A certificate with its key, in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Issued {
    /// For reqwest.
    pub fn identity(&self) -> reqwest::Identity {
        reqwest::Identity::from_pem(format!("{}{}", self.key, self.certificate).as_bytes()).unwrap()
    }

    /// Writes the certificate and the key into a folder, in this order.
    pub fn write(&self, certificate: &Path, key: &Path) {
        std::fs::write(certificate, &self.certificate).unwrap();
        std::fs::write(key, &self.key).unwrap();
    }

    /// The SHA-256 of the certificate in base64url, as openssl computes it.
    pub fn thumbprint(&self) -> String {
        use base64::Engine;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("crt"), &self.certificate).unwrap();
        let der = openssl(folder.path(), &["x509", "-in", "crt", "-outform", "DER"]);
        std::fs::write(folder.path().join("der"), der).unwrap();
        let hash = openssl(folder.path(), &["dgst", "-sha256", "-binary", "der"]);
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash)
    }
}

/// An authority that signs certificates.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("authority").tempdir_in("/tmp").unwrap();
        let subject = format!("/CN={name}");
        let mut arguments = vec!["req", "-x509", "-days", "30", "-subj", &subject];
        arguments.extend(NEW_KEY);
        arguments.extend(["-addext", "keyUsage=critical,keyCertSign", "-keyout", "ca.key", "-out", "ca"]);
        openssl(folder.path(), &arguments);
        Self { folder }
    }

    /// Its certificate, as a file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ca")
    }

    pub fn pem(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    /// A new certificate with these subject alternative names, such as `DNS:localhost`.
    pub fn issue(&self, names: &str) -> Issued {
        self.issue_for("/CN=test", names, &["-days", "30"])
    }

    /// A new certificate with another subject.
    pub fn issue_to(&self, subject: &str, names: &str) -> Issued {
        self.issue_for(subject, names, &["-days", "30"])
    }

    pub fn issue_expired(&self, names: &str) -> Issued {
        self.issue_for("/CN=test", names, &["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"])
    }

    /// By the command `ca`, since no other can set both ends.
    fn issue_for(&self, subject: &str, names: &str, valid: &[&str]) -> Issued {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap();
        let at = folder.path();
        let mut arguments = vec!["req", "-new", "-subj", subject];
        arguments.extend(NEW_KEY);
        arguments.extend(["-keyout", "key", "-out", "csr"]);
        openssl(at, &arguments);
        std::fs::write(at.join("names"), format!("subjectAltName={names}\n")).unwrap();
        std::fs::write(at.join("configuration"), CONFIGURATION).unwrap();
        std::fs::write(at.join("index"), "").unwrap();
        let mut arguments = vec!["ca", "-batch", "-notext", "-config", "configuration", "-rand_serial"];
        arguments.extend(["-cert", "../ca", "-keyfile", "../ca.key", "-in", "csr", "-extfile", "names"]);
        arguments.extend(["-out", "crt"]);
        arguments.extend(valid);
        openssl(at, &arguments);
        let read = |name| std::fs::read_to_string(at.join(name)).unwrap();
        Issued { certificate: read("crt"), key: read("key") }
    }
}
