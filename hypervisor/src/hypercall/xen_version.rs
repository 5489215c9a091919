//! `xen_version`: who is there.

use core::mem::offset_of;

use xen_abi::features::*;
use xen_abi::version::*;

use super::{Answer, Errno};
use crate::arch::Once;
use crate::domain::Domain;
use crate::machine::options::Version;
use crate::run::Caller;
use alloc::string::String;

/// What all domains are told.
#[derive(Debug)]
pub struct Told {
    /// The version of Xen.
    pub version: Version,
    /// The hypervisor's command line.
    pub arguments: String,
}

static TOLD: Once<Told> = Once::new();

/// Says what domains are told.
pub fn start(told: Told) {
    TOLD.set(told);
}

const EXTRA: &str = ".0-xenbuild";
const CHANGESET: &str = concat!("xenbuild ", env!("CARGO_PKG_VERSION"));
/// Addresses of EL2 are no secret, but of no use either.
const VIRTUAL_START: u64 = crate::arch::layout::IMAGE;

/// Returns the features of submap 0: what is the same for all, what Dom0 has, and whether frame numbers are the machine's.
fn features(domain: &Domain) -> u32 {
    let bit = |number: u32| 1 << number;
    bit(XENFEAT_writable_page_tables)
        | bit(XENFEAT_auto_translated_physmap)
        | bit(XENFEAT_memory_op_vnode_supported)
        | bit(XENFEAT_ARM_SMCCC_supported)
        | bit(if domain.direct { XENFEAT_direct_mapped } else { XENFEAT_not_direct_mapped })
        | if domain.control { bit(XENFEAT_dom0) } else { 0 }
}

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

/// Answers `command` into `address`. The version, which guests ask for when they want no more than an exit, comes first.
pub fn call(caller: &mut Caller<'_>, command: u64, address: u64) -> Answer {
    let told = TOLD.get().ok_or(Errno::ENOSYS)?;
    if command as u32 == VersionOp::Version.number() {
        let (major, minor) = told.version.numbers();
        return Ok(u64::from(major << 16 | minor));
    }
    tell(caller, told, command, address)
}

#[inline(never)]
fn tell(caller: &mut Caller<'_>, told: &Told, command: u64, address: u64) -> Answer {
    let control = caller.domain().control;
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
            caller.put(at, features(caller.domain()))?;
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
