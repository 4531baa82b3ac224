//! The columns that ask for the version of a list that is searched for similar names.

use uuid::Uuid;

use super::columns::RequestQuery;

/// The value of `seen` in the rows of the statement.
pub(super) const VERSION: i16 = 3;

/// One element for each query. The lists are numbers, as in the other columns.
#[derive(Debug, Default)]
pub(super) struct VersionColumns {
    pub place: Vec<i32>,
    pub ordinal: Vec<i32>,
    pub tenant: Vec<Uuid>,
    pub list: Vec<i32>,
}

impl VersionColumns {
    pub fn add(&mut self, own: RequestQuery<'_>, list: i32) {
        self.place.push(own.place);
        self.ordinal.push(own.ordinal);
        self.tenant.push(own.request.tenant.0);
        self.list.push(list);
    }
}
