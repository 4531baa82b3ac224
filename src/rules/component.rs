//! Inspects a plugin's bytes without compiling them: whether they are a component, what it imports,
//! which version of the rule contract it exports, and how large it is. It also turns a core module
//! into a component.
//!
//! The bytes may be hostile: the work must be bounded by their length, and malformed bytes must
//! give an error.

mod functions;
mod survey;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display};

use functions::FUNCTIONS;
use survey::Survey;
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// Real components nest only a few levels. Each level takes memory in the parser.
const DEEPEST_NESTING: usize = 32;
/// Further names are only counted.
const MOST_NAMES_LISTED: usize = 32;
const LONGEST_NAME_SHOWN_CHARS: usize = 160;

/// A version of the rule contract that this host can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContractVersion {
    /// `tollgate:rules@1.0.0`
    V1_0_0,
    /// `tollgate:rules@1.1.0`
    V1_1_0,
}

impl ContractVersion {
    /// Newest first.
    pub const ALL: [ContractVersion; 2] = [ContractVersion::V1_1_0, ContractVersion::V1_0_0];

    /// The exact name of the instance that a plugin of this version exports.
    pub fn export_name(self) -> &'static str {
        match self {
            ContractVersion::V1_0_0 => "tollgate:rules/rule@1.0.0",
            ContractVersion::V1_1_0 => "tollgate:rules/rule@1.1.0",
        }
    }
}

/// What was found in a plugin's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub contract: ContractVersion,
    pub size_bytes: usize,
    pub counts: ModuleCounts,
    /// Its imports of types only. All other imports are refused.
    pub type_imports: NameList,
}

/// How many of each the component and all nested parts define. A nested part can be instantiated
/// more than once, so an instance of the plugin may have more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModuleCounts {
    pub functions: u64,
    pub memories: u64,
    pub tables: u64,
    pub core_instances: u64,
}

/// Names from a plugin: the first ones, shortened if too long, and their total number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameList {
    listed: Vec<String>,
    total: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    #[error("this is not a WebAssembly binary")]
    NotWebAssembly,
    #[error(
        "this is a core WebAssembly module, not a component: build one with `tollgate plugin build \
         <module.wasm> -o <component.wasm>`"
    )]
    CoreModule,
    #[error("this is already a component and can be used as it is")]
    ComponentAlready,
    #[error("the WebAssembly binary is damaged: {0}")]
    Damaged(String),
    #[error("the component is nested deeper than {DEEPEST_NESTING} levels")]
    NestedTooDeeply,
    #[error(
        "the plugin imports {imports}, but a rule must not import anything: it may depend only on its input. \
         {}",
        how_to_build_without_imports(.imports)
    )]
    Imports { imports: NameList },
    #[error(
        "the component exports {exports}, but none of the supported rule contracts: {}",
        supported_contracts()
    )]
    NoContract { exports: NameList },
    #[error(
        "the component does not implement the rule contract: it exports {contract} without the functions \
         {missing}",
        contract = .contract.export_name()
    )]
    MissingFunctions { contract: ContractVersion, missing: NameList },
    #[error("the module cannot be turned into a component: {0}")]
    Encoding(String),
}

pub fn inspect(bytes: &[u8]) -> Result<Inspection, ComponentError> {
    if Parser::is_core_wasm(bytes) {
        return Err(ComponentError::CoreModule);
    }
    if !Parser::is_component(bytes) {
        return Err(ComponentError::NotWebAssembly);
    }
    let survey = Survey::of(bytes)?;
    if survey.imports.total > 0 {
        return Err(ComponentError::Imports { imports: survey.imports });
    }
    match survey.contract {
        Some(contract) => {
            let found = survey.found.unwrap_or([true; FUNCTIONS.len()]);
            let mut missing = NameList::default();
            let lacking = FUNCTIONS.iter().zip(found).filter(|(_, found)| !found);
            lacking.for_each(|(name, _)| missing.add(&[name]));
            if missing.total > 0 {
                return Err(ComponentError::MissingFunctions { contract, missing });
            }
            let (counts, type_imports) = (survey.counts, survey.type_imports);
            Ok(Inspection { contract, size_bytes: bytes.len(), counts, type_imports })
        }
        None => Err(ComponentError::NoContract { exports: survey.exports }),
    }
}

/// Turns a core module that was built against the contract into a component. Only for an author's
/// own module: the encoder is not protected against hostile bytes.
pub fn from_core_module(core: &[u8]) -> Result<Vec<u8>, ComponentError> {
    encoded(core, without_build_notes)
}

/// The same, but keeps the module's names and debug information, which diagnoses use.
pub fn from_core_module_with_names(core: &[u8]) -> Result<Vec<u8>, ComponentError> {
    encoded(core, |core| Ok(core.to_vec()))
}

fn encoded(
    core: &[u8],
    prepared: impl FnOnce(&[u8]) -> Result<Vec<u8>, ComponentError>,
) -> Result<Vec<u8>, ComponentError> {
    if Parser::is_component(core) {
        return Err(ComponentError::ComponentAlready);
    }
    if !Parser::is_core_wasm(core) {
        return Err(ComponentError::NotWebAssembly);
    }
    let imports = Survey::of(core)?.imports;
    if imports.total > 0 {
        return Err(ComponentError::Imports { imports });
    }
    let encoding = |error| ComponentError::Encoding(format!("{error:#}"));
    let module = prepared(core)?;
    let encoder = ComponentEncoder::default().validate(true);
    let component = encoder.module(&module).and_then(|mut encoder| encoder.encode()).map_err(encoding)?;
    inspect(&component)?;
    Ok(component)
}

impl NameList {
    fn add(&mut self, parts: &[&str]) {
        self.total += 1;
        if self.listed.len() < MOST_NAMES_LISTED {
            let characters = parts.iter().flat_map(|part| part.chars());
            // Control characters in a hostile name could affect a terminal or a log.
            let visible = characters.map(|c| if c.is_control() { '\u{fffd}' } else { c });
            self.listed.push(visible.take(LONGEST_NAME_SHOWN_CHARS).collect());
        }
    }

    /// The first names, in the order of the file.
    pub fn listed(&self) -> &[String] {
        &self.listed
    }

    pub fn total(&self) -> usize {
        self.total
    }
}

impl Display for NameList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.listed.is_empty() {
            return formatter.write_str("nothing");
        }
        formatter.write_str(&self.listed.join(", "))?;
        match self.total - self.listed.len() {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

impl From<wasmparser::BinaryReaderError> for ComponentError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        ComponentError::Damaged(error.to_string())
    }
}

fn supported_contracts() -> String {
    ContractVersion::ALL.map(ContractVersion::export_name).join(", ")
}

fn how_to_build_without_imports(imports: &NameList) -> String {
    let mut advice = vec![
        "Rust: build for wasm32-unknown-unknown, not wasm32-wasip2, and do not use clocks, randomness or \
         output (std::time, rand, getrandom, println!).",
        "JavaScript: componentize-js with \
         disableFeatures ['random', 'stdio', 'clocks', 'http', 'fetch-event'].",
        "Python: componentize-py with --stub-wasi.",
    ];
    if imports.listed.iter().any(|name| name.contains("wbindgen")) {
        let cause = "A dependency expects a browser (wasm-bindgen): disable its 'js' or 'wasm-bindgen' \
                     feature.";
        advice.insert(0, cause);
    }
    advice.join(" ")
}

/// The module without names, producers and debug information. They make a plugin larger, and
/// different on each machine that builds it.
fn without_build_notes(core: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let mut lean = core.get(..8).unwrap_or_default().to_vec();
    for payload in Parser::new(0).parse_all(core) {
        let payload = payload?;
        if let Payload::CustomSection(section) = &payload
            && !section.name().starts_with("component-type")
        {
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            let content = core.get(range).unwrap_or_default();
            lean.push(id);
            push_leb128(&mut lean, content.len());
            lean.extend_from_slice(content);
        }
    }
    Ok(lean)
}

fn push_leb128(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
