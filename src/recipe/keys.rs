//! Every key of the language, once: the reader checks against this table,
//! and the JSON Schema and the tables of `docs/recipe.md` are written from it.

use super::form::{self, Form};

/// A table of the recipe: `[machine]`, or one element of `include`.
#[derive(Debug)]
pub struct Table {
    /// Its name in the schema and in the documentation.
    pub name: &'static str,
    /// How its heading looks in a recipe: `[kernel.NAME]`.
    pub heading: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in groups: a group may be shared with other tables.
    pub keys: &'static [&'static [Key]],
    /// Keys of which one excludes the others.
    pub choices: &'static [Choice],
}

impl Table {
    /// Returns its keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.keys.iter().flat_map(|group| group.iter())
    }

    /// Looks a key up.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }
}

/// A key: `memory` in `[machine]`.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// Whether it must be there, and what it is where it is not.
    pub presence: Presence,
    /// A sibling and its values with which alone this key has a meaning.
    pub only: Option<(&'static str, &'static [&'static str])>,
    /// What it says, as Markdown.
    pub doc: &'static str,
}

/// What may stand at a key.
#[derive(Debug)]
pub enum Kind {
    /// A string of this form.
    Text(&'static Form),
    /// An integer, both ends included; also a string that is one `{{variable}}`.
    Integer(i64, i64),
    /// Permission bits: an integer written in octal.
    Mode,
    /// A TOML date and time.
    Date,
    /// `true` or `false`.
    Boolean,
    /// `true`; to say no, the key is left out.
    True,
    /// The language's version.
    Version,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// An array of that, with at least this many elements.
    List(&'static Kind, usize),
    /// A table with known keys.
    Table(&'static Table),
    /// A table whose keys are names: their form, what stands there, names that mean something else.
    Names(&'static Form, &'static Kind, &'static [&'static str]),
    /// One of several kinds, of different TOML types.
    Either(&'static [Kind]),
    /// Part of a recipe, laid over the rest.
    Variant,
}

/// Whether a key must be there.
#[derive(Debug)]
pub enum Presence {
    /// It must.
    Required,
    /// It need not; nothing stands in for it.
    Optional,
    /// It need not; this TOML stands in for it.
    Default(&'static str),
    /// It need not; what stands in for it follows from other keys, as said here.
    Derived(&'static str),
}

/// Keys that exclude each other.
#[derive(Debug)]
pub struct Choice {
    /// What is chosen: "where it comes from".
    pub what: &'static str,
    /// Whether one of them must be there.
    pub required: bool,
    /// The keys.
    pub of: &'static [Alternative],
}

/// One of the keys of a [`Choice`].
#[derive(Debug)]
pub struct Alternative {
    /// Its name.
    pub key: &'static str,
    /// Keys it needs beside it.
    pub with: &'static [&'static str],
    /// Keys that may stand beside it. A key named here or in `with` of some alternative needs such an alternative.
    pub and: &'static [&'static str],
}

use Kind::{Boolean, Date, Either, Integer, List, Mode, Names, OneOf, Text, True, Variant, Version};
use Presence::{Default, Derived, Optional, Required};

const fn key(name: &'static str, kind: Kind, presence: Presence, doc: &'static str) -> Key {
    Key { name, kind, presence, only: None, doc }
}

/// A key that has a meaning only where `sibling` is one of `values`.
const fn only(sibling: &'static str, values: &'static [&'static str], key: Key) -> Key {
    Key { only: Some((sibling, values)), ..key }
}

const fn one(key: &'static str, with: &'static [&'static str], and: &'static [&'static str]) -> Alternative {
    Alternative { key, with, and }
}

/// A size: text, or bytes.
macro_rules! size {
    () => {
        Either(&[Text(&form::SIZE), Integer(0, i64::MAX)])
    };
}

static NAME_TEXT: Kind = Text(&form::REFERENCE);
static REGEX: Kind = Text(&form::REGEX);
static LINES: Kind = Text(&form::LINE);
static KEY_PATH_TEXT: Kind = Text(&form::KEY_PATH);

/// The keys that name one file.
const FILE_KEYS: &[Key] = &[
    key("path", Text(&form::PATH), Optional, "A local file, relative to the recipe that names it."),
    key(
        "package",
        Text(&form::PACKAGE),
        Optional,
        "A Debian package that holds the file, itself or in the packages that it depends on in exactly its own version.",
    ),
    key(
        "tarball",
        Text(&form::PATH),
        Optional,
        "A local archive that holds the file: `.tar`, plain or gz, xz, zst or bz2.",
    ),
    key(
        "file",
        Text(&form::MEMBER),
        Optional,
        "With `package` or `tarball`: the file in it. `*` stands for any part of a name; exactly one file must match.",
    ),
    key("sha256", Text(&form::SHA256), Optional, "With `path` or `tarball`: what that file must hash to."),
];
const FILE: &[Alternative] =
    &[one("path", &[], &["sha256"]), one("package", &["file"], &[]), one("tarball", &["file"], &["sha256"])];
/// The same for kernels and the hypervisor, which can also be compiled.
const IMAGE: &[Choice] = &[Choice {
    what: "where it comes from",
    required: true,
    of: &[
        one("path", &[], &["sha256"]),
        one("package", &["file"], &[]),
        one("tarball", &["file"], &["sha256"]),
        one("source", &[], &["defconfig", "fragments", "config"]),
    ],
}];

const HYPERVISOR_IMAGE: &[Choice] = &[Choice {
    what: "where it comes from",
    required: true,
    of: &[
        one("from", &[], &[]),
        one("path", &[], &["sha256"]),
        one("package", &["file"], &[]),
        one("tarball", &["file"], &["sha256"]),
        one("source", &[], &["defconfig", "fragments", "config"]),
    ],
}];

/// The keys that say how something is compiled.
const COMPILE_KEYS: &[Key] = &[
    key(
        "source",
        Text(&form::REFERENCE),
        Optional,
        "A source tree of this recipe, `[source.NAME]`, to compile it from.",
    ),
    key(
        "defconfig",
        Text(&form::DEFCONFIG),
        Derived("`defconfig`"),
        "With `source`: the target of the source's own make that the configuration begins with, `tinyconfig` for example.",
    ),
    key(
        "fragments",
        List(&FRAGMENT_TEXT, 0),
        Optional,
        "With `source`: what is laid over that, in order: the fragments `xen` (Linux as Dom0 and guest) and `builtin` (block, network, virtio and ext3 drivers that need no initramfs), or local files.",
    ),
    key(
        "config",
        Names(&form::CONFIG, &CONFIG_VALUE, &[]),
        Optional,
        "With `source`: single options on top, named without `CONFIG_`: `true`, `false`, `\"m\"`, numbers, strings. Whatever does not come out as asked for is an error.",
    ),
];
static CONFIG_VALUE: Kind = Either(&[Boolean, Integer(i64::MIN, i64::MAX), Text(&form::LINE)]);
/// The fragments of Linux's configuration that xenbuild carries.
pub const FRAGMENTS: &[&str] = &["xen", "builtin"];
static FRAGMENT_TEXT: Kind = Text(&form::FRAGMENT);

const ONE_FILE: &[Choice] = &[Choice { what: "where it comes from", required: true, of: FILE }];

/// The keys that name many files.
const TREE_KEYS: &[Key] = &[
    key(
        "path",
        Text(&form::PATH),
        Optional,
        "A local folder, relative to the recipe that names it. Its files belong to root, with mode 0644 or 0755, unless `keep` is set.",
    ),
    key("tarball", Text(&form::PATH), Optional, "A local archive: `.tar`, plain or gz, xz, zst or bz2."),
    key(
        "package",
        Text(&form::PACKAGE),
        Optional,
        "A Debian package, with those that it depends on in exactly its own version, and no others.",
    ),
    key("keep", Boolean, Default("false"), "With `path`: take owners, modes, times and attributes as they are."),
    key("sha256", Text(&form::SHA256), Optional, "With `tarball`: what the archive must hash to."),
];
const TREE: &[Choice] = &[Choice {
    what: "where it comes from",
    required: true,
    of: &[one("path", &[], &["keep"]), one("tarball", &[], &["sha256"]), one("package", &[], &[])],
}];

/// The whole recipe.
pub static RECIPE: Table = Table {
    name: "recipe",
    heading: "The recipe itself",
    doc: "What stands before the first heading, and the headings there are.",
    keys: &[
        &[
            key("version", Version, Required, "The version of this language: `1`."),
            key(
                "inherit",
                Either(&[Text(&form::RECIPE_PATH), List(&Text(&form::RECIPE_PATH), 0)]),
                Optional,
                "Recipes that this one is laid over, relative to its own folder; later ones win.",
            ),
        ],
        PARTS,
        &[key(
            "variant",
            Names(&form::NAME, &Variant, &[]),
            Optional,
            "`[variant.NAME]`: parts of a recipe, laid over it by `--variant NAME`.",
        )],
    ],
    choices: &[],
};

/// What a variant may say: all but `version`, `inherit` and `variant`.
pub static VARIANT: Table = Table {
    name: "variant",
    heading: "[variant.NAME]",
    doc: "Any part of a recipe but `version`, `inherit` and `variant`; laid over the recipe by `--variant NAME`.",
    keys: &[PARTS],
    choices: &[],
};

static PARTS: &[Key] = &[
    key(
        "remove",
        List(&KEY_PATH_TEXT, 0),
        Optional,
        "Keys to take away from what this is laid over, an inherited recipe or, in a variant, the rest of the recipe: `dom0.initramfs`, or whole tables: `filesystem.initramfs`.",
    ),
    key("description", Text(&form::LINE), Default("\"\""), "One line for people."),
    key(
        "epoch",
        Either(&[Text(&form::TIME), Integer(0, i32::MAX as i64), Date]),
        Default("\"2026-01-01T00:00:00Z\""),
        "The time that all made files get: RFC 3339, or seconds since 1970, until 2038-01-19. Files that come from elsewhere keep theirs; ext3 holds 1901 to 2310.",
    ),
    key(
        "variables",
        Names(&form::NAME, &Either(&[Text(&form::TEXT), Integer(i64::MIN, i64::MAX)]), &[]),
        Optional,
        "Strings and integers that other strings use as `{{name}}`; `--set NAME=VALUE` changes them.",
    ),
    key("packages", Kind::Table(&PACKAGES), Default("{}"), "Where Debian packages come from."),
    key(
        "source",
        Names(&form::NAME, &Kind::Table(&SOURCE), &[]),
        Optional,
        "`[source.NAME]`: source trees to compile kernels and the hypervisor from.",
    ),
    key("machine", Kind::Table(&MACHINE), Required, "The machine to boot on."),
    key("hypervisor", Kind::Table(&HYPERVISOR), Required, "The hypervisor."),
    key("kernel", Names(&form::NAME, &Kind::Table(&KERNEL), &[]), Required, "`[kernel.NAME]`: the kernels."),
    key("device-tree", Kind::Table(&DEVICE_TREE), Default("{}"), "The machine's device tree."),
    key("dom0", Kind::Table(&DOM0), Required, "Domain 0."),
    key(
        "filesystem",
        Names(&form::NAME, &Kind::Table(&FILESYSTEM), &[]),
        Optional,
        "`[filesystem.NAME]`: the file systems and what is in them.",
    ),
    key(
        "disk",
        Names(&form::NAME, &Kind::Table(&DISK_IMAGE), &[]),
        Optional,
        "`[disk.NAME]`: partitioned disks, for cards and for guests.",
    ),
    key(
        "guest",
        Names(&form::NAME, &Kind::Table(&GUEST), &["Domain-0"]),
        Optional,
        "`[guest.NAME]`: guests for Dom0 to start.",
    ),
    key("boot", Kind::Table(&BOOT), Default("{}"), "What is made to boot from."),
    key("test", Kind::Table(&TEST), Default("{}"), "What `xenbuild test` does."),
];

static PACKAGES: Table = Table {
    name: "packages",
    heading: "[packages]",
    doc: "The Debian archive. Which mirror it is taken from may be left to the user's configuration, the environment or the host.",
    keys: &[&[
        key(
            "suites",
            List(&Text(&form::SUITE), 1),
            Optional,
            "The suites to choose from; needed as soon as a package is named.",
        ),
        key("components", List(&Text(&form::SUITE), 1), Default("[\"main\"]"), "The suites' components."),
        key("architecture", Text(&form::ARCHITECTURE), Default("\"arm64\""), "Debian's name of the architecture."),
        key("mirror", Text(&form::MIRROR), Optional, "The archive's address."),
        key(
            "keyring",
            Text(&form::PATH),
            Optional,
            "The OpenPGP keyring that the archive's signatures are verified with, relative to the recipe.",
        ),
    ]],
    choices: &[],
};

static SOURCE: Table = Table {
    name: "source",
    heading: "[source.NAME]",
    doc: "A source tree: what is unpacked or checked out, then patches, then files. What it was is kept in the lock.",
    keys: &[&[
        key(
            "debian",
            Text(&form::SOURCE_PACKAGE),
            Optional,
            "A Debian source package, from the same suites as all packages: `xen`, or one of its versions `xen=4.17.5-1`, or a suite's `xen/bookworm`. The patches that it brings are applied.",
        ),
        key(
            "package",
            Text(&form::PACKAGE),
            Optional,
            "A Debian package that holds the tree as an archive: `linux-source-6.1`.",
        ),
        key("file", Text(&form::MEMBER), Optional, "With `package`: the archive in it."),
        key("tarball", Text(&form::PATH), Optional, "A local archive: `.tar`, plain or gz, xz, zst or bz2."),
        key("url", Text(&form::URL), Optional, "The address of such an archive; its `sha256` must be given."),
        key("sha256", Text(&form::SHA256), Optional, "With `tarball` or `url`: what the archive must hash to."),
        key("git", Text(&form::GIT), Optional, "A git repository: an address, or a local path."),
        key(
            "revision",
            Text(&form::REVISION),
            Optional,
            "With `git`: a commit, tag or branch. It is looked up once; the lock keeps the commit.",
        ),
        key("patches", List(&SOURCE_PATCH, 0), Default("[]"), "Unified diffs to apply, as `patch -p1` does."),
        key(
            "files",
            Names(&form::TREE_PATH, &Kind::Table(&SOURCE_FILE), &[]),
            Optional,
            "Files to put into the tree, by their path in it.",
        ),
    ]],
    choices: &[Choice {
        what: "where it comes from",
        required: true,
        of: &[
            one("debian", &[], &[]),
            one("package", &["file"], &[]),
            one("tarball", &[], &["sha256"]),
            one("url", &["sha256"], &[]),
            one("git", &["revision"], &[]),
        ],
    }],
};
static SOURCE_PATCH: Kind = Text(&form::PATH);

static SOURCE_FILE: Table = Table {
    name: "source-file",
    heading: "an entry of files of [source.NAME]",
    doc: "A file in a source tree.",
    keys: &[&[
        key("text", Text(&form::TEXT), Optional, "A file with this content."),
        key("path", Text(&form::PATH), Optional, "A local file, relative to the recipe that names it."),
    ]],
    choices: &[Choice {
        what: "where it comes from",
        required: true,
        of: &[one("text", &[], &[]), one("path", &[], &[])],
    }],
};

/// The machines there are.
pub const MACHINES: &[&str] = &["qemu-virt", "foundation-v8", "fvp-base-revc", "board"];

static MACHINE: Table = Table {
    name: "machine",
    heading: "[machine]",
    doc: "The machine to boot on.",
    keys: &[&[
        key(
            "type",
            OneOf(MACHINES),
            Required,
            "QEMU's `virt`, Arm's Foundation Platform, Arm's FVP Base RevC, or any other board, described by its `[device-tree]` alone.",
        ),
        key(
            "gic",
            Integer(2, 3),
            Default("3"),
            "Version of the interrupt controller. Version 2 serves up to 8 CPUs; `fvp-base-revc` has version 3.",
        ),
        key(
            "cpus",
            Integer(1, 64),
            Default("2"),
            "How many CPUs: up to 64, on `foundation-v8` 4, on `fvp-base-revc` 8.",
        ),
        only(
            "type",
            &["qemu-virt"],
            key("cpu", Text(&form::CPU), Default("\"cortex-a57\""), "The CPU, as QEMU names it."),
        ),
        key("memory", size!(), Default("\"2GiB\""), "RAM: whole MiB, 128 MiB or more; on Arm's models up to 8 GiB."),
        key(
            "exception-level",
            Integer(2, 3),
            Derived("3 on Arm's models, else 2"),
            "Where the boot artifact is entered: 2, or 3 (from reset, with our stub as firmware). Arm's models start at 3.",
        ),
        key(
            "forward",
            List(&Text(&form::FORWARD), 0),
            Default("[]"),
            "Ports of the host's loopback that lead to ports of Dom0, `tcp:2222:22`; host port 0 lets the system choose one.",
        ),
        only(
            "type",
            &["qemu-virt"],
            key(
                "firmware",
                Kind::Table(&FIRMWARE),
                Optional,
                "What QEMU starts instead of the boot artifact, U-Boot for example; it boots from the recipe's disks, `[disk.NAME]`, in the order of their names.",
            ),
        ),
        only(
            "type",
            &["board"],
            key(
                "qemu",
                Text(&form::QEMU),
                Optional,
                "QEMU's model of the board, for `run` and `test`, with its properties: `xlnx-zcu102,virtualization=on`.",
            ),
        ),
        only(
            "type",
            &["board"],
            key(
                "slot",
                Integer(0, 7),
                Default("0"),
                "With `qemu`: which of the model's card slots the first disk is in.",
            ),
        ),
    ]],
    choices: &[],
};

static FIRMWARE: Table = Table {
    name: "firmware",
    heading: "firmware of [machine]",
    doc: "The first program that an emulated machine runs, a flat file.",
    keys: &[FILE_KEYS],
    choices: ONE_FILE,
};

static HYPERVISOR: Table = Table {
    name: "hypervisor",
    heading: "[hypervisor]",
    doc: "The hypervisor: xenbuild's own; an arm64 Image, plain or gzip; or Xen, compiled from source.",
    keys: &[
        &[key("from", OneOf(&["integrated"]), Optional, "`integrated`: the hypervisor that xenbuild carries.")],
        FILE_KEYS,
        COMPILE_KEYS,
        &[key(
            "bootargs",
            Text(&form::LINE),
            Default("\"console=dtuart\""),
            "Its command line; `dom0_mem` and `dom0_max_vcpus` are added from `[dom0]` where it does not give them.",
        )],
    ],
    choices: HYPERVISOR_IMAGE,
};

static KERNEL: Table = Table {
    name: "kernel",
    heading: "[kernel.NAME]",
    doc: "A kernel: an arm64 Image, `Image.gz` or an EFI zboot image; or Linux, compiled from source.",
    keys: &[
        FILE_KEYS,
        COMPILE_KEYS,
        &[key(
            "modules",
            Kind::Table(&MODULE_TREE),
            Derived("with `package`: that package; with `source`: those that were compiled; else none"),
            "Where its modules are: a tree that holds `lib/modules/VERSION`.",
        )],
    ],
    choices: IMAGE,
};

static MODULE_TREE: Table = Table {
    name: "kernel-modules",
    heading: "modules of [kernel.NAME]",
    doc: "A tree that holds `lib/modules/VERSION` or `usr/lib/modules/VERSION`.",
    keys: &[TREE_KEYS],
    choices: TREE,
};

static DEVICE_TREE: Table = Table {
    name: "device-tree",
    heading: "[device-tree]",
    doc: "The machine's device tree, as source or blob; without a source it is the machine's own, which xenbuild carries.",
    keys: &[
        FILE_KEYS,
        &[
            key(
                "defines",
                Names(&form::MACRO, &Either(&[Text(&form::LINE), Integer(i64::MIN, i64::MAX)]), &[]),
                Optional,
                "Macros for the source's preprocessor, beside those that describe the machine.",
            ),
            key(
                "overlays",
                List(&Kind::Table(&OVERLAY), 0),
                Default("[]"),
                "Overlays, as sources or blobs, applied in this order.",
            ),
        ],
    ],
    choices: &[Choice { what: "where it comes from", required: false, of: FILE }],
};

static OVERLAY: Table = Table {
    name: "overlay",
    heading: "an element of overlays",
    doc: "One overlay of the device tree.",
    keys: &[FILE_KEYS],
    choices: ONE_FILE,
};

static DOM0: Table = Table {
    name: "dom0",
    heading: "[dom0]",
    doc: "Domain 0.",
    keys: &[&[
        key("kernel", Text(&form::REFERENCE), Required, "A kernel of this recipe."),
        key("initramfs", Text(&form::REFERENCE), Optional, "A file system of this recipe with format `cpio`."),
        key(
            "root",
            Text(&form::REFERENCE),
            Optional,
            "The file system on its first disk, `/dev/vda`, with format `ext2`, `ext3` or `ext4`. Guests' files go there.",
        ),
        key("disks", List(&NAME_TEXT, 0), Default("[]"), "File systems on its further disks, likewise."),
        key("memory", size!(), Default("\"512MiB\""), "Its memory (`dom0_mem`), whole MiB."),
        key(
            "vcpus",
            Integer(1, 128),
            Derived("as many as the machine has CPUs"),
            "Its virtual CPUs (`dom0_max_vcpus`): up to 128, with GICv2 8.",
        ),
        key(
            "bootargs",
            Text(&form::LINE),
            Derived("`console=hvc0`, with `root=/dev/vda ro` where there is a root"),
            "Its kernel's command line.",
        ),
    ]],
    choices: &[],
};

const SIZED: &[&str] = &["ext2", "ext3", "ext4", "fat"];
const FAT: &[&str] = &["fat"];
const ARCHIVES: &[&str] = &["cpio", "tar"];

static FILESYSTEM: Table = Table {
    name: "filesystem",
    heading: "[filesystem.NAME]",
    doc: "A file system. It is filled in this order: packages, includes, kernel modules, guests, files, users; later wins.",
    keys: &[&[
        key(
            "format",
            OneOf(&["ext2", "ext3", "ext4", "fat", "cpio", "tar"]),
            Default("\"ext3\""),
            "How it is written: `ext2`, `ext3` or `ext4` (a disk), `fat` (without owners, modes and links), a `cpio` archive (an initramfs), or a `tar` archive.",
        ),
        only(
            "format",
            FAT,
            key(
                "fat",
                Either(&[OneOf(&["auto"]), Integer(12, 32)]),
                Default("\"auto\""),
                "Which FAT: `12`, `16`, `32`, or as the size has it: up to 4 MiB FAT12, up to 512 MiB FAT16.",
            ),
        ),
        only(
            "format",
            SIZED,
            key(
                "size",
                size!(),
                Optional,
                "Its size, in whole KiB. Without it, as large as its content needs, plus `free`.",
            ),
        ),
        only(
            "format",
            SIZED,
            key("free", size!(), Default("\"16MiB\""), "Without `size`: room to leave beyond the content."),
        ),
        only(
            "format",
            SIZED,
            key(
                "label",
                Text(&form::LABEL),
                Default("\"\""),
                "The volume's label; of FAT up to 11 characters, no small letters.",
            ),
        ),
        only("format", ARCHIVES, key("gzip", Boolean, Default("true"), "Compress the archive.")),
        key(
            "merged-usr",
            Boolean,
            Default("false"),
            "Begin with `/bin`, `/sbin` and `/lib` as links into `/usr`, as Debian does from 12 on.",
        ),
        key("packages", List(&Text(&form::PACKAGE), 0), Default("[]"), "Debian packages, with all they depend on."),
        key(
            "without",
            List(&Text(&form::PACKAGE_NAME), 0),
            Default("[]"),
            "Packages that are taken as installed already, and so left out, whatever depends on them.",
        ),
        key(
            "exclude",
            List(&Text(&form::INNER_PATH), 0),
            Default("[]"),
            "Paths that packages and includes bring but that are left out, with all below them; `*` stands for any part of a name.",
        ),
        key(
            "include",
            List(&Kind::Table(&INCLUDE), 0),
            Default("[]"),
            "Folders, archives and single packages to unpack, in order.",
        ),
        key("modules", Kind::Table(&MODULES), Optional, "Kernel modules, with all they need."),
        key(
            "files",
            Names(&form::INNER_PATH_KEY, &Kind::Table(&ENTRY), &[]),
            Optional,
            "Single files, folders, links and devices, by their absolute path.",
        ),
        key(
            "users",
            Names(&form::USER, &Kind::Table(&USER), &[]),
            Optional,
            "Users to add to `/etc/passwd`, `/etc/group` and `/etc/shadow`, by name.",
        ),
    ]],
    choices: &[Choice {
        what: "how large it is",
        required: false,
        of: &[one("size", &[], &[]), one("free", &[], &[])],
    }],
};

static INCLUDE: Table = Table {
    name: "include",
    heading: "an element of include",
    doc: "A tree from elsewhere.",
    keys: &[
        TREE_KEYS,
        &[
            key("to", Text(&form::INNER_PATH), Default("\"/\""), "Where it goes."),
            key("strip", Integer(0, 64), Default("0"), "How many leading names to cut from each path."),
            key("owner", Text(&form::OWNER), Optional, "Whom all of it belongs to, instead of what the source says."),
        ],
    ],
    choices: TREE,
};

static MODULES: Table = Table {
    name: "modules",
    heading: "modules of [filesystem.NAME]",
    doc: "Kernel modules by name, with all they need: their dependencies, soft dependencies and aliases.",
    keys: &[&[
        key("kernel", Text(&form::REFERENCE), Required, "A kernel of this recipe that has modules."),
        key("names", List(&Text(&form::MODULE), 0), Required, "The modules' names."),
        key(
            "list",
            Text(&form::INNER_PATH),
            Default("\"/lib/modules/load-order\""),
            "A file to write: the modules' paths in load order, one a line.",
        ),
    ]],
    choices: &[],
};

const OWNER_MODE: &[&str] = &["owner", "mode"];

static ENTRY: Table = Table {
    name: "file",
    heading: "an entry of [filesystem.NAME.files]",
    doc: "What is at one path. Folders above it are made where they are missing.",
    keys: &[
        &[key("text", Text(&form::TEXT), Optional, "A file with this content.")],
        FILE_KEYS,
        &[
            key("directory", True, Optional, "A folder."),
            key("symlink", Text(&form::LINK_TARGET), Optional, "A symbolic link to there."),
            key("hardlink", Text(&form::INNER_PATH), Optional, "Another name for the file at that path."),
            key("device", Text(&form::DEVICE), Optional, "A device node: `c` or `b`, major and minor number."),
            key("fifo", True, Optional, "A named pipe."),
            key("filesystem", Text(&form::REFERENCE), Optional, "Another file system of this recipe, as one file."),
            key("disk", Text(&form::REFERENCE), Optional, "A disk of this recipe, as one file."),
            key("kernel", Text(&form::REFERENCE), Optional, "A kernel of this recipe, as an Image."),
            key(
                "boot",
                OneOf(BOOT_PARTS),
                Optional,
                "What is made to boot from, for a partition that U-Boot reads: its `script`, the `fit`, or the parts that the script loads: `xen`, Dom0's `kernel` and `initramfs`, the `device-tree` with everything said.",
            ),
            key(
                "absent",
                True,
                Optional,
                "Nothing: what packages or includes brought there is taken away, with all below it.",
            ),
            key("owner", Text(&form::OWNER), Default("\"root\""), "Whom it belongs to."),
            key(
                "mode",
                Mode,
                Derived("`0o755` for folders, as the source says for files from elsewhere, else `0o644`"),
                "Its permission bits, written in octal: `0o755`.",
            ),
        ],
    ],
    choices: &[Choice {
        what: "what it is",
        required: true,
        of: &[
            one("text", &[], OWNER_MODE),
            one("path", &[], &["sha256", "owner", "mode"]),
            one("package", &["file"], OWNER_MODE),
            one("tarball", &["file"], &["sha256", "owner", "mode"]),
            one("directory", &[], OWNER_MODE),
            one("symlink", &[], &["owner"]),
            one("hardlink", &[], &[]),
            one("device", &[], OWNER_MODE),
            one("fifo", &[], OWNER_MODE),
            one("filesystem", &[], OWNER_MODE),
            one("disk", &[], OWNER_MODE),
            one("kernel", &[], OWNER_MODE),
            one("boot", &[], OWNER_MODE),
            one("absent", &[], &[]),
        ],
    }],
};

/// What is made to boot from, as files name it.
pub const BOOT_PARTS: &[&str] = &["script", "fit", "xen", "kernel", "initramfs", "device-tree"];

/// The GPT's attributes by name, and their bits: UEFI's, and those of the Discoverable Partitions Specification.
pub const ATTRIBUTES: &[(&str, u32)] =
    &[("required", 0), ("no-block-io", 1), ("legacy-boot", 2), ("grow", 59), ("read-only", 60), ("no-auto", 63)];
const GPTS: &[&str] = &["gpt", "hybrid"];
const MBRS: &[&str] = &["mbr", "hybrid"];

static DISK_IMAGE: Table = Table {
    name: "disk-image",
    heading: "[disk.NAME]",
    doc: "A partitioned disk: `NAME.img`, sparse. Partitions lie one after the other, aligned.",
    keys: &[&[
        key(
            "table",
            OneOf(&["gpt", "mbr", "hybrid"]),
            Default("\"gpt\""),
            "The partition table: a GPT with a protective MBR, an MBR, or a GPT some of whose partitions the MBR lists too.",
        ),
        key("size", size!(), Optional, "Its size, in sectors of 512 bytes. Without it, as large as its content needs."),
        key("alignment", size!(), Default("\"1MiB\""), "Partitions without `offset` begin at multiples of this."),
        only("table", GPTS, key("guid", Text(&form::GUID), Derived("from what is on the disk"), "The GPT's own GUID.")),
        only(
            "table",
            MBRS,
            key("signature", Text(&form::SIGNATURE), Derived("from what is on the disk"), "The MBR's disk signature."),
        ),
        only(
            "table",
            GPTS,
            key(
                "entries-at",
                size!(),
                Optional,
                "Where the GPT's entries lie, if not at 1 KiB: for boot ROMs that look there for a boot loader.",
            ),
        ),
        key("partition", List(&Kind::Table(&PARTITION), 0), Required, "The partitions, in order."),
        key("gap", List(&Kind::Table(&GAP), 0), Default("[]"), "What lies outside of partitions: boot loaders."),
        key(
            "compress",
            OneOf(&["gz", "xz", "zst"]),
            Optional,
            "Make a compressed image beside the plain one: `NAME.img.gz`, `.xz` or `.zst`.",
        ),
        key(
            "bmap",
            Boolean,
            Default("true"),
            "Make `NAME.img.bmap`, which tells bmaptool what of the image need not be written.",
        ),
    ]],
    choices: &[],
};

static PARTITION: Table = Table {
    name: "partition",
    heading: "an element of partition",
    doc: "A partition of a disk. What it holds is a file system of this recipe, a file, or nothing.",
    keys: &[
        &[
            key(
                "type",
                Text(&form::PARTITION_TYPE),
                Required,
                "What it is for: `esp`, `xbootldr`, `fat`, `fat16`, `fat12`, `linux`, `swap`, `lvm`, `raid`, `root-arm64`, `root-arm64-verity`, `root-arm`, `root-x86-64`, `root-riscv64`, `usr-arm64`, `usr-arm`, `usr-x86-64`, `home`, `srv`, `var`, `tmp`, `linux-reserved`, `bios-boot`, `u-boot-env`; or a GPT's GUID, or an MBR's code in two hexadecimal digits.",
            ),
            key(
                "label",
                Text(&form::PARTITION_LABEL),
                Derived("the file system's name, or else the type"),
                "Its name in a GPT, and in messages.",
            ),
            key("filesystem", Text(&form::REFERENCE), Optional, "A file system of this recipe."),
        ],
        FILE_KEYS,
        &[
            key(
                "size",
                Either(&[Text(&form::SIZE_OR_REST), Integer(0, i64::MAX)]),
                Derived("as large as what it holds"),
                "Its size, in sectors of 512 bytes; `rest`: all that the other partitions leave of the disk's `size`.",
            ),
            key("offset", size!(), Optional, "Where it begins on the disk, in sectors; else behind what comes before."),
            key("guid", Text(&form::GUID), Derived("from what is on the disk"), "In a GPT: its own GUID (`PARTUUID`)."),
            key(
                "attributes",
                List(&OneOf(&["required", "no-block-io", "legacy-boot", "grow", "read-only", "no-auto"]), 0),
                Default("[]"),
                "In a GPT: its attributes.",
            ),
            key("active", Boolean, Default("false"), "In an MBR: the partition to boot from."),
            key(
                "logical",
                Boolean,
                Derived("from the fourth on, where there are more than four"),
                "In an MBR: a logical partition, in the extended one.",
            ),
            key("hybrid", Boolean, Default("false"), "With `table = \"hybrid\"`: the MBR lists it too; up to three."),
        ],
    ],
    choices: &[Choice {
        what: "what it holds",
        required: false,
        of: &[
            one("filesystem", &[], &[]),
            one("path", &[], &["sha256"]),
            one("package", &["file"], &[]),
            one("tarball", &["file"], &["sha256"]),
        ],
    }],
};

static GAP: Table = Table {
    name: "gap",
    heading: "an element of gap",
    doc: "A file at a place of the disk that no partition lists: a boot loader where the boot ROM looks for it.",
    keys: &[
        &[key("offset", size!(), Required, "Its first byte on the disk: `8KiB`. At 0, up to 440 bytes: boot code.")],
        FILE_KEYS,
    ],
    choices: ONE_FILE,
};

static USER: Table = Table {
    name: "user",
    heading: "[filesystem.NAME.users.USER]",
    doc: "A user.",
    keys: &[&[
        key("uid", Integer(0, 4_294_967_294), Required, "Number."),
        key(
            "gid",
            Integer(0, 4_294_967_294),
            Derived("the same as `uid`"),
            "Number of the user's group, which is made, with the user's name, if there is none of that number.",
        ),
        key(
            "home",
            Text(&form::INNER_PATH),
            Derived("`/root` for root, else `/home/USER`"),
            "Home folder; it is made, and the user's own.",
        ),
        key("shell", Text(&form::INNER_PATH), Default("\"/bin/sh\""), "Login shell."),
        key(
            "password",
            Text(&form::CRYPT),
            Optional,
            "Password, hashed as crypt(3) does. Without it nobody gets in by password; `\"\"` lets in without one.",
        ),
    ]],
    choices: &[],
};

/// What xl.cfg(5) calls the things that a guest's own keys say.
const GUEST_KEYS: &[&str] =
    &["name", "kernel", "ramdisk", "memory", "vcpus", "disk", "vif", "extra", "cmdline", "root"];

static GUEST: Table = Table {
    name: "guest",
    heading: "[guest.NAME]",
    doc: "A guest: its configuration becomes `/etc/xen/NAME.cfg` in Dom0's root, its files go under `/var/lib/xen/images/NAME/`.",
    keys: &[&[
        key("kernel", Text(&form::REFERENCE), Required, "A kernel of this recipe."),
        key("initramfs", Text(&form::REFERENCE), Optional, "A file system of this recipe with format `cpio`."),
        key("memory", size!(), Default("\"256MiB\""), "Its memory, whole MiB."),
        key("vcpus", Integer(1, 128), Default("1"), "Its virtual CPUs: up to 128, with GICv2 8."),
        key("disk", List(&Kind::Table(&DISK), 0), Default("[]"), "Its disks."),
        key("vif", List(&Kind::Table(&VIF), 0), Default("[]"), "Its network interfaces."),
        key(
            "extra",
            Text(&form::LINE),
            Derived("`console=hvc0`, with `root=/dev/DEVICE ro` where the first disk is a file system"),
            "Its kernel's command line.",
        ),
        key(
            "settings",
            Names(
                &form::SETTING,
                &Either(&[Text(&form::LINE), Integer(i64::MIN, i64::MAX), Boolean, List(&LINES, 0)]),
                GUEST_KEYS,
            ),
            Optional,
            "Further settings of xl.cfg(5).",
        ),
    ]],
    choices: &[],
};

static DISK: Table = Table {
    name: "disk",
    heading: "an element of disk",
    doc: "A guest's disk.",
    keys: &[&[
        key(
            "filesystem",
            Text(&form::REFERENCE),
            Optional,
            "A file system of this recipe with format `ext2`, `ext3` or `ext4`.",
        ),
        key("disk", Text(&form::REFERENCE), Optional, "A partitioned disk of this recipe."),
        key("device", Text(&form::DISK), Derived("`xvda`, `xvdb` ... in order"), "What the guest sees it as."),
        key("writable", Boolean, Default("true"), "Whether the guest may write to it."),
    ]],
    choices: &[Choice {
        what: "what is on it",
        required: true,
        of: &[one("filesystem", &[], &[]), one("disk", &[], &[])],
    }],
};

static VIF: Table = Table {
    name: "vif",
    heading: "an element of vif",
    doc: "A guest's network interface.",
    keys: &[&[
        key("bridge", Text(&form::INTERFACE), Default("\"xenbr0\""), "The bridge in Dom0 that it joins."),
        key("mac", Text(&form::MAC), Derived("from the guest's name and the interface's number"), "Its address."),
    ]],
    choices: &[],
};

static BOOT: Table = Table {
    name: "boot",
    heading: "[boot]",
    doc: "What is made to boot from.",
    keys: &[&[
        key(
            "format",
            OneOf(&["axf", "u-boot"]),
            Default("\"axf\""),
            "`axf`: one ELF with everything in it; `u-boot`: what U-Boot boots from, and no ELF.",
        ),
        key(
            "script",
            Kind::Table(&SCRIPT),
            Derived("made where `format` is `u-boot`, or there is a `fit`"),
            "U-Boot's boot script, `boot.scr`.",
        ),
        key(
            "fit",
            Kind::Table(&FIT),
            Optional,
            "A FIT, `RECIPE.itb`: one file with the hypervisor, the device tree, Dom0's kernel and initramfs, and their hashes. The script loads it, and `bootm` starts it.",
        ),
        key(
            "addresses",
            Kind::Table(&ADDRESSES),
            Optional,
            "Where the parts of it are to lie in memory. Those not named here get a place; `memory-map.txt` shows all.",
        ),
    ]],
    choices: &[],
};

static SCRIPT: Table = Table {
    name: "script",
    heading: "[boot.script]",
    doc: "U-Boot's boot script. Unless the recipe gives its own, it loads the files that lie beside it in its file system (`boot = ...`) from the partition that U-Boot found it on, and starts the hypervisor.",
    keys: &[&[
        key("text", Text(&form::TEXT), Optional, "The script itself, in U-Boot's commands."),
        key("path", Text(&form::PATH), Optional, "A local file that is the script, relative to the recipe."),
        key(
            "device-tree",
            OneOf(&["file", "firmware"]),
            Default("\"file\""),
            "Which device tree the hypervisor gets: the finished one, from a file; or the one that U-Boot got from the firmware before it, which the script fills in: not with `[boot.fit]`, nor in a script of the recipe\'s own.",
        ),
    ]],
    choices: &[Choice { what: "what it says", required: false, of: &[one("text", &[], &[]), one("path", &[], &[])] }],
};

static FIT: Table = Table {
    name: "fit",
    heading: "[boot.fit]",
    doc: "A FIT. With a `key` its configuration is signed, and `u-boot-key.dtb` is made: a device tree for U-Boot that holds the public key, so that it boots nothing else.",
    keys: &[&[
        key(
            "key",
            Text(&form::PATH),
            Optional,
            "A private RSA key of 2048, 3072 or 4096 bits to sign with: a local PEM file without password, relative to the recipe.",
        ),
        key(
            "key-name",
            Text(&form::REFERENCE),
            Derived("the file's name without its ending"),
            "With `key`: the name by which U-Boot finds the public key.",
        ),
        key(
            "control",
            Kind::Table(&CONTROL),
            Derived("the machine\'s, where it has `firmware`; else an empty one"),
            "With `key`: U-Boot\'s own device tree, a blob, to add the public key to.",
        ),
    ]],
    choices: &[Choice {
        what: "what it is signed with",
        required: false,
        of: &[one("key", &[], &["key-name", "control"])],
    }],
};

static CONTROL: Table = Table {
    name: "control",
    heading: "control of [boot.fit]",
    doc: "The device tree that U-Boot itself reads.",
    keys: &[FILE_KEYS],
    choices: ONE_FILE,
};

/// The largest physical address of Armv8-A (DDI 0487, FEAT_LPA).
pub const ADDRESS_MAX: i64 = (1 << 52) - 1;

static ADDRESSES: Table = Table {
    name: "addresses",
    heading: "[boot.addresses]",
    doc: "Load addresses, for boards and debuggers that expect something at a certain place: `kernel = 0x48000000`.",
    keys: &[&[
        key("boot", ADDRESS, Optional, "The stub, where the machine enters: a multiple of 4 KiB."),
        key("dtb", ADDRESS, Optional, "The device tree: a multiple of 2 MiB."),
        key("xen", ADDRESS, Optional, "The hypervisor: its `text_offset` (mostly 0) above a multiple of 2 MiB."),
        key("kernel", ADDRESS, Optional, "Dom0's kernel: a multiple of 2 MiB."),
        key("initramfs", ADDRESS, Optional, "Dom0's initramfs: a multiple of 4 KiB."),
        key("fit", ADDRESS, Optional, "The FIT, where U-Boot's script loads it to: a multiple of 2 MiB."),
    ]],
    choices: &[],
};
const ADDRESS: Kind = Integer(0, ADDRESS_MAX);

static TEST: Table = Table {
    name: "test",
    heading: "[test]",
    doc: "A dialogue on the serial console, for `xenbuild test`.",
    keys: &[&[
        key("timeout", Text(&form::DURATION), Default("\"5min\""), "How long all of it may take."),
        key(
            "prompt",
            REGEX_TEXT,
            Default("\"# $\""),
            "Regular expression of the shell's prompt, for steps with `run`.",
        ),
        key(
            "fail",
            List(&REGEX, 0),
            Default("[\"Kernel panic\", \"Panic on CPU\"]"),
            "Regular expressions that fail the test wherever they match.",
        ),
        key("steps", List(&Kind::Table(&STEP), 0), Default("[]"), "The dialogue."),
    ]],
    choices: &[],
};
const REGEX_TEXT: Kind = Text(&form::REGEX);

static STEP: Table = Table {
    name: "step",
    heading: "an element of steps",
    doc: "One step of the dialogue.",
    keys: &[&[
        key(
            "run",
            Text(&form::COMMAND),
            Optional,
            "Types this command at the prompt, and waits for it to end with `status`.",
        ),
        key("status", Integer(0, 255), Default("0"), "With `run`: the exit status that the command must have."),
        key(
            "expect",
            Either(&[REGEX_TEXT, List(&REGEX, 1)]),
            Optional,
            "Waits until this regular expression matches in what came since the last match. With `run`: what the command's output must match; a list must match all of it.",
        ),
        key("send", Text(&form::TEXT), Optional, "Types this text."),
        key("power-off", True, Optional, "Waits until the machine has switched itself off."),
        key("within", Text(&form::DURATION), Default("\"60s\""), "How long the step may take."),
    ]],
    choices: &[Choice {
        what: "what to do",
        required: true,
        of: &[
            one("run", &[], &["expect", "status"]),
            one("expect", &[], &[]),
            one("send", &[], &[]),
            one("power-off", &[], &[]),
        ],
    }],
};

/// Every table, in the order of the documentation.
pub static TABLES: &[&Table] = &[
    &RECIPE,
    &PACKAGES,
    &SOURCE,
    &SOURCE_FILE,
    &MACHINE,
    &FIRMWARE,
    &HYPERVISOR,
    &KERNEL,
    &MODULE_TREE,
    &DEVICE_TREE,
    &OVERLAY,
    &DOM0,
    &FILESYSTEM,
    &INCLUDE,
    &MODULES,
    &ENTRY,
    &USER,
    &DISK_IMAGE,
    &PARTITION,
    &GAP,
    &GUEST,
    &DISK,
    &VIF,
    &BOOT,
    &SCRIPT,
    &FIT,
    &CONTROL,
    &ADDRESSES,
    &TEST,
    &STEP,
    &VARIANT,
];

/// Returns the kind of the whole recipe.
pub fn recipe() -> &'static Kind {
    static KIND: Kind = Kind::Table(&RECIPE);
    &KIND
}
