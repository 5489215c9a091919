//! Real suites: the whole index read, and the answers of apt compared with ours.

#[path = "support/tools.rs"]
mod tools;

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Instant;

use imagegen::package::index::Index;
use imagegen::package::resolve::{Options, Request, resolve};
use tools::{available, shell};

/// A private state of apt for arm64, made from this host's own sources; or the one in `$APT_CONFIG`.
fn apt_state(folder: &Path) -> PathBuf {
    if let Some(config) = std::env::var_os("APT_CONFIG") {
        return config.into();
    }
    for state in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(folder.join(state)).unwrap();
    }
    std::fs::write(folder.join("status"), "").unwrap();
    let at = folder.display();
    let config = format!(
        "APT::Architecture \"arm64\"; APT::Architectures \"arm64\"; APT::Sandbox::User \"root\";\n\
         Dir::State::Lists \"{at}/lists\"; Dir::State::status \"{at}/status\"; Dir::Cache \"{at}/cache\";\n"
    );
    std::fs::write(folder.join("apt.conf"), config).unwrap();
    shell("APT_CONFIG=apt.conf apt-get -q update", folder);
    folder.join("apt.conf")
}

fn read_index(config: &Path, folder: &Path) -> Index {
    let config = config.display();
    // Where the lists are, without saying how apt stores them.
    let script = format!(
        "export APT_CONFIG={config}; apt-get indextargets --format '$(FILENAME) $(SUITE) $(CODENAME)' 'Created-By: Packages' |
         while read file suite name; do n=$((n + 1)); /usr/lib/apt/apt-helper cat-file \"$file\" >packages.$n; echo packages.$n $name; done"
    );
    let mut index = Index::new();
    for line in shell(&script, folder).lines() {
        let (file, name) = line.split_once(' ').unwrap();
        let started = Instant::now();
        let reader = BufReader::new(std::fs::File::open(folder.join(file)).unwrap());
        let count = index.add(name, reader).unwrap();
        eprintln!("{name}: {count} packages in {:?}", started.elapsed());
    }
    index
}

#[test]
#[ignore = "conformance: needs apt and its mirror, about 20 MB"]
fn apt_gives_the_same_sets() {
    if !available("apt-get") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let config = apt_state(temp.path());
    let index = read_index(&config, temp.path());
    assert!(index.packages().count() > 10_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    eprintln!(
        "peak memory with the index: {}",
        status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("unknown")
    );
    let options = Options { architecture: "arm64".into(), ..Options::default() };
    let mut failures = Vec::new();
    let wishes = [
        "xen-utils-4.17 xen-utils-common xen-hypervisor-4.17-arm64 linux-image-arm64 busybox-static bash coreutils util-linux kmod mount libgcc-s1",
        "bash",
        "busybox-static",
        "systemd",
        "openssh-server",
        "python3",
        "nginx",
        "git",
        "gcc",
        "perl",
        "vim",
        "apt",
        "dpkg",
        "curl",
        "iproute2",
        "ifupdown isc-dhcp-client",
        "qemu-system-arm",
        "network-manager",
        "docker.io",
        "postgresql",
        "apache2",
        "php",
        "default-jre-headless",
        "libvirt-daemon-system",
        "build-essential",
        "debootstrap",
        "xen-system-arm64",
        "exim4",
        "cron",
        "rsyslog",
        "openssh-server openssh-client sudo vim-tiny less man-db",
        "gnome-terminal",
        "xorg",
        "task-ssh-server",
        "libreoffice-writer",
        "ffmpeg",
    ];
    for wish in wishes {
        let script = format!(
            "export APT_CONFIG={}; apt-get install -s --no-install-recommends {wish} 2>/dev/null | sed -n 's/^Inst \\([^ ]*\\) (\\([^ ]*\\) .*/\\1=\\2/p'",
            config.display()
        );
        let theirs: BTreeSet<String> =
            shell(&script, temp.path()).lines().map(|line| line.replace(":arm64", "")).collect();
        let requests: Vec<Request> = wish.split(' ').map(|name| Request::parse(name).unwrap()).collect();
        let started = Instant::now();
        let ours = resolve(&index, &requests, &options);
        let took = started.elapsed();
        let ours: BTreeSet<String> = match ours {
            Ok(ids) => ids
                .iter()
                .map(|id| index.package(*id))
                .map(|package| format!("{}={}", package.name(), package.version()))
                .collect(),
            Err(error) => {
                failures.push(format!("{wish}: {error}"));
                continue;
            }
        };
        eprintln!("{} packages in {took:?}: {wish}", ours.len());
        let (more, less): (Vec<_>, Vec<_>) = (ours.difference(&theirs).collect(), theirs.difference(&ours).collect());
        if !more.is_empty() || !less.is_empty() {
            failures.push(format!("{wish}: we have {more:?}, apt has {less:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
