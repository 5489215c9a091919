//! Kernel modules of our own making, and a real kernel's, judged by depmod and modprobe.

#[path = "support/tools.rs"]
mod tools;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imagegen::archive::ReadOptions;
use imagegen::archive::folder::{self, Keep};
use imagegen::decompress;
use imagegen::modules::Modules;
use imagegen::tree::{Kind, Metadata, Source, Timestamp, Tree};
use object::write::{Object, SectionKind};
use object::{Architecture, BinaryFormat, Endianness};
use proptest::prelude::*;

/// A module that says this of itself, as the kernel's linker would leave it, with some code around it.
fn ko(modinfo: &str) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
    let text = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
    object.append_section_data(text, &[0x5a; 100_000], 16);
    let section = object.add_section(Vec::new(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
    object.append_section_data(section, modinfo.replace('|', "\0").as_bytes(), 1);
    object.write().unwrap()
}

/// The modules of the case that started this: ext4 wants crc32c by an alias only.
const WORLD: &[(&str, &str)] = &[
    ("kernel/fs/ext4/ext4.ko", "name=ext4|softdep=pre: crc32c|alias=fs-ext4|alias=ext3|depends=mbcache,jbd2|"),
    ("kernel/fs/mbcache.ko", "name=mbcache|depends=|"),
    ("kernel/fs/jbd2/jbd2.ko", "name=jbd2|depends=|"),
    (
        "kernel/crypto/crc32c_generic.ko",
        "name=crc32c_generic|alias=crypto-crc32c-generic|alias=crc32c|alias=crypto-crc32c|depends=|",
    ),
    (
        "kernel/arch/crypto/crc32-ce.ko",
        "name=crc32_ce|alias=crc32c|alias=cpu:type:*:feature:*0007*|depends=crypto_hash|",
    ),
    (
        "kernel/drivers/block/virtio_blk.ko",
        "alias=virtio:d00000002v*|depends=virtio-ring|softdep=post: late not-there pre: none|",
    ),
    ("kernel/drivers/virtio/virtio_ring.ko", "depends=|"),
    ("kernel/drivers/late.ko", "depends=virtio_ring|"),
    ("kernel/a.ko", "softdep=pre: b|depends=|"),
    ("kernel/b.ko", "depends=a|"),
    ("kernel/c.ko", "softdep=pre: d|depends=|"),
    ("kernel/d.ko", "depends=gone|"),
    ("kernel/e.ko", "depends=f|"),
    ("kernel/f.ko", "depends=e|"),
    ("modules.order", "not a module"),
];

fn world() -> Modules {
    let files = WORLD.iter().map(|(path, modinfo)| {
        let source: Arc<dyn Source> = Arc::new(ko(modinfo));
        (format!("lib/modules/6.1/{path}").into_bytes(), source)
    });
    let mut modules = Modules::index(files);
    modules.add_builtin(b"kernel/crypto/crypto_hash.ko\nkernel/fs/fuse-core.ko\n");
    modules.add_builtin_modinfo(b"fuse_core.alias=fs-fuse\0fuse_core.license=GPL\0debug.alias=char-major-10-*\0");
    modules
}

fn order(names: &str) -> String {
    match world().load_order(names.split(' ')) {
        Ok(modules) => modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>().join(" "),
        Err(error) => format!("ERROR {error}"),
    }
}

#[test]
fn what_is_needed_comes_before_and_what_is_wished_for_around() {
    assert_eq!(order("ext4"), "crc32_ce crc32c_generic mbcache jbd2 ext4");
    assert_eq!(order("jbd2 ext4 mbcache"), "jbd2 crc32_ce crc32c_generic mbcache ext4");
    assert_eq!(order("virtio-blk"), "virtio_ring virtio_blk late");
}

#[test]
fn names_may_be_aliases_or_built_in() {
    assert_eq!(order("fs-ext4"), order("ext4"));
    assert_eq!(order("crypto-crc32c"), "crc32c_generic");
    assert_eq!(order("virtio:d00000002v00001AF4"), "virtio_ring virtio_blk late");
    assert_eq!(order("cpu:type:aarch64:feature:,0001,0007,"), "crc32_ce");
    assert_eq!(order("fuse-core crypto_hash fs-fuse char-major-10-200"), "");
}

#[test]
fn what_is_missing_is_an_error_where_it_is_needed() {
    assert_eq!(order("ext5"), "ERROR there is no module `ext5`; did you mean `ext4`?");
    assert_eq!(order("d"), "ERROR `d` needs the module `gone`, which there is not");
    assert_eq!(order("c"), "c", "a soft dependency that lacks something is left out");
    assert_eq!(order("e"), "ERROR the module `e` needs itself");
    assert_eq!(order("a"), "a", "a soft dependency that needs its asker is left out");
    assert_eq!(order("b"), "a b");
    assert_eq!(order("a b"), "a b");
}

#[test]
fn compressed_modules_are_read_and_unwrapped() {
    let plain = ko("alias=fs-x|depends=|");
    let mut gzip = decompress::gzip_writer(Vec::new(), 6);
    gzip.write_all(&plain).unwrap();
    let mut files = vec![("m/gz.ko.gz", gzip.finish().unwrap()), ("m/plain.ko", plain.clone())];
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("m.ko"), &plain).unwrap();
    for (tool, arguments, name) in
        [("xz", "--check=crc32 --lzma2=dict=1MiB", "m/x-z.ko.xz"), ("zstd", "-q", "m/zst.ko.zst")]
    {
        if tools::available(tool) {
            tools::shell(&format!("{tool} {arguments} -c m.ko >out"), temp.path());
            files.push((name, std::fs::read(temp.path().join("out")).unwrap()));
        }
    }
    let count = files.len();
    let mut modules =
        Modules::index(files.into_iter().map(|(name, bytes)| (name.into(), Arc::new(bytes) as Arc<dyn Source>)));
    let found = modules.load_order(["fs-x"]).unwrap();
    assert_eq!(found.len(), count);
    for module in found {
        let source = module.uncompressed().unwrap();
        let mut bytes = vec![0; source.size_bytes() as usize];
        source.read_at(0, &mut bytes).unwrap();
        assert!(bytes == plain, "{module:?}");
    }
}

#[test]
fn an_update_overrides_the_module_of_its_name() {
    let paths = ["kernel/net/x.ko", "updates/dkms/x.ko.xz", "extra/x.ko", "kernel/net/y-z.ko"];
    let empty = |path: &str| (path.as_bytes().to_vec(), Arc::new(ko("depends=")) as Arc<dyn Source>);
    let modules = Modules::index(paths.map(empty));
    assert_eq!(modules.files().len(), 4);
    let mut modules = Modules::index([paths[0], "updates/x.ko", paths[2]].map(empty));
    assert_eq!(modules.load_order(["x"]).unwrap()[0].path, b"updates/x.ko");
}

/// Counts the bytes that are read of a file.
struct Counting(Vec<u8>, Arc<AtomicU64>);

impl Source for Counting {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.0.read_at(offset, buffer)
    }
}

#[test]
fn only_what_is_needed_is_read() {
    let read = Arc::new(AtomicU64::new(0));
    let mut names: Vec<String> = (0..500).map(|number| format!("kernel/m{number}.ko")).collect();
    names.push("kernel/top.ko".into());
    let files = names.iter().map(|name| {
        let info = if name == "kernel/top.ko" { "depends=m1,m2|" } else { "depends=|alias=other|" };
        (name.clone().into_bytes(), Arc::new(Counting(ko(info), read.clone())) as Arc<dyn Source>)
    });
    let mut modules = Modules::index(files);
    assert_eq!(read.load(Ordering::Relaxed), 0);
    assert_eq!(modules.load_order(["top"]).unwrap().len(), 3);
    let three = read.load(Ordering::Relaxed);
    assert!(three < 3 * 4096, "{three} bytes for three modules");
    assert_eq!(modules.load_order(["other"]).unwrap().len(), 500);
    let all = read.load(Ordering::Relaxed);
    assert!(all < 501 * 4096, "{all} bytes for all");
}

#[test]
fn a_folder_of_a_tree_is_a_kernel() {
    let mut tree = Tree::new(Metadata::default());
    let mut put = |path: &str, bytes: Vec<u8>| {
        let path = format!("usr/lib/modules/6.1/{path}");
        tree.insert(path.as_bytes(), Kind::File(Arc::new(bytes)), Metadata::root(0o644, Timestamp::default())).unwrap();
    };
    WORLD.iter().for_each(|(path, modinfo)| put(path, ko(modinfo)));
    put("modules.builtin", b"kernel/crypto/crypto_hash.ko\n".to_vec());
    put("modules.builtin.modinfo", b"x.alias=fs-x\0".to_vec());
    tree.insert(b"lib", Kind::Symlink((*b"usr/lib").into()), Metadata::default()).unwrap();
    let mut modules = Modules::from_tree(&tree, b"lib/modules/6.1/").unwrap();
    let order = modules.load_order(["ext4", "fs-x"]).unwrap();
    assert_eq!(order.last().unwrap().path, b"lib/modules/6.1/kernel/fs/ext4/ext4.ko");
    assert_eq!(order.len(), 5);
    let error = Modules::from_tree(&tree, b"lib/modules/6.2").map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "there is no folder `lib/modules/6.2` with modules");
}

#[test]
fn what_is_no_module_is_named() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "m/x.ko: this is no ELF file"),
        (b"\x7fELF\x02\x01\x01", "m/x.ko: the ELF file is broken: "),
        (b"\x1f\x8b", "m/x.ko: the gzip stream is truncated"),
        (b"text", "m/x.ko: this is no ELF file"),
    ];
    for (bytes, expected) in cases {
        let mut modules = Modules::index([(b"m/x.ko".to_vec(), Arc::new(bytes.to_vec()) as Arc<dyn Source>)]);
        let error = modules.load_order(["x"]).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_hostile_web_of_wishes_ends() {
    // Each wants two of the next layer, and at the bottom everything lacks something.
    let files = (0..120).flat_map(|layer| (0..3).map(move |side| (layer, side))).map(|(layer, side)| {
        let next = layer + 1;
        let info = format!(
            "softdep=pre: m{next}x0 m{next}x1 post: m{next}x2|depends={}|",
            if layer == 119 { "gone" } else { "" }
        );
        (format!("m{layer}x{side}.ko").into_bytes(), Arc::new(ko(&info)) as Arc<dyn Source>)
    });
    assert!(!Modules::index(files).load_order(["m0x0"]).unwrap().is_empty());
    let chain = (0..1000).map(|number| {
        (format!("m{number}.ko").into_bytes(), Arc::new(ko(&format!("depends=m{}|", number + 1))) as Arc<dyn Source>)
    });
    let error = Modules::index(chain).load_order(["m0"]).unwrap_err().to_string();
    assert!(error.starts_with("more than 200 modules need each other"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_damage_makes_the_reader_panic(damage in proptest::collection::vec((0usize..700, any::<u8>()), 1..8), tail in any::<bool>()) {
        let mut bytes = ko("alias=x|depends=y|").split_off(0);
        let length = bytes.len();
        for (at, byte) in damage {
            bytes[if tail { length - 1 - at } else { at }] = byte;
        }
        let _ = Modules::index([(b"x.ko".to_vec(), Arc::new(bytes) as Arc<dyn Source>)]).load_order(["x"]);
    }
}

#[test]
#[ignore = "conformance: compares with modprobe over the kernel under $MODULES_ROOT/lib/modules"]
fn modprobe_would_load_the_same() {
    let Some(root) = std::env::var_os("MODULES_ROOT") else {
        eprintln!("SKIPPED: $MODULES_ROOT is not set");
        return;
    };
    if !tools::available("depmod") || !tools::available("modprobe") {
        return;
    }
    let base = Path::new(&root).join("lib/modules");
    let version = std::fs::read_dir(&base).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let at = base.join(&version);
    tools::shell(
        &format!("mkdir -p lib/modules; cp -rs {} lib/modules/{version}; depmod -b . {version}", at.display()),
        temp.path(),
    );
    let mut tree = Tree::new(Metadata::default());
    let options = ReadOptions { to: format!("lib/modules/{version}").into_bytes(), ..ReadOptions::default() };
    folder::read_into(&mut tree, &at, &options, Keep::Content(Timestamp::default())).unwrap();
    let mut modules = Modules::from_tree(&tree, &options.to).unwrap();
    let started = std::time::Instant::now();
    modules.load_order(["crypto-crc32c"]).unwrap();
    eprintln!("{} modules looked through for an alias in {:?}", modules.files().len(), started.elapsed());
    let mut names: Vec<String> = modules.files().iter().step_by(23).map(|module| module.name.clone()).collect();
    let wanted = "ext4 xen-blkfront xen-netfront virtio_blk btrfs nfs fs-ext4 crypto-crc32c xfs overlay virtio_net 9p fuse dm-crypt nf_tables";
    names.extend(wanted.split(' ').map(str::to_owned));
    let mut differences = Vec::new();
    for name in &names {
        let script =
            format!("modprobe -d . -S {version} --show-depends {name} | sed -n 's/^insmod \\([^ ]*\\).*/\\1/p'");
        let theirs = tools::shell(&script, temp.path());
        let theirs: Vec<&str> = theirs.lines().map(|line| line.rsplit_once('/').unwrap().1).collect();
        let ours = modules.load_order([name.as_str()]).unwrap();
        let ours: Vec<String> = ours
            .iter()
            .map(|module| String::from_utf8_lossy(&module.path).rsplit_once('/').unwrap().1.to_owned())
            .collect();
        let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
        // Of several `softdep` records modprobe heeds only the first, though all are meant: we may load more.
        let several = || {
            let script = ours.iter().map(|file| {
                format!("modinfo -b . -k {version} -F softdep {} | sed -n 2p;", file.trim_end_matches(".ko"))
            });
            !tools::shell(&script.collect::<String>(), temp.path()).trim().is_empty()
        };
        let ours_set: BTreeSet<String> = ours.iter().cloned().collect();
        if set(&theirs) != ours_set && !(set(&theirs).is_subset(&ours_set) && several()) {
            differences.push(format!("{name}: ours {ours:?}\n  theirs {theirs:?}"));
        }
        // Every module after those it needs.
        for (position, file) in ours.iter().enumerate() {
            let info = modules.info(file.split('.').next().unwrap()).unwrap();
            for needed in &info.depends {
                let before =
                    ours[..position].iter().any(|other| other.split('.').next().unwrap().replace('-', "_") == *needed);
                assert!(before || modules.info(needed).is_err(), "{name}: {file} comes before {needed}");
            }
        }
    }
    assert!(differences.is_empty(), "of {} names:\n{}", names.len(), differences.join("\n"));
}

/// A module that exports the symbols of the first list and needs those of the second, besides what it says of itself: depmod
/// looks at nothing but symbols for what needs what.
fn linked(modinfo: &str, exports: &str, needs: &str) -> Vec<u8> {
    use object::write::{Symbol, SymbolSection};
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
    let strings = object.add_section(Vec::new(), b"__ksymtab_strings".to_vec(), SectionKind::ReadOnlyData);
    for name in exports.split_whitespace() {
        object.append_section_data(strings, format!("{name}\0").as_bytes(), 1);
    }
    for name in needs.split_whitespace() {
        object.add_symbol(Symbol {
            name: name.into(),
            value: 0,
            size: 0,
            kind: object::SymbolKind::Unknown,
            scope: object::SymbolScope::Unknown,
            weak: false,
            section: SymbolSection::Undefined,
            flags: object::SymbolFlags::None,
        });
    }
    let section = object.add_section(Vec::new(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
    object.append_section_data(section, modinfo.replace('|', "\0").as_bytes(), 1);
    object.write().unwrap()
}

/// Compares with what depmod makes of the same folder: byte for byte, but for the order in which it names what one module
/// needs (that of symbols in files).
fn compare_with_depmod(root: &Path, version: &str, listings: &[(&str, Vec<u8>)]) {
    let folder = root.join("lib/modules").join(version);
    tools::shell(&format!("depmod -b . {version}"), root);
    for (name, ours) in listings {
        let theirs = std::fs::read(folder.join(name)).unwrap();
        if *name == "modules.dep" {
            let lines = |bytes: &[u8]| -> Vec<(String, BTreeSet<String>)> {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                let line = |line: &str| {
                    let (path, needs) = line.split_once(':').unwrap();
                    (path.to_owned(), needs.split_whitespace().map(str::to_owned).collect())
                };
                text.lines().map(line).collect()
            };
            assert_eq!(lines(ours), lines(&theirs));
        } else if *name == "modules.dep.bin" {
            assert_eq!(ours.len(), theirs.len(), "{name}");
        } else if ours != &theirs {
            let same = ours.iter().zip(&theirs).take_while(|(ours, theirs)| ours == theirs).count();
            let show =
                |bytes: &[u8]| String::from_utf8_lossy(&bytes[same.saturating_sub(80)..]).chars().take(300).collect();
            let (ours_shown, theirs_shown): (String, String) = (show(ours), show(&theirs));
            panic!("{name}, byte {same} of {}: ours\n{ours_shown}\ntheirs\n{theirs_shown}", theirs.len());
        }
    }
}

#[test]
fn depmod_lists_the_same() {
    if !tools::available("depmod") || !tools::available("modprobe") {
        return;
    }
    let files = [
        (
            "kernel/fs/ext4/ext4.ko",
            linked("softdep=pre: crc32c|alias=fs-ext4|alias=ext3|depends=mbcache,jbd2|", "", "m j"),
        ),
        ("kernel/fs/mbcache.ko", linked("depends=|", "m", "")),
        ("kernel/fs/jbd2/jbd2.ko", linked("alias=jbd-2[a-f]-x|depends=crc16|", "j", "c")),
        ("kernel/lib/crc16.ko", linked("alias=crc*|depends=|", "c", "")),
        ("kernel/crypto/crc32c_generic.ko", linked("alias=crypto-crc32c|alias=crc32c|depends=|", "", "")),
        ("kernel/crypto/crc32-ce.ko", linked("alias=crc32c|depends=|", "", "")),
        ("kernel/not-listed.ko", linked("depends=crc16,gone|", "", "c nowhere")),
        (
            "modules.order",
            b"kernel/crypto/crc32-ce.ko\nkernel/lib/crc16.ko\nkernel/fs/jbd2/jbd2.ko\nkernel/fs/mbcache.ko\n\
            kernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c_generic.ko\n"
                .to_vec(),
        ),
        ("modules.builtin", b"kernel/fs/fuse-core.ko\nkernel/a.ko\n".to_vec()),
        ("modules.builtin.modinfo", b"fuse_core.alias=fs-fuse\0fuse_core.license=GPL\0".to_vec()),
    ];
    let temp = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(Metadata::default());
    for (path, bytes) in &files {
        let path = format!("lib/modules/6.1/{path}");
        std::fs::create_dir_all(temp.path().join(&path).parent().unwrap()).unwrap();
        std::fs::write(temp.path().join(&path), bytes).unwrap();
        tree.insert(path.as_bytes(), Kind::File(Arc::new(bytes.clone())), Metadata::default()).unwrap();
    }
    let order = files.iter().find(|(path, _)| *path == "modules.order").unwrap().1.clone();
    let mut modules = Modules::from_tree(&tree, b"lib/modules/6.1").unwrap();
    let listings = modules.listings(b"lib/modules/6.1", &order).unwrap();
    compare_with_depmod(temp.path(), "6.1", &listings);
    // With ours in the place of depmod's, modprobe finds names, aliases and what is built in.
    tools::shell("rm lib/modules/6.1/modules.*.bin", temp.path());
    for (name, bytes) in &listings {
        std::fs::write(temp.path().join("lib/modules/6.1").join(name), bytes).unwrap();
    }
    let modprobe = |name: &str| {
        let script = format!("modprobe -d . -S 6.1 --show-depends {name}");
        let told = tools::shell(&script, temp.path());
        let last = |line: &str| line.trim_end().rsplit('/').next().unwrap().to_owned();
        told.lines().map(last).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(modprobe("jbd2"), "crc16.ko jbd2.ko");
    let all = modprobe("fs-ext4");
    assert!(all.ends_with("ext4.ko") && all.contains("crc16.ko jbd2.ko") && all.contains("crc32-ce.ko"), "{all}");
    assert_eq!(modprobe("fuse-core"), "builtin fuse_core");
    assert_eq!(modprobe("not_listed"), "crc16.ko not-listed.ko");
}

#[test]
fn modules_that_need_each_other_are_listed() {
    let listings = world().listings(b"lib/modules/6.1", b"").unwrap();
    let dep = &listings.iter().find(|(name, _)| *name == "modules.dep").unwrap().1;
    let dep = String::from_utf8(dep.clone()).unwrap();
    for line in [
        "kernel/e.ko: kernel/f.ko",
        "kernel/f.ko: kernel/e.ko",
        "kernel/d.ko:",
        "kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko",
        "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko",
    ] {
        assert!(dep.lines().any(|found| found == line), "{line} is not in\n{dep}");
    }
}

#[test]
#[ignore = "conformance: compares with depmod over the kernel under $MODULES_ROOT/lib/modules"]
fn depmod_lists_a_real_kernel_the_same() {
    let Some(root) = std::env::var_os("MODULES_ROOT") else {
        eprintln!("SKIPPED: $MODULES_ROOT is not set");
        return;
    };
    if !tools::available("depmod") {
        return;
    }
    let base = Path::new(&root).join("lib/modules");
    let version = std::fs::read_dir(&base).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let at = base.join(&version);
    tools::shell(&format!("mkdir -p lib/modules; cp -rs {} lib/modules/{version}", at.display()), temp.path());
    let mut tree = Tree::new(Metadata::default());
    let options = ReadOptions { to: format!("lib/modules/{version}").into_bytes(), ..ReadOptions::default() };
    folder::read_into(&mut tree, &at, &options, Keep::Content(Timestamp::default())).unwrap();
    let order = std::fs::read(at.join("modules.order")).unwrap_or_default();
    let started = std::time::Instant::now();
    let mut modules = Modules::from_tree(&tree, &options.to).unwrap();
    let listings = modules.listings(&options.to, &order).unwrap();
    eprintln!("{} modules listed in {:?}", modules.files().len(), started.elapsed());
    compare_with_depmod(temp.path(), &version, &listings);
}
