//! How much a rule may use, for each profile. The limits must stay constants: they decide results
//! and are part of the engine's id.
//!
//! A ruleset has at most 50 rules, so a ruleset of small rules uses at most 50 x `fuel_evaluate` =
//! [`RULESET_FUEL`]. As measured, a unit of fuel takes 0.5 to 0.8 ns, both in an empty loop and in
//! a loop of dependent loads from the whole memory. A rule that uses its whole budget takes 2.6 to
//! 4.2 ms, and fifty of them 0.2 s (0.4 s on a busy machine). The shipped rules use 4,000 to 12,000
//! units of their five million.

use std::time::Duration;

use serde::Serialize;

use crate::domain::decision::RuleEvidence;
use crate::domain::plugin::Profile;
use crate::domain::verdict::RuleResult;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The fuel of all rules of one call together. Once it is used up, the other rules fail as out of
/// fuel. Only large rules can use it up.
pub const RULESET_FUEL: u64 = 250_000_000;

/// The call stack of WebAssembly code. The depth of recursion that it allows depends on the
/// compiled frames.
pub const WASM_STACK_BYTES: usize = 512 * KIB;

/// The bytes that one call may move from the guest to the host. A list of overlapping strings can
/// be far larger than the guest's memory: Wasmtime's default allowed 130 MB.
pub const HOSTCALL_FUEL: usize = MIB;

/// The size of the payment's texts, the facts and the state of one call.
pub const INPUT_BYTES_MAX: usize = MIB;

/// The period of the epoch clock. A rule that runs longer yields its processor this often.
pub(super) const TICK_MS: u32 = 1;

#[derive(Debug)]
pub struct Limits {
    /// For one evaluation. Compiled rules use 10,000 to 50,000.
    pub fuel_evaluate: u64,
    /// For `prepare` and `describe`, for which a person waits and no payment.
    pub fuel_prepare: u64,
    /// All linear memories of one instance together.
    pub memory_bytes: usize,
    pub memories_per_instance: u32,
    /// The elements of each table.
    pub table_elements: usize,
    pub tables_per_instance: u32,
    pub core_instances_per_instance: u32,
    /// Computing time by the epoch clock, a safety net if fuel runs too slowly. Waiting for a
    /// processor does not count.
    pub computing_ms: u32,
    /// Live instances at once. This bounds the memory to `slots` x `memory_bytes`.
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

/// The limits of a plugin, as shown to its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitsInForce {
    pub profile: &'static str,
    pub fuel_evaluate: u64,
    pub fuel_prepare: u64,
    pub memory_bytes: usize,
    pub computing_ms: u32,
    pub stack_bytes: usize,
    /// From the configuration. The same for both profiles.
    pub compile_cpu_s: u64,
    /// The processor time for compiling this plugin.
    pub plugin_compile_cpu_s: u64,
    pub compile_memory_mib: u64,
    pub compiled_mib: u64,
}

impl LimitsInForce {
    pub fn of(profile: Profile, compile_cpu_s: u64) -> Self {
        let (limits, compiling) = (Limits::of(profile), CompileLimits::of(profile, compile_cpu_s));
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

/// The limits for compiling one plugin.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompileLimits {
    pub(super) cpu_s: u64,
    pub(super) memory_mib: u64,
    pub(super) artifact_mib: u64,
}

impl CompileLimits {
    /// Compiling a plugin with an interpreter takes 8 to 15 s and gives 45 MB of code.
    pub(super) fn of(profile: Profile, cpu_s: u64) -> Self {
        match profile {
            Profile::Small => Self { cpu_s, memory_mib: 1024, artifact_mib: 64 },
            Profile::Large => Self { cpu_s: cpu_s * 6, memory_mib: 2048, artifact_mib: 256 },
        }
    }

    /// A safety net for a child that hangs. It is generous, since payments may leave the child
    /// little processor time.
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

/// Whether a run used so much fuel that it may have made others miss their deadline: a fifth of its
/// budget, which is a hundred times what ordinary rules use. Fuel does not depend on how fast or
/// busy the machine is.
pub fn burns(profile: Profile, fuel_used: u64) -> bool {
    fuel_used >= Limits::of(profile).fuel_evaluate / 5
}

/// Like [`burns`], for a run that has not ended: its fuel is not known.
pub fn computes_long(profile: Profile, computed_ms: u32) -> bool {
    computed_ms >= Limits::of(profile).computing_ms / 5
}

/// Whether a rule can still use all fuel of its profile after earlier rules used `spent_before`.
pub fn has_all_its_fuel(profile: Profile, spent_before: u64) -> bool {
    RULESET_FUEL.saturating_sub(spent_before) >= Limits::of(profile).fuel_evaluate
}

/// Whether a rule ran out of fuel because earlier rules had used up the budget of the ruleset.
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
