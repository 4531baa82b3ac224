//! What guards and handlers see of the connection by which a request came.
//!
//! Only the door may fill this in: nothing of it may come from a header that any client can send.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rocket::Request;
use rocket::request::{FromRequest, Outcome};

use crate::domain::client_certificate::{CertificateThumbprint, ClientCertificate};
use crate::domain::tenant::TenantId;
use crate::door::{Place, Refusal};

#[derive(Debug)]
pub struct Connection {
    /// Of the client; if a named proxy forwarded the request, as the proxy says.
    pub address: IpAddr,
    /// What the client has proved to own. `None` without TLS, or if the client showed none.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Why the door refused the request, if it did.
    pub refusal: Option<Refusal>,
    /// `None` in unit tests, which have no door.
    pub place: Option<Arc<Place>>,
}

impl Connection {
    pub fn of<'r>(request: &'r Request<'_>) -> &'r Self {
        request.local_cache(|| {
            let address = Ipv4Addr::LOCALHOST.into();
            Self { address, certificate: None, refusal: None, place: None }
        })
    }

    pub fn thumbprint(&self) -> Option<CertificateThumbprint> {
        self.certificate.as_ref().map(|certificate| certificate.thumbprint)
    }

    /// A token of this tenant was verified.
    pub fn believe(&self, tenant: TenantId) {
        if let Some(place) = &self.place {
            place.believe(tenant);
        }
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for &'r Connection {
    type Error = std::convert::Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Self::Error> {
        Outcome::Success(Connection::of(request))
    }
}
