//! The formats of files that have something on each line.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// CSV with a header line.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

impl LineFormat {
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        match name {
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err("expected csv or jsonl"),
        }
    }
}
