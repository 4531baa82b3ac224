//! Builds the parts that people need: signing in, users, clients and tenants.

use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::auth::openid_flow::OpenidFlows;
use crate::auth::password::{HashingLimits, SecretHasher};
use crate::auth::refresh_token::RefreshTokens;
use crate::auth::root_secret::{Purpose, RootSecret};
use crate::auth::sealed::Sealer;
use crate::auth::token::{AccessTokens, TokenIssuer};
use crate::config::NodeSettings;
use crate::domain::openid::AllowedIssuers;
use crate::domain::time::World;
use crate::people::clients::Clients;
use crate::people::openid::{Openid, Providers};
use crate::people::revocations::Revocations;
use crate::people::sign_in::{SignInLifetimes, SignInParts, SignIns};
use crate::people::tenants::Tenants;
use crate::people::users::Users;
use crate::storage::databases::Databases;

pub(super) struct PeopleParts {
    pub hasher: Arc<SecretHasher>,
    pub sign_ins: Arc<SignIns>,
    pub openid: Arc<Openid>,
    pub users: Arc<Users>,
    pub clients: Clients,
    pub tenants: Tenants,
}

pub(super) fn lifetimes(settings: &NodeSettings) -> SignInLifetimes {
    SignInLifetimes {
        idle: Duration::from_secs(settings.session_idle_max_s),
        total: Duration::from_secs(settings.session_max_s),
    }
}

pub(super) fn people_parts(
    settings: &NodeSettings,
    databases: &Databases,
    world: &World,
    root: &RootSecret,
    tokens: Arc<AccessTokens>,
    revocations: Arc<Revocations>,
    issuer: TokenIssuer,
) -> Result<PeopleParts, StartError> {
    let hasher = Arc::new(SecretHasher::new(HashingLimits::default(), world.randomness())?);
    let app = &databases.app;
    let allowed_issuers = AllowedIssuers::new(settings.openid_issuers.clone());
    let sign_ins = Arc::new(SignIns::new(SignInParts {
        app: app.clone(),
        hasher: hasher.clone(),
        tokens,
        refresh_tokens: RefreshTokens::new(&root.derive(Purpose::RefreshTokens)?),
        sealer: Sealer::new(&root.derive(Purpose::SecondFactors)?)?,
        revocations: revocations.clone(),
        allowed_issuers: allowed_issuers.clone(),
        lifetimes: lifetimes(settings),
        world: world.clone(),
    }));
    let openid = Arc::new(Openid {
        app: app.clone(),
        providers: Arc::new(Providers::new(allowed_issuers)),
        sign_ins: sign_ins.clone(),
        sealer: Sealer::new(&root.derive(Purpose::OpenidSecrets)?)?,
        flows: OpenidFlows::new(Sealer::new(&root.derive(Purpose::OpenidFlows)?)?),
        issuer: issuer.clone(),
        world: world.clone(),
    });
    let users = Users { app: app.clone(), revocations: revocations.clone(), issuer, world: world.clone() };
    let users = Arc::new(users);
    let clients = Clients { app: app.clone(), hasher: hasher.clone(), revocations, world: world.clone() };
    let tenants = Tenants { system: databases.system.clone(), world: world.clone() };
    Ok(PeopleParts { hasher, sign_ins, openid, users, clients, tenants })
}
