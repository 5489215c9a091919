//! `[machine]`, and what each machine can be.

use super::super::{Forward, Machine, MachineKind};
use super::Cursor;

const MIB: u64 = 1 << 20;
/// Less, and nothing of what we build fits.
pub(in super::super) const MEMORY_MIN: u64 = 128 * MIB;
/// QEMU's virt puts RAM at 1 GiB, and Xen maps up to 2 TiB of it.
const MEMORY_MAX: u64 = 1 << 40;
/// Arm's models: 2 GiB at 0x8000_0000 and 6 GiB at 0x8_8000_0000.
const MODEL_MEMORY_MAX: u64 = 8 << 30;
/// GICv2 has eight CPU interfaces (IHI 0048, section 1.2).
pub(in super::super) const GICV2_CPUS_MAX: u32 = 8;

pub(super) fn machine(table: &Cursor<'_>) -> Machine {
    let machine = Machine {
        kind: match table.text("type").as_str() {
            "foundation-v8" => MachineKind::FoundationV8,
            "fvp-base-revc" => MachineKind::FvpBaseRevC,
            "board" => MachineKind::Board,
            _ => MachineKind::QemuVirt,
        },
        gic: table.number("gic").value as u8,
        cpus: table.number("cpus"),
        cpu: table.text("cpu"),
        memory_bytes: table.required_size("memory"),
        exception_level: table.number("exception-level").value as u8,
        forwards: forwards(&table.elements("forward")),
        firmware: table.get("firmware").and_then(|firmware| firmware.file_source()),
        qemu: table.located_text("qemu").map(|qemu| qemu.value),
        slot: table.number("slot").value,
        origin: table.get("type").map_or_else(|| table.origin(), |kind| kind.origin()),
    };
    limits(table, &machine);
    machine
}

fn limits(table: &Cursor<'_>, machine: &Machine) {
    let complain = |key: &str, wrong: bool, message: String| {
        if let Some(cursor) = table.get(key).filter(|_| wrong) {
            cursor.finding(message);
        }
    };
    let name = table.text("type");
    let model = matches!(machine.kind, MachineKind::FoundationV8 | MachineKind::FvpBaseRevC);
    let cpus = machine.cpus.value;
    let cpus_max = match machine.kind {
        MachineKind::QemuVirt | MachineKind::Board => 64,
        MachineKind::FoundationV8 => 4,
        MachineKind::FvpBaseRevC => 8,
    };
    complain("cpus", cpus > cpus_max && model, format!("`{name}` has up to {cpus_max} CPUs, not {cpus}"));
    let too_many = machine.gic == 2 && cpus > GICV2_CPUS_MAX;
    complain("cpus", too_many && cpus <= cpus_max, format!("GICv2 serves up to {GICV2_CPUS_MAX} CPUs, not {cpus}"));
    let revc = machine.kind == MachineKind::FvpBaseRevC;
    complain("gic", revc && machine.gic == 2, format!("`{name}` has a GICv3"));
    let low = model && machine.exception_level == 2;
    complain("exception-level", low, format!("`{name}` starts at exception level 3"));
    let memory = machine.memory_bytes.value;
    let memory_max = if model { MODEL_MEMORY_MAX } else { MEMORY_MAX };
    let message = format!("`{name}` has whole MiB of memory, from {} to {} MiB", MEMORY_MIN / MIB, memory_max / MIB);
    let known = !machine.memory_bytes.origin.key.is_empty();
    complain("memory", known && (!(MEMORY_MIN..=memory_max).contains(&memory) || !memory.is_multiple_of(MIB)), message);
}

fn forward(cursor: &Cursor<'_>) -> Option<Forward> {
    let mut parts = cursor.node.text()?.split(':');
    let udp = parts.next()? == "udp";
    let (host, guest) = (parts.next()?.parse(), parts.next()?.parse());
    match (host, guest) {
        (Ok(host), Ok(guest)) if guest != 0 => Some(Forward { udp, host, guest }),
        _ => {
            cursor.finding("ports go from 1 to 65535; the host's may be 0");
            None
        }
    }
}

/// A port of the host can lead to one place only; port 0 is a different one each time.
fn forwards(cursors: &[Cursor<'_>]) -> Vec<Forward> {
    let mut forwards: Vec<Forward> = Vec::new();
    for cursor in cursors {
        let Some(new) = forward(cursor) else { continue };
        if new.host != 0 && forwards.iter().any(|old| (old.udp, old.host) == (new.udp, new.host)) {
            cursor.finding(format!("port {} of the host leads elsewhere already", new.host));
        }
        forwards.push(new);
    }
    forwards
}
