//! The code generated from the contract. Rules do not use these types:
//! `convert` translates them to the types of this crate.
#![allow(unsafe_code, missing_docs, missing_debug_implementations, clippy::all)]

wit_bindgen::generate!({
    path: "../wit/1.1.0",
    world: "payment-rule",
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "tollgate_rule::bindings",
});
