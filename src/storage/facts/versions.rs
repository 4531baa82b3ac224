//! The columns that ask which version of a list or table answers a query.

use uuid::Uuid;

use super::columns::RequestQuery;
use crate::storage::columns::bigint;

/// The value of `seen` in the rows of the statement.
pub(super) const VERSION: i16 = 3;

/// One element for each query. The names are numbers, as in the other columns.
#[derive(Debug, Default)]
pub(super) struct VersionColumns {
    pub place: Vec<i32>,
    pub ordinal: Vec<i32>,
    pub tenant: Vec<Uuid>,
    pub at_ms: Vec<i64>,
    pub name: Vec<i32>,
    pub is_table: Vec<bool>,
}

impl VersionColumns {
    pub fn add(&mut self, own: RequestQuery<'_>, name: i32, is_table: bool) {
        self.place.push(own.place);
        self.ordinal.push(own.ordinal);
        self.tenant.push(own.request.tenant.0);
        self.at_ms.push(bigint(own.request.payment.received_at_ms));
        self.name.push(name);
        self.is_table.push(is_table);
    }
}
