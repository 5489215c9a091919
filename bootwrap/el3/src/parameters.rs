//! The block of facts about a board that `bootwrap` writes into the stub: who the CPUs are, where the devices are, what to start.

/// Where the block lies from the start of the stub, in bytes.
pub const OFFSET: usize = 0x40;
/// First word of the block: "BOOTWRAP" in memory order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BOOTWRAP");
/// Goes up whenever a field moves or changes its meaning.
pub const VERSION: u32 = 1;
/// CPUs the stub has stacks for.
pub const CPUS_MAX: usize = 64;
/// Ranges of memory in which a CPU may be started.
pub const MEMORY_MAX: usize = 16;
/// Regions of GICv3 redistributors.
pub const REDISTRIBUTORS_MAX: usize = 8;
/// Bits of an MPIDR that name a CPU: Aff3 and Aff2..Aff0 (DDI 0487, MPIDR_EL1).
pub const AFFINITY: u64 = 0xff_00ff_ffff;

/// Secondary CPUs wait at EL2 for an address in `release` instead of at EL3 for CPU_ON.
pub const FLAG_SPIN_TABLE: u32 = 1;

/// No way to switch the board off: the CPU sleeps for ever.
pub const POWER_NONE: u32 = 0;
/// The models' and Versatile Express' system registers at `power_address`.
pub const POWER_VEXPRESS: u32 = 1;
/// A PL061 at `power_address`; `power_pins` says which output switches off (low byte) and which resets (next byte).
pub const POWER_PL061: u32 = 2;

/// A range of physical addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Bytes; zero for an unused entry.
    pub size_bytes: u64,
}

impl Range {
    /// An unused entry.
    pub const EMPTY: Range = Range { start: 0, size_bytes: 0 };

    /// Returns whether `address` is inside.
    pub fn contains(&self, address: u64) -> bool {
        address.checked_sub(self.start).is_some_and(|offset| offset < self.size_bytes)
    }
}

/// The block, field by field as in memory (little endian, naturally aligned, no padding).
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Size of the block, a second guard against a stub of another make.
    pub size_bytes: u32,
    /// `FLAG_…`.
    pub flags: u32,
    /// CPUs named in `cpus`; the first of them boots.
    pub cpu_count: u32,
    /// Where EL2 begins.
    pub entry: u64,
    /// What EL2 finds in x0: the device tree.
    pub dtb: u64,
    /// 2, 3, or 0 where there is no GIC to set up.
    pub gic_version: u32,
    /// Entries used in `redistributors`.
    pub redistributor_count: u32,
    /// GICD.
    pub gic_distributor: u64,
    /// GICC; GICv2 only.
    pub gic_cpu_interface: u64,
    /// A PL011 to complain on; 0 for none.
    pub uart: u64,
    /// `POWER_…`.
    pub power_method: u32,
    /// Meaning depends on the method.
    pub power_pins: u32,
    /// The device that `power_method` names.
    pub power_address: u64,
    /// CNTFRQ_EL0 where reset leaves it zero.
    pub counter_hz: u64,
    /// The system counter's CNTControlBase, to be started; 0 where it runs by itself.
    pub counter_control: u64,
    /// GICR regions; GICv3 only.
    pub redistributors: [Range; REDISTRIBUTORS_MAX],
    /// Where a CPU may be started: memory without the stub itself.
    pub memory: [Range; MEMORY_MAX],
    /// Affinities, in the order of the device tree.
    pub cpus: [u64; CPUS_MAX],
    /// Spin table: a CPU's release address, written by the operating system.
    pub release: [u64; CPUS_MAX],
}

/// Size of the block in bytes.
pub const SIZE_BYTES: usize = size_of::<Parameters>();

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            magic: MAGIC,
            version: VERSION,
            size_bytes: SIZE_BYTES as u32,
            flags: 0,
            cpu_count: 0,
            entry: 0,
            dtb: 0,
            gic_version: 0,
            redistributor_count: 0,
            gic_distributor: 0,
            gic_cpu_interface: 0,
            uart: 0,
            power_method: POWER_NONE,
            power_pins: 0,
            power_address: 0,
            counter_hz: 0,
            counter_control: 0,
            redistributors: [Range::EMPTY; REDISTRIBUTORS_MAX],
            memory: [Range::EMPTY; MEMORY_MAX],
            cpus: [0; CPUS_MAX],
            release: [0; CPUS_MAX],
        }
    }
}

impl Parameters {
    /// Returns the bytes to put at [`OFFSET`].
    pub fn to_bytes(&self) -> [u8; SIZE_BYTES] {
        let mut bytes = [0; SIZE_BYTES];
        let mut at = 0;
        let mut put = |value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        };
        put(&self.magic.to_le_bytes());
        for word in [self.version, self.size_bytes, self.flags, self.cpu_count] {
            put(&word.to_le_bytes());
        }
        put(&self.entry.to_le_bytes());
        put(&self.dtb.to_le_bytes());
        put(&self.gic_version.to_le_bytes());
        put(&self.redistributor_count.to_le_bytes());
        for address in [self.gic_distributor, self.gic_cpu_interface, self.uart] {
            put(&address.to_le_bytes());
        }
        put(&self.power_method.to_le_bytes());
        put(&self.power_pins.to_le_bytes());
        for word in [self.power_address, self.counter_hz, self.counter_control] {
            put(&word.to_le_bytes());
        }
        for range in self.redistributors.iter().chain(&self.memory) {
            put(&range.start.to_le_bytes());
            put(&range.size_bytes.to_le_bytes());
        }
        for word in self.cpus.iter().chain(&self.release) {
            put(&word.to_le_bytes());
        }
        debug_assert_eq!(at, SIZE_BYTES);
        bytes
    }

    /// Returns which CPU has this affinity, if any.
    pub fn index_of(&self, affinity: u64) -> Option<usize> {
        self.cpus.iter().take(self.cpu_count as usize).position(|&cpu| cpu == affinity)
    }

    /// Returns whether a CPU may be started at `address`.
    pub fn may_start_at(&self, address: u64) -> bool {
        address.is_multiple_of(4) && self.memory.iter().any(|range| range.contains(address))
    }
}
