//! The number ranges and lengths of payment cards. A range is added only if a network publishes it.
//!
//! Sources: ISO/IEC 7812-1 for the form. For the ranges, publications of the networks for merchants
//! and processors: Visa (core rules), Mastercard (rules, and the announcement of the 2-series),
//! American Express, Discover Global Network (IIN ranges, with Diners Club and UnionPay), JCB,
//! UnionPay, NSPK (Mir), NPCI (RuPay), BKM (Troy), NAPAS, BORICA, Humo, Uzcard and Belkart.
//!
//! Not included: UATP (1, fifteen digits) and the old JCB numbers 1800 and 2131, which look like
//! timestamps and years; Mastercard's reserved 61, 66, 68 and 69, which are not known to be issued;
//! and networks that are used in one country only.

use std::ops::RangeInclusive;

struct CardIssuer {
    /// The first four digits.
    first: RangeInclusive<u16>,
    lengths: &'static [usize],
}

const fn issuer(first: u16, last: u16, lengths: &'static [usize]) -> CardIssuer {
    CardIssuer { first: first..=last, lengths }
}

const FOURTEEN_TO_NINETEEN: &[usize] = &[14, 15, 16, 17, 18, 19];
const SIXTEEN_TO_NINETEEN: &[usize] = &[16, 17, 18, 19];
const TWELVE_TO_NINETEEN: &[usize] = &[12, 13, 14, 15, 16, 17, 18, 19];

/// Maestro numbers have 12 to 19 digits and may begin with 50, 56 to 58 or 6. Fewer than 16 digits
/// count only in ranges that are known to be issued, since one in seven account numbers of 12 to 15
/// digits begins like that.
const ISSUERS: [CardIssuer; 41] = [
    // Visa.
    issuer(4000, 4999, &[13, 16, 19]),
    // Mastercard.
    issuer(5100, 5599, &[16]),
    issuer(2221, 2720, &[16]),
    // American Express.
    issuer(3400, 3499, &[15]),
    issuer(3700, 3799, &[15]),
    // Discover.
    issuer(6011, 6011, SIXTEEN_TO_NINETEEN),
    issuer(6440, 6499, SIXTEEN_TO_NINETEEN),
    issuer(6500, 6599, SIXTEEN_TO_NINETEEN),
    // JCB.
    issuer(3528, 3589, SIXTEEN_TO_NINETEEN),
    // Diners Club.
    issuer(3000, 3059, FOURTEEN_TO_NINETEEN),
    issuer(3095, 3095, FOURTEEN_TO_NINETEEN),
    issuer(3600, 3699, FOURTEEN_TO_NINETEEN),
    issuer(3800, 3999, FOURTEEN_TO_NINETEEN),
    // UnionPay.
    issuer(6200, 6299, SIXTEEN_TO_NINETEEN),
    issuer(8100, 8171, SIXTEEN_TO_NINETEEN),
    // Maestro, Dankort, Elo, Verve, Carnet and others under the same reservation.
    issuer(5000, 5099, SIXTEEN_TO_NINETEEN),
    issuer(5600, 5899, SIXTEEN_TO_NINETEEN),
    issuer(6300, 6399, SIXTEEN_TO_NINETEEN),
    issuer(6700, 6799, SIXTEEN_TO_NINETEEN),
    issuer(5018, 5018, TWELVE_TO_NINETEEN),
    issuer(5020, 5020, TWELVE_TO_NINETEEN),
    issuer(5038, 5038, TWELVE_TO_NINETEEN),
    issuer(5612, 5612, TWELVE_TO_NINETEEN),
    issuer(5893, 5893, TWELVE_TO_NINETEEN),
    issuer(6304, 6304, TWELVE_TO_NINETEEN),
    issuer(6759, 6759, TWELVE_TO_NINETEEN),
    issuer(6761, 6763, TWELVE_TO_NINETEEN),
    issuer(6767, 6767, TWELVE_TO_NINETEEN),
    issuer(6771, 6771, TWELVE_TO_NINETEEN),
    issuer(6799, 6799, TWELVE_TO_NINETEEN),
    // RuPay; 508, 6521 and 6522 are above.
    issuer(6000, 6099, SIXTEEN_TO_NINETEEN),
    issuer(8172, 8299, &[16]),
    // Mir.
    issuer(2200, 2204, SIXTEEN_TO_NINETEEN),
    // BORICA.
    issuer(2205, 2205, &[16]),
    // Troy; 65 is above.
    issuer(9792, 9792, &[16]),
    // NAPAS.
    issuer(9704, 9704, &[16, 19]),
    // Uzcard and Humo.
    issuer(8600, 8600, &[16]),
    issuer(9860, 9860, &[16]),
    // Belkart.
    issuer(9112, 9112, &[16]),
    // ArCa.
    issuer(9051, 9051, &[16]),
    // GPN.
    issuer(1946, 1946, SIXTEEN_TO_NINETEEN),
];

/// Whether ASCII digits have the range and length of an issuer.
pub(super) fn is_of_an_issuer(digits: &[u8]) -> bool {
    let Some(first) = digits.get(..4) else { return false };
    let first = first.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    ISSUERS.iter().any(|issuer| issuer.first.contains(&first) && issuer.lengths.contains(&digits.len()))
}
