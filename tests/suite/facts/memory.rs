//! Lists in memory match exactly as the database does, before and after they change.

use std::sync::Arc;

use sqlx::PgConnection;
use tollgate::domain::comparison::{ValueKind, normalized_name};
use tollgate::domain::list::ListKinds;
use tollgate::domain::party::{Account, Country, Iban};
use tollgate::domain::payment::PaymentOrder;
use tollgate::domain::selector::{Fact, FactQuery, Matching, Selector};
use tollgate::domain::tenant::TenantId;
use tollgate::storage::databases::Databases;
use tollgate::storage::facts::{FactRequest, look_up};
use tollgate::storage::lists;
use tollgate::storage::reference::{ListUsage, ReferenceMemory};
use uuid::Uuid;

use super::{empty_list, entry, list_query, payment_of, request, tenant};
use crate::search::model::Random;
use crate::support::database::TestDatabase;
use crate::support::decisions::{now_ms, order};
use crate::support::lists::{until, write_as_before};

const KINDS: [ValueKind; 7] = [
    ValueKind::Account,
    ValueKind::Name,
    ValueKind::Bank,
    ValueKind::Ip,
    ValueKind::Country,
    ValueKind::Customer,
    ValueKind::Text,
];

const VALUES: [&str; 20] = [
    "DE89370400440532013000",
    "de89 3704 0044 0532 0130 00",
    "DE89",
    "AB-12",
    "DEUTDEFF",
    "deutdeff500",
    "DEUT",
    "203.0.113.7",
    "203.0.113.0/24",
    "::ffff:203.0.113.9",
    "2001:db8::/32",
    "ir",
    "José García",
    "jose GARCIA",
    "José",
    "c-1",
    "c-",
    "c-12",
    "  Acme  Ltd",
    "!!!",
];

fn queries() -> Vec<FactQuery> {
    let selectors = [
        (ValueKind::Account, Selector::DebtorAccount),
        (ValueKind::Name, Selector::DebtorName),
        (ValueKind::Name, Selector::CreditorName),
        (ValueKind::Bank, Selector::DebtorBank),
        (ValueKind::Ip, Selector::Ip),
        (ValueKind::Country, Selector::DebtorCountry),
        (ValueKind::Customer, Selector::Customer),
        (ValueKind::Text, Selector::Customer),
        (ValueKind::Text, Selector::Merchant),
    ];
    let matchings = [Matching::Exact, Matching::Prefix, Matching::NormalizedName];
    let all = selectors.iter().flat_map(|(kind, selector)| matchings.map(|by| (kind, selector, by)));
    all.map(|(kind, selector, by)| list_query(kind.name(), selector.clone(), by)).collect()
}

fn any_order(random: &mut Random) -> PaymentOrder {
    let mut any = |values: &[&str]| values[random.below(values.len() as u64) as usize].to_owned();
    let iban = || Account::Iban(Iban::parse("DE89370400440532013000").unwrap());
    let mut order = order(&any(&["c-1", "c-12", "c-", "other"]), 5, "EUR");
    order.debtor.account = match any(&["iban", "AB12", "de89-1", "none"]).as_str() {
        "iban" => Some(iban()),
        "none" => None,
        other => Some(Account::Other(other.to_owned())),
    };
    order.debtor.name = any(&["JOSE garcia", "José", "Jose Garcia Lopez", "!!!"]);
    order.creditor.name = any(&["acme ltd", "Acme Ltd", "!!!", "..."]);
    order.debtor.bank = Some(any(&["DEUTDEFFXXX", "DEUTDEFF500", "deutdebb", "x"]));
    order.debtor.country = Country::parse(&any(&["IR", "DE"])).ok();
    order.ip = any(&["203.0.113.7", "203.0.113.200", "2001:db8:9::1", "192.0.2.1"]).parse().ok();
    order.merchant = Some(any(&["c-1", "  Acme  Ltd", "Acme Ltd", "other"]));
    order
}

/// Entries of any times, as if they had been there for long.
async fn fill(superuser: &mut PgConnection, tenant: TenantId, random: &mut Random) {
    let now_ms = now_ms();
    for kind in KINDS {
        for value in VALUES {
            let Ok(forms) = ListKinds::one(kind).forms(value) else { continue };
            let from_ms = now_ms - 150_000 + random.below(152_000);
            let to_ms = (random.below(3) > 0).then(|| from_ms + random.below(100_000));
            sqlx::query(
                "insert into list_entries (tenant_id, list, id, value, comparable, normalized_name, reason,
                                           valid_from_ms, valid_to_ms, added_by, comparison_version)
                 values ($1, $2, gen_random_uuid(), $3, $4, $5, 'r', $6, $7, 'alice', 2)",
            )
            .bind(tenant.0)
            .bind(kind.name())
            .bind(value)
            .bind(&forms[0])
            .bind(normalized_name(value))
            .bind(from_ms.cast_signed())
            .bind(to_ms.map(u64::cast_signed))
            .execute(&mut *superuser)
            .await
            .unwrap();
        }
    }
}

/// Adds and closes some entries of each list. Returns the time from which the last change holds.
async fn change(databases: &Databases, tenant: TenantId, random: &mut Random) -> u64 {
    let mut holds_from_ms = 0;
    for kind in KINDS {
        let open = lists::entries(&databases.app, tenant, kind.name(), Default::default(), None, 100).await;
        for entry in open.unwrap() {
            if random.below(3) == 0 {
                let closed = lists::close_entry(
                    &databases.app,
                    tenant,
                    kind.name(),
                    entry.id,
                    now_ms(),
                    "alice".into(),
                )
                .await;
                let end_ms = closed.unwrap().and_then(|closed| closed.valid_to_ms).unwrap_or(0);
                holds_from_ms = holds_from_ms.max(end_ms.min(now_ms() + 2_000));
            }
        }
        for value in VALUES {
            let kinds = ListKinds::one(kind);
            if kinds.forms(value).is_ok() && random.below(3) == 0 {
                let entry = entry(&kinds, value, 0, None);
                let added = lists::add_entry(
                    &databases.app,
                    tenant,
                    kind.name(),
                    entry,
                    1_000,
                    "alice".into(),
                    now_ms(),
                )
                .await;
                holds_from_ms = holds_from_ms.max(added.map_or(0, |added| added.valid_from_ms));
            }
        }
    }
    holds_from_ms
}

/// Facts about payments of now, from memory and from the database.
struct Comparison<'a> {
    databases: &'a Databases,
    /// Look-ups fail.
    closed: &'a Databases,
    memory: &'a ReferenceMemory,
    tenant: TenantId,
}

impl Comparison<'_> {
    fn any_request(&self, random: &mut Random) -> FactRequest {
        let mut asked = request(self.tenant, any_order(random), queries());
        payment_of(&mut asked).received_at_ms = now_ms() - 50_000 + random.below(51_000);
        asked
    }

    /// Returns how many facts are that a value is listed.
    async fn of_payments(&self, count: usize, random: &mut Random) -> usize {
        let mut listed = 0;
        for _ in 0..count {
            self.memory.follow().await.unwrap();
            let asked = self.any_request(random);
            let expected = look_up(&self.databases.app, asked.clone()).await.unwrap().facts;
            let known = self.memory.known(self.tenant, &asked.payment, &asked.queries);
            let from_memory = look_up(&self.closed.app, FactRequest { known, ..asked.clone() }).await;
            let from_memory = from_memory.expect("all facts are known").facts;
            for ((query, expected), fact) in asked.queries.iter().zip(&expected).zip(&from_memory) {
                assert_eq!(fact, expected, "{query:?} of {:?}", asked.payment);
            }
            listed += expected.iter().filter(|fact| **fact == Fact::Listed(true)).count();
        }
        listed
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_database_agree_on_any_lists_values_and_times() {
    let database = TestDatabase::create().await;
    let (databases, closed) = (database.databases(), database.databases());
    closed.app.close().await;
    let mut superuser = database.superuser().await;
    write_as_before(&mut superuser).await;
    let memory = ReferenceMemory::new(&databases, 1 << 30);
    let mut random = Random::new(21);
    let tenant = tenant(&databases).await;
    for kind in KINDS {
        empty_list(&databases, tenant, kind, kind.name()).await;
    }
    fill(&mut superuser, tenant, &mut random).await;
    let comparison = Comparison { databases: &databases, closed: &closed, memory: &memory, tenant };

    let asked = comparison.any_request(&mut random);
    let known = memory.known(tenant, &asked.payment, &asked.queries);
    assert!(look_up(&closed.app, FactRequest { known, ..asked }).await.is_err(), "nothing is in memory yet");
    memory.load_lists().await.unwrap();
    let listed = comparison.of_payments(100, &mut random).await;
    assert!(listed > 200, "{listed}");

    let holds_from_ms = change(&databases, tenant, &mut random).await;
    comparison.of_payments(30, &mut random).await;
    until(holds_from_ms).await;
    let listed = comparison.of_payments(100, &mut random).await;
    assert!(listed > 200, "{listed}");
}

#[tokio::test]
async fn a_list_that_is_too_large_is_asked_in_the_database_and_leaves_room_for_others() {
    let database = TestDatabase::create().await;
    let (databases, closed) = (database.databases(), database.databases());
    closed.app.close().await;
    let memory = ReferenceMemory::new(&databases, 64 << 10);
    let tenant = tenant(&databases).await;
    let kinds = ListKinds::one(ValueKind::Customer);
    let mut valid_from_ms = 0;
    for (name, count) in [("large", 1_000), ("small", 2)] {
        empty_list(&databases, tenant, ValueKind::Customer, name).await;
        let entries = (0..count).map(|number| entry(&kinds, &format!("c-{number}"), 0, None)).collect();
        let added =
            lists::add_entries(&databases.app, tenant, name, entries, 10_000, &"alice".into(), now_ms())
                .await;
        valid_from_ms = added.unwrap().valid_from_ms;
    }
    until(valid_from_ms).await;
    let mut asked = request(
        tenant,
        order("c-1", 5, "EUR"),
        ["large", "small"].map(|name| list_query(name, Selector::Customer, Matching::Exact)).to_vec(),
    );
    for _ in 0..2 {
        payment_of(&mut asked).received_at_ms = now_ms();
        let known = memory.known(tenant, &asked.payment, &asked.queries);
        let facts = look_up(&databases.app, FactRequest { known, ..asked.clone() }).await.unwrap().facts;
        assert_eq!(facts, [Fact::Listed(true), Fact::Listed(true)]);
        memory.load_lists().await.unwrap();
        memory.follow().await.unwrap();
        let ListUsage { lists, bytes } = memory.list_usage();
        assert!(lists == 1 && bytes < 16 << 10, "{lists} lists of {bytes} bytes");
    }
    let small: Arc<[FactQuery]> = asked.queries[1..].into();
    let known = memory.known(tenant, &asked.payment, &small);
    let response = look_up(&closed.app, FactRequest { known, queries: small, ..asked }).await.unwrap();
    assert_eq!(response.facts, [Fact::Listed(true)], "from memory");
    let elsewhere = TenantId(Uuid::now_v7());
    let queries = vec![list_query("small", Selector::Customer, Matching::Exact)];
    let other = request(elsewhere, order("c-1", 5, "EUR"), queries);
    let known = memory.known(elsewhere, &other.payment, &other.queries);
    assert!(look_up(&closed.app, FactRequest { known, ..other }).await.is_err(), "another tenant's list");
}

#[tokio::test]
async fn similar_names_need_no_look_up_while_the_version_of_their_list_is_known() {
    let database = TestDatabase::create().await;
    let (databases, closed) = (database.databases(), database.databases());
    closed.app.close().await;
    let memory = ReferenceMemory::new(&databases, 1 << 30);
    let tenant = tenant(&databases).await;
    empty_list(&databases, tenant, ValueKind::Name, "names").await;
    let query =
        FactQuery::Similar { list: "names".to_owned(), selector: Selector::CreditorName, score_at_least: 80 };
    let mut asked = request(tenant, order("c-1", 5, "EUR"), vec![query]);
    payment_of(&mut asked).order.creditor.name = "IVANOV, Vladimir".to_owned();
    let ask = async |at_ms: u64| {
        let mut asked = asked.clone();
        payment_of(&mut asked).received_at_ms = at_ms;
        memory.known(tenant, &asked.payment, &asked.queries);
        memory.follow().await.unwrap();
        let known = memory.known(tenant, &asked.payment, &asked.queries);
        let (payment, queries) = (asked.payment.clone(), asked.queries.clone());
        let mut answer = look_up(&closed.app, FactRequest { known, ..asked }).await.unwrap();
        memory.complete(tenant, &payment, &queries, &mut answer).await.unwrap();
        answer.facts.remove(0)
    };
    assert_eq!(ask(now_ms()).await, Fact::Similar(None));
    let kinds = ListKinds::one(ValueKind::Name);
    let entry = entry(&kinds, "Vladimir Ivanov", 0, None);
    let added =
        lists::add_entry(&databases.app, tenant, "names", entry, 10, "alice".into(), now_ms()).await.unwrap();
    assert_eq!(ask(added.valid_from_ms - 1_000).await, Fact::Similar(None), "it is not valid yet");
    until(added.valid_from_ms).await;
    let Fact::Similar(Some(found)) = ask(now_ms()).await else { panic!("nothing was found") };
    assert_eq!(found.entry, "Vladimir Ivanov");
}

#[tokio::test]
async fn payments_do_not_wait_until_the_names_of_a_changed_list_are_indexed_again() {
    let database = TestDatabase::create().await;
    let (databases, closing) = (database.databases(), database.databases());
    let memory = ReferenceMemory::new(&closing, 1 << 30);
    let tenant = tenant(&databases).await;
    let (kinds, kind) = (ListKinds::one(ValueKind::Name), ValueKind::Name);
    empty_list(&databases, tenant, kind, "names").await;
    let query =
        FactQuery::Similar { list: "names".to_owned(), selector: Selector::DebtorName, score_at_least: 80 };
    let ask = async |at_ms: u64| {
        let mut asked = request(tenant, order("c-1", 5, "EUR"), vec![query.clone()]);
        payment_of(&mut asked).received_at_ms = at_ms;
        let known = memory.known(tenant, &asked.payment, &asked.queries);
        let (payment, queries) = (asked.payment.clone(), asked.queries.clone());
        let mut answer = look_up(&closing.app, FactRequest { known, ..asked }).await.unwrap();
        memory.complete(tenant, &payment, &queries, &mut answer).await.unwrap();
        answer.facts.remove(0)
    };
    assert_eq!(ask(now_ms()).await, Fact::Similar(None));
    memory.follow().await.unwrap();
    let entry = entry(&kinds, "Jose Garcia", 0, None);
    let added =
        lists::add_entry(&databases.app, tenant, "names", entry, 10, "alice".into(), now_ms()).await.unwrap();
    until(added.valid_from_ms - 1_000).await;
    memory.follow().await.unwrap();
    memory.load_lists().await.unwrap();
    // From here on nothing can be read.
    closing.close().await;
    let Fact::Similar(Some(found)) = ask(added.valid_from_ms).await else { panic!("nothing was found") };
    assert_eq!(found.entry, "Jose Garcia");
    assert_eq!(ask(added.valid_from_ms - 1).await, Fact::Similar(None), "it is not valid yet");
}
