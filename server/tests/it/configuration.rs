//! The page on configuration: its table is made from the comments of the settings, and stays as they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- The table below is made from the comments of the settings: SIGNALBEAM_UPDATE_DOCS=1 cargo test -p signalbeam-server --test it configuration -->\n";

/// A setting as its comment describes it.
struct Setting {
    key: String,
    variable: String,
    default: String,
    meaning: String,
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn sources() -> Vec<String> {
    let mut paths = vec![source("src/config/sections.rs")];
    paths.extend(fs::read_dir(source("src/config/sections")).unwrap().map(|entry| entry.unwrap().path()));
    paths.sort();
    paths.into_iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Each comment of the sources, joined into one line.
fn comments(source: &str) -> Vec<String> {
    let mut comments = vec![String::new()];
    for line in source.lines() {
        match line.trim().strip_prefix("///") {
            Some(text) => comments.last_mut().unwrap().push_str(text),
            None if comments.last().is_some_and(|comment| !comment.is_empty()) => comments.push(String::new()),
            None => {}
        }
    }
    comments.into_iter().map(|comment| comment.trim().to_owned()).collect()
}

/// A comment such as "What it is. `--flag`, `SIGNALBEAM__SECTION__KEY` (comma-separated), default `x`: more."
fn setting(comment: &str) -> Option<Setting> {
    let (before, rest) = comment.split_once("`SIGNALBEAM__")?;
    let (name, rest) = rest.split_once('`')?;
    let (_, default) = rest.split_once("default ")?;
    let key = name.split("__").map(str::to_ascii_lowercase).collect::<Vec<_>>().join(".");
    let meaning = before.trim().trim_end_matches(',').trim();
    // A flag that says the same stands before the variable.
    let meaning = meaning.rsplit_once(" `--").map_or(meaning, |(meaning, _)| meaning).trim();
    Some(Setting {
        key,
        variable: format!("SIGNALBEAM__{name}"),
        default: default.trim_end_matches('.').to_owned(),
        meaning: meaning.trim_end_matches('.').to_owned(),
    })
}

fn settings() -> BTreeMap<String, Setting> {
    let comments = sources().into_iter().flat_map(|source| comments(&source));
    let settings = comments.filter_map(|comment| setting(&comment));
    settings.map(|setting| (setting.key.clone(), setting)).collect()
}

fn table() -> String {
    let mut table = String::new();
    let mut section = String::new();
    for setting in settings().into_values() {
        let (of, _) = setting.key.split_once('.').unwrap();
        if of != section {
            of.clone_into(&mut section);
            write!(table, "\n### `[{section}]`\n\n| key | meaning | default | variable |\n|---|---|---|---|\n")
                .unwrap();
        }
        let Setting { key, variable, default, meaning } = setting;
        let meaning = meaning.replace('|', "\\|");
        writeln!(table, "| `{key}` | {meaning} | {default} | `{variable}` |").unwrap();
    }
    table
}

#[test]
fn the_page_has_every_setting_as_its_comment_describes_it() {
    let path = source("../docs/deployment/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let (introduction, _) = page.split_once(BEGIN).expect("the page has the line that the table follows");
    let expected = format!("{introduction}{BEGIN}{}", table());
    if std::env::var_os("SIGNALBEAM_UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == expected,
        "docs/deployment/configuration.md is old; SIGNALBEAM_UPDATE_DOCS=1 makes this test rewrite it"
    );
}

#[test]
fn every_key_that_is_printed_is_on_the_page() {
    let printed = crate::process::run(
        crate::process::signalbeam(&tempfile::tempdir().unwrap().path().join("data")).args(["config", "print"]),
    );
    let settings = settings();
    let mut section = String::new();
    let printed = crate::process::text(&printed.stdout);
    for line in printed.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once(" = ") {
            let key = format!("{section}.{key}");
            // The bounds of validity share one comment.
            let is_shared = key.ends_with("_validity_days");
            assert!(settings.contains_key(&key) || is_shared, "{key} has no comment that names its variable");
        }
    }
}
