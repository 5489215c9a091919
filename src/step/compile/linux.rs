//! Linux: configure, Image, modules and device trees, each by the kernel's own make.

use super::kconfig::Kconfig;
use super::{Build, CONFIG, MODULES, NAME};
use crate::error::Result;

/// Compiles.
pub fn make(build: &Build<'_>) -> Result<()> {
    let arguments = |targets: &[&str], more: &[String]| {
        let mut arguments = vec![
            "-C".to_owned(),
            build.source.display().to_string(),
            format!("O={}", build.objects.display()),
            "ARCH=arm64".to_owned(),
            format!("CROSS_COMPILE={}", build.prefix),
            format!("KBUILD_BUILD_TIMESTAMP={}", build.date()),
            format!("KBUILD_BUILD_USER={NAME}"),
            format!("KBUILD_BUILD_HOST={NAME}"),
            "KBUILD_BUILD_VERSION=1".to_owned(),
            // Empty, not unset: the tree is what it is called, in whatever repository this folder may lie.
            "LOCALVERSION=".to_owned(),
            format!("KCFLAGS={}", build.path_flags()),
            format!("KAFLAGS={}", build.path_flags()),
        ];
        arguments.extend(more.iter().cloned());
        arguments.extend(targets.iter().map(|target| (*target).to_owned()));
        arguments
    };
    let kconfig = Kconfig::read(&build.source, &[("SRCARCH", "arm64"), ("ARCH", "arm64")]);
    build.configure(&kconfig, &|target| build.run(&format!("make {target}"), arguments(&[target], &[])))?;
    let modular = build.values()?.get("MODULES") == Some("y");
    let targets: &[&str] = if modular { &["Image.gz", "modules", "dtbs"] } else { &["Image.gz", "dtbs"] };
    build.run(&format!("make {}", targets.join(" ")), arguments(targets, &[]))?;
    build.empty_stage()?;
    let (modules, trees) = (build.stage.join("modules"), build.stage.join("dtbs"));
    if modular {
        let more = [
            format!("INSTALL_MOD_PATH={}", modules.display()),
            "INSTALL_MOD_STRIP=1".to_owned(),
            // Its lists are made when they are taken.
            "DEPMOD=true".to_owned(),
        ];
        build.run("make modules_install", arguments(&["modules_install"], &more))?;
        forget_tree(&modules.join("lib/modules"))?;
    }
    let more = [format!("INSTALL_DTBS_PATH={}", trees.display())];
    build.run("make dtbs_install", arguments(&["dtbs_install"], &more))?;
    let boot = build.objects.join("arch/arm64/boot");
    build.take(&boot.join("Image"), "Image")?;
    build.take(&boot.join("Image.gz"), "Image.gz")?;
    build.take(&build.objects.join("System.map"), "System.map")?;
    build.take(&build.objects.join(".config"), CONFIG)?;
    build.take_folder(&modules, MODULES)?;
    build.take_folder(&trees, "dtbs.tar")
}

/// Takes away the links to this host's folders that are installed with the modules.
fn forget_tree(modules: &std::path::Path) -> Result<()> {
    for version in std::fs::read_dir(modules).into_iter().flatten().flatten() {
        for link in ["build", "source"] {
            super::super::output::remove_if_there(&version.path().join(link))?;
        }
    }
    Ok(())
}
