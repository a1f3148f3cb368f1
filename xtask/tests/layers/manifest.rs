//! The rule on dependencies.
//!
//! In: the text of a crate's Cargo.toml. Out: what in it breaks the rule.

use toml::{Table, Value};

/// For each crate, the crates of the workspace that it may depend on.
const LAYERS: &[(&str, &[&str])] = &[
    ("skep-bpf", &[]),
    ("skep-compiler", &["skep-bpf"]),
    ("skep-lang", &["skep-bpf", "skep-compiler"]),
    ("skep-packet", &["skep-bpf", "skep-compiler", "skep-lang"]),
    ("skep-guard", &["skep-bpf", "skep-compiler", "skep-lang"]),
    ("skep-engine", &["skep-bpf"]),
    ("skep-kernel", &["skep-bpf"]),
    ("skep-runtime", &["skep-bpf"]),
    (
        "skep",
        &[
            "skep-bpf",
            "skep-compiler",
            "skep-lang",
            "skep-packet",
            "skep-guard",
            "skep-engine",
            "skep-kernel",
            "skep-runtime",
        ],
    ),
    ("skep-cli", &["skep"]),
    // Tools for tests: they see the product as a user does, through its binary.
    ("livetest", &[]),
    ("xtask", &[]),
];

/// Crates whose tests may ask the independent oracle as well.
const TESTED_BY_ENGINE: &[&str] =
    &["skep-compiler", "skep-lang", "skep-packet", "skep-guard", "skep-runtime"];

/// Crates that may make system calls, read files, the environment or a clock.
const MACHINE: &[&str] = &["skep-kernel", "skep-cli", "livetest", "xtask"];

/// Other projects' crates that only these may use, in their product and in their tests.
/// (The engine maps memory for its programs, and nothing else.)
const RESERVED: &[(&str, &[&str])] = &[
    ("anyhow", &["skep-cli"]),
    ("rustix", &["skep-kernel", "skep-cli", "skep-engine", "livetest", "xtask"]),
    ("libc", MACHINE),
    ("nix", MACHINE),
];

/// Where `unsafe` may be: paths below `crates/`.
pub(crate) const UNSAFE: &[&str] = &["kernel/src/", "engine/src/native/", "livetest/src/workload/"];

/// The crate's name.
pub(crate) fn name(text: &str) -> String {
    let manifest: Table = text.parse().unwrap();
    manifest["package"]["name"].as_str().unwrap().to_owned()
}

/// Whether the crate is one that touches the machine.
pub(crate) fn may_touch_the_machine(name: &str) -> bool {
    MACHINE.contains(&name)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Product,
    Tests,
}

/// What in this manifest breaks the rule.
pub(crate) fn check(text: &str) -> Vec<String> {
    let name = name(text);
    let manifest: Table = text.parse().unwrap();
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
        return vec![format!("{name}: the layer rule does not know this crate; give it a place in it")];
    };
    let ours = |dependency: &str| LAYERS.iter().any(|(layer, _)| *layer == dependency);
    let mut broken = Vec::new();
    for (kind, dependency) in dependencies(&manifest) {
        let engine =
            kind == Kind::Tests && dependency == "skep-engine" && TESTED_BY_ENGINE.contains(&name.as_str());
        if ours(&dependency) && !allowed.contains(&dependency.as_str()) && !engine {
            broken.push(format!("{name} depends on {dependency}; it may depend on {allowed:?}"));
        }
        let reserved = RESERVED.iter().find(|(reserved, _)| *reserved == dependency);
        if let Some((_, users)) = reserved.filter(|(_, users)| !users.contains(&name.as_str())) {
            broken.push(format!("{name} depends on {dependency}; only {users:?} may"));
        }
    }
    broken
}

/// Every dependency by its package's name, also those of one platform.
fn dependencies(manifest: &Table) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    let kinds = [
        ("dependencies", Kind::Product),
        ("build-dependencies", Kind::Product),
        ("dev-dependencies", Kind::Tests),
    ];
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    for table in std::iter::once(manifest).chain(platforms.filter_map(Value::as_table)) {
        for (key, kind) in kinds {
            for (name, value) in table.get(key).and_then(Value::as_table).into_iter().flatten() {
                let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
                found.push((kind, package.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n{rest}")
    }

    #[test]
    fn what_the_design_allows_passes() {
        for (name, rest) in [
            ("skep-lang", "[dependencies]\nskep-compiler.workspace = true\nskep-bpf.workspace = true"),
            ("skep-cli", "[dependencies]\nskep.workspace = true\nanyhow = \"1\""),
            ("skep-lang", "[dev-dependencies]\nskep-engine.workspace = true"),
            ("skep-kernel", "[dependencies]\nlibc = \"0.2\""),
        ] {
            assert_eq!(check(&manifest(name, rest)), Vec::<String>::new());
        }
    }

    #[test]
    fn what_it_forbids_fails() {
        for (name, rest, culprit) in [
            ("skep-bpf", "[dependencies]\nskep-compiler.workspace = true", "skep-compiler"),
            ("skep-engine", "[dependencies]\nskep-compiler.workspace = true", "skep-compiler"),
            ("skep-engine", "[dev-dependencies]\nskep-compiler.workspace = true", "skep-compiler"),
            ("skep-packet", "[dependencies]\nskep-guard.workspace = true", "skep-guard"),
            ("skep-kernel", "[dependencies]\nskep-lang.workspace = true", "skep-lang"),
            ("skep-cli", "[dependencies]\nskep-kernel.workspace = true", "skep-kernel"),
            ("skep-cli", "[dependencies.hidden]\npackage = \"skep-kernel\"", "skep-kernel"),
            ("skep-cli", "[target.'cfg(unix)'.dependencies]\nskep-kernel.workspace = true", "skep-kernel"),
            ("skep-bpf", "[build-dependencies]\nskep-lang.workspace = true", "skep-lang"),
            ("skep", "[dependencies]\nanyhow = \"1\"", "anyhow"),
            ("skep-runtime", "[dependencies]\nrustix = \"1\"", "rustix"),
            ("livetest", "[dependencies]\nskep.workspace = true", "skep"),
            ("skep-lang", "[dependencies]\nlivetest = { path = \"../livetest\" }", "livetest"),
            ("skep-stray", "", "skep-stray"),
        ] {
            let broken = check(&manifest(name, rest));
            assert!(broken.len() == 1 && broken[0].contains(culprit), "{name}: {rest}: {broken:?}");
        }
    }
}
