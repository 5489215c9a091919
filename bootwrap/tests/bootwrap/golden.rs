//! Compares a text with the one on record; `BLESS=1` records it.

use std::fs;
use std::path::Path;

/// Fails unless `actual` is what `tests/data/<name>.expected` holds.
pub fn check(name: &str, actual: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("{name}.expected"));
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, actual).expect("written");
    }
    let expected = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!(actual, expected, "{}", file.display());
}
