//! Xen: configure, then `make dist-xen`.

use super::kconfig::Kconfig;
use super::{Build, CONFIG, NAME};
use crate::error::Result;

/// Compiles.
pub fn make(build: &Build<'_>) -> Result<()> {
    let hypervisor = build.source.join("xen");
    let arguments = |folder: &std::path::Path, target: &str| {
        vec![
            "-C".to_owned(),
            folder.display().to_string(),
            format!("O={}", build.objects.display()),
            format!("DISTDIR={}", build.stage.display()),
            "XEN_TARGET_ARCH=arm64".to_owned(),
            format!("CROSS_COMPILE={}", build.prefix),
            format!("XEN_BUILD_DATE={}", build.date()),
            "XEN_BUILD_TIME=00:00:00".to_owned(),
            format!("XEN_BUILD_HOST={NAME}"),
            format!("XEN_WHOAMI={NAME}"),
            format!("XEN_DOMAIN={NAME}"),
            format!("EXTRA_CFLAGS_XEN_CORE={}", build.path_flags()),
            target.to_owned(),
        ]
    };
    // 32 and 64 bits of Arm are one architecture there.
    let kconfig = Kconfig::read(&hypervisor, &[("SRCARCH", "arm"), ("ARCH", "arm64")]);
    build.configure(&kconfig, &|target| build.run(&format!("make {target}"), arguments(&hypervisor, target)))?;
    build.empty_stage()?;
    build.run("make dist-xen", arguments(&build.source, "dist-xen"))?;
    build.take(&build.objects.join("xen"), "xen")?;
    build.take(&build.objects.join("xen-syms"), "xen-syms")?;
    build.take(&build.objects.join("xen-syms.map"), "xen-syms.map")?;
    build.take(&build.objects.join(".config"), CONFIG)
}
