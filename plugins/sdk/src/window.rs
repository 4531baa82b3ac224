//! Windows of time in the settings and messages of rules.

use crate::settings::invalid_setting;
use crate::verdict::Reason;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The longest window in the settings of a rule: 366 days.
pub const MAX_WINDOW_SECONDS: u64 = 366 * DAY_SECONDS;

/// The reason to refuse the setting at `field` if it is no window of a rule.
pub fn mistake(seconds: u64, field: impl Into<String>) -> Option<Reason> {
    let message = "The window must be between 1 and 31622400 seconds (366 days).";
    (!(1..=MAX_WINDOW_SECONDS).contains(&seconds)).then(|| invalid_setting(field, message))
}

/// The duration in the largest unit that divides it: "2 hours", not "7200 seconds".
pub fn in_words(seconds: u64) -> String {
    let units = [(DAY_SECONDS, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let whole = units.into_iter().find(|(size, _)| seconds > 0 && seconds.is_multiple_of(*size));
    let (size, unit) = whole.unwrap_or((1, "second"));
    match seconds / size {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_shown_in_its_largest_whole_unit() {
        for (seconds, shown) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (90, "90 seconds"),
            (120, "2 minutes"),
            (3_600, "1 hour"),
            (86_400, "1 day"),
        ] {
            assert_eq!(in_words(seconds), shown);
        }
    }
}
