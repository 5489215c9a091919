//! What FAT cannot hold, and files that are not what they said.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imagegen::fat::{Options, Plan, PlanError, Width, WriteError};
use imagegen::tree::{Extent, Kind, Source};

use crate::oracle::{add, check, directory, file, fsck, image, noise, options, run, tree, with};

/// A file of which one range holds data.
struct Sparse {
    size: u64,
    data: (u64, Vec<u8>),
}

impl Source for Sparse {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn extents(&self) -> Vec<Extent> {
        vec![Extent { offset: self.data.0, length: self.data.1.len() as u64 }]
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (index, byte) in buffer.iter_mut().enumerate() {
            let at = (offset + index as u64).checked_sub(self.data.0);
            *byte = at.and_then(|at| self.data.1.get(at as usize)).copied().unwrap_or(0);
        }
        Ok(())
    }
}

fn sparse(size: u64, at: u64, length: usize) -> Kind {
    Kind::File(Arc::new(Sparse { size, data: (at, noise(length, at)) }))
}

fn refused(tree: &imagegen::tree::Tree, options: &Options) -> String {
    Plan::new(tree, options).unwrap_err().to_string()
}

#[test]
fn all_that_fat_cannot_hold_is_told_at_once() {
    let mut tree = tree();
    add(&mut tree, "etc/link", Kind::Symlink((*b"x").into()));
    add(&mut tree, "dev/null", Kind::CharacterDevice { major: 1, minor: 3 });
    add(&mut tree, "dev/vda", Kind::BlockDevice { major: 254, minor: 0 });
    add(&mut tree, "dev/pipe", Kind::Fifo);
    add(&mut tree, "dev/socket", Kind::Socket);
    add(&mut tree, "a:b", file(""));
    add(&mut tree, "x/README", file(""));
    add(&mut tree, "x/readme", file(""));
    add(&mut tree, "huge", sparse(1 << 32, 0, 1));
    assert_eq!(
        refused(&tree, &options()),
        "a:b: FAT names cannot hold ':'; huge: 4294967296 bytes are more than the 4 GiB less one byte of a file in FAT; \
         dev/null: FAT has no device nodes; dev/pipe: FAT has no named pipes; dev/socket: FAT has no sockets; \
         dev/vda: FAT has no device nodes; etc/link: FAT has no symbolic links; \
         x/readme: differs from `README` beside it only in the case of letters"
    );
}

#[test]
fn the_largest_file_with_its_holes() {
    let make = |size: u64| {
        let mut tree = tree();
        add(&mut tree, "largest", sparse(size, 3_000_000_000, 100_000));
        add(&mut tree, "more", file("behind it"));
        tree
    };
    let tree = make(u32::MAX.into());
    let image = image(&tree, &options());
    let stat = std::fs::metadata(&image.path).unwrap();
    assert!(stat.len() > 4 << 30 && std::os::unix::fs::MetadataExt::blocks(&stat) * 512 < 32 << 20);
    if let Some((success, text)) = run("mtype", &["-i".as_ref(), image.path.as_ref(), "::more".as_ref()]) {
        assert!(success && text == b"behind it");
    }
    // All of it means something on a medium that had other content.
    let plan = Plan::new(&tree, &options()).unwrap();
    assert_eq!(plan.extents(), [Extent { offset: 0, length: plan.size_bytes() }]);
    // fsck.fat 4.2 counts a chain's bytes in 32 bits: the last file whose clusters are below 4 GiB.
    fsck(&crate::oracle::image(&make((1 << 32) - 4096), &options()).path);
}

#[test]
fn directories_have_65536_entries() {
    let mut tree = tree();
    for number in 0..32_767 {
        add(&mut tree, format!("d/number {number:05}"), file(""));
    }
    check(&tree, &options());
    add(&mut tree, "d/one more", file(""));
    assert_eq!(refused(&tree, &options()), "d: 32768 names need 65538 entries, a FAT directory has at most 65536");
}

#[test]
fn a_root_too_large_for_fat16_is_fat32() {
    let mut tree = tree();
    for number in 0..32_765 {
        add(&mut tree, format!("number {number:05}"), file(""));
    }
    assert_eq!(Plan::new(&tree, &options()).unwrap().width(), Width::Fat32);
    assert_eq!(
        refused(&tree, &with(Width::Fat16)),
        "/: 32765 names need 65530 entries, a FAT directory has at most 65520 where it is the root of FAT12 or FAT16"
    );
}

#[test]
fn a_size_that_does_not_suffice_says_what_for() {
    let mut tree = tree();
    add(&mut tree, "Image", file(noise(9_000_000, 1)));
    add(&mut tree, "small", file("x"));
    assert_eq!(
        refused(&tree, &Options { size_bytes: Some(8 << 20), ..options() }),
        "needs 1 MiB more, because 8.7 MiB are needed where 8.0 MiB are given: 8.6 MiB of file content, \
         0.1 MiB of boot sectors and allocation tables, 0.1 MiB of directories; \
         the biggest files are Image (8.6 MiB), small (0.1 MiB)"
    );
    let least = refused(&tree, &Options { size_bytes: Some(20 << 20), ..with(Width::Fat32) });
    assert!(least.starts_with("needs 13 MiB more, because 32.6 MiB are needed where 20.0 MiB are given: "), "{least}");
    assert!(least.contains("23.5 MiB because a FAT of this kind has no fewer clusters"), "{least}");
    assert!(matches!(
        Plan::new(&tree, &Options { free_bytes: 3 << 30, ..with(Width::Fat16) }).unwrap_err(),
        PlanError::TooLarge { .. }
    ));
    assert!(Plan::new(&tree, &Options { free_bytes: u64::MAX / 4, ..options() }).is_err());
}

#[test]
fn options_out_of_range() {
    let mut tree = tree();
    add(&mut tree, "d", directory());
    for (changed, field) in [
        (Options { label: "TWELVE CHARS".into(), ..options() }, "label"),
        (Options { label: "lower".into(), ..options() }, "label"),
        (Options { label: "A/B".into(), ..options() }, "label"),
        (Options { cluster_bytes: Some(3000), ..options() }, "cluster_bytes"),
        (Options { cluster_bytes: Some(65_536), ..options() }, "cluster_bytes"),
        (Options { size_bytes: Some(u64::MAX), ..options() }, "size_bytes"),
    ] {
        assert!(refused(&tree, &changed).starts_with(field), "{changed:?}");
    }
    assert!(refused(&tree, &Options { size_bytes: Some(0), ..options() }).starts_with("needs 1 MiB more"));
}

/// A file that cannot be read, or describes itself wrongly.
struct Broken {
    size: AtomicU64,
    extents: Vec<Extent>,
}

impl Source for Broken {
    fn size_bytes(&self) -> u64 {
        self.size.fetch_add(1, Ordering::Relaxed)
    }

    fn extents(&self) -> Vec<Extent> {
        self.extents.clone()
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::Error::other("the drawer is stuck"))
    }
}

#[test]
fn files_that_are_not_what_they_said() {
    let write = |extents: Vec<Extent>| {
        let mut tree = tree();
        add(&mut tree, "boot/file", Kind::File(Arc::new(Broken { size: 1000.into(), extents })));
        let plan = Plan::new(&tree, &options()).unwrap();
        plan.write(&tempfile::tempfile().unwrap(), 0, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string()
    };
    assert_eq!(write(vec![Extent { offset: 0, length: 1000 }]), "cannot read boot/file: the drawer is stuck");
    let changed = "boot/file changed while its image was made";
    assert_eq!(write(vec![Extent { offset: 0, length: 5000 }]), changed);
    assert_eq!(write(vec![Extent { offset: u64::MAX, length: u64::MAX }]), changed);
    assert_eq!(write(vec![]), changed);
}

#[test]
fn writing_may_be_broken_off() {
    let mut tree = tree();
    add(&mut tree, "big", file(noise(5 << 20, 1)));
    let plan = Plan::new(&tree, &options()).unwrap();
    let result = plan.write(&tempfile::tempfile().unwrap(), 0, &mut |_| ControlFlow::Break(()));
    assert!(matches!(result, Err(WriteError::Cancelled)));
}

#[test]
fn an_image_inside_a_file_is_the_same_and_alone() {
    let mut tree = tree();
    add(&mut tree, "file", file(noise(70_000, 1)));
    let plan = Plan::new(&tree, &options()).unwrap();
    let (folder, proceed) = (tempfile::tempdir().unwrap(), &mut |_| ControlFlow::Continue(()));
    let path = folder.path().join("image");
    std::fs::write(&path, vec![0xaa; plan.size_bytes() as usize + 3000]).unwrap();
    let output = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    plan.write(&output, 1000, proceed).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let alone = std::fs::read(&crate::oracle::image(&tree, &options()).path).unwrap();
    assert!(bytes[1000..][..alone.len()] == alone);
    assert!(bytes[..1000].iter().chain(&bytes[1000 + alone.len()..]).all(|&byte| byte == 0xaa));
}
