//! Plugins as JSON. The description that a plugin gives of itself is untrusted text.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::plugin::{Digest, Plugin, TenantPlugin};
use crate::domain::ruleset::PluginUse;
use crate::http::response::moment::Moment;
use crate::storage::nodes::PluginReadiness;

/// A plugin, from the moment it was uploaded.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plugin)]
pub struct PluginShape {
    /// SHA-256 of the component. Identifies the plugin everywhere.
    pub digest: String,
    /// `waiting`, `compiling`, `ready` or `refused`.
    #[schema(example = "ready")]
    pub state: &'static str,
    /// Why the plugin was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub size_bytes: u64,
    /// Absent if the plugin only comes from the shared folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploaded_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploaded_at_ms: Option<Moment>,
    /// While waiting or compiling: number of the tenant's own uploads ahead of this one. Small and large
    /// plugins have separate queues, in which tenants take turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
    /// How long it has waited so far, or waited until a node began to compile it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_ms: Option<u64>,
    /// How long a node has been compiling it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiling_ms: Option<u64>,
    /// Present only once the plugin is ready, like all fields that follow.
    #[serde(flatten)]
    #[schema(inline)]
    pub found: Option<FoundShape>,
    /// The rules that use the plugin in the newest revisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_in: Option<Vec<UseShape>>,
    /// The running nodes. Only when a single plugin is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<NodeShape>>,
    #[serde(skip)]
    of: Digest,
}

/// What was found in a plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FoundInPlugin)]
pub struct FoundShape {
    /// Version of the rule contract.
    #[schema(example = "1.0.0")]
    pub contract: String,
    /// The limits it runs under: `small` or `large`.
    pub profile: &'static str,
    pub name: String,
    pub version: String,
    pub summary: String,
    /// JSON Schema of its settings.
    #[schema(value_type = Object)]
    pub settings_schema: Value,
    /// Its imports. These can only be types of the contract: a plugin can call nothing outside itself.
    pub imports: Vec<String>,
    pub compile_ms: u64,
    /// Whether all tenants can use it.
    pub shared: bool,
    /// When it was retired. New revisions cannot use a retired plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired_at_ms: Option<Moment>,
}

/// A rule that uses the plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginUse)]
pub struct UseShape {
    pub point: &'static str,
    pub revision: i32,
    pub rule: String,
    /// Whether the revision is the active one.
    pub active: bool,
    /// Whether the revision is the canary.
    pub canary: bool,
    /// Whether the revision runs in shadow.
    pub shadow: bool,
}

/// Whether a node can run the plugin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginOnNode)]
pub struct NodeShape {
    pub name: String,
    pub ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl PluginShape {
    pub fn at(seen: TenantPlugin, now_ms: u64) -> Self {
        let (shared, retired_at_ms) = (seen.shared, seen.retired_at_ms);
        let started_at_ms = seen.queue_place.and_then(|place| place.started_at_ms);
        let waited_to_ms = started_at_ms.unwrap_or(now_ms);
        let waited =
            seen.queue_place.and(seen.uploaded_at_ms).map(|from_ms| waited_to_ms.saturating_sub(from_ms));
        Self {
            digest: seen.digest.to_string(),
            state: seen.state.name(),
            why: seen.why,
            size_bytes: seen.size_bytes,
            uploaded_by: seen.uploaded_by,
            uploaded_at_ms: seen.uploaded_at_ms.map(Moment),
            ahead: seen.queue_place.map(|place| place.ahead),
            waiting_ms: waited,
            compiling_ms: started_at_ms.map(|from_ms| now_ms.saturating_sub(from_ms)),
            found: seen.plugin.map(|plugin| FoundShape::of(plugin, shared, retired_at_ms)),
            used_in: None,
            nodes: None,
            of: seen.digest,
        }
    }

    /// Adds those of `uses` that belong to this plugin.
    pub fn with_uses(self, uses: &[PluginUse]) -> Self {
        let own = uses.iter().filter(|found| found.plugin == self.of).map(|found| UseShape {
            point: found.point.name(),
            revision: found.revision,
            rule: found.rule.clone(),
            active: found.active,
            canary: found.canary,
            shadow: found.shadow,
        });
        Self { used_in: self.found.is_some().then(|| own.collect()), ..self }
    }

    pub fn with_nodes(self, nodes: Vec<PluginReadiness>) -> Self {
        let shape = |node: PluginReadiness| NodeShape { name: node.node, ready: node.ready, why: node.why };
        Self { nodes: Some(nodes.into_iter().map(shape).collect()), ..self }
    }
}

impl FoundShape {
    fn of(plugin: Plugin, shared: bool, retired_at_ms: Option<u64>) -> Self {
        let description = plugin.description;
        Self {
            contract: plugin.contract,
            profile: plugin.profile.name(),
            name: description.name,
            version: description.version,
            summary: description.summary,
            settings_schema: serde_json::from_str(&description.settings_schema)
                .unwrap_or(Value::String(description.settings_schema)),
            imports: plugin.imports,
            compile_ms: plugin.compile_ms,
            shared,
            retired_at_ms: retired_at_ms.map(Moment),
        }
    }
}
