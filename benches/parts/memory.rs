//! The memory of a process, as the kernel reports it.

/// In MB of 2^20 bytes. The kernel can drop memory mapped from files and read it again. Anonymous
/// memory belongs to the process alone.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub resident_mb: f64,
    pub anonymous_mb: f64,
    pub mapped_mb: f64,
    pub threads: u32,
}

impl Memory {
    pub fn of(process: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let number = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self {
            resident_mb: number("VmRSS:") / 1024.0,
            anonymous_mb: number("RssAnon:") / 1024.0,
            mapped_mb: number("RssFile:") / 1024.0,
            threads: number("Threads:") as u32,
        }
    }
}
