//! Currencies that were withdrawn from ISO 4217, with the end of their validity. Codes must never
//! be removed: stored payments are read with this table.

use crate::domain::time::day_start_ms;

pub(super) struct WithdrawnCode {
    pub code: &'static str,
    pub exponent: u8,
    /// The first moment at which the currency was no longer valid.
    pub end_ms: u64,
}

const fn until(code: &'static str, exponent: u8, year: u64, month: u64, day: u64) -> WithdrawnCode {
    WithdrawnCode { code, exponent, end_ms: day_start_ms(year, month, day) }
}

/// Codes withdrawn since 2000, without funds codes. List three of ISO 4217 has the months, its
/// amendments have the days. For the euro it is the day of the changeover; the first twelve
/// countries used their notes for two more months. West of Greenwich, the last day ends a day later
/// in UTC.
pub(super) const WITHDRAWN: [WithdrawnCode; 57] = [
    until("ADP", 0, 2002, 3, 1),
    until("AFA", 2, 2003, 1, 8),
    until("ANG", 2, 2025, 4, 1),
    until("AON", 2, 2000, 3, 1),
    until("AOR", 2, 2000, 3, 1),
    until("ATS", 2, 2002, 3, 1),
    until("AYM", 2, 2005, 11, 1),
    until("AZM", 2, 2006, 1, 1),
    until("BEF", 0, 2002, 3, 1),
    until("BGL", 2, 2003, 12, 1),
    until("BGN", 2, 2026, 1, 1),
    until("BYB", 0, 2001, 1, 1),
    until("BYR", 0, 2017, 1, 1),
    until("CSD", 2, 2006, 10, 26),
    until("CUC", 2, 2021, 7, 1),
    until("CYP", 2, 2008, 1, 1),
    until("DEM", 2, 2002, 3, 1),
    until("ECS", 2, 2000, 10, 1),
    until("EEK", 2, 2011, 1, 1),
    until("ESP", 0, 2002, 3, 1),
    until("FIM", 2, 2002, 3, 1),
    until("FRF", 2, 2002, 3, 1),
    until("GHC", 2, 2008, 1, 1),
    until("GHP", 2, 2007, 7, 1),
    until("GRD", 0, 2002, 3, 1),
    until("HRK", 2, 2023, 1, 1),
    until("IEP", 2, 2002, 3, 1),
    until("ITL", 0, 2002, 3, 1),
    until("LTL", 2, 2015, 1, 1),
    until("LUF", 0, 2002, 3, 1),
    until("LVL", 2, 2014, 1, 1),
    until("MGF", 0, 2005, 1, 1),
    until("MRO", 2, 2018, 1, 1),
    until("MTL", 2, 2008, 1, 1),
    until("MZM", 2, 2006, 7, 1),
    until("NLG", 2, 2002, 3, 1),
    until("PTE", 0, 2002, 3, 1),
    until("ROL", 2, 2005, 7, 1),
    until("RUR", 2, 2004, 2, 1),
    until("SDD", 2, 2007, 8, 1),
    until("SIT", 2, 2007, 1, 1),
    until("SKK", 2, 2009, 1, 1),
    until("SLL", 2, 2024, 1, 1),
    until("SRG", 2, 2004, 1, 2),
    until("STD", 2, 2018, 1, 1),
    until("TJR", 2, 2001, 5, 1),
    until("TMM", 2, 2009, 1, 1),
    until("TPE", 0, 2002, 6, 1),
    until("TRL", 0, 2006, 1, 1),
    until("VEB", 2, 2008, 1, 2),
    until("VEF", 2, 2018, 8, 21),
    until("YUM", 2, 2003, 7, 24),
    until("ZMK", 2, 2013, 1, 1),
    until("ZWD", 2, 2008, 9, 1),
    until("ZWL", 2, 2024, 9, 1),
    until("ZWN", 2, 2006, 10, 1),
    until("ZWR", 2, 2009, 7, 1),
];
