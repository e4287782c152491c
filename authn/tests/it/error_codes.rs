//! `docs/api/error-codes.md` lists every code that a caller can get, and no other.

use std::collections::BTreeMap;
use std::path::Path;

use signalbeam_authn::ErrorCode;

/// The rows of the document's tables: the code, and its other cells.
fn documented() -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api/error-codes.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let code = cells[0].trim_matches('`').to_owned();
        assert!(rows.insert(code, cells[1..].to_vec()).is_none(), "{line} stands there twice");
    }
    rows
}

#[test]
fn every_code_is_documented_with_its_status_its_meaning_and_what_to_do() {
    let mut documented = documented();
    for code in ErrorCode::ALL {
        let row = documented.remove(code.as_str());
        let row = row.unwrap_or_else(|| panic!("{} is not documented", code.as_str()));
        assert_eq!(row.len(), 3, "{}", code.as_str());
        assert_eq!(row[0], code.status().as_u16().to_string(), "{}", code.as_str());
        assert_eq!(row[1], code.title(), "{}", code.as_str());
        assert!(row[2].len() > 10, "{}: what is to be done?", code.as_str());
    }
    assert!(documented.is_empty(), "there are no such codes: {documented:?}");
}

#[test]
fn codes_are_screaming_snake_and_unlike_each_other() {
    let mut names: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ErrorCode::ALL.len());
    let failures_of_ours = ErrorCode::ALL.iter().filter(|code| code.status() == 500);
    assert_eq!(failures_of_ours.map(|code| code.as_str()).collect::<Vec<_>>(), ["INTERNAL_ERROR"]);
}
