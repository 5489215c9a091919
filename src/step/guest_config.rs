//! `guest-config`: a guest's `xl.cfg`, as xl.cfg(5) wants it.
//! The text is checked while it is written: what cannot be said in that language is refused, not mangled.

use super::{Description, Kind, Workspace, output};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::recipe::{Guest, Setting};

/// The name of the output.
pub const OUTPUT: &str = "xl.cfg";
/// Where in Dom0's root file system the guests' files are.
pub const IMAGES: &str = "/var/lib/xen/images";
const MIB: u64 = 1 << 20;
/// Settings that the recipe says in its own words.
const OWN: [&str; 8] = ["name", "kernel", "ramdisk", "memory", "vcpus", "extra", "disk", "vif"];

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestConfig {
    /// The guest's name.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Kind for GuestConfig {
    fn name(&self) -> &'static str {
        "guest-config"
    }

    fn version(&self) -> u32 {
        1
    }

    fn describe(&self, description: &mut Description) {
        for line in self.text.lines() {
            let (name, value) = line.split_once(" = ").unwrap_or((line, ""));
            description.parameter(name, value);
        }
    }

    fn make(&self, workspace: &Workspace<'_>) -> Result<()> {
        output::write(&workspace.folder.join(OUTPUT), self.text.as_bytes())
    }
}

/// Where a guest's file is in Dom0's root file system.
pub fn image_path(guest: &str, file: &str) -> String {
    format!("{IMAGES}/{guest}/{file}")
}

/// Writes the configuration of a guest.
pub fn write(name: &str, guest: &Guest) -> Result<String> {
    let refuse =
        |key: &str, reason: String| Err(Error::new(ErrorKind::Recipe, format!("guest.{name}.{key}: {reason}")));
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return refuse("name", "a guest's name has only letters, digits, `-`, `_` and `.`".into());
    }
    let memory_bytes = guest.memory_bytes.value;
    if memory_bytes == 0 || !memory_bytes.is_multiple_of(MIB) {
        return refuse("memory", format!("{memory_bytes} bytes are not whole MiB, in which xl.cfg counts"));
    }
    let mut lines = vec![
        format!("name = {}", quote(name)?),
        format!("kernel = {}", quote(&image_path(name, "kernel"))?),
        format!("memory = {}", memory_bytes / MIB),
        format!("vcpus = {}", guest.vcpus.value),
    ];
    if guest.initramfs.is_some() {
        lines.insert(2, format!("ramdisk = {}", quote(&image_path(name, "initramfs"))?));
    }
    if !guest.extra.is_empty() {
        lines.push(format!(
            "extra = {}",
            quote(&guest.extra).map_err(|error| error.context(format_args!("guest.{name}.extra")))?
        ));
    }
    let mut disks = Vec::new();
    for disk in &guest.disks {
        let device = &disk.device;
        if device.is_empty() || !device.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            return refuse("disk", format!("`{device}` is no device name such as `xvda`"));
        }
        if guest.disks.iter().filter(|other| other.device == *device).count() > 1 {
            return refuse("disk", format!("two disks are called `{device}`"));
        }
        let access = if disk.writable { "rw" } else { "ro" };
        // The target comes last, because everything after it belongs to it (xl-disk-configuration(5)).
        let target = image_path(name, &format!("{device}.img"));
        disks.push(quote(&format!("format=raw,vdev={device},access={access},target={target}"))?);
    }
    let mut vifs = Vec::new();
    for vif in &guest.vifs {
        let bridge = &vif.bridge;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // IFNAMSIZ, with its NUL.
        if bridge.is_empty() || bridge.len() > 15 || !bridge.bytes().all(plain) {
            return refuse("vif", format!("`{bridge}` is no name of a bridge"));
        }
        if !is_mac(&vif.mac) {
            return refuse("vif", format!("`{}` is no Ethernet address of one machine", vif.mac));
        }
        vifs.push(quote(&format!("mac={},bridge={bridge}", vif.mac))?);
    }
    for (key, list) in [("disk", disks), ("vif", vifs)] {
        if !list.is_empty() {
            lines.push(format!("{key} = [ {} ]", list.join(", ")));
        }
    }
    for (key, setting) in &guest.settings {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !key.bytes().all(letters) || !key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            return refuse(key, "is no name of a setting of xl.cfg(5)".into());
        }
        if OWN.contains(&key.as_str()) {
            return refuse(key, "has a key of its own in the recipe".into());
        }
        let named = |error: Error| error.context(format_args!("guest.{name}.{key}"));
        lines.push(match setting {
            Setting::Text(text) => format!("{key} = {}", quote(text).map_err(named)?),
            Setting::Number(number) => format!("{key} = {number}"),
            Setting::List(list) => {
                let list: Vec<String> = list.iter().map(|text| quote(text)).collect::<Result<_>>().map_err(named)?;
                format!("{key} = [ {} ]", list.join(", "))
            }
        });
    }
    Ok(lines.join("\n") + "\n")
}

/// Quotes a string. Escapes are left out of it: they differ between the versions that parse this language.
fn quote(text: &str) -> Result<String> {
    let quote = if text.contains('"') { '\'' } else { '"' };
    if text.contains(quote) || text.contains('\\') || text.chars().any(char::is_control) {
        let message = format!(
            "`{}` cannot be written in xl.cfg: it holds a control character, a backslash, or both kinds of quotes",
            text.replace('\n', "\\n")
        );
        return Err(Error::new(ErrorKind::Recipe, message));
    }
    Ok(format!("{quote}{text}{quote}"))
}

/// Says whether this is an Ethernet address that one machine can have: six bytes, not a group's.
fn is_mac(text: &str) -> bool {
    let bytes: Vec<&str> = text.split(':').collect();
    let hex = |byte: &&str| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
    bytes.len() == 6 && bytes.iter().all(hex) && u8::from_str_radix(bytes[0], 16).is_ok_and(|first| first & 1 == 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::recipe::{Disk, DiskSource, Located, Origin, Vif};

    fn located<T>(value: T) -> Located<T> {
        Located { value, origin: origin() }
    }

    fn origin() -> Origin {
        Origin { file: None, span: 0..0, key: String::new() }
    }

    fn guest() -> Guest {
        Guest {
            kernel: located("debian".into()),
            initramfs: Some(located("initramfs".into())),
            memory_bytes: located(256 * MIB),
            vcpus: located(1),
            disks: vec![Disk {
                image: DiskSource::Filesystem(located("domU".into())),
                device: "xvda".into(),
                writable: true,
                origin: origin(),
            }],
            vifs: vec![Vif { bridge: "xenbr0".into(), mac: "00:16:3e:00:00:01".into(), origin: origin() }],
            extra: "console=hvc0 root=/dev/xvda ro".into(),
            settings: BTreeMap::from([
                ("on_crash".into(), Setting::Text("it's \"fine\"".replace('\'', ""))),
                ("cpus".into(), Setting::List(vec!["1".into(), "2".into()])),
                ("nomigrate".into(), Setting::Number(1)),
            ]),
            origin: origin(),
        }
    }

    #[test]
    fn a_guest_becomes_a_configuration() {
        let text = r#"name = "domu"
kernel = "/var/lib/xen/images/domu/kernel"
ramdisk = "/var/lib/xen/images/domu/initramfs"
memory = 256
vcpus = 1
extra = "console=hvc0 root=/dev/xvda ro"
disk = [ "format=raw,vdev=xvda,access=rw,target=/var/lib/xen/images/domu/xvda.img" ]
vif = [ "mac=00:16:3e:00:00:01,bridge=xenbr0" ]
cpus = [ "1", "2" ]
nomigrate = 1
on_crash = 'its "fine"'
"#;
        assert_eq!(write("domu", &guest()).unwrap(), text);
    }

    #[test]
    fn what_xl_cfg_cannot_say_is_refused() {
        let refused = |name: &str, change: &dyn Fn(&mut Guest)| {
            let mut guest = guest();
            change(&mut guest);
            let error = write(name, &guest).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Recipe);
            error.to_string()
        };
        type Change<'a> = &'a dyn Fn(&mut Guest);
        let cases: [(&str, Change<'_>, &str); 10] = [
            ("a/b", &|_| (), "guest.a/b.name: a guest's name has only"),
            ("g", &|g| g.memory_bytes.value += 1, "guest.g.memory: 268435457 bytes are not whole MiB"),
            ("g", &|g| g.extra = "a\nb".into(), "guest.g.extra: `a\\nb` cannot be written"),
            ("g", &|g| g.extra = "a\"b'".into(), "guest.g.extra: "),
            ("g", &|g| g.disks[0].device = "xvda,x".into(), "guest.g.disk: `xvda,x` is no device name"),
            ("g", &|g| g.disks.push(g.disks[0].clone()), "guest.g.disk: two disks are called `xvda`"),
            ("g", &|g| g.vifs[0].bridge = "a,b".into(), "guest.g.vif: `a,b` is no name of a bridge"),
            ("g", &|g| g.vifs[0].mac = "01:16:3e:00:00:01".into(), "guest.g.vif: `01:16:3e:00:00:01` is no"),
            ("g", &|g| drop(g.settings.insert("a b".into(), Setting::Number(1))), "guest.g.a b: is no name"),
            ("g", &|g| drop(g.settings.insert("disk".into(), Setting::Number(1))), "guest.g.disk: has a key"),
        ];
        for (name, change, message) in cases {
            let told = refused(name, change);
            assert!(told.starts_with(message), "{told} instead of {message}");
        }
    }
}
