//! Checks the documentation against the program.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

#[test]
fn the_readme_shows_the_output_of_the_first_start() {
    let readme = read("README.md");
    let printed = read("src/app/demo_session.txt");
    for line in printed.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()) {
        assert!(readme.lines().any(|shown| shown.trim() == line), "README.md lacks: {line}");
    }
}

#[test]
fn every_configuration_key_is_documented() {
    let document = read("docs/CONFIGURATION.md");
    for (file, declaration, keys_min) in [
        ("src/config/settings.rs", "pub struct NodeSettings {", 16),
        ("src/config/listener.rs", "pub struct ListenerSettings {", 12),
        ("src/config/listener.rs", "pub struct ProxySettings {", 3),
        ("src/door/tls.rs", "pub struct TlsSettings {", 4),
        ("src/config/roles.rs", "pub struct RulesSettings {", 4),
        ("src/workers/settings.rs", "pub struct PeerFiles {", 3),
    ] {
        let source = read(file);
        let settings = source.split(declaration).nth(1).and_then(|rest| rest.split("\n}").next());
        let keys = settings.expect("the settings").lines().filter_map(|line| {
            let (name, _) = line.trim().strip_prefix("pub ")?.split_once(':')?;
            Some(name)
        });
        let keys: Vec<&str> = keys.collect();
        assert!(keys.len() >= keys_min, "the settings were not read: {keys:?}");
        for key in keys {
            assert!(document.contains(&format!("`{key}`")), "docs/CONFIGURATION.md lacks {key}");
        }
    }
}

#[test]
fn every_direct_dependency_is_documented() {
    let manifest = read("Cargo.toml");
    let document = read("docs/ARCHITECTURE.md");
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && let Some((name, _)) = line.split_once(" = ")
        {
            assert!(document.contains(name), "docs/ARCHITECTURE.md says nothing of {name}");
        }
    }
}
