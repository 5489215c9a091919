//! What a build of a real Linux leaves beside its Image, judged by the tools that would take it up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use imagegen::decompress;

use crate::bench::{shown, tool};

/// The artifacts of a recipe whose kernel is compiled, with modules and device trees.
struct Compiled {
    folder: PathBuf,
    /// The kernel's name in the recipe.
    kernel: String,
}

impl Compiled {
    /// Finds them.
    fn new(folder: PathBuf) -> Compiled {
        let ours = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let names = ours.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let kernels: Vec<String> =
            names.filter_map(|name| name.strip_suffix(".modules.tar").map(str::to_owned)).collect();
        let [kernel] = kernels.as_slice() else { panic!("{}: {kernels:?}", folder.display()) };
        Compiled { kernel: kernel.clone(), folder }
    }

    /// Returns where one of them is.
    fn path(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{}.{what}", self.kernel))
    }

    /// Unpacks one of them with the host's tar; returns the files in it, sorted.
    fn unpack(&self, what: &str, to: &Path) -> BTreeSet<String> {
        fs::create_dir_all(to).unwrap();
        shown("tar", &["-xf", self.path(what).to_str().unwrap()], to).expect("tar is there");
        let list = shown("find", &[".", "-type", "f", "-printf", "%P\\n"], to).expect("find is there");
        list.lines().map(str::to_owned).collect()
    }
}

/// Returns where System.map has a symbol.
fn address(map: &str, symbol: &str) -> u64 {
    let line = map.lines().find(|line| line.split(' ').nth(2) == Some(symbol));
    let line = line.unwrap_or_else(|| panic!("{symbol} is not in System.map"));
    u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
}

#[test]
#[ignore = "conformance: looks at the folder $XENBUILD_COMPILED of a recipe with a compiled kernel"]
fn what_a_kernel_leaves_is_what_its_tools_expect() {
    let Some(folder) = std::env::var_os("XENBUILD_COMPILED") else {
        eprintln!("SKIPPED: $XENBUILD_COMPILED is not set");
        return;
    };
    let compiled = Compiled::new(folder.into());
    let temp = tempfile::tempdir().unwrap();
    images_and_map(&compiled);
    modules(&compiled, &temp.path().join("modules"));
    device_trees(&compiled, &temp.path().join("dtbs"));
}

fn images_and_map(compiled: &Compiled) {
    let image = fs::read(compiled.folder.join("Image")).unwrap();
    let mut unpacked = Vec::new();
    let packed: Box<dyn std::io::Read + Send> = Box::new(fs::File::open(compiled.path("Image.gz")).unwrap());
    std::io::copy(&mut decompress::reader(Box::new(std::io::BufReader::new(packed))).unwrap(), &mut unpacked).unwrap();
    assert!(unpacked == image, "Image.gz is another kernel");
    if let Some((good, told)) = tool("gzip", &["-t", compiled.path("Image.gz").to_str().unwrap()], &compiled.folder) {
        assert!(good, "{}", String::from_utf8_lossy(&told));
    }
    // The header says how much memory it takes from its beginning on: what the symbols say (Documentation/arm64/booting.rst).
    let map = fs::read_to_string(compiled.path("System.map")).unwrap();
    let size = u64::from_le_bytes(image[16..24].try_into().unwrap());
    assert_eq!(size, address(&map, "_end") - address(&map, "_text"));
    let config = fs::read_to_string(compiled.path("config")).unwrap();
    assert!(config.lines().any(|line| line == "CONFIG_MODULES=y") && config.lines().any(|line| line.ends_with("=m")));
}

fn modules(compiled: &Compiled, to: &Path) {
    let files = compiled.unpack("modules.tar", to);
    let version = fs::read_dir(to.join("lib/modules")).unwrap().next().unwrap().unwrap().file_name();
    let version = version.into_string().unwrap();
    let base = format!("lib/modules/{version}");
    let read = |name: &str| fs::read(to.join(&base).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let objects: BTreeSet<&str> = files.iter().filter(|name| name.ends_with(".ko")).map(String::as_str).collect();
    // Nothing of this host is in it: no link to where it was compiled, and no path in a module.
    assert!(!to.join(&base).join("build").is_symlink() && !to.join(&base).join("source").is_symlink());
    let here = compiled.folder.parent().unwrap().as_os_str().as_encoded_bytes();
    for object in &objects {
        let bytes = fs::read(to.join(object)).unwrap();
        assert!(!bytes.windows(here.len()).any(|part| part == here), "{object} names the folder it was compiled in");
    }
    // Every module is in the list of what was compiled, and the other way round.
    let order: BTreeSet<String> =
        String::from_utf8(read("modules.order")).unwrap().lines().map(|line| format!("{base}/{line}")).collect();
    assert_eq!(order, objects.iter().map(|name| (*name).to_owned()).collect());
    let lists = ["modules.dep", "modules.dep.bin", "modules.alias", "modules.alias.bin", "modules.softdep"];
    let ours: Vec<Vec<u8>> = lists.iter().map(|name| read(name)).collect();
    let needs = String::from_utf8(ours[0].clone()).unwrap();
    assert!(needs.lines().any(|line| !line.ends_with(':')), "no module needs another:\n{needs}");
    // What depmod makes of the same modules; it complains of symbols that neither kernel nor modules have.
    lists.iter().for_each(|name| fs::remove_file(to.join(&base).join(name)).unwrap());
    let map = compiled.path("System.map");
    let arguments = ["-b", to.to_str().unwrap(), "-e", "-F", map.to_str().unwrap(), &version];
    let Some(told) = shown("depmod", &arguments, to) else { return };
    assert_eq!(told, "");
    for (name, ours) in lists.iter().zip(&ours) {
        let theirs = read(name);
        assert!(*ours == theirs, "{name}: ours\n{}\ndepmod's\n{}", ours.escape_ascii(), theirs.escape_ascii());
    }
    eprintln!("{} modules, listed as depmod lists them", objects.len());
}

fn device_trees(compiled: &Compiled, to: &Path) {
    let files = compiled.unpack("dtbs.tar", to);
    assert!(
        !files.is_empty() && files.iter().all(|name| name.ends_with(".dtb") || name.ends_with(".dtbo")),
        "{files:?}"
    );
    for name in &files {
        let tree = fs::read(to.join(name)).unwrap();
        let root = fdt::Fdt::new(&tree).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(name.ends_with(".dtbo") || root.find("/memory").is_some() || root.find("/cpus").is_some(), "{name}");
        shown("dtc", &["-q", "-I", "dtb", "-O", "null", name], to);
    }
    eprintln!("{} device trees", files.len());
}
