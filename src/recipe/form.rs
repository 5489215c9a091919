//! The forms that strings in a recipe take: a pattern each, for the reader and for the schema alike.
//!
//! The patterns keep to what ECMA-262 and the regex crate read in the same way:
//! no look-around, no `\d`, no `.`, always anchored.

use std::sync::OnceLock;

use regex::Regex;

/// A form: what a string has to look like.
#[derive(Debug)]
pub struct Form {
    /// What it is, in a word or two, for the documentation.
    pub noun: &'static str,
    /// The pattern, to match from end to end (it is put between `^(?:` and `)$`).
    pub pattern: &'static str,
    /// For "expected ...": what it is, with an example.
    pub what: &'static str,
    /// Whether `{{variables}}` stay as they are: in names, and in what is read before variables are known.
    pub literal: bool,
    compiled: OnceLock<Regex>,
}

impl Form {
    const fn new(noun: &'static str, pattern: &'static str, what: &'static str) -> Self {
        Form { noun, pattern, what, literal: false, compiled: OnceLock::new() }
    }

    const fn literal(noun: &'static str, pattern: &'static str, what: &'static str) -> Self {
        Form { noun, pattern, what, literal: true, compiled: OnceLock::new() }
    }

    /// Returns the pattern with its anchors, as the schema carries it.
    pub fn anchored(&self) -> String {
        format!("^(?:{})$", self.pattern)
    }

    /// Tells whether a string has this form.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled
            .get_or_init(|| Regex::new(&self.anchored()).expect("a form's pattern is a regular expression"))
            .is_match(text)
    }
}

/// Says whether a string of this form is a local path, relative to the recipe that says it.
pub fn is_local(form: &Form, text: &str) -> bool {
    // An address has a colon: `https://`, `host:path`.
    std::ptr::eq(form, &PATH)
        || (std::ptr::eq(form, &FRAGMENT) && !super::keys::FRAGMENTS.contains(&text))
        || (std::ptr::eq(form, &GIT) && !text.contains(':'))
}

/// One name in a path: not empty, not `.`, not `..`, no control characters.
macro_rules! component {
    () => {
        r"(?:[^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]*|\.[^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]*|\.\.[^/\x00-\x1f\x7f]+)"
    };
}

/// One part of a dotted key: bare or in quotes, without escapes.
macro_rules! key_part {
    () => {
        r#"(?:[A-Za-z0-9_-]+|"[^"\\\x00-\x1f\x7f]*"|'[^'\x00-\x1f\x7f]*')"#
    };
}

/// Splits a string of the form [`KEY_PATH`] into its keys.
pub fn key_parts(path: &str) -> Vec<&str> {
    let mut rest = path;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
        let (part, after) = match quote {
            Some(quote) => rest[1..].split_once(quote).unwrap_or((&rest[1..], "")),
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        parts.push(part);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    parts
}

/// A crypt(3) hash: what the password field of shadow(5) may hold.
pub static CRYPT: Form =
    Form::new("password hash", r"[^:\x00-\x1f\x7f]*", "a password hash as crypt(3) makes it, or `\"\"`");
/// Name of a kernel, a file system, a guest, a variant, a variable: becomes part of file names.
pub static NAME: Form =
    Form::literal("name", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "a name of letters, digits, `.`, `_` and `-`, up to 64");
/// The name of a kernel or file system, where it is used.
pub static REFERENCE: Form =
    Form::new("name", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "the name of something in this recipe");
/// Any text.
pub static TEXT: Form = Form::new("text", r"[^\x00]*", "text without NUL characters");
/// Text in one line.
pub static LINE: Form = Form::new("string", r"[^\x00-\x1f\x7f]*", "one line of text, without control characters");
/// The command of a test's step.
pub static COMMAND: Form = Form::new("shell command", r"[^\x00-\x08\x0b-\x1f\x7f]+", "a shell command");
/// A regular expression.
pub static REGEX: Form = Form::new("regular expression", r"[^\x00]+", "a regular expression");
/// A local path.
pub static PATH: Form = Form::new("local path", r"[^\x00-\x1f\x7f]+", "a path");
/// A local path, read before variables are known.
pub static RECIPE_PATH: Form = Form::literal("local path", r"[^\x00-\x1f\x7f]+", "the path of a recipe");
/// A key of the recipe with those above it, as TOML writes it.
pub static KEY_PATH: Form = Form::literal(
    "dotted key",
    concat!(key_part!(), r"(?:\.", key_part!(), ")*"),
    "a dotted key as TOML writes it: `dom0.initramfs`, `filesystem.rootfs.files.\"/etc/motd\"`",
);
/// A path in a file system, or a pattern of such.
pub static INNER_PATH: Form = Form::new(
    "inner path",
    concat!("/(?:", component!(), "(?:/", component!(), ")*)?"),
    "an absolute path: `/etc/hostname`",
);
/// The same as a key, where variables do not count.
pub static INNER_PATH_KEY: Form = Form::literal(
    "inner path",
    concat!("/(?:", component!(), "(?:/", component!(), ")*)?"),
    "an absolute path: `/etc/hostname`",
);
/// A path in an archive, `*` allowed.
pub static MEMBER: Form = Form::new(
    "path in the archive",
    concat!("/?", component!(), "(?:/", component!(), ")*"),
    "a path in an archive, without `.` and `..`: `boot/vmlinuz-*`",
);
/// Where a symbolic link points.
pub static LINK_TARGET: Form = Form::new("link target", r"[^\x00-\x1f\x7f]{1,4095}", "a link's target");
/// SHA-256 in hexadecimal.
pub static SHA256: Form = Form::new("SHA-256", "[0-9a-fA-F]{64}", "a SHA-256: 64 hexadecimal digits");
/// A size.
pub static SIZE: Form =
    Form::new("size", "[0-9]{1,19} ?(?:KiB|MiB|GiB|TiB)?", "a size: `512MiB`, `2GiB`, or a number of bytes");
/// A partition's size.
pub static SIZE_OR_REST: Form = Form::new(
    "size, or `rest`",
    "rest|[0-9]{1,19} ?(?:KiB|MiB|GiB|TiB)?",
    "a size, `512MiB` or a number of bytes, or `rest`",
);
/// A GUID.
pub static GUID: Form = Form::new(
    "GUID",
    "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "a GUID: `0fc63daf-8483-4772-8e79-3d69d8477de4`",
);
/// An MBR's disk signature.
pub static SIGNATURE: Form = Form::new("hexadecimal number", "[0-9a-fA-F]{8}", "8 hexadecimal digits: `1a2b3c4d`");
/// What a partition is for.
pub static PARTITION_TYPE: Form = Form::new(
    "partition type",
    "[0-9A-Za-z-]{2,36}",
    "a type's name, a GUID, or an MBR's code in two hexadecimal digits",
);
/// A partition's name in a GPT.
pub static PARTITION_LABEL: Form =
    Form::new("partition name", r"[^\x00-\x1f\x7f]{1,36}", "a partition's name of up to 36 characters");
/// A span of time.
pub static DURATION: Form =
    Form::new("time span", "[0-9]{1,9} ?(?:ms|s|min|h)", "a time: `30s`, `5min`, `500ms`, `1h`");
/// A point in time, RFC 3339.
pub static TIME: Form = Form::new(
    "point in time",
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})",
    "a time as in RFC 3339, `2026-01-01T00:00:00Z`, or seconds since 1970",
);
/// Owner of a file.
pub static OWNER: Form =
    Form::new("owner", "root|[0-9]{1,10}:[0-9]{1,10}", "an owner: `root`, or numbers as in `1000:1000`");
/// A device node.
pub static DEVICE: Form = Form::new("device", "[cb] [0-9]{1,10}:[0-9]{1,10}", "a device: `c 5:1` or `b 7:0`");
/// A guest's disk, as xl-disk-configuration(5) names it.
pub static DISK: Form =
    Form::new("disk name", "xvd[a-p][0-9]{0,2}", "a disk's name: `xvda` to `xvdp`, or a partition as in `xvda1`");
/// A unicast Ethernet address.
pub static MAC: Form = Form::new(
    "address",
    "[0-9a-fA-F][02468aceACE](?::[0-9a-fA-F]{2}){5}",
    "the address of one network interface: `00:16:3e:` and three more bytes",
);
/// A network device's name.
pub static INTERFACE: Form =
    Form::new("name", "[A-Za-z0-9][A-Za-z0-9._-]{0,14}", "a network device's name, up to 15 characters: `xenbr0`");
/// A port forward.
pub static FORWARD: Form = Form::new(
    "port forward",
    "(?:tcp|udp):[0-9]{1,5}:[0-9]{1,5}",
    "a port forward: `tcp` or `udp`, the host's port, Dom0's port, as in `tcp:2222:22`",
);
/// A CPU as QEMU names it.
pub static CPU: Form = Form::new("string", "[a-z0-9][a-z0-9.-]*", "a CPU as QEMU names it: `cortex-a57`");
/// A machine as QEMU's `-M` takes it.
pub static QEMU: Form = Form::new(
    "string",
    "[a-z0-9][a-z0-9.-]*(?:,[a-z0-9-]+=[a-z0-9.-]+)*",
    "a machine as QEMU names it, with properties: `xlnx-zcu102,virtualization=on`",
);
/// A Debian package, with a version or without.
pub static PACKAGE: Form = Form::new(
    "package",
    "[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+:~-]+)?",
    "a Debian package: `busybox-static`, or with its version `busybox-static=1:1.35.0-4`",
);
/// A Debian source package, with a version or a suite or without.
pub static SOURCE_PACKAGE: Form = Form::new(
    "source package",
    "[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+:~-]+|/[a-z0-9][a-z0-9.+_-]*)?",
    "a Debian source package: `xen`, with its version `xen=4.17.5-1`, or with a suite `xen/bookworm`",
);
/// A git repository.
pub static GIT: Form = Form::new(
    "repository",
    r"[^\x00-\x20\x7f-][^\x00-\x20\x7f]*",
    "a git repository: an address or a path, without blanks",
);
/// A fragment of a configuration.
pub static FRAGMENT: Form =
    Form::new("fragment", r"[^\x00-\x1f\x7f]+", "a fragment: `xen`, `builtin`, or a file's path");
/// What names a commit.
pub static REVISION: Form =
    Form::new("revision", "[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}", "a commit, tag or branch: `RELEASE-4.17.5`");
/// An address of the network.
pub static URL: Form =
    Form::new("address", r"https?://[^\x00-\x20\x7f]+", "an address that begins with `https://` or `http://`");
/// A path in a source tree, as a key.
pub static TREE_PATH: Form = Form::literal(
    "path in the tree",
    concat!(component!(), "(?:/", component!(), ")*"),
    "a path in the source tree: `arch/arm64/configs/board_defconfig`",
);
/// A make target that writes a configuration.
pub static DEFCONFIG: Form =
    Form::new("make target", "[A-Za-z0-9][A-Za-z0-9_.-]*config", "a target of make that ends in `config`: `defconfig`");
/// An option of Kconfig.
pub static CONFIG: Form =
    Form::literal("option", "[A-Za-z0-9_]{1,100}", "the name of an option, without `CONFIG_`: `XEN`");
/// A Debian package without a version.
pub static PACKAGE_NAME: Form = Form::new("package name", "[a-z0-9][a-z0-9+.-]+", "a Debian package's name");
/// A suite, or one of its components.
pub static SUITE: Form =
    Form::new("name", "[a-z0-9][a-z0-9.+/_-]*", "a name as the archive has it: `bookworm`, `main`");
/// An archive's address.
pub static MIRROR: Form = Form::new(
    "address",
    r"(?:https?://|file:/)[^\x00-\x20\x7f]+",
    "an address that begins with `https://`, `http://` or `file:/`",
);
/// A Debian architecture.
pub static ARCHITECTURE: Form = Form::new("name", "[a-z0-9][a-z0-9-]*", "a Debian architecture: `arm64`");
/// A kernel module, or an alias of one.
pub static MODULE: Form = Form::new("module name", r"[^\x00-\x20/\x7f]+", "a module's name: `virtio_blk`");
/// A macro of the C preprocessor.
pub static MACRO: Form = Form::literal("macro name", "[A-Za-z_][A-Za-z0-9_]*", "a macro's name");
/// A user's name, as useradd(8) takes it.
pub static USER: Form =
    Form::literal("user name", "[a-z_][a-z0-9_-]{0,31}", "a user's name: small letters, digits, `_` and `-`");
/// A setting of xl.cfg(5).
pub static SETTING: Form = Form::literal("name", "[a-z][a-z0-9_]*", "a setting's name as in xl.cfg(5)");
/// A volume label; ext2, ext3 and ext4 have 16 bytes for it.
pub static LABEL: Form = Form::new("label", r"[\x20-\x7e]{0,16}", "a label of up to 16 ASCII characters");
