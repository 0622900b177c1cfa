//! The direction of dependencies, held by a machine: who may know whom, and what must never be linked into an agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{cargo, read, root};

/// Which of our own crates each crate may depend on, as in ARCHITECTURE.md. Dependencies of tests and examples are
/// free: they reach nobody who links the crate.
const ARROWS: &[(&str, &[&str])] = &[
    ("kernel", &[]),
    ("budget-protocol", &["kernel"]),
    ("ledger", &["kernel"]),
    ("api-types", &["kernel", "budget-protocol"]),
    ("control-client", &["kernel", "budget-protocol", "api-types"]),
    ("auth", &["kernel"]),
    ("vault", &["kernel"]),
    ("analytics", &["kernel"]),
    ("settings", &["kernel"]),
    ("ws-hub", &["kernel"]),
    ("persistence", DOMAIN),
    (
        "http-api",
        &[
            "kernel",
            "ledger",
            "auth",
            "vault",
            "analytics",
            "budget-protocol",
            "ws-hub",
            "settings",
            "api-types",
            "persistence",
        ],
    ),
    (
        "server",
        &[
            "kernel",
            "ledger",
            "auth",
            "vault",
            "analytics",
            "budget-protocol",
            "ws-hub",
            "settings",
            "api-types",
            "persistence",
            "http-api",
            "control-client",
        ],
    ),
    ("tests", EVERYTHING_FOR_CLIENTS),
    ("xtask", &[]),
];

const DOMAIN: &[&str] = &["kernel", "ledger", "auth", "vault", "analytics", "budget-protocol", "ws-hub", "settings"];
/// The end-to-end tests speak to the real server over a socket; what they may link is what a client may link.
const EVERYTHING_FOR_CLIENTS: &[&str] = &["kernel", "budget-protocol", "api-types", "control-client"];

/// Crates of others that only the named ones may depend on, be it for tests.
const RESERVED: &[(&str, &[&str])] = &[("sqlx", &["persistence"]), ("axum", &["http-api", "server"])];

/// What must not be anywhere in the dependencies of these: an agent runtime links most of them.
const SERVER_ONLY: &[&str] = &["axum", "sqlx", "sqlx-core", "figment"];
const LINKED_BY_AGENTS: &[&str] =
    &["kernel", "budget-protocol", "api-types", "control-client", "auth", "analytics", "ws-hub", "ledger"];

/// Fields of a manifest that are said once, in the root manifest.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "publish"];

/// `cargo xtask check-deps`.
pub(crate) fn run() -> Result<()> {
    let metadata = read(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let mut faults = Vec::new();

    let members = packages.iter().filter_map(|p| p["name"].as_str()).collect::<BTreeSet<_>>();
    let dependencies = packages.iter().map(dependencies_of).collect::<Vec<_>>();
    faults.extend(arrows(&members, &dependencies));
    for package in packages {
        let path = Path::new(package["manifest_path"].as_str().context("a package without a manifest")?);
        let shown = path.strip_prefix(root()).unwrap_or(path).display().to_string();
        faults.extend(test_binaries(package));
        faults.extend(inheritance(&fs::read_to_string(path)?)?.into_iter().map(|fault| format!("{shown}: {fault}")));
    }
    for name in LINKED_BY_AGENTS {
        faults.extend(forbidden(name, &tree(name)?, SERVER_ONLY));
    }
    faults.extend(forbidden("xtask", &tree("xtask")?, &["axum", "sqlx", "sqlx-core"]));

    if !faults.is_empty() {
        bail!("packages are not as they should be:\n  {}", faults.join("\n  "));
    }
    println!("packages: {}, every dependency as drawn", members.len());
    Ok(())
}

/// A dependency as the manifest names it.
struct Dependency<'a> {
    name: &'a str,
    /// For tests and examples only.
    dev: bool,
}

fn dependencies_of(package: &Value) -> (&str, Vec<Dependency<'_>>) {
    let listed = package["dependencies"].as_array().into_iter().flatten();
    let named = listed.filter_map(|d| Some(Dependency { name: d["name"].as_str()?, dev: d["kind"] == "dev" }));
    (package["name"].as_str().unwrap_or_default(), named.collect())
}

fn arrows(members: &BTreeSet<&str>, packages: &[(&str, Vec<Dependency<'_>>)]) -> Vec<String> {
    let allowed = ARROWS.iter().copied().collect::<BTreeMap<_, _>>();
    let reserved = RESERVED.iter().copied().collect::<BTreeMap<_, _>>();
    let mut faults = Vec::new();
    for (name, dependencies) in packages {
        let Some(allowed) = allowed.get(name) else {
            faults.push(format!("{name} is not in the table of arrows (xtask/src/check_deps.rs)"));
            continue;
        };
        for dependency in dependencies {
            let of = dependency.name;
            if members.contains(of) && !dependency.dev && !allowed.contains(&of) {
                faults.push(format!("{name} must not depend on {of}"));
            }
            if reserved.get(of).is_some_and(|only| !only.contains(name)) {
                faults.push(format!("{name} must not depend on {of}: only {} may", reserved[of].join(", ")));
            }
        }
    }
    faults
}

/// More than one program of integration tests: each links the world again, and a file that was meant as a module of
/// another becomes a program by lying in `tests/`.
fn test_binaries(package: &Value) -> Option<String> {
    let targets = package["targets"].as_array().into_iter().flatten().filter(|target| target["kind"][0] == "test");
    let names = targets.filter_map(|target| target["name"].as_str()).collect::<Vec<_>>();
    let fault = || {
        let name = package["name"].as_str().unwrap_or_default();
        format!(
            "{name} has {} test binaries ({}): keep one, tests/it/main.rs with its modules",
            names.len(),
            names.join(", ")
        )
    };
    (names.len() > 1).then(fault)
}

/// Everything a package links, with the features it would have on its own.
fn tree(package: &str) -> Result<BTreeSet<String>> {
    // Not the resolution of the whole workspace: there, a feature asked for by the server is on for everybody
    let arguments = ["tree", "--edges", "normal", "--target", "all", "--prefix", "none", "--format", "{p}"];
    let lines = read(cargo().args(arguments).args(["--package", package]))?;
    Ok(lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

fn forbidden(package: &str, tree: &BTreeSet<String>, names: &[&str]) -> Vec<String> {
    let found = names.iter().filter(|name| tree.contains(**name));
    found.map(|name| format!("{package} links {name} (see: cargo tree -p {package} -e normal -i {name})")).collect()
}

/// What a manifest says itself although the root manifest says it for all.
fn inheritance(manifest: &str) -> Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse()?;
    let inherits = |value: Option<&toml::Value>| {
        value.and_then(|v| v.get("workspace")).and_then(toml::Value::as_bool).unwrap_or(false)
    };
    let mut faults = Vec::new();
    for field in INHERITED {
        if !inherits(manifest.get("package").and_then(|p| p.get(field))) {
            faults.push(format!("package.{field} is not inherited (`{field}.workspace = true`)"));
        }
    }
    if !inherits(manifest.get("lints")) {
        faults.push("lints are not inherited (`[lints] workspace = true`)".to_owned());
    }
    let platforms = manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten();
    let tables = platforms.filter_map(|(_, platform)| platform.as_table()).chain([&manifest]);
    for (table, kind) in tables.flat_map(|t| ["dependencies", "dev-dependencies", "build-dependencies"].map(|k| (t, k)))
    {
        for (name, value) in table.get(kind).and_then(toml::Value::as_table).into_iter().flatten() {
            if !inherits(Some(value)) {
                faults.push(format!("{kind}.{name} is not taken from the workspace (`{name}.workspace = true`)"));
            }
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::{Dependency, arrows, inheritance, test_binaries};

    fn check(package: &str, of: &str, dev: bool) -> Vec<String> {
        arrows(&["kernel", "ledger", "auth"].into(), &[(package, vec![Dependency { name: of, dev }])])
    }

    #[test]
    fn domain_crates_do_not_know_each_other() {
        assert_eq!(check("ledger", "auth", false), ["ledger must not depend on auth"]);
        assert!(check("ledger", "kernel", false).is_empty());
        assert!(check("ledger", "auth", true).is_empty(), "tests may");
    }

    #[test]
    fn the_database_driver_is_reserved_even_for_tests() {
        assert_eq!(check("http-api", "sqlx", true).len(), 1);
        assert!(check("persistence", "sqlx", false).is_empty());
    }

    #[test]
    fn a_second_test_binary_is_a_fault() {
        let package = |names: &[&str]| {
            let targets = names.iter().map(|name| serde_json::json!({"kind": ["test"], "name": name}));
            serde_json::json!({"name": "p", "targets": targets.collect::<Vec<_>>()})
        };
        assert!(test_binaries(&package(&["it"])).is_none());
        assert!(test_binaries(&package(&["it", "support"])).is_some());
    }

    #[test]
    fn a_package_outside_the_picture_is_refused() {
        assert_eq!(check("stranger", "kernel", false).len(), 1);
    }

    #[test]
    fn a_version_of_its_own_is_found_wherever_it_stands() {
        let good = "[package]\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
            license.workspace = true\npublish.workspace = true\n[lints]\nworkspace = true\n\
            [dependencies]\na.workspace = true\nb = { workspace = true, features = [\"x\"] }\n";
        assert!(inheritance(good).unwrap().is_empty());
        let bad = good.to_owned() + "c = \"1\"\n[target.'cfg(unix)'.dev-dependencies]\nd = { version = \"1\" }\n";
        assert_eq!(inheritance(&bad).unwrap().len(), 2);
        assert_eq!(inheritance("[package]\nversion = \"1\"\n").unwrap().len(), 6);
    }
}
