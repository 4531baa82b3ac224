//! Postal addresses in the structured and the hybrid form of ISO 20022 (PostalAddress24).
//!
//! An address of lines alone has no type here: networks no longer accept it. Whether the place
//! exists is not checked.

use serde::{Deserialize, Serialize};

use super::party::Country;

/// The texts are as the client wrote them. The lengths are checked where an address is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostalAddress {
    pub department: Option<String>,
    pub sub_department: Option<String>,
    pub street_name: Option<String>,
    pub building_number: Option<String>,
    pub building_name: Option<String>,
    pub floor: Option<String>,
    pub post_box: Option<String>,
    pub room: Option<String>,
    pub post_code: Option<String>,
    pub town_name: String,
    pub town_location_name: Option<String>,
    pub district_name: Option<String>,
    pub country_sub_division: Option<String>,
    pub country: Country,
    /// At most two.
    pub address_lines: Vec<String>,
}
