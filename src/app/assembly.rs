//! Builds the parts of a node and connects them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;

use super::background::{Background, BackgroundParts};
use super::keys::SigningKeys;
use super::parts::{
    body_limits, edge_limits, nodes_wait_max, quarantine_threshold, quotas, root_secret, submission_deadline,
    upload_settings,
};
use super::people::{lifetimes, people_parts};
use super::rule_engines::{self, RuleService};
use super::{App, StartError, journal, measures, readiness};
use crate::auth::root_secret::{Purpose, RootSecret};
use crate::auth::sign_in_limits::SignInLimits;
use crate::auth::token::{AccessTokens, TokenIssuer, TokenSettings};
use crate::config::{Config, NodeSettings, Role};
use crate::decisions::backfill::AggregateBackfill;
use crate::decisions::backtest::Backtests;
use crate::decisions::card_checks::CardChecks;
use crate::decisions::checkpoints::Checkpoints;
use crate::decisions::compile_turns::CompileTurns;
use crate::decisions::counts::DecisionCounts;
use crate::decisions::deployments::Deployments;
use crate::decisions::diagnoses::Diagnoses;
use crate::decisions::dry_run::DryRuns;
use crate::decisions::in_flight::PaymentsInFlight;
use crate::decisions::journal_clock::JournalClock;
use crate::decisions::nodes::Nodes;
use crate::decisions::plugins::Plugins;
use crate::decisions::quarantine::Quarantines;
use crate::decisions::replay::Replays;
use crate::decisions::retention::Retention;
use crate::decisions::review_expiry::ReviewExpiry;
use crate::decisions::reviews::Reviews;
use crate::decisions::rulesets::Rulesets;
use crate::decisions::search_index::SearchIndex;
use crate::decisions::shadow::ShadowRuns;
use crate::decisions::single_flight::SingleFlight;
use crate::decisions::stages::StageMeters;
use crate::decisions::submit::Submissions;
use crate::decisions::tables::Tables;
use crate::decisions::uploads::Uploads;
use crate::domain::plugin::Plugin;
use crate::domain::time::{Machine, World};
use crate::http::edge::client_rates::ClientRates;
use crate::http::edge::streams::Streams;
use crate::http::request::cursor::CursorKey;
use crate::http::services::{Metrics, Services, Tokens};
use crate::http::{self, OperationsParts};
use crate::people::revocations::Revocations;
use crate::proposals::Proposals;
use crate::rules::RuleEngine;
use crate::storage::databases::Databases;
use crate::storage::facts::FactReader;
use crate::storage::journal::Journal;
use crate::storage::nodes::NodeRecord;
use crate::storage::reference::ReferenceMemory;
use crate::telemetry;
use crate::world::with_clock;

/// A new version of the engine compiles every plugin again at its first start.
const PLUGINS_AT_START_MAX: Duration = Duration::from_secs(600);

/// What the parts are built from.
struct Foundation<'a> {
    settings: &'a NodeSettings,
    databases: Databases,
    world: World,
    root: RootSecret,
}

struct TokenParts {
    keys: SigningKeys,
    issuer: TokenIssuer,
    tokens: Arc<AccessTokens>,
    revocations: Arc<Revocations>,
}

struct RuleParts {
    engine: Arc<dyn RuleEngine>,
    compile_turns: Arc<CompileTurns>,
    plugins: Arc<Plugins>,
    shared_plugins: Vec<Plugin>,
    active: Arc<Deployments>,
    diagnoses: Arc<Diagnoses>,
}

struct DecisionParts {
    quarantines: Arc<Quarantines>,
    card_checks: Arc<CardChecks>,
    shadow: Arc<ShadowRuns>,
    journal: Arc<Journal>,
    facts: FactReader,
    reference: Arc<ReferenceMemory>,
    checkpoints: Arc<Checkpoints>,
    search: Arc<SearchIndex>,
}

struct AdministrationParts {
    nodes: Arc<Nodes>,
    uploads: Arc<Uploads>,
    rulesets: Arc<Rulesets>,
    backtests: Arc<Backtests>,
    backfill: Arc<AggregateBackfill>,
}

/// Builds the parts in the order in which they need each other.
pub(super) async fn assemble(
    config: &Config,
    databases: Databases,
    program: PathBuf,
    machine: Machine,
) -> Result<(App, http::Parts), StartError> {
    let settings = &config.settings;
    // Must come first: meters that are created before this record nothing.
    let metrics = telemetry::metrics().map_err(StartError::Metrics)?;
    let clock = Arc::new(JournalClock::start(databases.system.clone(), machine).await?);
    let world = with_clock(clock.clone());
    let root = root_secret(settings)?;
    let base = Foundation { settings, databases, world, root };

    let token_parts = token_parts(&base).await?;
    let rules = rule_parts(&base, program).await?;
    let decisions = decision_parts(&base, &rules).await?;
    let administration = administration_parts(&base, &rules, &decisions)?;
    administration.backfill.upgrade().await?;
    let services = Arc::new(services(&base, &rules, &decisions, &administration, &token_parts)?);
    let Foundation { databases, world, .. } = base;
    let DecisionParts { quarantines, card_checks, shadow, journal, facts, reference, checkpoints, search } =
        decisions;
    let AdministrationParts { nodes, uploads, backtests, backfill, .. } = administration;
    let RuleParts { engine, plugins, shared_plugins, active, .. } = rules;

    let readiness = Arc::new(readiness::readiness(
        databases.app.clone(),
        facts.clone(),
        journal.clone(),
        clock.clone(),
        active.clone(),
    ));
    let rule_service = RuleService::start(settings, engine, &world).await?.map(Arc::new);
    nodes.beat().await?;
    // The start may have taken long, and a node that is behind is not ready. If this fails, the
    // background tasks retry it.
    if let Err(error) = tokio::try_join!(active.catch_up(), clock.follow()) {
        tracing::warn!(%error, "the database could not be read at start; this will be retried shortly");
    }
    let shares_work = settings.roles.has(Role::Background);
    let background = Background::start(
        shares_work,
        BackgroundParts {
            databases: databases.clone(),
            plugins_dir: settings.plugins_dir.clone(),
            plugins,
            active: active.clone(),
            nodes,
            uploads,
            backtests,
            backfill,
            retention: Arc::new(Retention::new(
                databases.system.clone(),
                checkpoints.clone(),
                world.clone(),
                &journal::node_name(),
            )),
            review_expiry: Arc::new(ReviewExpiry::new(
                databases.system.clone(),
                world.clone(),
                &journal::node_name(),
            )),
            search,
            keys: token_parts.keys,
            tokens: token_parts.tokens.clone(),
            revocations: token_parts.revocations,
            sign_ins_kept: lifetimes(settings).total,
            checkpoints: checkpoints.clone(),
            checkpoint_every: Duration::from_secs(settings.checkpoint_every_s),
            evidence_version: settings.evidence_version,
            quarantines,
            card_checks,
            reference: reference.clone(),
            shadow_kept: Duration::from_secs(settings.shadow_keep_days * 86_400),
            metrics: metrics.clone(),
            clock,
            world: world.clone(),
        },
    );
    let streams = Arc::new(Streams::default());
    let parts = http::Parts {
        services: services.clone(),
        tokens: Tokens(token_parts.tokens),
        rates: ClientRates::new(settings.client_requests_per_s, settings.client_requests_burst),
        operations: OperationsParts {
            readiness: readiness.clone(),
            metrics: Metrics(measures::page(metrics, databases.clone(), journal.clone(), reference.clone())),
            edge: edge_limits(settings),
            world: world.clone(),
        },
        limits: body_limits(settings),
        streams: streams.clone(),
        origins: settings.cors.origins.clone(),
    };
    let app = App {
        services,
        readiness,
        streams,
        databases,
        active,
        shared_plugins,
        journal,
        facts,
        checkpoints,
        shadow,
        rules: rule_service,
        background,
        world,
    };
    Ok((app, parts))
}

async fn token_parts(base: &Foundation<'_>) -> Result<TokenParts, StartError> {
    let Foundation { settings, databases, world, root } = base;
    let keys = SigningKeys::new(databases, root)?;
    let ring = keys.open_or_create(world).await?;
    let issuer = settings.issuer.clone().map_or_else(TokenIssuer::default, TokenIssuer::configured);
    let token_settings =
        TokenSettings::new(issuer.clone(), settings.audience.clone(), settings.access_token_lifetime_s)?;
    let tokens = Arc::new(AccessTokens::new(token_settings, ring, world.clone()));
    let system = databases.system.clone();
    let revocations = Arc::new(Revocations::new(system, tokens.clone(), world.clone()));
    revocations.follow().await?;
    Ok(TokenParts { keys, issuer, tokens, revocations })
}

/// The engine, with every plugin loaded that the active rulesets need.
async fn rule_parts(base: &Foundation<'_>, program: PathBuf) -> Result<RuleParts, StartError> {
    let Foundation { settings, databases, world, root } = base;
    let system = &databases.system;
    let engine = rule_engines::engine(settings, root, program, system).await?;
    let compile_turns = Arc::new(CompileTurns::default());
    let plugins = Arc::new(Plugins::new(system.clone(), engine.clone(), compile_turns.clone()));
    let shared_plugins = plugins.load_folder(&settings.plugins_dir, world).await?;
    let (app, kept_max) = (databases.app.clone(), settings.deployments_kept_max);
    let active = Arc::new(Deployments::new(app, system.clone(), plugins.clone(), kept_max));
    active.catch_up_within(PLUGINS_AT_START_MAX).await?;
    let diagnoses = Arc::new(Diagnoses::new(engine.clone(), plugins.clone()));
    Ok(RuleParts { engine, compile_turns, plugins, shared_plugins, active, diagnoses })
}

async fn decision_parts(base: &Foundation<'_>, rules: &RuleParts) -> Result<DecisionParts, StartError> {
    let Foundation { settings, databases, world, root } = base;
    let (app, system) = (&databases.app, &databases.system);
    let threshold = quarantine_threshold(settings);
    let quarantines = Arc::new(Quarantines::new(app.clone(), system.clone(), world.clone(), threshold));
    quarantines.follow().await?;
    let card_checks = Arc::new(CardChecks::new(system.clone()));
    card_checks.follow().await?;
    let shadow = ShadowRuns::start(rules.engine.clone(), system.clone(), settings.shadow_queue_max);
    let journal = Arc::new(journal::start(settings, databases, world.clone()).await?);
    let facts = FactReader::start(databases.facts.clone());
    let checkpoints = journal::checkpoints(settings, root, journal.clone())?;
    let reference = Arc::new(ReferenceMemory::new(databases, settings.reference_memory_max_bytes));
    let search = SearchIndex::open(system.clone(), app.clone(), journal.clone(), world.clone()).await?;
    let search = Arc::new(search);
    Ok(DecisionParts { quarantines, card_checks, shadow, journal, facts, reference, checkpoints, search })
}

fn administration_parts(
    base: &Foundation<'_>,
    rules: &RuleParts,
    decisions: &DecisionParts,
) -> Result<AdministrationParts, StartError> {
    let Foundation { settings, databases, world, .. } = base;
    let RuleParts { engine, compile_turns, plugins, active, diagnoses, .. } = rules;
    let (app, system) = (&databases.app, &databases.system);
    let started_at_ms = world.now_ms();
    let node = NodeRecord { id: world.uuid_v7(started_at_ms), name: journal::node_name(), started_at_ms };
    let nodes = Arc::new(Nodes::new(system.clone(), plugins.clone(), world.clone(), node));
    let uploads = Uploads::new(
        app.clone(),
        system.clone(),
        engine.clone(),
        compile_turns.clone(),
        world.clone(),
        upload_settings(settings),
        nodes.own_id(),
    );
    let uploads = Arc::new(uploads.map_err(StartError::Threads)?);
    let backfill = Arc::new(AggregateBackfill::new(
        system.clone(),
        app.clone(),
        decisions.reference.clone(),
        world.clone(),
        settings.evidence_version,
    ));
    let rulesets = Arc::new(Rulesets {
        app: app.clone(),
        engine: engine.clone(),
        plugins: plugins.clone(),
        diagnoses: diagnoses.clone(),
        active: active.clone(),
        nodes: nodes.clone(),
        backfill: backfill.clone(),
        patience: nodes_wait_max(settings),
        evidence: settings.evidence_version,
        revisions_max: settings.ruleset_revisions_max,
        world: world.clone(),
    });
    let backtests = Backtests::new(
        system.clone(),
        engine.clone(),
        plugins.clone(),
        decisions.reference.clone(),
        backfill.clone(),
        world.clone(),
    );
    let backtests = Arc::new(backtests.map_err(StartError::Threads)?);
    Ok(AdministrationParts { nodes, uploads, rulesets, backtests, backfill })
}

fn submissions(
    base: &Foundation<'_>,
    rules: &RuleParts,
    decisions: &DecisionParts,
) -> Result<Submissions, StartError> {
    Ok(Submissions {
        app: base.databases.app.clone(),
        facts: decisions.facts.clone(),
        reference: decisions.reference.clone(),
        engine: rules.engine.clone(),
        active: rules.active.clone(),
        quarantines: decisions.quarantines.clone(),
        shadow: decisions.shadow.clone(),
        journal: decisions.journal.clone(),
        flights: SingleFlight::default(),
        in_flight: Arc::new(PaymentsInFlight::default()),
        world: base.world.clone(),
        request_key: hmac::Key::new(hmac::HMAC_SHA256, base.root.derive(Purpose::RequestHashes)?.expose()),
        stages: StageMeters::default(),
        counts: DecisionCounts::default(),
    })
}

fn services(
    base: &Foundation<'_>,
    rules: &RuleParts,
    decisions: &DecisionParts,
    administration: &AdministrationParts,
    token_parts: &TokenParts,
) -> Result<Services, StartError> {
    let Foundation { settings, databases, world, root } = base;
    let RuleParts { engine, plugins, diagnoses, .. } = rules;
    let AdministrationParts { nodes, uploads, rulesets, .. } = administration;
    let app = &databases.app;
    let TokenParts { tokens, revocations, issuer, .. } = token_parts;
    let people =
        people_parts(settings, databases, world, root, tokens.clone(), revocations.clone(), issuer.clone())?;
    let reviews = Arc::new(Reviews { app: app.clone(), world: world.clone() });
    Ok(Services {
        submissions: Arc::new(submissions(base, rules, decisions)?),
        rulesets: rulesets.clone(),
        diagnoses: diagnoses.clone(),
        uploads: uploads.clone(),
        nodes: nodes.clone(),
        replays: Arc::new(Replays { app: app.clone(), engine: engine.clone(), plugins: plugins.clone() }),
        dry_runs: DryRuns {
            app: app.clone(),
            rulesets: rulesets.clone(),
            reference: decisions.reference.clone(),
            world: world.clone(),
        },
        checkpoints: decisions.checkpoints.clone(),
        search: decisions.search.clone(),
        quarantines: decisions.quarantines.clone(),
        card_checks: decisions.card_checks.clone(),
        reviews: reviews.clone(),
        tables: Tables::new(app.clone(), world.clone(), quotas(settings).tables),
        app: app.clone(),
        hasher: people.hasher,
        sign_in_limits: SignInLimits::new(world.randomness()),
        sign_ins: people.sign_ins,
        proposals: Proposals {
            app: app.clone(),
            system: databases.system.clone(),
            rulesets: rulesets.clone(),
            reviews,
            users: people.users.clone(),
            openid: people.openid.clone(),
            list_entries_max: quotas(settings).list_entries_max,
            world: world.clone(),
        },
        openid: people.openid,
        users: people.users,
        clients: people.clients,
        tenants: people.tenants,
        world: world.clone(),
        cursors: CursorKey::new(*root.derive(Purpose::Cursors)?.expose()),
        quotas: quotas(settings),
        issuer: token_parts.issuer.clone(),
        submission_deadline: submission_deadline(settings),
    })
}
