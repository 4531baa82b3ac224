//! Owns the code generated from the contract. Must never be edited or seen by
//! a rule: `convert` stands between it and the types that rules use.
#![allow(unsafe_code, missing_docs, missing_debug_implementations, clippy::all)]

wit_bindgen::generate!({
    path: "../wit",
    world: "payment-rule",
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "tollgate_rule::bindings",
});
