//! The same tests on an engine that asks a worker over gRPC: the results, the fuel and the errors
//! must be the same.

mod sandbox;

use std::time::Duration;

use sandbox::components::component_of;
use sandbox::harness::{Harness, tenant};
use tollgate::domain::plugin::Profile;
use tollgate::rules::{EngineSettings, LocalEngine, RuleEngine, RuleRun};

/// Everything that is recorded of a run. How long it took is not.
fn recorded(runs: Vec<RuleRun>) -> Vec<RuleRun> {
    runs.into_iter().map(|run| RuleRun { elapsed_us: 0, ..run }).collect()
}

#[tokio::test]
async fn every_fixture_has_the_same_results_texts_and_fuel_by_a_worker_as_in_this_process() {
    let (harness, folder) = (Harness::start(), tempfile::tempdir().expect("a folder"));
    let settings =
        EngineSettings::new(env!("CARGO_BIN_EXE_tollgate").into(), folder.path().join("c"), [7; 32]);
    let local = LocalEngine::start(&settings).expect("the engine starts");
    let mut evaluated = 0;
    for entry in std::fs::read_dir("tests/hostile").expect("the fixtures") {
        let path = entry.expect("an entry").path();
        // This one is not a component, on purpose.
        let bytes: std::sync::Arc<[u8]> = match path.file_stem().expect("a name").to_str() {
            Some("core_module" | "forbidden_import") => wat::parse_file(&path).expect("text").into(),
            _ => component_of(&std::fs::read_to_string(&path).expect("text")).into(),
        };
        let here = local.add_plugin(bytes.clone(), Profile::Large).await;
        let there = harness.engine.add_plugin(bytes, Profile::Large).await;
        let Ok(plugin) = here else {
            assert_eq!(there, here, "{}", path.display());
            continue;
        };
        let there = there.expect("added here");
        assert_eq!(
            (&there.description, there.profile, &there.contract),
            (&plugin.description, plugin.profile, &plugin.contract)
        );
        for settings in ["{}", "[]", "{\"limit\": 7}"] {
            let prepared = [
                local.prepare(plugin.digest, settings.to_owned()).await,
                harness.engine.prepare(plugin.digest, settings.to_owned()).await,
            ];
            assert_eq!(prepared[0], prepared[1], "{} {settings}", path.display());
        }
        let mut call = harness.call(tenant(1), &[&plugin.digest, &plugin.digest], Duration::from_secs(60));
        for rule in &mut call.rules {
            rule.profile = plugin.profile;
        }
        let here = recorded(local.evaluate(call.clone()).await.expect("it serves"));
        let there = recorded(harness.engine.evaluate(call.clone()).await.expect("it serves"));
        assert_eq!(here, there, "{}", path.display());
        let later = harness.engine.evaluate_in_background(vec![call]).await.expect("it serves");
        assert_eq!(vec![here], later.into_iter().map(recorded).collect::<Vec<_>>(), "{}", path.display());
        evaluated += 1;
    }
    assert!(evaluated > 15, "{evaluated}");
}

mod engine {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use async_trait::async_trait;
    use tokio_util::sync::{CancellationToken, DropGuard};
    use tollgate::domain::plugin::Digest;
    use tollgate::rules::{EngineSettings, LocalEngine, RuleEngine};
    use tollgate::workers::{
        ListenAddress, PluginSource, RemoteEngine, RemoteSettings, RuleListener, WorkerAddress,
    };
    use uuid::Uuid;

    /// Stops the worker when dropped.
    pub type Guard = DropGuard;

    #[derive(Debug)]
    struct NoPlugins;

    #[async_trait]
    impl PluginSource for NoPlugins {
        async fn bytes(&self, _: Digest) -> Result<Option<Arc<[u8]>>, String> {
            Ok(None)
        }
    }

    /// The worker has threads of its own, as it would in its own process.
    pub fn start(settings: &EngineSettings) -> (Arc<dyn RuleEngine>, Guard) {
        let (settings, stopping) = (settings.clone(), CancellationToken::new());
        let (started, starting) = channel();
        let stopped = stopping.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("threads");
            runtime.block_on(async {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let socket = folder.path().join("rules.sock");
                let listener = RuleListener::open(&ListenAddress::Unix(socket.clone()), None).await;
                let worker = Arc::new(LocalEngine::start(&settings).expect("the engine starts"));
                let start = Uuid::from_u128(1);
                let served =
                    listener.expect("a socket").serve(worker, start, CancellationToken::new(), stopped);
                let served = tokio::spawn(served);
                let asked = RemoteSettings { workers: vec![WorkerAddress::Unix(socket)], identity: None };
                let engine = RemoteEngine::start(&asked, Arc::new(NoPlugins), None).expect("no certificates");
                while !engine.found_a_worker().await {}
                started.send(Arc::new(engine)).expect("the test waits");
                let _ = served.await;
            });
        });
        let engine: Arc<dyn RuleEngine> = starting.recv().expect("the engine starts");
        (engine, stopping.drop_guard())
    }
}
