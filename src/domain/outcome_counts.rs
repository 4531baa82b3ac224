//! How many decisions of each outcome there were in equal spans of time.

use super::duration_counts::DurationCounts;

/// The shortest span that is counted. Longer ones are made of these.
pub const SPAN_MS: u64 = 10_000;

/// The length of each span of a question. All are parts of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    TenSeconds,
    Minute,
    FiveMinutes,
    QuarterHour,
    Hour,
    Day,
}

impl Step {
    pub const ALL: [Self; 6] =
        [Self::TenSeconds, Self::Minute, Self::FiveMinutes, Self::QuarterHour, Self::Hour, Self::Day];

    pub fn name(self) -> &'static str {
        match self {
            Self::TenSeconds => "10s",
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::QuarterHour => "15m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    pub fn ms(self) -> u64 {
        match self {
            Self::TenSeconds => SPAN_MS,
            Self::Minute => 60_000,
            Self::FiveMinutes => 300_000,
            Self::QuarterHour => 900_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanCounts {
    pub from_ms: u64,
    pub approve: u64,
    pub review: u64,
    pub reject: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutcomeCounts {
    /// The spans in which there were decisions, the earliest first.
    pub spans: Vec<SpanCounts>,
    /// From receiving a payment until its decision was stored, over all spans.
    pub durations: DurationCounts,
}
