//! Millions of stored payments, written in SQL in the form that the journal writes.
//!
//! They are spread over thirty days; some payers and shops are busier than others. The evidence is
//! cut short and no chain covers it, since decisions read neither.

use sqlx::{AssertSqlSafe, PgConnection, Row};
use tollgate::domain::party::{Account, Party};
use tollgate::domain::payment::PaymentOrder;
use tollgate::domain::selector::Selector;
use tollgate::domain::series::Series;
use tollgate::domain::tenant::TenantId;
use tollgate::storage::series::aggregate_key;
use uuid::Uuid;

use super::decisions::order;
use super::payers::{PAYERS, SHOPS};

/// Payments per transaction.
const PART: i64 = 500_000;
/// From this number on, the index is created again instead of filled row by row.
const REINDEXED: i64 = 300_000;

const SETTINGS: &str = "
    set search_path = tollgate, public;
    set synchronous_commit = off;
    set work_mem = '256MB';
    set maintenance_work_mem = '1GB'";

const PART_OF_HISTORY: &str = "
    create temp table part on commit drop as
    select n, at_ms, tenants[1 + n % cardinality(tenants)] as tenant_id,
           (lpad(to_hex(at_ms), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid as id,
           hash::uuid as hash, 1000 + n % 500 as amount_minor,
           (payers * random() ^ 2)::int as payer, (shops * random() ^ 3)::int as shop
    from (select n, md5(n::text) as hash, tenants, payers, shops,
                 now_ms - 60000 - ((last - n) * 2592000000.0 / (last - first + 1))::bigint as at_ms
          from (values ($1::bigint, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::uuid[],
                        $7::bigint, $8::bigint)) as _ (first, last, lowest, highest, now_ms, tenants, payers, shops),
               generate_series(lowest, highest) n) numbers";

const DECISIONS: &str = "
    insert into decisions (tenant_id, id, client_id, idempotency_key, request_hash, origin, outcome,
        received_at_ms, revision, reference, amount_minor, currency, method, payload_version, payload,
        payload_salt, payload_digest, digest, writer_id, batch_sequence, batch_position)
    select tenant_id, id, md5('client ' || tenant_id)::uuid, hash::text, uuid_send(hash) || uuid_send(hash),
        'api', 'approve', at_ms, 1, 'past-' || n, amount_minor, 'EUR', 'credit_transfer', 1,
        uuid_send(hash), uuid_send(hash), uuid_send(hash) || uuid_send(hash), uuid_send(hash) || uuid_send(hash),
        '00000000-0000-0000-0000-000000000001', n / 64, n % 64
    from part";

const KEYS: &str = "
    insert into idempotency_keys (tenant_id, client_id, key, request_hash, decision_id, created_at_ms)
    select tenant_id, md5('client ' || tenant_id)::uuid, hash::text, uuid_send(hash) || uuid_send(hash), id, at_ms
    from part";

/// The rows of the series that have these keys, one for each payer or shop. The column stands in the
/// join by its name, so that Postgres can hash it.
macro_rules! values_of {
    ($column:literal) => {
        concat!(
            "insert into aggregate_values (tenant_id, value_key, received_day, received_at_ms, payment_id,
                                           amount_minor, method, outcome, by_day)
             select part.tenant_id, keyed.value_key, at_ms / 86400000, at_ms, id, amount_minor, 1, 0, false
             from part
             join unnest($1::uuid[], $2::int[], $3::uuid[]) as keyed (tenant_id, number, value_key)
               on keyed.tenant_id = part.tenant_id and keyed.number = part.",
            $column
        )
    };
}

/// By what payers and shops are counted.
const OF_PAYERS: [Selector; 3] = [Selector::DebtorAccount, Selector::DebtorName, Selector::Customer];
const OF_SHOPS: [Selector; 3] = [Selector::CreditorAccount, Selector::CreditorName, Selector::Merchant];

/// A payment of a payer to a shop, as clients submit it.
pub fn order_of(payer: u64, shop: u64) -> PaymentOrder {
    let party = |name: String, account: String| Party {
        account: Some(Account::Other(account)),
        ..Party::named(name)
    };
    PaymentOrder {
        debtor: party(format!("Payer {payer}"), format!("acct-{payer}")),
        creditor: party(format!("Shop {shop}"), format!("shop-{shop}")),
        customer: Some(format!("customer-{payer}")),
        merchant: Some(format!("merchant-{shop}")),
        ..order("nobody", 1_000, "EUR")
    }
}

pub async fn prepare(superuser: &mut PgConnection) {
    sqlx::raw_sql(SETTINGS).execute(&mut *superuser).await.unwrap();
    for table in ["decision", "aggregate"] {
        let month = format!("select ensure_{table}_partition((now() - interval '30 days')::date)");
        run(superuser, &month).await;
    }
}

/// Stores the values of the payers or shops of the part.
async fn add_values(superuser: &mut PgConnection, of_payers: bool) {
    let (column, selectors, values) = if of_payers {
        ("payer", OF_PAYERS, values_of!("payer"))
    } else {
        ("shop", OF_SHOPS, values_of!("shop"))
    };
    let statement = format!("select distinct tenant_id, {column} from part");
    let own: Vec<(Uuid, i32)> =
        sqlx::query_as(AssertSqlSafe(statement)).fetch_all(&mut *superuser).await.unwrap();
    let (mut tenants, mut numbers, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for (tenant, number) in own {
        let order = order_of(number as u64, number as u64);
        for selector in &selectors {
            let series = Series { selectors: vec![selector.clone()], conversion: None, distinct: None };
            tenants.push(tenant);
            numbers.push(number);
            keys.push(aggregate_key(TenantId(tenant), &series, &order).unwrap());
        }
    }
    sqlx::query(values).bind(&tenants).bind(numbers).bind(keys).execute(superuser).await.unwrap();
}

/// Adds the payments whose numbers are in this range.
pub async fn add(superuser: &mut PgConnection, tenants: &[TenantId], from: i64, to: i64) {
    let definition: String =
        sqlx::query("select pg_get_indexdef('aggregate_values_by_day'::regclass) as definition")
            .fetch_one(&mut *superuser)
            .await
            .unwrap()
            .get("definition");
    if to - from > REINDEXED {
        run(superuser, "drop index aggregate_values_by_day").await;
    }
    let ids: Vec<Uuid> = tenants.iter().map(|tenant| tenant.0).collect();
    let now_ms = (Uuid::now_v7().as_u128() >> 80) as i64;
    for lowest in (from..to).step_by(PART as usize) {
        run(superuser, "begin").await;
        sqlx::query(PART_OF_HISTORY)
            .bind(from)
            .bind(to)
            .bind(lowest)
            .bind((lowest + PART).min(to) - 1)
            .bind(now_ms)
            .bind(&ids)
            .bind(PAYERS as i64 - 1)
            .bind(SHOPS as i64 - 1)
            .execute(&mut *superuser)
            .await
            .unwrap();
        for statement in [DECISIONS, KEYS] {
            run(superuser, statement).await;
        }
        for of_payers in [true, false] {
            add_values(superuser, of_payers).await;
        }
        run(superuser, "commit").await;
    }
    if to - from > REINDEXED {
        // As Postgres writes it, it would be an index of no month.
        run(superuser, &definition.replace(" ON ONLY ", " ON ")).await;
    }
    settle(superuser).await;
}

/// Vacuums and analyses the tables, as the database does by itself after some time.
pub async fn settle(superuser: &mut PgConnection) {
    for statement in ["vacuum analyze", "checkpoint"] {
        run(superuser, statement).await;
    }
}

/// The size of all tables with decisions, and of the index of values.
pub async fn sizes_mb(superuser: &mut PgConnection) -> (i64, i64) {
    let statement = "
        select (sum(pg_total_relation_size(oid)) filter (where relkind = 'r') / 1048576)::bigint,
               (sum(pg_relation_size(oid)) filter (where relname ~ '^aggregate_values.*_idx') / 1048576)::bigint
        from pg_class where relname ~ '^(decisions|aggregate_values|idempotency_keys)'";
    sqlx::query_as(statement).fetch_one(superuser).await.unwrap()
}

pub struct JournalVolume {
    pub decisions: f64,
    pub batches: f64,
    pub log_kb: f64,
}

/// The volume that Postgres has logged since its start.
pub async fn journal_volume(superuser: &mut PgConnection) -> JournalVolume {
    let statement = "
        select coalesce(sum(length(decision_digests) / 32), 0)::float8, count(*)::float8,
               (pg_current_wal_insert_lsn() - '0/0')::float8 / 1024
        from journal_batches";
    let (decisions, batches, log_kb) = sqlx::query_as(statement).fetch_one(superuser).await.unwrap();
    JournalVolume { decisions, batches, log_kb }
}

async fn run(superuser: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(superuser).await.unwrap();
}
