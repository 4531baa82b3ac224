//! Looks up facts: the answers to the queries of a ruleset about a payment.
//!
//! One statement answers all queries and finds the idempotency key, for any number of payments, each
//! as of its own time. Of similar names it only finds the version of the list: `reference` completes
//! them, and looks up tables by itself. The caller counts the payments in flight on this node, so they are left out
//! here.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::StorageError;
use super::columns::digest;
use super::pool::{AppPool, SystemPool};
use super::time_limit::TimeLimit;
use crate::domain::aggregate::AggregateTally;
use crate::domain::decision::IdempotencyKey;
use crate::domain::payment::{Payment, PaymentId};
use crate::domain::plugin::Digest;
use crate::domain::selector::{Fact, FactQuery};
use crate::domain::tenant::{ClientId, TenantId};

pub(super) use columns::{SearchTexts, search_texts};
pub use reader::{FactReader, SEPARATE_CONNECTIONS, SHARED_CONNECTIONS};

use aggregates::tally_of;
use columns::FactColumns;
use statement::ask;
use versions::VERSION;

mod aggregates;
mod columns;
mod reader;
mod statement;
mod versions;

const WHAT: &str = "fact";

/// With the defaults, Postgres would read whole tables while it has no statistics, and would spend
/// time on compiling a statement that looks expensive.
const SETTINGS: &str = "set local enable_seqscan = off; set local jit = off";

/// A statement with this many texts gets no further requests. Postgres finds a slice by scanning
/// its array, so twice as many texts take four times as long.
const TEXTS_MAX: usize = 2_048;

/// The payments in flight on this node that have one value. The caller adds them to the stored count,
/// so they are excluded from it. Then it does not matter whether one of them commits meanwhile.
#[derive(Debug, Clone)]
pub struct InFlightValue {
    /// As `series::aggregate_key` computes it.
    pub value_key: Uuid,
    pub payments: Vec<PaymentId>,
}

#[derive(Debug, Clone)]
pub struct FactRequest {
    pub tenant: TenantId,
    /// Facts are looked up as of the time it was received.
    pub payment: Arc<Payment>,
    pub queries: Arc<[FactQuery]>,
    pub in_flight: Vec<InFlightValue>,
    /// Looked up in the same round trip.
    pub key: Option<(ClientId, IdempotencyKey)>,
    /// What need not be looked up.
    pub known: KnownFacts,
}

/// Facts that are known before the look-up, by the places of their queries.
#[derive(Debug, Clone, Default)]
pub struct KnownFacts {
    facts: BTreeMap<usize, Fact>,
    /// As in the answer.
    versions: BTreeMap<usize, i64>,
}

impl KnownFacts {
    pub(super) fn set(&mut self, place: usize, fact: Fact) {
        self.facts.insert(place, fact);
    }

    /// For a query about similar names, which `reference` completes.
    pub(super) fn set_version(&mut self, place: usize, version: i64) {
        self.facts.insert(place, Fact::Similar(None));
        self.versions.insert(place, version);
    }

    fn get(&self, place: usize) -> Option<&Fact> {
        self.facts.get(&place)
    }
}

impl FactRequest {
    /// The answer, if all queries are answered from memory alone.
    fn without_lookup(&self) -> Option<FactAnswer> {
        let is_in_memory = |(place, query): (usize, &FactQuery)| {
            matches!(query, FactQuery::Table { .. }) || self.known.get(place).is_some()
        };
        let needs_none = self.queries.iter().enumerate().all(is_in_memory);
        needs_none.then(|| {
            let facts = FactColumns::default().add(0, self);
            FactAnswer::before_lookup(self, facts)
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactAnswer {
    /// One for each query, in order. Velocities and aggregates include payments in flight only after
    /// `add_in_flight`.
    pub facts: Vec<Fact>,
    /// The velocities and aggregates by the places of their queries, so that payments in flight can be
    /// added.
    tallies: BTreeMap<usize, AggregateTally>,
    /// For the queries about similar names, the version of their list. None if there is no such list.
    versions: BTreeMap<usize, i64>,
    /// The decision to which the key is already bound.
    pub bound: Option<BoundKey>,
}

impl FactAnswer {
    fn before_lookup(request: &FactRequest, facts: Vec<Fact>) -> Self {
        let asked = request.queries.iter().zip(&facts).enumerate();
        let tallies = asked.filter_map(|(place, (query, fact))| {
            let counts_distinct = query.counted()?.distinct.is_some();
            (*fact != Fact::Absent).then(|| (place, AggregateTally::new(counts_distinct)))
        });
        let (tallies, versions) = (tallies.collect(), request.known.versions.clone());
        Self { tallies, facts, versions, ..Self::default() }
    }

    /// Adds payments in flight to the velocity or the aggregate at this place, before `conclude`.
    pub fn add_in_flight(&mut self, place: usize, ahead: &AggregateTally) {
        if let Some(tally) = self.tallies.get_mut(&place) {
            tally.add(ahead.clone());
        }
    }

    pub(super) fn version(&self, place: usize) -> Option<i64> {
        self.versions.get(&place).copied()
    }

    pub(super) fn set(&mut self, place: usize, fact: Fact) {
        if let Some(own) = self.facts.get_mut(place) {
            *own = fact;
        }
    }

    /// Makes the facts of the velocities and aggregates.
    pub fn conclude(&mut self) {
        for (place, tally) in &self.tallies {
            match self.facts.get_mut(*place) {
                Some(Fact::Velocity { count, total_minor }) => {
                    *count = tally.count;
                    *total_minor = i64::try_from(tally.total).unwrap_or(i64::MAX);
                }
                Some(fact) => *fact = Fact::Aggregate(Box::new(tally.clone().into_fact())),
                None => {}
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundKey {
    pub decision: PaymentId,
    pub request_hash: Digest,
}

/// Answers all queries of one payment, from one snapshot of the database. Sends no statement if
/// none is needed.
pub async fn look_up(app: &AppPool, request: FactRequest) -> Result<FactAnswer, StorageError> {
    let tenant = request.tenant;
    let (statements, mut answers) = prepare(std::iter::once(&request));
    if !statements.is_empty() {
        answers = app
            .transaction(tenant, move |connection| {
                Box::pin(async move {
                    sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
                    ask_all(connection, statements, answers).await
                })
            })
            .await?;
    }
    Ok(answers.pop().unwrap_or_default())
}

/// Looks up the facts of many payments, for background work. Returns an answer for each request, in
/// order.
pub async fn look_up_many(
    system: &SystemPool,
    requests: Vec<FactRequest>,
) -> Result<Vec<FactAnswer>, StorageError> {
    let (statements, answers) = prepare(requests.iter());
    if statements.is_empty() {
        return Ok(answers);
    }
    system
        .transaction_within(TimeLimit::PAGE, move |connection| {
            Box::pin(async move {
                sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
                ask_all(connection, statements, answers).await
            })
        })
        .await
}

/// The statements for the requests, and the answers as far as they are known without a lookup.
fn prepare<'r>(requests: impl Iterator<Item = &'r FactRequest>) -> (Vec<FactColumns>, Vec<FactAnswer>) {
    let (mut statements, mut answers) = (vec![FactColumns::default()], Vec::new());
    for (place, request) in requests.enumerate() {
        if statements.last().is_some_and(|columns| columns.texts.len() >= TEXTS_MAX) {
            statements.push(FactColumns::default());
        }
        let facts = statements.last_mut().map(|columns| columns.add(place, request));
        answers.push(FactAnswer::before_lookup(request, facts.unwrap_or_default()));
    }
    statements.retain(|columns| !columns.is_empty());
    (statements, answers)
}

async fn ask_all(
    connection: &mut PgConnection,
    statements: Vec<FactColumns>,
    mut answers: Vec<FactAnswer>,
) -> Result<Vec<FactAnswer>, StorageError> {
    for columns in statements {
        for row in ask(connection, columns).await? {
            add_row(&mut answers, &row)?;
        }
    }
    answers.iter_mut().for_each(FactAnswer::conclude);
    Ok(answers)
}

fn add_row(answers: &mut [FactAnswer], row: &PgRow) -> Result<(), StorageError> {
    let unreadable = || StorageError::Unreadable { what: WHAT };
    let place: i32 = row.try_get("place")?;
    let answer = usize::try_from(place).ok().and_then(|place| answers.get_mut(place));
    let answer = answer.ok_or_else(unreadable)?;
    let ordinal: Option<i32> = row.try_get("ordinal")?;
    let Some(ordinal) = ordinal else {
        answer.bound = Some(BoundKey {
            decision: PaymentId(row.try_get("decision_id")?),
            request_hash: digest(row.try_get("request_hash")?, "idempotency key")?,
        });
        return Ok(());
    };
    let ordinal = usize::try_from(ordinal).map_err(|_| unreadable())?;
    if row.try_get::<Option<i16>, _>("seen")? == Some(VERSION) {
        answer.versions.insert(ordinal, row.try_get("count")?);
        return Ok(());
    }
    if let Some(tally) = answer.tallies.get_mut(&ordinal) {
        tally.add(tally_of(row)?);
        return Ok(());
    }
    let fact = answer.facts.get_mut(ordinal).ok_or_else(unreadable)?;
    *fact = Fact::Listed(row.try_get("listed")?);
    Ok(())
}
