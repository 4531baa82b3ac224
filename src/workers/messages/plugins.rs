//! Plugins, and what becomes of the attempt to add one.

use super::{UnreadableMessage, digest_bytes, digest_of, profile_number, profile_of};
use crate::domain::plugin::{Description, Digest, Plugin};
use crate::rules::AddPluginError;

impl super::Plugin {
    pub fn of(plugin: &Plugin) -> Self {
        let Description { name, version, summary, settings_schema } = plugin.description.clone();
        Self {
            digest: digest_bytes(plugin.digest),
            size_bytes: plugin.size_bytes,
            contract: plugin.contract.clone(),
            profile: profile_number(plugin.profile),
            name,
            version,
            summary,
            settings_schema,
            imports: plugin.imports.clone(),
            compile_ms: plugin.compile_ms,
        }
    }

    /// The plugin that was asked for.
    pub fn read_as(self, asked: Digest) -> Result<Plugin, UnreadableMessage> {
        if digest_of(&self.digest)? != asked {
            return Err(UnreadableMessage("another plugin than the one that was asked for"));
        }
        let Self { name, version, summary, settings_schema, .. } = self;
        Ok(Plugin {
            digest: asked,
            size_bytes: self.size_bytes,
            contract: self.contract,
            profile: profile_of(self.profile)?,
            description: Description { name, version, summary, settings_schema },
            imports: self.imports,
            compile_ms: self.compile_ms,
        })
    }
}

impl super::AddPluginResponse {
    pub fn of(result: &Result<Plugin, AddPluginError>) -> Self {
        use super::add_plugin_response::Result;
        let result = match result {
            Ok(plugin) => Result::Added(super::Plugin::of(plugin)),
            Err(AddPluginError::Refused(why)) => Result::Refused(why.clone()),
            Err(AddPluginError::NeedsLarge) => Result::NeedsLarge(super::NeedsLarge {}),
            Err(AddPluginError::Engine(error)) => Result::Error(super::EngineError::of(error)),
        };
        Self { result: Some(result) }
    }

    /// The answer about this plugin.
    pub fn read(self, added: Digest) -> Result<Result<Plugin, AddPluginError>, UnreadableMessage> {
        use super::add_plugin_response::Result;
        Ok(match self.result.ok_or(UnreadableMessage("an answer without a result"))? {
            Result::Added(plugin) => Ok(plugin.read_as(added)?),
            Result::Refused(why) => Err(AddPluginError::Refused(why)),
            Result::NeedsLarge(_) => Err(AddPluginError::NeedsLarge),
            Result::Error(error) => Err(AddPluginError::Engine(error.read()?)),
        })
    }
}
