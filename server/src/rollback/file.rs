//! Small files of JSON, written whole or not at all.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RecordError;
use crate::data_dir::{DataDirError, write_private};

/// Reads a file; `None` where there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RecordError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DataDirError::Io { action: "read", path: path.to_owned(), source }.into()),
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|source| RecordError::Damaged { path: path.to_owned(), source })
}

pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), RecordError> {
    let json = serde_json::to_vec_pretty(value);
    let mut json = json.map_err(|source| RecordError::Damaged { path: path.to_owned(), source })?;
    json.push(b'\n');
    Ok(write_private(path, &json)?)
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), RecordError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DataDirError::Io { action: "remove", path: path.to_owned(), source: error }.into())
        }
        _ => Ok(()),
    }
}
