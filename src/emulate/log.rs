//! The serial log: every line of the console with the seconds since the start in front of it, as it came.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::delivery::{SERIAL_LOG, SERIAL_LOG_BEFORE};
use crate::error::{Error, Result};

/// `serial.log` in a recipe's folder.
#[derive(Debug)]
pub struct SerialLog {
    path: PathBuf,
    file: BufWriter<File>,
    start: Instant,
    at_line_start: bool,
}

impl SerialLog {
    /// Begins a log: what was there becomes `serial.log.1`. `title` is written on its first line, after the time.
    ///
    /// # Errors
    /// [`crate::error::Kind::Host`] with the path.
    pub fn create(folder: &Path, title: &str) -> Result<SerialLog> {
        let path = folder.join(SERIAL_LOG);
        let wrap = |source| Error::io(format!("cannot write {}", path.display()), source);
        std::fs::create_dir_all(folder).map_err(wrap)?;
        match std::fs::rename(&path, folder.join(SERIAL_LOG_BEFORE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrap(error)),
            _ => {}
        }
        let file = BufWriter::new(File::create(&path).map_err(wrap)?);
        let mut log = SerialLog { path: path.clone(), file, start: Instant::now(), at_line_start: true };
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default();
        writeln!(log.file, "# {now} {title}").and_then(|()| log.file.flush()).map_err(wrap)?;
        Ok(log)
    }

    /// Returns where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns when it began; the time stamps count from here.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Adds what came from the console, and hands it to the system so that it outlives us.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(bytes).map_err(|source| Error::io(format!("cannot write {}", self.path.display()), source))
    }

    /// Adds a line of our own, marked with `#`.
    pub fn note(&mut self, line: &str) -> Result<()> {
        let mut text = String::new();
        if !self.at_line_start {
            text.push('\n');
        }
        text.push_str("# ");
        text.push_str(line);
        text.push('\n');
        self.write(text.as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let seconds = self.start.elapsed().as_secs_f64();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.at_line_start {
                write!(self.file, "[{seconds:10.3}] ")?;
            }
            self.at_line_start = line.ends_with(b"\n");
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            self.file.write_all(text)?;
            if self.at_line_start {
                self.file.write_all(b"\n")?;
            }
        }
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_time_and_the_last_log_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = SerialLog::create(folder.path(), "first").unwrap();
        for chunk in ["Xen ver", "sion 4.17\r\n\r\nlogin", ": "] {
            log.write(chunk.as_bytes()).unwrap();
        }
        log.note("ended").unwrap();
        let text = std::fs::read_to_string(folder.path().join("serial.log")).unwrap();
        let (title, lines) = text.split_once('\n').unwrap();
        assert!(title.starts_with("# 20") && title.ends_with("Z first"), "{title}");
        let stamp = regex::Regex::new(r"(?m)^\[ +\d+\.\d{3}\] ").unwrap();
        assert_eq!(stamp.replace_all(lines, "T "), "T Xen version 4.17\nT \nT login: \nT # ended\n");

        SerialLog::create(folder.path(), "second").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("serial.log.1")).unwrap(), text);
        assert!(std::fs::read_to_string(folder.path().join("serial.log")).unwrap().contains("second"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = SerialLog::create(&folder.path().join("file/out"), "").unwrap_err();
        assert!(error.to_string().contains("file/out/serial.log"), "{error}");
    }
}
