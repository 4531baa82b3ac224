//! Components made from core modules, as authors upload them.

use tollgate::rules::component::from_core_module;

/// The component of a fixture.
pub fn component(fixture: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(format!("tests/hostile/{fixture}.wat")).expect("the fixture");
    component_of(&text)
}

/// The component of a core module in text form.
pub fn component_of(core: &str) -> Vec<u8> {
    from_core_module(&core_module(core)).expect("a component")
}

/// The core module itself.
pub fn core_module(core: &str) -> Vec<u8> {
    let mut core = wat::parse_str(core).expect("the module is valid");
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir("plugins/wit/1.0.0").expect("the contract");
    let world = resolve.select_world(&[package], Some("payment-rule")).expect("the world");
    wit_component::embed_component_metadata(&mut core, &resolve, world, wit_component::StringEncoding::UTF8)
        .expect("the contract fits");
    core
}

/// 800 nested loops, in a function of a few kilobytes. The time of a compiler grows with the square
/// of the depth.
pub fn compile_bomb() -> Vec<u8> {
    rule_with_loops("Means harm.", 800, 16)
}

/// A valid rule with unused functions of `depth` nested loops each.
pub fn rule_with_loops(summary: &str, depth: usize, functions: usize) -> Vec<u8> {
    let good = good_rule(summary);
    let open = "(loop (local.set 0 (i32.add (local.get 0) (local.get 1))) ".repeat(depth);
    let close = "(br_if 0 (local.get 1)) (local.set 1 (i32.mul (local.get 0) (local.get 1))))".repeat(depth);
    let functions = format!("(func (param i32 i32) {open}{close})").repeat(functions);
    let body = good.trim_end().strip_suffix(')').expect("a module").to_owned();
    component_of(&format!("{body}{functions})"))
}

/// The text of the valid rule with this summary, which makes it another plugin.
pub fn good_rule(summary: &str) -> String {
    assert_eq!(summary.len(), "Means harm.".len());
    let good = std::fs::read_to_string("tests/hostile/good.wat").expect("the fixture");
    good.replace("Means harm.", summary)
}

/// The component with a section of these bytes, which have no meaning.
pub fn with_section(mut component: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    let name = b"\x03pad";
    let mut size = name.len() + bytes.len();
    component.push(0);
    while size >= 0x80 {
        component.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    component.push(size as u8);
    component.extend_from_slice(name);
    component.extend_from_slice(bytes);
    component
}
