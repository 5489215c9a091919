//! `[source.NAME]`, and how kernels and the hypervisor are compiled.

use std::path::PathBuf;

use super::super::raw::Value;
use super::super::{Compiled, ConfigValue, FileSource, Fragment, Located, SourceFile, SourceFrom, SourceTree};
use super::{Cursor, nobodys};
use crate::recipe::form;

pub(super) fn source(table: &Cursor<'_>) -> SourceTree {
    SourceTree {
        from: from(table),
        patches: table.local_paths("patches"),
        files: table.get("files").map(|files| files.named(file)).unwrap_or_default(),
        origin: table.origin(),
    }
}

fn from(table: &Cursor<'_>) -> SourceFrom {
    if let Some(package) = table.located_text("debian") {
        SourceFrom::Debian { package }
    } else if let Some(package) = table.located_text("package") {
        let file = table.required_text("file");
        let file = Located { value: file.value.trim_start_matches('/').to_string(), ..file };
        SourceFrom::Package { package, file }
    } else if let Some(url) = table.located_text("url") {
        SourceFrom::Url { url, sha256: table.sha256().unwrap_or_else(|| nobodys(String::new())) }
    } else if let Some(url) = table.located_text("git") {
        let path = table.local_path("git").filter(|_| form::is_local(&form::GIT, &url.value));
        let value = path.map_or_else(|| url.value.clone(), |path| path.value.display().to_string());
        SourceFrom::Git { url: Located { value, ..url }, revision: table.required_text("revision") }
    } else {
        let tarball = table.local_path("tarball").unwrap_or_else(|| nobodys(PathBuf::new()));
        SourceFrom::Tarball { tarball, sha256: table.sha256() }
    }
}

fn file(table: &Cursor<'_>) -> SourceFile {
    match table.local_path("path") {
        Some(path) => SourceFile::Path(path),
        None => SourceFile::Text(table.text("text")),
    }
}

impl<'a> Cursor<'a> {
    /// Returns the image that a kernel's or the hypervisor's table names.
    pub(super) fn image(&self) -> Option<FileSource> {
        let Some(source) = self.located_text("source") else { return self.file_source() };
        let defconfig = self.located_text("defconfig").unwrap_or_else(|| self.located("defconfig".to_string()));
        let fragments = self.elements("fragments");
        let config = |cursor: &Cursor<'a>| {
            cursor.located(match &cursor.node.value {
                Value::Boolean(value) => ConfigValue::Boolean(*value),
                Value::Integer(value, _) => ConfigValue::Number(value.unwrap_or_default()),
                _ => ConfigValue::Text(cursor.node.text().unwrap_or_default().to_string()),
            })
        };
        Some(FileSource::Compiled(Box::new(Compiled {
            source,
            defconfig,
            fragments: fragments.iter().filter_map(Cursor::fragment).collect(),
            config: self.get("config").map(|config_| config_.named(config)).unwrap_or_default(),
        })))
    }

    /// A fragment: one that is carried, or a local file.
    fn fragment(&self) -> Option<Fragment> {
        let text = self.node.text()?;
        if !form::is_local(&form::FRAGMENT, text) {
            return Some(Fragment::Named(self.located(text.to_string())));
        }
        if !text.contains(['/', '.']) {
            let message = "expected `xen` or `builtin`, or the path of a file";
            self.finding(format!("there is no fragment called `{text}`: {message}"));
            return None;
        }
        Some(Fragment::File(self.located(self.absolute(text))))
    }
}
