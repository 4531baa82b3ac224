//! Owns what can be known of a plugin's bytes without compiling them: whether
//! they are a component, what it imports, which version of the rule contract
//! it exports, how large it is. Also makes a component of a core module.
//!
//! Must never compile or run anything, nor trust the bytes: the work is
//! bounded by their length, and hostile ones end in an error.

use std::fmt::{self, Display};

use wasmparser::{ComponentExternalKind, Parser, Payload};
use wit_component::ComponentEncoder;

/// Real components nest a handful of levels; each one costs the parser memory.
const DEEPEST_NESTING: usize = 32;
/// As many names as a person reads; the rest is counted.
const MOST_NAMES_LISTED: usize = 32;
const LONGEST_NAME_SHOWN_CHARS: usize = 160;

/// A version of the rule contract that this host can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContractVersion {
    /// `tollgate:rules@1.0.0`
    V1_0_0,
}

impl ContractVersion {
    /// Newest first.
    pub const ALL: [ContractVersion; 1] = [ContractVersion::V1_0_0];

    /// The exact name of the instance that a plugin of this version exports.
    pub fn export_name(self) -> &'static str {
        match self {
            ContractVersion::V1_0_0 => "tollgate:rules/rule@1.0.0",
        }
    }
}

/// What the bytes of a plugin say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub contract: ContractVersion,
    pub size_bytes: usize,
    pub counts: Counts,
}

/// What the component and everything nested in it define. A nested part can
/// be instantiated more than once, so a running plugin may hold more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub functions: u64,
    pub memories: u64,
    pub tables: u64,
    pub core_instances: u64,
}

/// Names from a file: the first of them, cut where too long, and how many there are.
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
        "this is a core WebAssembly module, not a component: make one with \
         `tollgate plugin build <module.wasm> -o <component.wasm>`"
    )]
    CoreModule,
    #[error("this is a component already: it can be used as it is")]
    ComponentAlready,
    #[error("the WebAssembly binary is damaged: {0}")]
    Damaged(String),
    #[error("the component is nested deeper than {DEEPEST_NESTING} levels")]
    NestedTooDeeply,
    #[error(
        "the plugin imports {imports}. A rule runs without any import, so that it depends on \
         nothing but its input. {}",
        how_to_build_without_imports(.imports)
    )]
    Imports { imports: NameList },
    #[error(
        "the component exports {exports}, but no rule contract that is supported: {}",
        supported_contracts()
    )]
    NoContract { exports: NameList },
    #[error("no component can be made of the module: {0}")]
    Encoding(String),
}

/// Looks at a plugin's bytes without compiling them.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, ComponentError> {
    if Parser::is_core_wasm(bytes) {
        return Err(ComponentError::CoreModule);
    }
    if !Parser::is_component(bytes) {
        return Err(ComponentError::NotWebAssembly);
    }
    let survey = Survey::of(bytes)?;
    if survey.imports.total > 0 {
        return Err(ComponentError::Imports {
            imports: survey.imports,
        });
    }
    match survey.contract {
        Some(contract) => Ok(Inspection {
            contract,
            size_bytes: bytes.len(),
            counts: survey.counts,
        }),
        None => Err(ComponentError::NoContract {
            exports: survey.exports,
        }),
    }
}

/// Makes a component of a core module that was built against the contract.
/// For an author's own module: its bytes are not expected to be hostile.
pub fn from_core_module(core: &[u8]) -> Result<Vec<u8>, ComponentError> {
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
    let lean = without_build_notes(core)?;
    let mut encoder = ComponentEncoder::default();
    encoder.module(&lean).map_err(encoding)?;
    let component = encoder.validate(true).encode().map_err(encoding)?;
    inspect(&component)?;
    Ok(component)
}

/// One walk over the sections of a module or component.
#[derive(Default)]
struct Survey {
    imports: NameList,
    exports: NameList,
    contract: Option<ContractVersion>,
    counts: Counts,
}

impl Survey {
    fn of(bytes: &[u8]) -> Result<Self, ComponentError> {
        let mut survey = Survey::default();
        let mut nesting = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(damaged)?;
            match &payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    nesting += 1;
                    if nesting > DEEPEST_NESTING {
                        return Err(ComponentError::NestedTooDeeply);
                    }
                }
                Payload::End(_) => nesting = nesting.saturating_sub(1),
                // What is nested imports from the component around it.
                payload if nesting == 0 => survey.note_interface(payload)?,
                _ => {}
            }
            survey.counts.add(&payload);
        }
        Ok(survey)
    }

    fn note_interface(&mut self, payload: &Payload<'_>) -> Result<(), ComponentError> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    let import = import.map_err(damaged)?;
                    self.imports.add(&[import.module, " ", import.name]);
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.imports.add(&[import.map_err(damaged)?.name.name]);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export.map_err(damaged)?;
                    self.exports.add(&[export.name.name]);
                    if export.kind == ComponentExternalKind::Instance {
                        let mut supported = ContractVersion::ALL.into_iter();
                        let found = supported.find(|known| known.export_name() == export.name.name);
                        self.contract = self.contract.or(found);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Counts {
    fn add(&mut self, payload: &Payload<'_>) {
        let (count, found) = match payload {
            Payload::FunctionSection(section) => (&mut self.functions, section.count()),
            Payload::MemorySection(section) => (&mut self.memories, section.count()),
            Payload::TableSection(section) => (&mut self.tables, section.count()),
            Payload::InstanceSection(section) => (&mut self.core_instances, section.count()),
            _ => return,
        };
        *count = count.saturating_add(u64::from(found));
    }
}

impl NameList {
    fn add(&mut self, parts: &[&str]) {
        self.total += 1;
        if self.listed.len() < MOST_NAMES_LISTED {
            let characters = parts.iter().flat_map(|part| part.chars());
            // A name from a hostile file must not steer a terminal or a log.
            let visible = characters.map(|c| if c.is_control() { '\u{fffd}' } else { c });
            self.listed
                .push(visible.take(LONGEST_NAME_SHOWN_CHARS).collect());
        }
    }

    /// The first names, in the order of the file.
    pub fn listed(&self) -> &[String] {
        &self.listed
    }

    /// How many there are, listed or not.
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

fn damaged(error: wasmparser::BinaryReaderError) -> ComponentError {
    ComponentError::Damaged(error.to_string())
}

fn supported_contracts() -> String {
    ContractVersion::ALL
        .map(ContractVersion::export_name)
        .join(", ")
}

fn how_to_build_without_imports(imports: &NameList) -> String {
    let mut advice = vec![
        "Rust: build for wasm32-unknown-unknown, not wasm32-wasip2, and use no clock, randomness \
         or output (std::time, rand, getrandom, println!).",
        "JavaScript: componentize-js with \
         disableFeatures ['random', 'stdio', 'clocks', 'http', 'fetch-event'].",
        "Python: componentize-py with --stub-wasi.",
    ];
    if imports.listed.iter().any(|name| name.contains("wbindgen")) {
        let cause = "A dependency counts on a browser (wasm-bindgen): leave out its 'js' or \
                     'wasm-bindgen' feature.";
        advice.insert(0, cause);
    }
    advice.join(" ")
}

/// The module without names, producers and debug information: they make a
/// plugin larger, and a build on another machine different.
fn without_build_notes(core: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let mut lean = core.get(..8).unwrap_or_default().to_vec();
    for payload in Parser::new(0).parse_all(core) {
        let payload = payload.map_err(damaged)?;
        if let Payload::CustomSection(section) = &payload
            && !section.name().starts_with("component-type")
        {
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            let range = usize::try_from(range.start)
                .ok()
                .zip(usize::try_from(range.end).ok());
            let content = range
                .and_then(|(start, end)| core.get(start..end))
                .unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = "tollgate:rules/rule@1.0.0";

    fn inspect_text(text: &str) -> Result<Inspection, ComponentError> {
        inspect(&wat::parse_str(text).expect("the text of the test is valid"))
    }

    fn rule_with(inner: &str) -> String {
        format!(
            r#"(component {inner}
                (instance $rule)
                (export "{CONTRACT}" (instance $rule)))"#
        )
    }

    #[test]
    fn bytes_that_are_no_webassembly_are_called_so() {
        for bytes in [
            &b""[..],
            b"\0as",
            b"\x7fELF",
            b"\0asm",
            b"\0asm\x01\0",
            b"(component)",
        ] {
            assert!(
                matches!(inspect(bytes), Err(ComponentError::NotWebAssembly)),
                "{bytes:?}"
            );
            let built = from_core_module(bytes);
            assert!(
                matches!(built, Err(ComponentError::NotWebAssembly)),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_core_module_is_told_how_to_become_a_component() {
        let error = inspect_text("(module)").expect_err("a module is no component");
        assert!(matches!(error, ComponentError::CoreModule));
        assert!(
            error.to_string().contains("tollgate plugin build"),
            "{error}"
        );
    }

    #[test]
    fn the_contract_is_found_by_its_exact_export() {
        let inspection = inspect_text(&rule_with("")).expect("a rule");
        assert_eq!(inspection.contract, ContractVersion::V1_0_0);
        assert!(inspection.size_bytes > 8);
    }

    #[test]
    fn another_version_is_refused_with_what_is_exported_and_what_is_supported() {
        let text = rule_with("").replace("@1.0.0", "@2.0.0");
        let error = inspect_text(&text)
            .expect_err("no such version")
            .to_string();
        assert!(
            error.contains("exports tollgate:rules/rule@2.0.0"),
            "{error}"
        );
        assert!(
            error.contains("supported: tollgate:rules/rule@1.0.0"),
            "{error}"
        );
        let error = inspect_text("(component)")
            .expect_err("an empty component")
            .to_string();
        assert!(error.contains("exports nothing"), "{error}");
    }

    #[test]
    fn the_contract_must_be_an_instance() {
        let text = format!(r#"(component (component $c) (export "{CONTRACT}" (component $c)))"#);
        assert!(matches!(
            inspect_text(&text),
            Err(ComponentError::NoContract { .. })
        ));
    }

    #[test]
    fn each_import_is_named_with_the_way_to_build_without() {
        let imports = r#"(import "wasi:clocks/wall-clock@0.2.0" (instance))
                         (import "wasi:random/random@0.2.0" (instance))"#;
        let error = inspect_text(&rule_with(imports))
            .expect_err("it imports")
            .to_string();
        for part in [
            "wasi:clocks/wall-clock@0.2.0",
            "wasi:random/random@0.2.0",
            "--stub-wasi",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn many_imports_are_counted_rather_than_listed() {
        let imports: String = (0..100)
            .map(|index| format!(r#"(import "import-{index}" (func))"#))
            .collect();
        let error = inspect_text(&rule_with(&imports))
            .expect_err("it imports")
            .to_string();
        assert!(error.contains("and 68 more"), "{error}");
    }

    #[test]
    fn what_is_nested_is_counted_and_its_imports_are_not_the_plugins() {
        let inner = r#"
            (core module $m (import "a" "b" (func)) (memory 1) (table 1 funcref) (func) (func))
            (core module $n (func (export "b")))
            (core instance $i (instantiate $n))
            (core instance (instantiate $m (with "a" (instance $i))))"#;
        let counts = inspect_text(&rule_with(inner)).expect("a rule").counts;
        let expected = Counts {
            functions: 3,
            memories: 1,
            tables: 1,
            core_instances: 2,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let text = format!("{}{}", "(component ".repeat(40), ")".repeat(40));
        assert!(matches!(
            inspect_text(&text),
            Err(ComponentError::NestedTooDeeply)
        ));
    }

    #[test]
    fn every_cut_and_every_changed_byte_ends_in_an_answer() {
        let module = r#"(core module (memory 1) (func (result i32) i32.const 7))"#;
        let imports = r#"(import "x" (func))"#;
        let bytes = wat::parse_str(rule_with(&format!("{module}{imports}"))).expect("valid");
        for length in 0..bytes.len() {
            let _ = inspect(&bytes[..length]);
        }
        for index in 0..bytes.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[index] = value;
                let _ = inspect(&changed);
                let _ = from_core_module(&changed);
            }
        }
    }

    #[test]
    fn a_module_that_imports_is_refused_before_it_is_built() {
        let text = r#"(module (import "__wbindgen_placeholder__" "now" (func)))"#;
        let module = wat::parse_str(text).expect("valid");
        let error = from_core_module(&module)
            .expect_err("it imports")
            .to_string();
        assert!(error.contains("__wbindgen_placeholder__ now"), "{error}");
        assert!(error.contains("browser"), "{error}");
    }

    #[test]
    fn a_module_that_knows_no_contract_becomes_no_plugin() {
        let module = wat::parse_str("(module (func))").expect("valid");
        assert!(from_core_module(&module).is_err());
        let component = wat::parse_str("(component)").expect("valid");
        let again = from_core_module(&component);
        assert!(matches!(again, Err(ComponentError::ComponentAlready)));
    }

    #[test]
    fn names_and_producers_are_left_out_and_the_rest_is_kept() {
        let text = r#"(module $named (func $f (export "f")) (@custom "producers" "x")
                       (@custom "component-type:t" "kept"))"#;
        let module = wat::parse_str(text).expect("valid");
        let lean = without_build_notes(&module).expect("valid");
        let expected = r#"(module (func (export "f")) (@custom "component-type:t" "kept"))"#;
        assert_eq!(lean, wat::parse_str(expected).expect("valid"));
    }
}
