//! Millions of stored payments, written in SQL in the form that the journal writes.
//!
//! They are spread over thirty days; some payers and shops are busier than others. The evidence is
//! cut short and no chain covers it, since decisions read neither.

use sqlx::{AssertSqlSafe, PgConnection, Row};
use tollgate::domain::tenant::TenantId;
use tollgate::storage::values::value_key;
use uuid::Uuid;

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

/// Computes the keys of `storage::values`. The first call checks that they are equal.
const FUNCTIONS: &str = "
    create or replace function pg_temp.field(bytes bytea) returns bytea language sql immutable
        return int8send(length(bytes)) || bytes;
    create or replace function pg_temp.value_key(tenant uuid, selector text, value text) returns uuid
        language sql immutable
        return encode(substr(sha256(pg_temp.field('tollgate payment value 1'::bytea) || pg_temp.field(uuid_send(tenant))
            || pg_temp.field(selector::bytea) || pg_temp.field(value::bytea)), 1, 16), 'hex')::uuid";

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

/// The keys of references are arbitrary, since no query uses them.
const VALUES: &str = "
    with payers as (
        select tenant_id, payer, array[pg_temp.value_key(tenant_id, 'debtor_account', 'ACCT' || payer),
            pg_temp.value_key(tenant_id, 'debtor_name', 'payer ' || payer),
            pg_temp.value_key(tenant_id, 'customer', 'customer-' || payer)] as keys
        from (select distinct tenant_id, payer from part) p
    ), shops as (
        select tenant_id, shop, array[pg_temp.value_key(tenant_id, 'creditor_account', 'SHOP' || shop),
            pg_temp.value_key(tenant_id, 'creditor_name', 'shop ' || shop),
            pg_temp.value_key(tenant_id, 'merchant', 'merchant-' || shop)] as keys
        from (select distinct tenant_id, shop from part) p
    )
    insert into payment_values (tenant_id, value_key, received_at_ms, payment_id, amount_minor, currency, approved)
    select tenant_id, value_key, at_ms, id, amount_minor, 'EUR', true
    from part join payers using (tenant_id, payer) join shops using (tenant_id, shop)
    cross join lateral unnest(payers.keys || shops.keys || md5('reference ' || hash)::uuid) as value_key";

pub async fn prepare(superuser: &mut PgConnection) {
    for statements in [SETTINGS, FUNCTIONS] {
        sqlx::raw_sql(statements).execute(&mut *superuser).await.unwrap();
    }
    let tenant = TenantId(Uuid::from_u128(7));
    let key: Uuid = sqlx::query_scalar("select pg_temp.value_key($1, 'customer', 'c-1')")
        .bind(tenant.0)
        .fetch_one(&mut *superuser)
        .await
        .unwrap();
    assert_eq!(key, value_key(tenant, "customer", "c-1"));
    let month = "select ensure_decision_partition((now() - interval '30 days')::date)";
    sqlx::query(month).execute(superuser).await.unwrap();
}

/// Adds the payments whose numbers are in this range.
pub async fn add(superuser: &mut PgConnection, tenants: &[TenantId], from: i64, to: i64) {
    let definition: String =
        sqlx::query("select pg_get_indexdef('payment_values_by_day'::regclass) as definition")
            .fetch_one(&mut *superuser)
            .await
            .unwrap()
            .get("definition");
    if to - from > REINDEXED {
        run(superuser, "drop index payment_values_by_day").await;
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
        for statement in [DECISIONS, KEYS, VALUES, "commit"] {
            run(superuser, statement).await;
        }
    }
    if to - from > REINDEXED {
        run(superuser, &definition).await;
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
               (sum(pg_relation_size(oid)) filter (where relname = 'payment_values_by_day') / 1048576)::bigint
        from pg_class where relname ~ '^(decisions|payment_values|idempotency_keys)'";
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
