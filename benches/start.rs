//! How soon a server is ready, and how much memory it uses at rest and under load with a hundred
//! different plugins.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may fail and prints")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use tollgate::storage::databases::Databases;
use tollgate::storage::pool::DatabaseSettings;
use tollgate::storage::private_server::PrivateServer;

#[path = "parts/memory.rs"]
mod memory;
#[path = "parts/payers.rs"]
#[allow(dead_code, reason = "other benches use the rest of it")]
mod payers;
#[path = "parts/population.rs"]
mod population;
#[path = "parts/postgres.rs"]
mod postgres;
#[path = "parts/processor_time.rs"]
#[allow(dead_code, reason = "other benches use the rest of it")]
mod processor_time;
#[path = "parts/server.rs"]
#[allow(dead_code, reason = "other benches use the rest of it")]
mod server;
#[path = "parts/wire.rs"]
mod wire;

use memory::Memory;
use payers::{Target, Window, closed_loop};
use server::Tollgate;

const STARTS: usize = 7;
const CONNECTIONS: u64 = 64;
/// Tenants with the four rules, each compiled from different bytes.
const TENANTS: i32 = 25;
const SHIPPED: [&str; 4] = ["account-check", "amount-limits", "party-lists", "velocity"];
const WINDOW: Window = Window { warm_up: Duration::from_secs(2), measured: Duration::from_secs(10) };

#[tokio::main]
async fn main() {
    let folder = tempfile::Builder::new().prefix("bench").tempdir_in("/var/tmp").unwrap();
    let folder = folder.path();
    let postgres = postgres::start(folder).await;
    let mut first = Tollgate::start(&postgres.url(), folder).await;
    println!("ready after {} ms on an empty database, with plugins to compile", first.ready_ms);
    first.stop();
    for (what, forget) in [("with plugins compiled before", false), ("with plugins to compile", true)] {
        let mut ready_ms = Vec::new();
        for _ in 0..STARTS {
            if forget {
                std::fs::remove_dir_all(folder.join("data/compiled-plugins")).unwrap();
            }
            let mut tollgate = Tollgate::start(&postgres.url(), folder).await;
            ready_ms.push(tollgate.ready_ms);
            tollgate.stop();
        }
        ready_ms.sort_unstable();
        println!("ready after {} ms {what}, of {ready_ms:?}", ready_ms[STARTS / 2]);
    }

    println!("\n                                 resident MB  anonymous  mapped  threads");
    let mut four = Tollgate::start(&postgres.url(), folder).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    tell("at rest, four rules", Memory::of(four.id()));
    let own = Target { address: four.address.clone(), tokens: [four.token.clone()].into(), tls: None };
    let most = under_load(&four, &own).await;
    tell("under load, four rules", most);
    tell("afterwards", Memory::of(four.id()));
    four.stop();

    let plugins = folder.join("plugins");
    write_plugins(&plugins);
    let plugins_dir = plugins.to_str().unwrap().to_owned();
    let settings = [("ROCKET_TOLLGATE_PLUGINS_DIR", plugins_dir.as_str())];
    let mut hundred = Tollgate::start_with(&postgres.url(), folder, &settings).await;
    let target = populate(&postgres, &hundred, folder).await;
    hundred.stop();
    hundred = Tollgate::start_with(&postgres.url(), folder, &settings).await;
    println!("ready after {} ms with a hundred plugins compiled before", hundred.ready_ms);
    let target = Target { address: hundred.address.clone(), ..target };
    tokio::time::sleep(Duration::from_secs(3)).await;
    tell("at rest, 100 plugins", Memory::of(hundred.id()));
    let most = under_load(&hundred, &target).await;
    tell("under load, 100 plugins", most);
    tell("afterwards", Memory::of(hundred.id()));
    hundred.stop();
    postgres.stop().await.unwrap();
}

fn tell(what: &str, memory: Memory) {
    let Memory { resident_mb, anonymous_mb, mapped_mb, threads } = memory;
    println!("{what:32} {resident_mb:11.1}  {anonymous_mb:9.1}  {mapped_mb:6.1}  {threads:7}");
}

/// The peak of memory while clients submit payments.
async fn under_load(tollgate: &Tollgate, target: &Target) -> Memory {
    let load = closed_loop(target, CONNECTIONS, WINDOW, &[]);
    let mut load = std::pin::pin!(load);
    let mut most = Memory::of(tollgate.id());
    loop {
        tokio::select! {
            load = &mut load => {
                println!("  ({:.0} decisions/s, {} turned away)", load.per_second(), load.refused);
                return most;
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                let now = Memory::of(tollgate.id());
                if now.resident_mb > most.resident_mb {
                    most = now;
                }
            }
        }
    }
}

/// Writes copies of the shipped plugins. A custom section changes only the digest of each.
fn write_plugins(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for tenant in 0..TENANTS {
        for name in SHIPPED {
            let shipped: PathBuf = [env!("CARGO_MANIFEST_DIR"), "plugins", name].iter().collect();
            let mut bytes = std::fs::read(shipped.join(format!("{name}.wasm"))).unwrap();
            let section = b"\x04copy";
            bytes.extend([0, section.len() as u8 + 1]);
            bytes.extend(section);
            bytes.push(tenant as u8);
            std::fs::write(folder.join(format!("{name}-{tenant:02}.wasm")), bytes).unwrap();
        }
    }
}

/// Tenants with the demonstration's settings, each with its own plugins.
async fn populate(postgres: &PrivateServer, tollgate: &Tollgate, folder: &Path) -> Target {
    let mut superuser = postgres.connect_options().connect().await.unwrap();
    sqlx::raw_sql("set search_path = tollgate").execute(&mut superuser).await.unwrap();
    population::grow_to(&mut superuser, TENANTS).await;
    let clients = population::clients(&mut superuser).await;
    let databases = Databases::connect_lazily(&DatabaseSettings::for_url(postgres.url())).unwrap();
    let tokens = population::tokens(&databases, folder, &clients).await;
    databases.close().await;
    let plugins = tollgate.call(Method::GET, "/plugins", &json!({})).await;
    let plugins = plugins["items"].as_array().unwrap();
    let shipped = tollgate.call(Method::GET, "/rulesets/payment/revisions/1", &json!({})).await;
    for (place, token) in tokens.iter().enumerate() {
        let mut rules: Vec<Value> = shipped["rules"].as_array().unwrap().clone();
        for rule in &mut rules {
            let rule = rule.as_object_mut().unwrap();
            rule.remove("profile");
            rule.remove("queries");
            let copies = plugins.iter().filter(|plugin| plugin["name"] == rule["name"]);
            // Leaves out the shipped plugin, which may be anywhere in the list.
            let copies = copies.filter(|plugin| plugin["digest"] != rule["plugin"]);
            rule["plugin"] = copies.clone().nth(place).unwrap()["digest"].clone();
        }
        let revisions = "/rulesets/payment/revisions";
        let made = tollgate.call_as(token, Method::POST, revisions, &json!({"rules": rules})).await;
        let activation = json!({"revision": made["number"]});
        tollgate.call_as(token, Method::POST, "/rulesets/payment/activations", &activation).await;
    }
    Target { address: tollgate.address.clone(), tokens, tls: None }
}
