//! Backtests, their reports and examples as JSON.
//!
//! A report must not contain examples: they show payments, for which a token needs another scope.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::backtest::label::Label;
use crate::domain::backtest::report::{
    BacktestReport, Example, OutcomeMatrix, PaymentSum, RuleTally, VerdictCounts,
};
use crate::domain::backtest::{Backtest, BacktestFilter, BacktestSelection, Baseline};
use crate::domain::decision::Origin;
use crate::domain::money::AMOUNT_MINOR_MAX;
use crate::domain::verdict::Outcome;
use crate::http::request::codecs::{currency, integer, named, object, one_of, optional, optional_time, or};
use crate::http::request::declaration::{body, shape};
use crate::http::response::moment::Moment;
use crate::http::routes::payments::OutcomeShape;
use crate::http::routes::payments::body::MethodShape;
use crate::http::routes::rulesets::shapes::revision_number;

/// The largest integer that every JSON reader keeps exact, JavaScript's included.
const NEWEST_MAX: i64 = (1 << 53) - 1;

body! {
    /// Which decisions to evaluate again, and what to compare the results with.
    pub struct BacktestBody as "NewBacktest" {
        /// The revision to test (the candidate).
        revision: i32 = revision_number(),
        /// What to compare with: `recorded` (the default) for the original decisions, or `active` to run the
        /// currently active revision again.
        #[example = "recorded"]
        baseline: Option<Baseline> = optional(one_of(&[Baseline::Recorded, Baseline::Active], baseline_name)),
        /// Compare with this revision, run again. Replaces `baseline`.
        baseline_revision: Option<i32> = optional(revision_number()),
        /// Only payments received at or after this time.
        from_ms: Option<u64> = optional_time(),
        /// Only payments received before this time. Default and maximum: now.
        to_ms: Option<u64> = optional_time(),
        /// Only this many payments, the newest ones.
        newest: Option<u64> = optional(integer::<u64>(1..=NEWEST_MAX)),
        filter: BacktestFilter = or(object::<BacktestFilter>(), BacktestFilter::default()),
    }
    check |fields| {
        if fields.has("baseline") && fields.has("baseline_revision") {
            fields.error("baseline_revision", "cannot be combined with baseline");
        }
    }
    check |fields, from_ms, to_ms| {
        if from_ms.zip(*to_ms).is_some_and(|(from_ms, to_ms)| to_ms <= from_ms) {
            fields.error("to_ms", "must be later than from_ms");
        }
    }
}

fn baseline_name(baseline: Baseline) -> &'static str {
    if baseline == Baseline::Active { "active" } else { "recorded" }
}

body! {
    /// Conditions on the decision as recorded. All given conditions must hold.
    for BacktestFilter as "BacktestFilter" {
        outcome = optional(named::<OutcomeShape>()),
        method = optional(named::<MethodShape>()),
        currency = optional(currency()),
        amount_minor_min = optional(integer::<i64>(1..=AMOUNT_MINOR_MAX)),
        amount_minor_max = optional(integer::<i64>(1..=AMOUNT_MINOR_MAX)),
        origin = optional(one_of(&Origin::ALL, Origin::name)),
    }
    check |fields, amount_minor_min, amount_minor_max| {
        if amount_minor_min.zip(*amount_minor_max).is_some_and(|(least, most)| most < least) {
            fields.error("amount_minor_max", "must not be less than amount_minor_min");
        }
    }
}

impl BacktestBody {
    /// The baseline and the selected decisions. The selection ends at `now_ms` at the latest.
    pub fn choices(self, now_ms: u64) -> (Baseline, BacktestSelection) {
        let Self { baseline, baseline_revision, from_ms, to_ms, newest, filter, .. } = self;
        let baseline = baseline.or(baseline_revision.map(Baseline::Revision));
        let to_ms = to_ms.map_or(now_ms, |to_ms| to_ms.min(now_ms));
        (baseline.unwrap_or(Baseline::Recorded), BacktestSelection { from_ms, to_ms, newest, filter })
    }
}

shape! {
    pub struct FilterShape(BacktestFilter);
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BacktestSelection)]
pub struct SelectionShape {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<Moment>,
    pub to_ms: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
    pub filter: FilterShape,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backtest)]
pub struct BacktestShape {
    pub id: Uuid,
    pub point: &'static str,
    pub revision: i32,
    /// Absent if the candidate is compared with the original decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_revision: Option<i32>,
    pub selection: SelectionShape,
    /// `waiting`, `running`, `finished`, `cancelled` or `failed`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Number of selected decisions. Absent until they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    pub done: u64,
    pub created_by: String,
    pub created_at_ms: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at_ms: Option<Moment>,
    /// The results so far. Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BacktestReport)]
pub struct ReportShape {
    pub compared: u64,
    /// Compared decisions whose outcome would differ.
    pub changed: u64,
    /// Share of changed outcomes, rounded up to a hundredth of a percent. Absent if nothing was
    /// compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_percent: Option<f64>,
    /// Compared decisions for which at least one fact had not been recorded and was computed from the
    /// history as it was at the time.
    pub partly_computed: u64,
    /// Number of decisions that could not be compared, by reason: `erased`, `unreadable` or
    /// `host_failure`.
    pub not_replayable: BTreeMap<&'static str, u64>,
    /// One entry for each pair of outcomes that occurred.
    pub matrix: Vec<CellShape>,
    /// The same, for each label: what happened to the payments after the decision.
    pub by_label: BTreeMap<&'static str, Vec<CellShape>>,
    /// Results for each rule, by its name.
    pub rules: BTreeMap<String, RuleTallyShape>,
    /// Results of recorded rules that the candidate does not have.
    pub other_rules: RuleResultCountsShape,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BacktestCell)]
pub struct CellShape {
    pub was: OutcomeShape,
    pub would_be: OutcomeShape,
    pub count: u64,
    /// Totals by currency.
    pub amounts: BTreeMap<String, SumShape>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BacktestSum)]
pub struct SumShape {
    pub count: u64,
    /// The sum, capped at the largest 64-bit integer.
    pub amount_minor: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BacktestRule)]
pub struct RuleTallyShape {
    pub baseline: RuleResultCountsShape,
    pub candidate: RuleResultCountsShape,
    /// Payments for which both gave a result and the results differ.
    pub changed: u64,
}

/// How often a rule gave each result.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BacktestSays)]
pub struct RuleResultCountsShape {
    pub pass: u64,
    pub allow: u64,
    pub review: u64,
    pub reject: u64,
    pub failed: u64,
}

/// A payment whose outcome would differ.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BacktestExample)]
pub struct ExampleShape {
    pub payment: Uuid,
    pub was: OutcomeShape,
    pub would_be: OutcomeShape,
    pub amount_minor: i64,
    pub currency: String,
    /// What happened to the payment after its decision. `none` if no event was reported.
    pub label: &'static str,
    /// Codes of the reasons, without duplicates and without overridden ones. At most ten.
    pub was_codes: Vec<String>,
    pub would_be_codes: Vec<String>,
}

/// An example with its cell of the matrix.
pub struct ExampleInCell<'a> {
    pub was: Outcome,
    pub would_be: Outcome,
    pub example: &'a Example,
}

pub const OUTCOMES: [Outcome; 3] = [Outcome::Approve, Outcome::Review, Outcome::Reject];

/// All examples with their cells. Ordered by outcome, the mildest first, and newest first within a
/// cell.
pub fn placed(report: &BacktestReport) -> impl Iterator<Item = ExampleInCell<'_>> {
    let rows = OUTCOMES.into_iter().zip(&report.examples);
    rows.flat_map(|(was, row)| {
        let cells = OUTCOMES.into_iter().zip(row);
        cells.flat_map(move |(would_be, cell)| {
            cell.iter().map(move |example| ExampleInCell { was, would_be, example })
        })
    })
}

impl From<ExampleInCell<'_>> for ExampleShape {
    fn from(placed: ExampleInCell<'_>) -> Self {
        let ExampleInCell { was, would_be, example } = placed;
        let example = example.clone();
        Self {
            payment: example.payment,
            was: was.into(),
            would_be: would_be.into(),
            amount_minor: example.amount_minor,
            currency: example.currency,
            label: example.label.name(),
            was_codes: example.was_codes,
            would_be_codes: example.would_be_codes,
        }
    }
}

impl From<Backtest> for BacktestShape {
    fn from(backtest: Backtest) -> Self {
        Self {
            id: backtest.id,
            point: backtest.point.name(),
            revision: backtest.revision,
            baseline_revision: backtest.baseline_revision,
            selection: backtest.selection.into(),
            state: backtest.state.name(),
            why: backtest.why,
            total: backtest.total,
            done: backtest.done,
            created_by: backtest.created_by,
            created_at_ms: backtest.created_at_ms.into(),
            started_at_ms: backtest.started_at_ms.map(Moment),
            finished_at_ms: backtest.finished_at_ms.map(Moment),
            report: backtest.report.as_ref().map(ReportShape::from),
        }
    }
}

impl From<BacktestSelection> for SelectionShape {
    fn from(selection: BacktestSelection) -> Self {
        let BacktestSelection { from_ms, to_ms, newest, filter } = selection;
        Self { from_ms: from_ms.map(Moment), to_ms: Moment(to_ms), newest, filter: FilterShape(filter) }
    }
}

impl From<&BacktestReport> for ReportShape {
    fn from(report: &BacktestReport) -> Self {
        let not_replayable = report.not_replayable.iter().map(|(why, count)| (why.name(), *count));
        let by_label = report.by_label.iter().map(|(label, matrix)| (Label::name(*label), cells(matrix)));
        let rules = report.rules.iter().map(|(name, tally)| (name.clone(), tally.into()));
        Self {
            compared: report.compared(),
            changed: report.changed(),
            changed_percent: report.changed_ten_thousandths().map(|share| share as f64 / 100.0),
            partly_computed: report.partly_computed,
            not_replayable: not_replayable.collect(),
            matrix: cells(&report.overall()),
            by_label: by_label.collect(),
            rules: rules.collect(),
            other_rules: (&report.other_rules).into(),
        }
    }
}

fn cells(matrix: &OutcomeMatrix) -> Vec<CellShape> {
    let rows = OUTCOMES.into_iter().zip(matrix);
    let cells = rows.flat_map(|(was, row)| {
        OUTCOMES.into_iter().zip(row).map(move |(would_be, cell)| (was, would_be, cell))
    });
    cells
        .filter(|(_, _, cell)| !cell.is_empty())
        .map(|(was, would_be, cell)| CellShape {
            was: was.into(),
            would_be: would_be.into(),
            count: cell.values().map(|sum| sum.count).sum(),
            amounts: cell.iter().map(|(currency, sum)| (currency.clone(), (*sum).into())).collect(),
        })
        .collect()
}

impl From<PaymentSum> for SumShape {
    fn from(sum: PaymentSum) -> Self {
        Self { count: sum.count, amount_minor: sum.amount_minor }
    }
}

impl From<&RuleTally> for RuleTallyShape {
    fn from(tally: &RuleTally) -> Self {
        let RuleTally { baseline, candidate, changed } = tally;
        Self { baseline: baseline.into(), candidate: candidate.into(), changed: *changed }
    }
}

impl From<&VerdictCounts> for RuleResultCountsShape {
    fn from(says: &VerdictCounts) -> Self {
        let VerdictCounts { pass, allow, review, reject, failed } = *says;
        Self { pass, allow, review, reject, failed }
    }
}
