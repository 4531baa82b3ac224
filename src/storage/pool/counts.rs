//! How many connections a pool has, for the metrics.

use sqlx::PgPool;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCounts {
    pub idle: usize,
    pub in_use: usize,
    pub max: u32,
}

impl ConnectionCounts {
    pub(super) fn of(pool: &PgPool) -> Self {
        let (open, idle) = (pool.size() as usize, pool.num_idle());
        Self { idle, in_use: open.saturating_sub(idle), max: pool.options().get_max_connections() }
    }
}
