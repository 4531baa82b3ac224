//! How much a rule may use, per profile. Must stay constants: a limit decides
//! results, so all of them are part of the engine's id.
//!
//! The sums: a ruleset has at most 50 rules, so a ruleset of small rules can
//! never burn more than 50 x `fuel_evaluate` = [`RULESET_FUEL`]. Measured, a
//! unit of fuel buys 0.5 to 0.8 ns, in an empty loop as in one of dependent
//! loads all over the memory: 2.6 to 4.2 ms for one rule that burns its
//! budget, 0.2 s for fifty (0.4 s on a busy machine). The shipped rules use 4
//! to 12 thousand units of their five million.

use std::time::Duration;

use serde::Serialize;

use crate::domain::decision::RuleEvidence;
use crate::domain::plugin::Profile;
use crate::domain::verdict::RuleResult;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// All rules of one call together. Rules that come after it is used up end as
/// out of fuel; large rules can get there, small ones cannot.
pub const RULESET_FUEL: u64 = 250_000_000;

/// Call stack of WebAssembly code; how deep a recursion that is depends on the compiled frames.
pub const WASM_STACK_BYTES: usize = 512 * KIB;

/// Bytes that one call may move from the guest to the host. Overlapping
/// strings multiply otherwise: the default let 130 MB through.
pub const HOSTCALL_FUEL: usize = MIB;

/// Payment text, facts and state that one call is given.
pub const INPUT_BYTES_MAX: usize = MIB;

/// The period of the epoch clock. A rule that runs longer yields its processor this often.
pub(super) const TICK_MS: u32 = 1;

#[derive(Debug)]
pub struct Limits {
    /// One evaluation. Compiled rules use 10 to 50 thousand.
    pub fuel_evaluate: u64,
    /// `prepare` and `describe` run when a person waits, not a payment.
    pub fuel_prepare: u64,
    /// All linear memories of one instance together.
    pub memory_bytes: usize,
    pub memories_per_instance: u32,
    /// Each table.
    pub table_elements: usize,
    pub tables_per_instance: u32,
    pub core_instances_per_instance: u32,
    /// Computing time by the epoch clock: the net below the fuel. Time spent
    /// waiting for a processor does not count.
    pub computing_ms: u32,
    /// Instances alive at once. Bounds the memory: slots x `memory_bytes`.
    pub slots: u32,
}

const SMALL: Limits = Limits {
    fuel_evaluate: 5_000_000,
    fuel_prepare: 50_000_000,
    memory_bytes: 10 * MIB,
    memories_per_instance: 2,
    table_elements: 20_000,
    tables_per_instance: 10,
    core_instances_per_instance: 16,
    computing_ms: 200,
    slots: 64,
};

const LARGE: Limits = Limits {
    fuel_evaluate: 50_000_000,
    fuel_prepare: 1_000_000_000,
    memory_bytes: 64 * MIB,
    memories_per_instance: 2,
    table_elements: 20_000,
    tables_per_instance: 16,
    core_instances_per_instance: 64,
    computing_ms: 2_000,
    slots: 16,
};

/// The limits that apply to a plugin, as its author sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitsInForce {
    pub profile: &'static str,
    pub fuel_evaluate: u64,
    pub fuel_prepare: u64,
    pub memory_bytes: usize,
    pub computing_ms: u32,
    pub stack_bytes: usize,
    /// Set by the configuration, the same for both profiles.
    pub compile_cpu_s: u64,
    /// Processor time that compiling this plugin may take.
    pub plugin_compile_cpu_s: u64,
    pub compile_memory_mib: u64,
    pub compiled_mib: u64,
}

impl LimitsInForce {
    pub fn of(profile: Profile, compile_cpu_s: u64) -> Self {
        let (limits, compiling) = (Limits::of(profile), Allowance::of(profile, compile_cpu_s));
        Self {
            profile: profile.name(),
            fuel_evaluate: limits.fuel_evaluate,
            fuel_prepare: limits.fuel_prepare,
            memory_bytes: limits.memory_bytes,
            computing_ms: limits.computing_ms,
            stack_bytes: WASM_STACK_BYTES,
            compile_cpu_s,
            plugin_compile_cpu_s: compiling.cpu_s,
            compile_memory_mib: compiling.memory_mib,
            compiled_mib: compiling.artifact_mib,
        }
    }
}

/// What compiling one plugin may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    pub(super) cpu_s: u64,
    pub(super) memory_mib: u64,
    pub(super) artifact_mib: u64,
}

impl Allowance {
    /// Interpreters that were compiled along take 8 to 15 s and fill 45 MB.
    pub(super) fn of(profile: Profile, cpu_s: u64) -> Self {
        match profile {
            Profile::Small => Self { cpu_s, memory_mib: 1024, artifact_mib: 64 },
            Profile::Large => Self { cpu_s: cpu_s * 6, memory_mib: 2048, artifact_mib: 256 },
        }
    }

    /// The net below the limit of processor time: payments may leave the child
    /// little of it, so a slow child is not yet one that hangs.
    pub(super) fn wall_time(self) -> Duration {
        Duration::from_secs(self.cpu_s * 20 + 60)
    }
}

impl Limits {
    pub const fn of(profile: Profile) -> &'static Self {
        match profile {
            Profile::Small => &SMALL,
            Profile::Large => &LARGE,
        }
    }
}

/// Whether a run burned so much that it may be why others ran out of time: a fifth
/// of its budget, a hundred times what ordinary rules take. Fuel does not depend on
/// how fast or busy the machine is.
pub fn burns(profile: Profile, fuel_used: u64) -> bool {
    fuel_used >= Limits::of(profile).fuel_evaluate / 5
}

/// The same of a rule whose run has not ended, so that its fuel is not known.
pub fn computes_long(profile: Profile, computed_ms: u32) -> bool {
    computed_ms >= Limits::of(profile).computing_ms / 5
}

/// Whether a rule could burn all the fuel of its profile, after those before it spent so much.
pub fn has_all_its_fuel(profile: Profile, spent_before: u64) -> bool {
    RULESET_FUEL.saturating_sub(spent_before) >= Limits::of(profile).fuel_evaluate
}

/// Whether a rule ran out of fuel that others had used up: the budget of a ruleset is shared.
pub fn was_starved(rules: &[RuleEvidence], place: usize) -> bool {
    let (before, at) = rules.split_at(place);
    at.first().is_some_and(|rule| {
        let spent = before.iter().fold(0, |spent: u64, rule| spent.saturating_add(rule.fuel_used));
        rule.result.as_ref().is_some_and(RuleResult::is_out_of_fuel) && !has_all_its_fuel(rule.profile, spent)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ruleset::RULES_MAX;

    #[test]
    fn the_largest_ruleset_of_small_rules_fits_the_budget_of_a_call() {
        assert!(RULES_MAX as u64 * SMALL.fuel_evaluate <= RULESET_FUEL);
    }
}
