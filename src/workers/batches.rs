//! Sends the calls of one worker: those that wait at the same moment travel in one request.
//!
//! Each call is answered as soon as its own answer arrives. A batch must never wait for more calls:
//! at low load that would only delay a payment.

use std::time::Duration;

use prost::Message;
use prost::bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::messages::answers::RulesetResult;
use super::messages::rule_engine_client::RuleEngineClient;
use super::messages::{EvaluateRequest, RulesetCall};
use super::service::CALLS_MAX;
use super::worker::of_start;
use crate::rules;

/// How much later than its deadline an answer may still arrive: it then says how far the rules came.
pub(super) const AFTER_DEADLINE: Duration = Duration::from_millis(50);

/// The part of the time that is left, and the most, by which the worker has to answer earlier: the
/// answer then still arrives in time, and says how far the rules came.
const EARLIER_PART: u32 = 20;
const EARLIER_MAX: Duration = Duration::from_millis(20);

/// A batch gets no further call once it has this size.
const BATCH_BYTES: usize = 1 << 20;

type Answer = oneshot::Sender<Result<RulesetResult, Status>>;

struct WaitingCall {
    call: RulesetCall,
    /// Which start of the worker is meant.
    start: Bytes,
    deadline: Instant,
    answer: Answer,
}

#[derive(Debug, Clone)]
pub(super) struct Batches(mpsc::UnboundedSender<WaitingCall>);

impl Batches {
    /// The task ends with the last clone.
    pub(super) fn start(client: RuleEngineClient<Channel>) -> Self {
        // Without a bound of its own: each call belongs to a request, and requests are bounded.
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(send_all(client, waiting));
        Self(queue)
    }

    /// An error means that it is unknown whether the worker evaluated the call.
    pub(super) async fn evaluate(
        &self,
        call: &rules::RulesetCall,
        start: Bytes,
    ) -> Result<RulesetResult, Status> {
        let (answer, answered) = oneshot::channel();
        let deadline = call.deadline;
        let waiting = WaitingCall { call: RulesetCall::of(0, call), start, deadline, answer };
        if self.0.send(waiting).is_err() {
            return Err(Status::unavailable("this process has stopped using the worker"));
        }
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("the call was dropped")))
    }
}

async fn send_all(client: RuleEngineClient<Channel>, mut waiting: mpsc::UnboundedReceiver<WaitingCall>) {
    while let Some(first) = waiting.recv().await {
        // Lets the payments that are ready on this thread join.
        tokio::task::yield_now().await;
        let mut bytes = first.call.encoded_len();
        let mut batch = vec![first];
        while batch.len() < CALLS_MAX
            && bytes < BATCH_BYTES
            && let Ok(next) = waiting.try_recv()
        {
            bytes += next.call.encoded_len();
            // Of before and after a look at a worker that was started again.
            if next.start != batch[0].start {
                tokio::spawn(send(client.clone(), std::mem::take(&mut batch)));
            }
            batch.push(next);
        }
        tokio::spawn(send(client.clone(), batch));
    }
}

async fn send(client: RuleEngineClient<Channel>, batch: Vec<WaitingCall>) {
    let until =
        batch.iter().map(|waiting| waiting.deadline).max().unwrap_or_else(Instant::now) + AFTER_DEADLINE;
    let start = batch.first().map(|waiting| waiting.start.clone()).unwrap_or_default();
    let (mut calls, mut answers) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for (number, WaitingCall { call, deadline, answer, .. }) in (0..).zip(batch) {
        calls.push(RulesetCall { number, deadline_us: time_for_worker_us(deadline), ..call });
        answers.push(Some(answer));
    }
    let asked = timeout_at(until, ask(client, calls, &start, &mut answers)).await;
    let failure = match asked {
        Ok(Ok(())) => Status::unavailable("the worker left calls without an answer"),
        Ok(Err(status)) => status,
        Err(_late) => Status::deadline_exceeded("no answer until the deadline"),
    };
    for unanswered in answers.into_iter().flatten() {
        let _ = unanswered.send(Err(failure.clone()));
    }
}

fn time_for_worker_us(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now());
    u64::try_from((left - (left / EARLIER_PART).min(EARLIER_MAX)).as_micros()).unwrap_or(u64::MAX)
}

async fn ask(
    mut client: RuleEngineClient<Channel>,
    calls: Vec<RulesetCall>,
    start: &Bytes,
    answers: &mut [Option<Answer>],
) -> Result<(), Status> {
    let request = of_start(Request::new(EvaluateRequest { calls }), start);
    let mut arriving = client.evaluate(request).await?.into_inner();
    while let Some(message) = arriving.message().await? {
        for answer in message.answers {
            let waiting = usize::try_from(answer.number).ok().and_then(|number| answers.get_mut(number));
            if let Some(waiting) = waiting.and_then(Option::take) {
                let _ = waiting.send(answer.read().map_err(|error| Status::data_loss(error.to_string())));
            }
        }
    }
    Ok(())
}
