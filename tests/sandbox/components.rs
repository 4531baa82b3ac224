//! Core modules made into components, as an author would upload them.

use tollgate::rules::component::from_core_module;

/// A fixture's component.
pub fn component(fixture: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(format!("tests/hostile/{fixture}.wat")).expect("the fixture");
    component_of(&text)
}

/// The text of a core module, made a component of the contract.
pub fn component_of(core: &str) -> Vec<u8> {
    let mut core = wat::parse_str(core).expect("the module is valid");
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir("plugins/wit").expect("the contract");
    let world = resolve.select_world(&[package], Some("payment-rule")).expect("the world");
    wit_component::embed_component_metadata(
        &mut core,
        &resolve,
        world,
        wit_component::StringEncoding::UTF8,
        false,
    )
    .expect("the contract fits");
    from_core_module(&core).expect("a component")
}
