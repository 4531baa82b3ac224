//! The gRPC service of a worker.
//!
//! It believes whoever reaches it: the listener lets nobody in who is not known. It must not hold
//! anything about a payment once that is answered.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use prost::bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::messages::rule_engine_server::RuleEngine as RuleEngineService;
use super::messages::{
    AddPluginRequest, AddPluginResponse, DescribeRequest, DescribeResponse, DiagnoseRequest,
    DiagnoseResponse, EvaluateInBackgroundRequest, EvaluateInBackgroundResponse, EvaluateRequest,
    EvaluateResponse, FORMAT, GetPluginRequest, GetPluginResponse, Plugin, PrepareRequest, PrepareResponse,
    RulesetAnswer, RulesetCall, START_KEY, digest_of, profile_of,
};
use crate::domain::plugin::{ByProfile, Digest};
use crate::rules::{EngineError, RuleEngine};

/// Calls of one request. Whoever has more asks again.
pub(super) const CALLS_MAX: usize = 64;
/// More than the largest plugin (128 MiB), and more than the input of all rules of one ruleset (50 of
/// 1 MiB each).
pub(super) const REQUEST_MAX_BYTES: usize = 160 << 20;
/// Answers that wait for the connection. More make the rules of this request wait.
const ANSWERS_MAX: usize = CALLS_MAX;

/// How many plugins are added at once. A large one may take two gigabytes to compile.
const SMALL_AT_ONCE: usize = 3;
const LARGE_AT_ONCE: usize = 1;

pub(super) fn turns() -> Arc<ByProfile<Semaphore>> {
    Arc::new(ByProfile { small: Semaphore::new(SMALL_AT_ONCE), large: Semaphore::new(LARGE_AT_ONCE) })
}

#[derive(Debug, Clone)]
pub(super) struct RuleService {
    pub(super) engine: Arc<dyn RuleEngine>,
    /// Of this start of the process.
    pub(super) start: Uuid,
    /// Turns for adding plugins: each caller takes turns of its own only.
    pub(super) turns: Arc<ByProfile<Semaphore>>,
    /// Cancelled when nobody should ask this worker any more.
    pub(super) leaving: CancellationToken,
}

/// Refuses requests that mean another start of this worker.
pub(super) fn only_of(start: Uuid) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |request| match request.metadata().get_bin(START_KEY).map(|meant| meant.to_bytes()) {
        Some(Ok(meant)) if meant[..] != start.as_bytes()[..] => {
            Err(Status::failed_precondition("this worker was started again"))
        }
        _ => Ok(request),
    }
}

fn bounded(calls: usize) -> Result<(), Status> {
    if calls <= CALLS_MAX {
        Ok(())
    } else {
        Err(Status::invalid_argument(format!("{calls} calls in one request; expected at most {CALLS_MAX}")))
    }
}

#[tonic::async_trait]
impl RuleEngineService for RuleService {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        if self.leaving.is_cancelled() {
            return Err(Status::unavailable("this worker is stopping"));
        }
        let (engine, start) = (self.engine.id().0.clone(), Bytes::copy_from_slice(self.start.as_bytes()));
        Ok(Response::new(DescribeResponse { engine, start, format: FORMAT }))
    }

    type EvaluateStream = BoxStream<'static, Result<EvaluateResponse, Status>>;

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<Self::EvaluateStream>, Status> {
        let calls = request.into_inner().calls;
        bounded(calls.len())?;
        let (answers, answered) = mpsc::channel(ANSWERS_MAX);
        for call in calls {
            let (number, engine, answers) = (call.number, self.engine.clone(), answers.clone());
            // A task for each, so that a slow payment delays no other. It ends with its deadline.
            tokio::spawn(async move {
                let result = match call.read() {
                    Ok(call) => engine.evaluate(call).await,
                    Err(error) => Err(EngineError::Unavailable(error.to_string())),
                };
                // Nobody waits for it any more if this fails.
                let _ = answers.send(RulesetAnswer::of(number, &result)).await;
            });
        }
        // Answers that are ready at the same time are sent in one message.
        let together = ReceiverStream::new(answered).ready_chunks(CALLS_MAX);
        Ok(Response::new(together.map(|answers| Ok(EvaluateResponse { answers })).boxed()))
    }

    async fn evaluate_in_background(
        &self,
        request: Request<EvaluateInBackgroundRequest>,
    ) -> Result<Response<EvaluateInBackgroundResponse>, Status> {
        let calls = request.into_inner().calls;
        let calls: Vec<_> = calls.into_iter().map(RulesetCall::read).collect::<Result<_, _>>()?;
        let result = self.engine.evaluate_in_background(calls).await;
        Ok(Response::new(EvaluateInBackgroundResponse::of(&result)))
    }

    async fn prepare(&self, request: Request<PrepareRequest>) -> Result<Response<PrepareResponse>, Status> {
        let PrepareRequest { plugin, settings } = request.into_inner();
        let result = self.engine.prepare(digest_of(&plugin)?, settings).await;
        Ok(Response::new(PrepareResponse::of(&result)))
    }

    async fn add_plugin(
        &self,
        request: Request<AddPluginRequest>,
    ) -> Result<Response<AddPluginResponse>, Status> {
        let AddPluginRequest { digest, bytes, most } = request.into_inner();
        let (digest, most) = (digest_of(&digest)?, profile_of(most)?);
        let failed = |error: tokio::task::JoinError| Status::internal(error.to_string());
        // Copying and hashing a large plugin takes too long for a thread that also serves payments.
        let checked = move || (Digest::of(&bytes) == digest).then(|| Arc::<[u8]>::from(&bytes[..]));
        let Some(bytes) = tokio::task::spawn_blocking(checked).await.map_err(failed)? else {
            return Err(Status::invalid_argument("the plugin does not have the digest that was named"));
        };
        let (engine, turns) = (self.engine.clone(), self.turns.clone());
        // Goes on if the caller leaves: it or another will ask for the same plugin again.
        let added = tokio::spawn(async move {
            let _turn = turns.of(most).acquire().await;
            engine.add_plugin(bytes, most).await
        });
        let added = added.await.map_err(failed)?;
        if let Ok(plugin) = &added {
            let plugin_name = &plugin.description.name;
            tracing::info!(%digest, plugin_name, compile_ms = plugin.compile_ms, "plugin added");
        }
        Ok(Response::new(AddPluginResponse::of(&added)))
    }

    async fn get_plugin(
        &self,
        request: Request<GetPluginRequest>,
    ) -> Result<Response<GetPluginResponse>, Status> {
        let digest = digest_of(&request.into_inner().digest)?;
        let plugin = self.engine.plugin(digest).await;
        Ok(Response::new(GetPluginResponse { plugin: plugin.as_ref().map(Plugin::of) }))
    }

    async fn diagnose(
        &self,
        request: Request<DiagnoseRequest>,
    ) -> Result<Response<DiagnoseResponse>, Status> {
        let (call, bytes) = request.into_inner().read()?;
        let diagnosed = self.engine.diagnose(call, bytes).boxed();
        Ok(Response::new(DiagnoseResponse::of(&diagnosed.await)))
    }
}
