//! Who did something: a person, a client, or a part of Tollgate itself.
//!
//! The text form is stored with every act, so it must never change.

use std::fmt;

use super::tenant::ClientId;
use super::user::UserId;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    User(UserId),
    Client(ClientId),
    /// The command line, or a task of a node. Its text is its name.
    System(String),
}

impl Actor {
    /// `None` if the text names a user or a client without an id.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("user", id)) => id.parse().ok().map(|id| Self::User(UserId(id))),
            Some(("client", id)) => id.parse().ok().map(|id| Self::Client(ClientId(id))),
            _ => Some(Self::System(text.to_owned())),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Client(id) => write!(f, "client:{id}"),
            Self::System(name) => f.write_str(name),
        }
    }
}

/// An actor as people know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedActor {
    pub actor: Actor,
    pub name: String,
    pub is_disabled: bool,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_actor_is_read_back_from_its_text() {
        let id = Uuid::from_u128(7);
        for actor in
            [Actor::User(UserId(id)), Actor::Client(ClientId(id)), Actor::System("command line".to_owned())]
        {
            assert_eq!(Actor::parse(&actor.to_string()), Some(actor));
        }
        assert_eq!(Actor::parse("user:nobody"), None);
    }
}
