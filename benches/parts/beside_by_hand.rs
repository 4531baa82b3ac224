//! Tollgate and the service of `benches/peers/by-hand` in turns, on the same Postgres and with the
//! same clients. Only ratios of neighbouring turns count: the machine is faster in some minutes
//! than in others.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};
use tollgate::storage::private_server::PrivateServer;
use uuid::Uuid;

use super::by_hand::ByHand;
use super::latencies::Latencies;
use super::load::{Endpoint, Request, closed_loop};
use super::processor_time::{self, ProcessTree};
use super::server::{Tollgate, administer, program};
use super::stored_bytes::{StoredTable, per_row_of};
use super::{median, row_of_turns, rules};

/// Odd, so that one of the ratios is the median.
const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_secs(4);

const WITH_VELOCITY: &str = "by_hand";
const WITHOUT_VELOCITY: &str = "by_hand_without_velocity";
const TENANT_WITHOUT_FACTS: &str = "without-facts";

struct Contender {
    name: &'static str,
    endpoint: Endpoint,
    server: ProcessTree,
    turns: Vec<Latencies>,
    /// Processor time of the server and of Postgres, per decision.
    used_us: [Vec<f64>; 2],
}

impl Contender {
    fn new(name: &'static str, endpoint: Endpoint, server: ProcessTree) -> Self {
        Self { name, endpoint, server, turns: Vec::new(), used_us: Default::default() }
    }

    async fn take_turn(&mut self, connections: usize, postgres: ProcessTree) {
        let trees = [self.server, postgres];
        let before = trees.map(ProcessTree::used);
        let load = closed_loop(&self.endpoint, connections, TURN, Request::Payment).await;
        for ((used_us, tree), before) in self.used_us.iter_mut().zip(trees).zip(before) {
            used_us.push((tree.used() - before).as_secs_f64() * 1e6 / load.answered as f64);
        }
        self.turns.push(load.latencies);
    }

    fn print(&self) {
        let [server, postgres] = self.used_us.each_ref().map(|all| median(all.clone()));
        println!("{:>32}  {}  {server:.0}, {postgres:.0}", self.name, row_of_turns(&self.turns));
    }
}

pub async fn compare(program: &Path, tollgate: &Tollgate, postgres: &PrivateServer, connections: &[usize]) {
    let url = postgres.url();
    activate_without_facts(tollgate, &url).await;
    let plain = ByHand::start(program, postgres, WITH_VELOCITY, true).await;
    let plainest = ByHand::start(program, postgres, WITHOUT_VELOCITY, false).await;
    for connections in connections {
        // A token expires after ten minutes.
        let all_rules = Endpoint { token: tollgate.new_token(&url, "demo").await, ..Endpoint::of(tollgate) };
        let no_facts = Endpoint {
            token: tollgate.new_token(&url, TENANT_WITHOUT_FACTS).await,
            ..Endpoint::of(tollgate)
        };
        let server = ProcessTree::of(tollgate.id());
        let mut pairs = [
            [
                Contender::new("Tollgate, four rules", all_rules, server),
                Contender::new("by hand", plain.endpoint.clone(), plain.tree()),
            ],
            [
                Contender::new("Tollgate, two rules, no facts", no_facts, server),
                Contender::new("by hand without the question", plainest.endpoint.clone(), plainest.tree()),
            ],
        ];
        for (pair, is_asked) in pairs.iter().zip([true, false]) {
            for contender in pair {
                must_decide_the_same(&contender.endpoint, is_asked).await;
            }
        }
        take_turns(&mut pairs, *connections, processor_time::postgres(postgres)).await;
        print(&pairs, *connections);
    }
    print_stored_bytes(postgres).await;
}

/// Creates a second tenant with the two demonstration rules that ask nothing.
async fn activate_without_facts(tollgate: &Tollgate, database_url: &str) {
    let revisions = "/rulesets/payment/revisions";
    let demo = tollgate.call(Method::GET, &format!("{revisions}/1"), &json!({})).await;
    let mut rules = rules(&demo, false);
    rules
        .as_array_mut()
        .unwrap()
        .retain(|rule| rule["name"] == "account-check" || rule["name"] == "amount-limits");
    administer(&program(), database_url, &["tenant", "create", TENANT_WITHOUT_FACTS]);
    let token = tollgate.new_token(database_url, TENANT_WITHOUT_FACTS).await;
    let made = tollgate.call_as(&token, Method::POST, revisions, &json!({"rules": rules})).await;
    let activation = json!({"revision": made["number"]});
    tollgate.call_as(&token, Method::POST, "/rulesets/payment/activations", &activation).await;
}

/// Checks that a service does what the others do. Otherwise their rates would mean nothing.
async fn must_decide_the_same(endpoint: &Endpoint, is_asked: bool) {
    let (key, account) = (Uuid::now_v7(), Uuid::now_v7());
    let stranger = Endpoint { token: "none".to_owned(), ..endpoint.clone() };
    assert_eq!(submit(&stranger, key, account, 12_345).await.0, 401);
    let first = submit(endpoint, key, account, 12_345).await;
    assert_eq!((first.0, &first.1["outcome"]), (201, &json!("approve")));
    assert_eq!(submit(endpoint, key, account, 12_345).await, (200, first.1));
    assert_eq!(submit(endpoint, key, account, 12_346).await.0, 422);
    let large = submit(endpoint, Uuid::now_v7(), account, 1_000_001).await;
    assert_eq!((large.0, &large.1["outcome"]), (201, &json!("review")));
    for _ in 2..20 {
        assert_eq!(submit(endpoint, Uuid::now_v7(), account, 12_345).await.1["outcome"], "approve");
    }
    let expected = if is_asked { "review" } else { "approve" };
    assert_eq!(submit(endpoint, Uuid::now_v7(), account, 12_345).await.1["outcome"], expected);
}

async fn submit(endpoint: &Endpoint, key: Uuid, account: Uuid, amount_minor: i64) -> (u16, Value) {
    let payment = json!({
        "reference": "agreement", "amount_minor": amount_minor, "currency": "EUR",
        "method": "credit_transfer",
        "debtor": {"name": "Payer", "account": {"other": &account.simple().to_string()[..30]}},
        "creditor": {"name": "Blue Bikes", "account": {"iban": "NL91ABNA0417164300"}, "bank": "ABNANL2A"},
    });
    let request = reqwest::Client::new().post(format!("http://{}/api/v1/payments", endpoint.address));
    let request = request.bearer_auth(&endpoint.token).header("Idempotency-Key", key.to_string());
    let answer = request.json(&payment).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn take_turns(pairs: &mut [[Contender; 2]; 2], connections: usize, postgres: ProcessTree) {
    for round in 0..ROUNDS {
        for pair in &mut *pairs {
            // Neither is always the first.
            for place in [round % 2, 1 - round % 2] {
                pair[place].take_turn(connections, postgres).await;
            }
        }
    }
}

fn print(pairs: &[[Contender; 2]; 2], connections: usize) {
    println!("{connections} connections, medians of {ROUNDS} turns of {} s", TURN.as_secs());
    println!("{:32}  decisions/s   p50 ms   p99 ms  p99.9 ms  us of server, Postgres", "");
    for [tollgate, by_hand] in pairs {
        tollgate.print();
        by_hand.print();
        let of_turns = tollgate.turns.iter().zip(&by_hand.turns);
        let ratios: Vec<f64> =
            of_turns.map(|(ours, theirs)| ours.per_second() / theirs.per_second()).collect();
        let listed: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!("{:>32}  {:.2} (each turn: {})", "ratio", median(ratios), listed.join(" "));
    }
}

async fn print_stored_bytes(postgres: &PrivateServer) {
    println!("bytes stored per decision");
    let mut database = postgres.connect_options().connect().await.unwrap();
    let tables = per_row_of(&mut database, "tollgate", "select count(*) from tollgate.decisions").await;
    print_tables("Tollgate", &tables);
    for name in [WITH_VELOCITY, WITHOUT_VELOCITY] {
        let mut database: PgConnection = postgres.connect_options().database(name).connect().await.unwrap();
        print_tables(name, &per_row_of(&mut database, "public", "select count(*) from payments").await);
    }
}

fn print_tables(name: &str, tables: &[StoredTable]) {
    let total: f64 = tables.iter().map(|table| table.bytes).sum();
    println!("{name:>32}  {total:11.0}");
    for table in tables {
        println!("{:>32}  {:11.0}, of which indexes {:.0}", table.name, table.bytes, table.of_indexes);
    }
}
