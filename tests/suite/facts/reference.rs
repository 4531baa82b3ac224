//! Similar names and rows of tables, which are answered from memory.

use tollgate::domain::comparison::ValueKind;
use tollgate::domain::list::ListKinds;
use tollgate::domain::payment::PaymentOrder;
use tollgate::domain::quotas::TableQuotas;
use tollgate::domain::selector::{Cell, Fact, FactQuery, Selector, SimilarEntry, TableLookup};
use tollgate::domain::table::{self, Column, ColumnName, Row, RowKey, RowsBuilder, TableName, TableSchema};
use tollgate::domain::tenant::TenantId;
use tollgate::storage::databases::Databases;
use tollgate::storage::facts::{FactRequest, look_up};
use tollgate::storage::reference::ReferenceMemory;
use tollgate::storage::tables::{self, NewTable, NewVersion};

use super::{NOW_MS, add_long_ago, empty_list, entry, payment_of, request, tenant};
use crate::support::database::TestDatabase;
use crate::support::decisions::{now_ms, order};
use crate::support::lists::until;

const QUOTAS: TableQuotas =
    TableQuotas { tables_max: 10, versions_max: 10, rows_max: 100, stored_bytes_max: 1 << 20 };

fn similar(score_at_least: u8) -> FactQuery {
    FactQuery::Similar { list: "sanctions".to_owned(), selector: Selector::CreditorName, score_at_least }
}

fn to(name: &str) -> PaymentOrder {
    let mut order = order("c-1", 5, "EUR");
    order.creditor.name = name.to_owned();
    order
}

async fn fact(databases: &Databases, memory: &ReferenceMemory, asked: FactRequest) -> Fact {
    let (tenant, payment, queries) = (asked.tenant, asked.payment.clone(), asked.queries.clone());
    let mut answer = look_up(&databases.app, asked).await.unwrap();
    memory.complete(tenant, &payment, &queries, &mut answer).await.unwrap();
    answer.facts.remove(0)
}

async fn add(database: &TestDatabase, tenant: TenantId, name: &str, from_ms: u64, to_ms: Option<u64>) {
    let entry = entry(&ListKinds::one(ValueKind::Name), name, from_ms, to_ms);
    add_long_ago(database, tenant, "sanctions", entry).await;
}

#[tokio::test]
async fn the_most_similar_name_that_is_valid_then_is_found_in_a_list_as_it_is_now() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    empty_list(&databases, tenant, ValueKind::Name, "sanctions").await;
    // Nothing is dropped from the first; the second keeps one list at a time.
    for memory in [ReferenceMemory::new(&databases, 1 << 30), ReferenceMemory::new(&databases, 0)] {
        let ask = async |name: &str, at_ms: u64| {
            let mut asked = request(tenant, to(name), vec![similar(85)]);
            payment_of(&mut asked).received_at_ms = at_ms;
            match fact(&databases, &memory, asked).await {
                Fact::Similar(found) => found,
                other => panic!("{other:?}"),
            }
        };
        let found = |entry: &str, score| Some(SimilarEntry { entry: entry.to_owned(), score });
        let begin_ms = NOW_MS - 1_000;
        add(&database, tenant, "Vladimir Ivanov", begin_ms, Some(NOW_MS)).await;
        assert_eq!(
            ask("IVANOV, Vladimir", NOW_MS - 1).await.map(|found| found.entry).as_deref(),
            Some("Vladimir Ivanov")
        );
        assert_eq!(ask("Vladimir Ivanov", begin_ms).await, found("Vladimir Ivanov", 100));
        assert_eq!(ask("Vladimir Ivanov", NOW_MS).await, None, "it has ended");
        assert_eq!(ask("Vladimir Ivanov", begin_ms - 1).await, None, "it has not begun");
        assert_eq!(ask("Someone Else", NOW_MS - 1).await, None);
        // Another node, or an older release, adds an entry.
        add(&database, tenant, "Vladimir Ivanow", begin_ms + 500, Some(NOW_MS)).await;
        assert_eq!(ask("Vladimir Ivanow", NOW_MS - 1).await, found("Vladimir Ivanow", 100));
        sqlx::query("delete from list_entries").execute(&mut database.superuser().await).await.unwrap();
    }
    let elsewhere = request(self::tenant(&databases).await, to("Vladimir Ivanov"), vec![similar(85)]);
    let memory = ReferenceMemory::new(&databases, 1 << 30);
    assert_eq!(fact(&databases, &memory, elsewhere).await, Fact::Similar(None), "another tenant");
}

fn issuers() -> TableSchema {
    let column = |name: &str, kind| Column { name: ColumnName::parse(name).unwrap(), kind };
    let columns = vec![column("country", table::CellKind::Text), column("rank", table::CellKind::Integer)];
    TableSchema::new(TableLookup::LongestPrefix, ValueKind::Text, columns).unwrap()
}

async fn upload(databases: &Databases, tenant: TenantId, rows: &[(&str, &str)]) -> u64 {
    let rows =
        rows.iter().map(|(prefix, country)| (*prefix, vec![Some(Cell::Text((*country).to_owned())), None]));
    upload_to(databases, tenant, "bins", issuers(), rows.collect()).await
}

/// Returns the time from which the version is valid.
pub async fn upload_to(
    databases: &Databases,
    tenant: TenantId,
    table: &str,
    schema: TableSchema,
    rows: Vec<(&str, Vec<Option<Cell>>)>,
) -> u64 {
    let mut sorted = RowsBuilder::new(schema, 100);
    for (line, (key, cells)) in (1..).zip(rows) {
        let key = RowKey::one(ValueKind::Text, key).unwrap();
        sorted.add(line, Row { key, cells }).unwrap();
    }
    let new = NewVersion {
        tenant,
        table: TableName::parse(table).unwrap(),
        rows: sorted.finish(100).unwrap(),
        note: String::new(),
        actor: "admin".to_owned(),
        activates: true,
    };
    let world = tollgate::world::system();
    tables::add_version(&databases.app, &world, new, QUOTAS).await.unwrap().0.valid_from_ms.unwrap()
}

pub async fn create(databases: &Databases, tenant: TenantId, name: &str, schema: TableSchema) {
    let new = NewTable {
        name: TableName::parse(name).unwrap(),
        description: String::new(),
        schema,
        created_by: "admin".to_owned(),
        created_at_ms: 0,
    };
    tables::create(&databases.app, tenant, new, QUOTAS.tables_max).await.unwrap();
}

#[tokio::test]
async fn a_table_answers_by_the_version_that_was_valid_when_the_payment_came() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let tenant = tenant(&databases).await;
    create(&databases, tenant, "bins", issuers()).await;
    let memory = ReferenceMemory::new(&databases, 1 << 30);
    let query = FactQuery::Table {
        table: "bins".to_owned(),
        selector: Selector::CardBin,
        lookup: TableLookup::LongestPrefix,
    };
    let ask = async |bin: Option<&str>, at_ms: u64| {
        let mut order = order("c-1", 5, "EUR");
        order.card = bin.map(|bin| tollgate::domain::payment::Card {
            fingerprint: "f".to_owned(),
            bin: Some(bin.to_owned()),
            country: None,
        });
        let mut asked = request(tenant, order, vec![query.clone()]);
        payment_of(&mut asked).received_at_ms = at_ms;
        fact(&databases, &memory, asked).await
    };
    let row = |country: &str| Fact::Table(Some(vec![("country".to_owned(), Cell::Text(country.to_owned()))]));
    let first_ms = upload(&databases, tenant, &[("4111", "DE"), ("411122", "FR")]).await;
    let second_ms = upload(&databases, tenant, &[("4111", "PL")]).await;
    for (bin, at_ms, expected) in [
        (Some("411133"), first_ms, row("DE")),
        (Some("411122"), first_ms, row("FR")),
        (Some("500000"), first_ms, Fact::Table(None)),
        (Some("411133"), first_ms - 1, Fact::Table(None)),
        (Some("411122"), second_ms, row("PL")),
        (Some("411122"), second_ms - 1, row("FR")),
        (None, second_ms, Fact::Absent),
    ] {
        assert_eq!(ask(bin, at_ms).await, expected, "{bin:?} at {at_ms}");
    }
}

#[tokio::test]
async fn the_versions_of_a_table_that_payments_ask_about_are_followed() {
    let database = TestDatabase::create().await;
    let (databases, closing) = (database.databases(), database.databases());
    let tenant = tenant(&databases).await;
    create(&databases, tenant, "bins", issuers()).await;
    let memory = ReferenceMemory::new(&closing, 1 << 30);
    let lookup = TableLookup::LongestPrefix;
    let queries = [FactQuery::Table { table: "bins".to_owned(), selector: Selector::Merchant, lookup }];
    let ask = async |at_ms: u64| {
        let mut asked = request(tenant, order("c-1", 5, "EUR"), queries.to_vec());
        payment_of(&mut asked).received_at_ms = at_ms;
        payment_of(&mut asked).order.merchant = Some("411122".to_owned());
        let (payment, queries) = (asked.payment.clone(), asked.queries.clone());
        let mut answer = look_up(&databases.app, asked).await.unwrap();
        memory.complete(tenant, &payment, &queries, &mut answer).await.unwrap();
        answer.facts.remove(0)
    };
    assert_eq!(ask(now_ms()).await, Fact::Table(None));
    // Requests can no longer read the log.
    closing.app.close().await;
    let valid_from_ms = upload(&databases, tenant, &[("4111", "DE")]).await;
    let row = Fact::Table(Some(vec![("country".to_owned(), Cell::Text("DE".to_owned()))]));
    for (at_ms, expected) in [(valid_from_ms - 1, Fact::Table(None)), (valid_from_ms, row)] {
        until(at_ms - 1_000).await;
        memory.follow().await.unwrap();
        assert_eq!(ask(at_ms).await, expected, "{at_ms}");
    }
}
