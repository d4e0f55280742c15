//! What the house plan makes law: which crate may use which, how long a file may be, that each module says what it is,
//! that the list of abuse cases is true.

use crate::abuse;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layer table: a crate, and the crates of ours it may depend on. Test code may use more.
const LAYERS: &[(&str, &[&str])] = &[
    ("xml", &[]),
    ("jid", &[]),
    ("stanza", &["xml", "jid"]),
    ("sasl", &[]),
    ("stream", &["xml", "jid", "stanza", "sasl"]),
    ("im", &["xml", "jid", "stanza"]),
    ("store", &["xml", "jid", "stanza", "sasl"]),
    ("store-sqlite", &["xml", "jid", "stanza", "sasl", "store"]),
    ("router", &["xml", "jid", "stanza", "sasl", "im", "store"]),
    ("ext", &["xml", "jid", "stanza", "sasl", "im", "store", "router"]),
    ("s2s", &["xml", "jid", "stanza", "sasl", "stream", "router"]),
    ("net", &["xml", "jid", "stanza", "sasl", "stream", "store", "router", "s2s"]),
    ("admin", &["jid", "sasl", "stanza", "store", "router"]),
    ("bench", &[]),
    ("xtask", &[]),
];

/// Crates of others that the lower floors may never use: they would bring I/O, clocks or randomness.
const NEVER_BELOW: &[&str] = &["tokio", "getrandom", "rustls", "rusqlite", "tracing"];
const LOWER_FLOORS: &[&str] = &["xml", "jid", "stanza", "sasl", "stream", "im"];

/// Lines a source file may have.
const LONGEST: usize = 800;

/// What the top level may hold, beside dot files.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "crates",
    "tests",
    "conformance",
    "docs",
    "examples",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE",
    "clippy.toml",
    "rustfmt.toml",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

pub(crate) fn run() -> Result<(), Vec<String>> {
    let mut findings = Vec::new();
    let metadata = match metadata() {
        Ok(metadata) => metadata,
        Err(error) => return Err(vec![error]),
    };
    for package in &metadata.packages {
        layers(package, &mut findings);
    }
    let root = &metadata.workspace_root;
    let files = tracked(root);
    for tracked in &files {
        top_level(tracked, &mut findings);
        if tracked.ends_with(".rs") {
            source(root, tracked, &mut findings);
        }
    }
    match std::fs::read_to_string(root.join(abuse::LIST)) {
        Ok(list) => abuse::check(&list, &abuse::find(root, &files), &mut findings),
        Err(error) => findings.push(format!("{}: {error}", abuse::LIST)),
    }
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

fn metadata() -> Result<Metadata, String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|error| format!("cargo metadata cannot be run: {error}"))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata cannot be read: {error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn layers(package: &Package, findings: &mut Vec<String>) {
    let Some(name) = package.name.strip_prefix("stonechat-") else { return };
    let Some((_, allowed)) = LAYERS.iter().find(|(known, _)| *known == name) else {
        findings.push(format!("the crate {name} is not in the layer table"));
        return;
    };
    for dependency in package.dependencies.iter().filter(|dependency| dependency.kind.is_none()) {
        if let Some(ours) = dependency.name.strip_prefix("stonechat-")
            && !allowed.contains(&ours)
        {
            findings.push(format!("{name} uses {ours}, which the layer table does not allow"));
        }
        if LOWER_FLOORS.contains(&name) && NEVER_BELOW.contains(&dependency.name.as_str()) {
            findings.push(format!("{name} uses {}: the lower floors do no I/O", dependency.name));
        }
    }
}

pub(crate) fn tracked(root: &Path) -> Vec<String> {
    Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

fn top_level(tracked: &str, findings: &mut Vec<String>) {
    let first = tracked.split('/').next().unwrap_or_default();
    if !first.starts_with('.') && !TOP.contains(&first) {
        findings.push(format!("{first} does not belong at the top level"));
    }
}

fn source(root: &Path, tracked: &str, findings: &mut Vec<String>) {
    let Ok(text) = std::fs::read_to_string(root.join(tracked)) else { return };
    let lines = text.lines().count();
    if lines > LONGEST {
        findings.push(format!("{tracked} has {lines} lines: it is two things, split it where the idea splits"));
    }
    if !text.starts_with("//!") {
        findings.push(format!("{tracked} does not open with what it is (`//!`)"));
    }
    let stem = Path::new(tracked).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if matches!(stem, "common" | "utils" | "util" | "helpers" | "misc") {
        findings.push(format!("{tracked}: a thing has a room of its own or belongs to one"));
    }
}
