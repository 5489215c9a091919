//! The boards that come with the compiler: sources, by name.

use crate::loader::{LoadError, Loader};

/// The names of the boards, each of a source `NAME.dts`.
pub const NAMES: [&str; 3] = ["foundation-v8", "fvp-base-revc", "qemu-virt"];

/// Every file, those that boards include too.
const FILES: [(&str, &str); 5] = [
    ("arm.h", include_str!("../boards/arm.h")),
    ("foundation-v8.dts", include_str!("../boards/foundation-v8.dts")),
    ("fvp-base-revc.dts", include_str!("../boards/fvp-base-revc.dts")),
    ("qemu-virt.dts", include_str!("../boards/qemu-virt.dts")),
    ("vexpress-rs2.dtsi", include_str!("../boards/vexpress-rs2.dtsi")),
];

/// Returns the source of a board; its parameters, which are macros, are listed at its top.
pub fn get(name: &str) -> Option<&'static str> {
    let file = NAMES.contains(&name).then(|| format!("{name}.dts"))?;
    FILES.iter().find(|(path, _)| *path == file).map(|(_, text)| *text)
}

/// Loads the boards' files: `qemu-virt.dts`, `arm.h`, also under `boards/`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Boards;

impl Loader for Boards {
    fn load(&self, path: &str) -> Result<Vec<u8>, LoadError> {
        let name = path.strip_prefix("boards/").unwrap_or(path);
        let file = FILES.iter().find(|(path, _)| *path == name);
        file.map(|(_, text)| text.as_bytes().to_vec()).ok_or(LoadError::NotFound)
    }
}
