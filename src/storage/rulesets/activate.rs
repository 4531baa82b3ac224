//! Appends an activation, after checking that its plugins and lists can be used.

use uuid::Uuid;

use super::super::advisory_locks::DatabaseLock;
use super::super::audit;
use super::super::pool::AppPool;
use super::super::query_error::OfStatement;
use super::activations::append;
use super::list_uses::closed_among;
use super::plan::{ActivateError, ActivationPlan, ActivationRequest, NewActivation, plan};
use super::uses::{plugins_of, retired_among};
use crate::domain::audit::{Act, Action, Authority};
use crate::domain::ruleset::{Activation, ActivationKind, Deployment};

/// Appends an activation to the log. Concurrent activations wait for each other, so each sees the
/// previous one.
pub async fn activate(
    app: &AppPool,
    new: NewActivation,
    request: ActivationRequest,
) -> Result<Activation, ActivateError> {
    app.transaction(new.tenant, move |connection| {
        Box::pin(async move {
            DatabaseLock::ActivationSequence.take_in_transaction(connection).await.of_statement()?;
            let plan = plan(connection, &new, request).await?;
            let ActivationPlan { kind, before, after } = plan;
            let NewActivation { tenant, point, .. } = new;
            // A rollback is always possible, even if plugins were retired or lists closed since.
            if kind != ActivationKind::RollBack {
                let added = plan.added_revisions();
                let plugins = plugins_of(connection, tenant, point, &added).await?;
                if let Some(plugin) = retired_among(connection, tenant, &plugins).await? {
                    return Err(ActivateError::PluginRetired { plugin });
                }
                if let Some(closed) = closed_among(connection, tenant, point, &added).await? {
                    return Err(ActivateError::Closed(closed));
                }
            }
            let guard_backtest = match request {
                ActivationRequest::Activate { guard_backtest, .. } => guard_backtest,
                _ => None,
            };
            let NewActivation { actor, now_ms, .. } = new;
            let act = act_of(kind, before, after, guard_backtest, actor.clone(), now_ms);
            let activation = Activation {
                sequence: 0,
                point,
                kind,
                deployment: after,
                guard_backtest,
                activated_by: actor.name().to_owned(),
                activated_at_ms: now_ms,
            };
            let activation = append(connection, tenant, activation).await?;
            audit::record(connection, tenant, &act).await?;
            Ok(activation)
        })
    })
    .await
}

fn act_of(
    kind: ActivationKind,
    before: Option<Deployment>,
    after: Deployment,
    guard_backtest: Option<Uuid>,
    actor: Authority,
    now_ms: u64,
) -> Act {
    let action = match kind {
        ActivationKind::Activate => Action::RevisionActivated,
        ActivationKind::RollBack => Action::RevisionRolledBack,
        ActivationKind::Canary => Action::CanaryChanged,
        ActivationKind::Shadow => Action::ShadowChanged,
    };
    let json_of = |deployment: Deployment, guard: Option<Uuid>| {
        let canary = deployment.canary.map(|canary| {
            serde_json::json!({"revision": canary.revision, "share_percent": canary.share.percent()})
        });
        let mut json = serde_json::json!({
            "revision": deployment.revision, "canary": canary, "shadow": deployment.shadow,
        });
        if let Some(guard) = guard {
            json["guard_backtest"] = guard.to_string().into();
        }
        json.to_string()
    };
    Act {
        at_ms: now_ms,
        actor,
        action,
        subject: after.revision.to_string(),
        before: before.map(|before| json_of(before, None)),
        after: Some(json_of(after, guard_backtest)),
    }
}
