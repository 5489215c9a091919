//! Reads unified diffs, plain or git's; text around them is passed over.

use super::PatchError;

/// A patch: changes to files, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Patch {
    /// One for each file.
    pub files: Vec<FilePatch>,
}

/// What a patch does to one file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FilePatch {
    /// Its name before, as written; `None` if the patch makes it.
    pub old: Option<Vec<u8>>,
    /// Its name afterwards; `None` if the patch removes it.
    pub new: Option<Vec<u8>>,
    /// Permission bits that it gets.
    pub mode: Option<u16>,
    /// The old name goes.
    pub renames: bool,
    /// The old name stays.
    pub copies: bool,
    /// The changes.
    pub hunks: Vec<Hunk>,
    /// The line where it begins, counted from 1.
    pub line: usize,
}

/// A change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hunk {
    /// The line in the old file, counted from 1; where there are no old lines, the one after which the new ones come.
    pub start: usize,
    /// Its lines.
    pub lines: Vec<Line>,
    /// The line of the patch where it begins, counted from 1.
    pub line: usize,
}

/// A line of a hunk; the text has its newline, unless the file ends without one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// In both.
    Context(Vec<u8>),
    /// Only in the old file.
    Old(Vec<u8>),
    /// Only in the new one.
    New(Vec<u8>),
}

impl Line {
    fn text_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Line::Context(text) | Line::Old(text) | Line::New(text) => text,
        }
    }
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// With the line: hunks that are cut short or not what their header says, binary patches, and text without any
    /// change in it.
    pub fn parse(bytes: &[u8]) -> Result<Patch, PatchError> {
        let mut parser = Parser { lines: bytes.split_inclusive(|&byte| byte == b'\n').collect(), at: 0 };
        let mut patch = Patch::default();
        let mut pending: Option<FilePatch> = None;
        while let Some(line) = parser.peek() {
            let number = parser.at + 1;
            if let Some(rest) = line.strip_prefix(b"diff --git ") {
                patch.files.extend(pending.take().filter(is_change));
                parser.at += 1;
                pending = Some(parser.git_header(trim(rest), number)?);
            } else if line.starts_with(b"--- ") && parser.ahead(1).is_some_and(|next| next.starts_with(b"+++ ")) {
                let (old, new) = (file_name(&line[4..]), file_name(&parser.ahead(1).unwrap_or_default()[4..]));
                parser.at += 2;
                let mut file = match pending.take() {
                    // The names below git's header are the header's own; others begin another file.
                    Some(file) if file.hunks.is_empty() && (file.old == old && file.new == new) => file,
                    other => {
                        patch.files.extend(other.filter(is_change));
                        FilePatch { line: number, ..FilePatch::default() }
                    }
                };
                if !(file.renames || file.copies) {
                    (file.old, file.new) = (old, new);
                }
                while parser.peek().is_some_and(|line| line.starts_with(b"@@ ")) {
                    let hunk = parser.hunk(&file)?;
                    file.hunks.push(hunk);
                }
                // Not every tool writes /dev/null for a file that is not there.
                if let [hunk] = file.hunks.as_slice()
                    && hunk.start == 0
                    && hunk.lines.iter().all(|line| matches!(line, Line::New(_)))
                {
                    file.old = file.old.filter(|_| file.renames || file.copies);
                }
                pending = Some(file);
            } else if line.starts_with(b"GIT binary patch") || line.starts_with(b"Binary files ") {
                return Err(fail(number, pending.as_ref(), "is binary, which a patch of text cannot hold"));
            } else {
                parser.at += 1;
            }
        }
        patch.files.extend(pending.filter(is_change));
        if patch.files.is_empty() {
            return Err(fail(1, None, "there is no unified diff in it"));
        }
        Ok(patch)
    }
}

fn is_change(file: &FilePatch) -> bool {
    !file.hunks.is_empty()
        || file.renames
        || file.copies
        || file.mode.is_some()
        || file.old.is_none()
        || file.new.is_none()
}

fn fail(line: usize, file: Option<&FilePatch>, reason: impl Into<String>) -> PatchError {
    let name = file.and_then(|file| file.new.as_ref().or(file.old.as_ref()));
    let file = name.map(|name| String::from_utf8_lossy(name).into_owned());
    PatchError { file, hunk: None, line, reason: reason.into() }
}

struct Parser<'a> {
    lines: Vec<&'a [u8]>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a [u8]> {
        self.ahead(0)
    }

    fn ahead(&self, count: usize) -> Option<&'a [u8]> {
        self.lines.get(self.at + count).copied()
    }

    /// Reads git's extended headers, up to the first line that is none.
    fn git_header(&mut self, names: &[u8], line: usize) -> Result<FilePatch, PatchError> {
        let mut file = FilePatch { line, ..FilePatch::default() };
        // For changes of mode alone the names stand nowhere else; both are the same then.
        if let Some((old, new)) = same_names(names) {
            (file.old, file.new) = (Some(old), Some(new));
        }
        let (mut made, mut removed) = (false, false);
        while let Some(header) = self.peek().map(trim) {
            let mode = |text: &[u8]| {
                let mode = std::str::from_utf8(text).ok().and_then(|text| u32::from_str_radix(text, 8).ok());
                match mode.filter(|mode| mode & 0o170000 == 0o100000) {
                    Some(mode) => Ok((mode & 0o777) as u16),
                    None => Err(fail(self.at + 1, Some(&file), "makes something that is no regular file")),
                }
            };
            if let Some(text) = header.strip_prefix(b"new file mode ") {
                file.mode = Some(mode(text)?);
                made = true;
            } else if let Some(text) = header.strip_prefix(b"new mode ") {
                file.mode = Some(mode(text)?);
            } else if header.starts_with(b"deleted file mode ") {
                removed = true;
            } else if let Some(name) = header.strip_prefix(b"rename from ").or(header.strip_prefix(b"copy from ")) {
                file.renames = header.starts_with(b"rename");
                file.copies = !file.renames;
                // These have no `a/`.
                file.old = Some([b"a/", unquote(name).as_slice()].concat());
            } else if let Some(name) = header.strip_prefix(b"rename to ").or(header.strip_prefix(b"copy to ")) {
                file.new = Some([b"b/", unquote(name).as_slice()].concat());
            } else if ![&b"index "[..], b"similarity index ", b"dissimilarity index ", b"old mode "]
                .iter()
                .any(|known| header.starts_with(known))
            {
                break;
            }
            self.at += 1;
        }
        file.old = file.old.filter(|_| !made);
        file.new = file.new.filter(|_| !removed);
        Ok(file)
    }

    /// Reads one hunk, its header first.
    fn hunk(&mut self, file: &FilePatch) -> Result<Hunk, PatchError> {
        let line = self.at + 1;
        let number = Some(file.hunks.len() + 1);
        let fail = |line: usize, reason: &str| PatchError { hunk: number, ..fail(line, Some(file), reason) };
        let header = trim(self.peek().unwrap_or_default());
        let Some((start, mut old, mut new)) = ranges(header) else {
            return Err(fail(line, "has a header that is not `@@ -LINE,COUNT +LINE,COUNT @@`"));
        };
        self.at += 1;
        let mut lines: Vec<Line> = Vec::new();
        while old > 0 || new > 0 {
            let Some(text) = self.peek() else { return Err(fail(self.at, "is cut short")) };
            let (mark, rest) = text.split_first().unwrap_or((&b'\n', &[]));
            let read = match mark {
                b' ' => Line::Context(rest.to_vec()),
                // Mailers take the blank off an empty line.
                b'\n' => Line::Context(b"\n".to_vec()),
                b'-' => Line::Old(rest.to_vec()),
                b'+' => Line::New(rest.to_vec()),
                b'\\' => {
                    cut_newline(lines.last_mut());
                    self.at += 1;
                    continue;
                }
                _ => return Err(fail(self.at + 1, "is cut short, or its header counts wrongly")),
            };
            let counts = match read {
                Line::Context(_) => (1, 1),
                Line::Old(_) => (1, 0),
                Line::New(_) => (0, 1),
            };
            let (Some(less_old), Some(less_new)) = (old.checked_sub(counts.0), new.checked_sub(counts.1)) else {
                return Err(fail(self.at + 1, "has more lines than its header counts"));
            };
            (old, new) = (less_old, less_new);
            lines.push(read);
            self.at += 1;
        }
        if self.peek().is_some_and(|line| line.starts_with(b"\\")) {
            cut_newline(lines.last_mut());
            self.at += 1;
        }
        Ok(Hunk { start, lines, line })
    }
}

/// `\ No newline at end of file` is about the line before it.
fn cut_newline(line: Option<&mut Line>) {
    if let Some(text) = line.map(Line::text_mut)
        && text.last() == Some(&b'\n')
    {
        text.pop();
    }
}

/// Reads `@@ -1,2 +3,4 @@`: the old start and both counts.
fn ranges(header: &[u8]) -> Option<(usize, usize, usize)> {
    let text = std::str::from_utf8(header.strip_prefix(b"@@ -")?.split(|&byte| byte == b'@').next()?).ok()?;
    let (old, new) = text.trim_end().split_once(" +")?;
    let range = |text: &str| -> Option<(usize, usize)> {
        let (start, count) = text.split_once(',').unwrap_or((text, "1"));
        Some((start.parse().ok()?, count.parse().ok()?))
    };
    let ((start, old), (_, new)) = (range(old)?, range(new)?);
    Some((start, old, new))
}

/// Reads the name after `--- ` or `+++ `: up to a tab or the end of the line; none for `/dev/null`.
fn file_name(text: &[u8]) -> Option<Vec<u8>> {
    let text = trim(text);
    let text = if text.starts_with(b"\"") { text } else { text.split(|&byte| byte == b'\t').next().unwrap_or(text) };
    let name = unquote(text);
    (name != b"/dev/null").then_some(name)
}

/// Undoes git's quoting of names.
fn unquote(text: &[u8]) -> Vec<u8> {
    let Some(inner) = text.strip_prefix(b"\"") else { return text.to_vec() };
    let mut name = Vec::new();
    let mut rest = inner.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => break,
            b'\\' => match rest.next() {
                Some(first @ b'0'..=b'7') => {
                    let mut code = u32::from(first - b'0');
                    while let Some(&digit @ b'0'..=b'7') = rest.peek().filter(|_| code < 0o40) {
                        code = code * 8 + u32::from(digit - b'0');
                        rest.next();
                    }
                    name.push(code as u8);
                }
                Some(b'n') => name.push(b'\n'),
                Some(b't') => name.push(b'\t'),
                Some(other) => name.push(other),
                None => {}
            },
            other => name.push(other),
        }
    }
    name
}

/// Splits `a/x b/x` where both name the same file: the only case in which the line alone tells.
fn same_names(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let middle = text.len() / 2;
    let (old, new) = (text.get(..middle)?, text.get(middle + 1..)?);
    let tail = |name: &[u8]| name.iter().position(|&byte| byte == b'/').map(|slash| name[slash..].to_vec());
    (text.get(middle) == Some(&b' ') && tail(old).is_some() && tail(old) == tail(new))
        .then(|| (old.to_vec(), new.to_vec()))
}

fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_headers_name_what_happens() {
        let patch = Patch::parse(
            b"From: somebody\n---\n a | 1 +\n\ndiff --git a/x b/y\nsimilarity index 90%\nrename from x\nrename to y\n\
              diff --git a/run b/run\nold mode 100644\nnew mode 100755\n\
              diff --git a/new b/new\nnew file mode 100755\nindex 0..1\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+hi\n\
              diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n-- \n2.30\n",
        )
        .unwrap();
        let [renamed, mode, made, gone] = patch.files.as_slice() else { panic!("{patch:?}") };
        assert!(renamed.renames && renamed.old.as_deref() == Some(b"a/x") && renamed.new.as_deref() == Some(b"b/y"));
        assert_eq!((mode.mode, mode.new.as_deref()), (Some(0o755), Some(&b"b/run"[..])));
        assert_eq!((made.old.clone(), made.mode, made.hunks.len()), (None, Some(0o755), 1));
        assert_eq!((gone.new.clone(), gone.hunks[0].lines.len()), (None, 1));
    }

    #[test]
    fn what_is_no_patch_is_refused_with_its_line() {
        let cases: [(&[u8], &str); 6] = [
            (b"hello\n", "line 1: there is no unified diff in it"),
            (b"--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-a\n", "line 4: b/x: hunk 1 is cut short"),
            (b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n?a\n", "line 4: b/x: hunk 1 is cut short, or its header counts wrongly"),
            (b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n-b\n", "line 5: b/x: hunk 1 has more lines than its header counts"),
            (
                b"--- a/x\n+++ b/x\n@@ -x +1 @@\n-a\n",
                "line 3: b/x: hunk 1 has a header that is not `@@ -LINE,COUNT +LINE,COUNT @@`",
            ),
            (
                b"diff --git a/x b/x\nindex 1..2\nGIT binary patch\n",
                "line 3: b/x: is binary, which a patch of text cannot hold",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Patch::parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn quoted_names_are_read() {
        assert_eq!(unquote(br#""a/\303\244 b\\\"""#), "a/ä b\\\"".as_bytes());
        assert_eq!(file_name(b"a/x y\t2020-01-01 00:00\n"), Some(b"a/x y".to_vec()));
        assert_eq!(same_names(b"a/x y b/x y"), Some((b"a/x y".to_vec(), b"b/x y".to_vec())));
    }
}
