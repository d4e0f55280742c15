//! The generated documents are what the extensions say. `UPDATE_EXPECT=1` writes them anew.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;

fn held(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == generated, "{} is not what the extensions say: run with UPDATE_EXPECT=1", path.display());
}

#[test]
fn the_list_of_xeps_is_current() {
    held("xeps.md", &stonechat_ext::documents::markdown());
}

#[test]
fn the_doap_file_is_current_and_well_formed() {
    let doap = stonechat_ext::documents::doap();
    held("stonechat.doap", &doap);
    let root = doap.trim_start_matches("<?xml version='1.0' encoding='UTF-8'?>\n").trim_end();
    assert!(stonechat_xml::Element::parse(root.as_bytes(), "").is_ok());
}

#[test]
fn the_skeleton_in_the_guide_is_the_real_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(root.join("../../docs/adding-an-extension.md")).unwrap();
    let file = std::fs::read_to_string(root.join("src/xep_0199.rs")).unwrap();
    let skeleton = guide.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let code = file.split_once("\n\n").map(|(_heading, code)| code).unwrap();
    assert!(skeleton == code, "docs/adding-an-extension.md shows another xep_0199.rs than there is");
}
