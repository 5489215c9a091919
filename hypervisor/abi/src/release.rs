//! Which Xen a guest was told it is on, and what differs between these: versions and layouts of the toolstack's interfaces.

use crate::Field;
use crate::arch_arm::{ArchDomainconfig, VcpuGuestContext};
use crate::domctl::{Createdomain, Getdomaininfo};
use crate::features;
use crate::item::{after, after_mut};
use crate::sysctl::Physinfo;

/// A release of Xen whose interfaces can be spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 4.14, of Debian 11.
    V4_14,
    /// 4.17, of Debian 12.
    #[default]
    V4_17,
    /// 4.20, of Debian 13.
    V4_20,
}

impl Release {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::V4_14, Self::V4_17, Self::V4_20];

    /// Returns the one that `text` names, such as `4.17`.
    pub fn from_name(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|release| release.name() == text)
    }

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4_14 => "4.14",
            Self::V4_17 => "4.17",
            Self::V4_20 => "4.20",
        }
    }

    /// Returns what `XENVER_version` says: major in 31:16, minor in 15:0.
    pub const fn version(self) -> u32 {
        match self {
            Self::V4_14 => 0x0004_000e,
            Self::V4_17 => 0x0004_0011,
            Self::V4_20 => 0x0004_0014,
        }
    }

    /// Returns what `xen_version` answers with as many bytes as there are; `None` if it is no such operation of this release.
    pub const fn version_text(self, operation: u32) -> Option<VersionText> {
        match (self, operation) {
            (Self::V4_20, 11) => Some(VersionText::Extraversion),
            (Self::V4_20, 12) => Some(VersionText::Capabilities),
            (Self::V4_20, 13) => Some(VersionText::Changeset),
            (Self::V4_20, 14) => Some(VersionText::Commandline),
            _ => None,
        }
    }

    /// Returns `XEN_DOMCTL_INTERFACE_VERSION` of this release.
    pub const fn domctl_interface(self) -> u32 {
        match self {
            Self::V4_14 => 0x12,
            Self::V4_17 => 0x15,
            Self::V4_20 => 0x17,
        }
    }

    /// Returns `XEN_SYSCTL_INTERFACE_VERSION` of this release.
    pub const fn sysctl_interface(self) -> u32 {
        match self {
            Self::V4_14 => 0x13,
            Self::V4_17 | Self::V4_20 => 0x15,
        }
    }

    /// Returns the feature word (submap 0) of Dom0, or of another domain, by whether its frames are the machine's.
    /// 4.14 has no bits for that: its Dom0 takes itself to be mapped directly. 4.20 has bits for areas that are registered by physical
    /// address (18, 19), which are not offered.
    pub const fn features(self, dom0: bool, direct_mapped: bool) -> u32 {
        let mut word = 1 << features::XENFEAT_writable_page_tables
            | 1 << features::XENFEAT_auto_translated_physmap
            | 1 << features::XENFEAT_memory_op_vnode_supported
            | 1 << features::XENFEAT_ARM_SMCCC_supported;
        if dom0 {
            word |= 1 << features::XENFEAT_dom0;
        }
        match (self, direct_mapped) {
            (Self::V4_14, _) => word,
            (_, true) => word | 1 << features::XENFEAT_direct_mapped,
            (_, false) => word | 1 << features::XENFEAT_not_direct_mapped,
        }
    }
}

/// Texts that `xen_version` of 4.20 answers with as many bytes as there are (`struct xen_varbuf`: how much room there is, then the bytes),
/// besides the older operations, which have a fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionText {
    /// `XENVER_extraversion2`.
    Extraversion,
    /// `XENVER_capabilities2`.
    Capabilities,
    /// `XENVER_changeset2`.
    Changeset,
    /// `XENVER_commandline2`.
    Commandline,
}

/// Where `createdomain` of a release has the parts that moved.
struct CreatedomainPlaces {
    grant_opts: Option<usize>,
    vmtrace_size: Option<usize>,
    cpupool_id: Option<usize>,
    arch: usize,
}

const fn createdomain(release: Release) -> CreatedomainPlaces {
    match release {
        Release::V4_14 => CreatedomainPlaces { grant_opts: None, vmtrace_size: None, cpupool_id: None, arch: 44 },
        Release::V4_17 => {
            CreatedomainPlaces { grant_opts: Some(44), vmtrace_size: Some(48), cpupool_id: Some(52), arch: 56 }
        }
        Release::V4_20 => {
            CreatedomainPlaces { grant_opts: Some(44), vmtrace_size: Some(52), cpupool_id: Some(56), arch: 60 }
        }
    }
}

/// Bytes at the beginning of `createdomain` that are alike in all releases.
const CREATEDOMAIN_COMMON: usize = 44;

impl Createdomain {
    /// Returns how many bytes the structure has in this release.
    pub const fn size(release: Release) -> usize {
        createdomain(release).arch + 12
    }

    /// Reads it as this release lays it out. Before 4.17 there was no choice of grant versions: version 1 is what Arm had; 4.20's
    /// options of alternative address maps, which Arm has not, must be zero and are returned to be checked.
    pub fn read_as(release: Release, bytes: &[u8]) -> (Self, u32) {
        let places = createdomain(release);
        let word = |place: Option<usize>, absent: u32| place.map_or(absent, |at| u32::read(after(bytes, at)));
        let common = Self::read(bytes.get(..CREATEDOMAIN_COMMON).unwrap_or(bytes));
        let created = Self {
            grant_opts: word(places.grant_opts, 1),
            vmtrace_size: word(places.vmtrace_size, 0),
            cpupool_id: word(places.cpupool_id, 0),
            arch: ArchDomainconfig::read(after(bytes, places.arch)),
            ..common
        };
        (created, if release == Release::V4_20 { u32::read(after(bytes, 48)) } else { 0 })
    }

    /// Writes what the call returns in it, as this release lays it out, and leaves the rest: which GIC, and the counter's frequency.
    pub fn write_answer_as(self, release: Release, bytes: &mut [u8]) {
        self.arch.write(after_mut(bytes, createdomain(release).arch));
    }
}

impl Getdomaininfo {
    /// Returns how many bytes the structure has in this release: also the stride of `getdomaininfolist`.
    pub const fn size(release: Release) -> usize {
        match release {
            Release::V4_14 => 112,
            Release::V4_17 | Release::V4_20 => 120,
        }
    }

    /// Writes it as this release lays it out. 4.14 has no `gpaddr_bits`.
    pub fn write_as(self, release: Release, bytes: &mut [u8]) {
        let mut whole = [0; <Self as Field>::SIZE];
        self.write(&mut whole);
        match release {
            Release::V4_14 => {
                whole.copy_within(104.., 96);
                copy(&whole[..Self::size(release)], bytes);
            }
            Release::V4_17 | Release::V4_20 => copy(&whole, bytes),
        }
    }
}

impl Physinfo {
    /// Returns how many bytes the structure has in this release.
    pub const fn size(release: Release) -> usize {
        match release {
            Release::V4_14 => 104,
            Release::V4_17 | Release::V4_20 => 112,
        }
    }

    /// Writes it as this release lays it out, without capabilities that it has no bits for.
    pub fn write_as(mut self, release: Release, bytes: &mut [u8]) {
        let mut whole = [0; <Self as Field>::SIZE];
        if release == Release::V4_14 {
            self.capabilities &= 0x3f;
        }
        self.write(&mut whole);
        if release == Release::V4_14 {
            whole.copy_within(40.., 32);
        }
        copy(&whole[..Self::size(release)], bytes);
    }
}

/// Where `vcpu_guest_context` has `cpsr`. In 4.14 that and `spsr_el1` after it have 32 bits each; all the rest comes 8 bytes earlier.
const CPSR: usize = 264;

impl VcpuGuestContext {
    /// Returns how many bytes the structure has in this release.
    pub const fn size(release: Release) -> usize {
        match release {
            Release::V4_14 => 344,
            Release::V4_17 | Release::V4_20 => 352,
        }
    }

    /// Reads it as this release lays it out.
    pub fn read_as(release: Release, bytes: &[u8]) -> Self {
        if release != Release::V4_14 {
            return Self::read(bytes);
        }
        let mut whole = [0; <Self as Field>::SIZE];
        copy(bytes.get(..CPSR).unwrap_or(bytes), &mut whole);
        copy(after(bytes, CPSR + 8), &mut whole[CPSR + 16..]);
        u64::from(u32::read(after(bytes, CPSR))).write(&mut whole[CPSR..]);
        u64::from(u32::read(after(bytes, CPSR + 4))).write(&mut whole[CPSR + 8..]);
        Self::read(&whole)
    }

    /// Writes it as this release lays it out.
    pub fn write_as(self, release: Release, bytes: &mut [u8]) {
        let mut whole = [0; <Self as Field>::SIZE];
        self.write(&mut whole);
        if release == Release::V4_14 {
            whole.copy_within(CPSR + 8..CPSR + 12, CPSR + 4);
            whole.copy_within(CPSR + 16.., CPSR + 8);
        }
        copy(&whole[..Self::size(release)], bytes);
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
