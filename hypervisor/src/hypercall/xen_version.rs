//! `xen_version`: who is there.

use core::mem::offset_of;

use xen_abi::release::{Release, VersionText};
use xen_abi::version::*;

use super::{Answer, Errno};
use crate::arch::Once;
use crate::domain::Domain;
use crate::run::Caller;
use alloc::string::String;

/// What all domains are told.
#[derive(Debug)]
pub struct Told {
    /// Which Xen that is, as far as they see.
    pub version: Release,
    /// The hypervisor's command line.
    pub arguments: String,
}

static TOLD: Once<Told> = Once::new();

/// Says what domains are told.
pub fn start(told: Told) {
    TOLD.set(told);
}

/// Returns the version of Xen that domains are told.
pub fn version() -> Option<Release> {
    TOLD.get().map(|told| told.version)
}

const EXTRA: &str = ".0-xenbuild";
const CHANGESET: &str = concat!("xenbuild ", env!("CARGO_PKG_VERSION"));
/// Addresses of EL2 are no secret, but of no use either.
const VIRTUAL_START: u64 = crate::arch::layout::IMAGE;

/// Puts text into a field that ends in a zero.
fn fill(field: &mut [u8], text: &str) {
    let room = field.len() - 1;
    field.iter_mut().zip(text.bytes()).take(room).for_each(|(to, from)| *to = from);
}

/// Copies text out, in a field of N bytes.
fn text<const N: usize>(caller: &Caller<'_>, address: u64, text: &str) -> Answer {
    let mut bytes = [0; N];
    fill(&mut bytes, text);
    caller.write(address, &bytes)?;
    Ok(0)
}

/// Copies text out behind a word that says how much room there is; without a pointer it is only measured.
fn whole_text(caller: &Caller<'_>, address: u64, text: &str) -> Answer {
    let size = text.len() as u64;
    if address == 0 {
        return Ok(size);
    }
    let BuildId { len } = caller.get(address)?;
    match u64::from(len) {
        0 => Err(Errno::EINVAL),
        room if room < size => Err(Errno::ENOBUFS),
        _ => {
            caller.write(address.wrapping_add(size_of::<u32>() as u64), text.as_bytes())?;
            Ok(size)
        }
    }
}

/// Answers `command` into `address`. The version, which guests ask for when they want no more than an exit, comes first.
pub fn call(caller: &mut Caller<'_>, command: u64, address: u64) -> Answer {
    answer(caller, TOLD.get().ok_or(Errno::ENOSYS)?, command, address)
}

#[inline(always)]
fn answer(caller: &mut Caller<'_>, told: &Told, command: u64, address: u64) -> Answer {
    if command as u32 == VersionOp::Version.number() {
        return Ok(told.version.version().into());
    }
    tell(caller, told, command, address)
}

#[inline(never)]
fn tell(caller: &mut Caller<'_>, told: &Told, command: u64, address: u64) -> Answer {
    let control = caller.domain().control;
    if let Some(text) = told.version.version_text(command as u32) {
        let text = match text {
            VersionText::Extraversion => EXTRA,
            VersionText::Capabilities => capabilities(caller.domain()),
            VersionText::Changeset => CHANGESET,
            VersionText::Commandline if control => &told.arguments,
            VersionText::Commandline => return Err(Errno::EPERM),
        };
        return whole_text(caller, address, text);
    }
    match VersionOp::from_number(u64::from(command as u32)).ok_or(Errno::ENOSYS)? {
        // Answered before.
        VersionOp::Version => Err(Errno::ENOSYS),
        VersionOp::Extraversion => text::<XEN_EXTRAVERSION_LEN>(caller, address, EXTRA),
        VersionOp::CompileInfo => {
            let mut info = CompileInfo::default();
            fill(&mut info.compiler, "rustc");
            fill(&mut info.compile_by, "xenbuild");
            fill(&mut info.compile_domain, "xenbuild");
            // The same source gives the same bytes on any day.
            fill(&mut info.compile_date, concat!("release ", env!("CARGO_PKG_VERSION")));
            caller.put(address, info)?;
            Ok(0)
        }
        VersionOp::Capabilities => text::<XEN_CAPABILITIES_INFO_LEN>(caller, address, capabilities(caller.domain())),
        VersionOp::Changeset => text::<XEN_CHANGESET_INFO_LEN>(caller, address, CHANGESET),
        VersionOp::PlatformParameters => {
            caller.put(address, PlatformParameters { virt_start: VIRTUAL_START })?;
            Ok(0)
        }
        VersionOp::GetFeatures => {
            let info: FeatureInfo = caller.get(address)?;
            if info.submap_idx != 0 {
                return Err(Errno::EINVAL);
            }
            let at = address.wrapping_add(offset_of!(FeatureInfo, submap) as u64);
            let domain = caller.domain();
            caller.put(at, told.version.features(domain.control, domain.direct))?;
            Ok(0)
        }
        VersionOp::Pagesize if address != 0 => Err(Errno::EINVAL),
        VersionOp::Pagesize => Ok(crate::arch::PAGE_SIZE),
        VersionOp::GuestHandle => {
            let handle = *caller.domain().handle.lock();
            caller.write(address, &handle)?;
            Ok(0)
        }
        VersionOp::Commandline => {
            let line = if control { &told.arguments } else { "<denied>" };
            text::<XEN_COMMANDLINE_LEN>(caller, address, line)
        }
        VersionOp::BuildId if control => Err(Errno::ENODATA),
        VersionOp::BuildId => Err(Errno::EPERM),
    }
}

/// Returns what guests can be built; AArch32 only if EL1 can.
fn capabilities(domain: &Domain) -> &'static str {
    let aarch32 = domain.identification[4][0] >> 4 & 0xf == 2;
    if aarch32 { "xen-3.0-aarch64 xen-3.0-armv7l " } else { "xen-3.0-aarch64 " }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixture;
    use crate::memory::guest;
    use crate::schedule::Entity;
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    /// Asks as vCPU 0 of `domain`, which was told that `release`.
    fn ask(domain: &Arc<Domain>, release: Release, command: u64, address: u64) -> Answer {
        let entity = Entity { domain: domain.clone(), index: 0 };
        let told = Told { version: release, arguments: "dom0_mem=512M".into() };
        let mut state = domain.vcpus[0].state.lock();
        answer(&mut Caller { entity: &entity, state: &mut state }, &told, command, address)
    }

    #[test]
    fn each_release_says_what_it_is_and_has_its_own_features() {
        let (dom0, memory) = fixture::domain(70, true);
        let (other, others) = fixture::domain(71, false);
        // Version; features of Dom0, and of another domain.
        for (release, version, features) in [
            (Release::V4_14, 0x4_000e, [0x6805, 0x6005]),
            (Release::V4_17, 0x4_0011, [0x2_6805, 0x2_6005]),
            (Release::V4_20, 0x4_0014, [0x2_6805, 0x2_6005]),
        ] {
            assert_eq!(ask(&dom0, release, 0, 0), Ok(version));
            for (domain, memory, expected) in [(&dom0, memory, features[0]), (&other, others, features[1])] {
                guest::write(domain.id, memory, &[0; 8]).unwrap();
                assert_eq!(ask(domain, release, VersionOp::GetFeatures.number().into(), memory), Ok(0));
                let mut word = [0; 4];
                guest::read(domain.id, memory + 4, &mut word).unwrap();
                assert_eq!(u32::from_le_bytes(word), expected, "{release:?} of domain {}", domain.id);
            }
            // What is the same everywhere, and the operations that only the last one knows.
            assert_eq!(ask(&dom0, release, VersionOp::Extraversion.number().into(), memory), Ok(0));
            assert_eq!(ask(&dom0, release, VersionOp::Pagesize.number().into(), 0), Ok(4096));
            for command in 11..=14 {
                assert_eq!(
                    ask(&dom0, release, command, 0).is_ok(),
                    release == Release::V4_20,
                    "{command} of {release:?}"
                );
            }
            assert_eq!(ask(&dom0, release, 15, 0), Err(Errno::ENOSYS));
        }
    }

    #[test]
    fn texts_are_as_long_as_they_are() {
        let (dom0, memory) = fixture::domain(72, true);
        let (other, others) = fixture::domain(73, false);
        let texts = ["", EXTRA, capabilities(&dom0), CHANGESET, "dom0_mem=512M"];
        for (command, text) in (10u64..).zip(texts).skip(1) {
            let size = text.len() as u64;
            assert_eq!(ask(&dom0, Release::V4_20, command, 0), Ok(size));
            for (room, expected) in
                [(0, Err(Errno::EINVAL)), (1, Err(Errno::ENOBUFS)), (size as u32, Ok(size)), (u32::MAX, Ok(size))]
            {
                guest::write(dom0.id, memory, &[&room.to_le_bytes()[..], &[0xa5; 64]].concat()).unwrap();
                assert_eq!(ask(&dom0, Release::V4_20, command, memory), expected, "{command}, room for {room}");
                let mut bytes = Vec::from([0; 68]);
                guest::read(dom0.id, memory, &mut bytes).unwrap();
                assert_eq!(bytes[..4], room.to_le_bytes(), "what was asked stays");
                let written = if expected.is_ok() { text.len() } else { 0 };
                assert_eq!(bytes[4..4 + written], text.as_bytes()[..written]);
                assert!(bytes[4 + written..].iter().all(|&byte| byte == 0xa5), "no zero ends it");
            }
            assert_eq!(ask(&dom0, Release::V4_20, command, 8), Err(Errno::EFAULT));
            let denied = if command == 14 { Err(Errno::EPERM) } else { Ok(size) };
            assert_eq!(ask(&other, Release::V4_20, command, 0), denied);
        }
        // The old operations are there besides.
        assert_eq!(ask(&other, Release::V4_20, VersionOp::Commandline.number().into(), others), Ok(0));
        let mut bytes = [0; 9];
        guest::read(other.id, others, &mut bytes).unwrap();
        assert_eq!(&bytes, b"<denied>\0");
    }
}
