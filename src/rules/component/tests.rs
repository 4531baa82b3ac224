//! Tests with small components as text and with hostile bytes. They need no built plugin.

use super::*;

const CONTRACT: &str = "tollgate:rules/rule@1.0.0";

fn inspect_text(text: &str) -> Result<Inspection, ComponentError> {
    inspect(&wat::parse_str(text).expect("the text of the test is valid"))
}

/// Defines the function `$f` in a component.
const FUNCTION: &str = r#"
    (core module $own (func (export "f")))
    (core instance $own (instantiate $own))
    (func $f (canon lift (core func $own "f")))"#;

fn rule_with(inner: &str) -> String {
    format!(
        r#"(component {inner} {FUNCTION}
            (instance $rule (export "describe" (func $f)) (export "prepare" (func $f)) (export "evaluate" (func $f)))
            (export "{CONTRACT}" (instance $rule)))"#
    )
}

#[test]
fn bytes_that_are_no_webassembly_are_refused() {
    for bytes in [&b""[..], b"\0as", b"\x7fELF", b"\0asm", b"\0asm\x01\0", b"(component)"] {
        assert!(matches!(inspect(bytes), Err(ComponentError::NotWebAssembly)), "{bytes:?}");
        let built = from_core_module(bytes);
        assert!(matches!(built, Err(ComponentError::NotWebAssembly)), "{bytes:?}");
    }
}

#[test]
fn a_core_module_is_refused_with_the_way_to_make_a_component() {
    let error = inspect_text("(module)").expect_err("a module is no component");
    assert!(matches!(error, ComponentError::CoreModule));
    assert!(error.to_string().contains("tollgate plugin build"), "{error}");
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
    let error = inspect_text(&text).expect_err("no such version").to_string();
    assert!(error.contains("exports tollgate:rules/rule@2.0.0"), "{error}");
    assert!(
        error.contains("supported rule contracts: tollgate:rules/rule@1.1.0, tollgate:rules/rule@1.0.0"),
        "{error}"
    );
    let error = inspect_text("(component)").expect_err("an empty component").to_string();
    assert!(error.contains("exports nothing"), "{error}");
}

#[test]
fn the_contract_must_be_an_instance() {
    let text = format!(r#"(component (component $c) (export "{CONTRACT}" (component $c)))"#);
    assert!(matches!(inspect_text(&text), Err(ComponentError::NoContract { .. })));
}

#[test]
fn functions_that_the_contract_wants_and_the_export_lacks_are_named() {
    let listed = format!(r#"{FUNCTION} (instance $rule (export "prepare" (func $f)))"#);
    let inside = format!(r#"(component $c {FUNCTION} (export "prepare" (func $f)))"#);
    for rule in [listed, format!("{inside} (instance $rule (instantiate $c))")] {
        let text = format!(r#"(component {rule} (export "{CONTRACT}" (instance $rule)))"#);
        let error = inspect_text(&text).expect_err("two are missing").to_string();
        assert!(error.contains("without the functions describe, evaluate"), "{error}");
    }
}

#[test]
fn each_import_is_named_with_the_way_to_build_without() {
    let imports = r#"(import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func))))
                     (import "wasi:random/random@0.2.0" (instance (export "get" (func))))"#;
    let error = inspect_text(&rule_with(imports)).expect_err("it imports").to_string();
    for part in ["wasi:clocks/wall-clock@0.2.0", "wasi:random/random@0.2.0", "--stub-wasi"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_imported_interface_of_types_alone_is_no_import() {
    let types = r#"(type (func))
        (import "tollgate:rules/types@1.0.0" (instance $t
            (type (record (field "minor" s64))) (export "money" (type (eq 0)))))
        (alias export $t "money" (type $money))"#;
    assert!(inspect_text(&rule_with(types)).is_ok());
}

#[test]
fn an_imported_interface_with_a_function_or_a_resource_is_refused() {
    for inside in [
        r#"(export "call" (func))"#,
        r#"(export "handle" (type (sub resource)))"#,
        r#"(type (instance (export "call" (func)))) (export "inner" (instance (type 0)))"#,
    ] {
        let text = rule_with(&format!(r#"(import "a:b/c" (instance {inside}))"#));
        let result = inspect_text(&text);
        assert!(matches!(result, Err(ComponentError::Imports { .. })), "{inside}");
    }
}

#[test]
fn many_imports_are_counted_rather_than_listed() {
    let imports: String = (0..100).map(|index| format!(r#"(import "import-{index}" (func))"#)).collect();
    let error = inspect_text(&rule_with(&imports)).expect_err("it imports").to_string();
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
    let expected = ModuleCounts { functions: 4, memories: 1, tables: 1, core_instances: 3 };
    assert_eq!(counts, expected);
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("{}{}", "(component ".repeat(40), ")".repeat(40));
    assert!(matches!(inspect_text(&text), Err(ComponentError::NestedTooDeeply)));
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
    let error = from_core_module(&module).expect_err("it imports").to_string();
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
