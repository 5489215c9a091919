//! Puts in what a recipe leaves out: the defaults of the table of keys, and what follows from other keys.

use sha2::{Digest, Sha256};

use super::complete::{applies_to, beside, companions};
use super::keys::{Kind, Presence, RECIPE, Table};
use super::raw::{Entries, Layer, Node, Value, parse_default};

/// Fills a recipe that is complete but for defaults.
pub fn fill(document: &mut Node) {
    fill_kind(document, &Kind::Table(&RECIPE));
    derive(document);
}

fn fill_kind(node: &mut Node, kind: &Kind) {
    match (kind, &mut node.value) {
        (Kind::Table(table), Value::Table(entries)) => fill_table(entries, table),
        (Kind::Names(_, of, _), Value::Table(entries)) => entries.values_mut().for_each(|node| fill_kind(node, of)),
        (Kind::List(of, _), Value::Array(elements)) => elements.iter_mut().for_each(|node| fill_kind(node, of)),
        _ => {}
    }
}

fn fill_table(entries: &mut Entries, table: &'static Table) {
    for key in table.keys() {
        if let Presence::Default(toml) = key.presence
            && !entries.contains_key(key.name)
            && applies_to(entries, table, key)
            && choices_allow(entries, table, key.name)
        {
            entries.insert(key.name.to_string(), parse_default(toml));
        }
        if let Some(entry) = entries.get_mut(key.name) {
            fill_kind(entry, &key.kind);
        }
    }
}

/// A default must not make a choice that has been made otherwise, nor stand beside the wrong key.
fn choices_allow(entries: &Entries, table: &Table, name: &str) -> bool {
    table.choices.iter().all(|choice| {
        if choice.of.iter().any(|one| one.key == name) {
            return !choice.of.iter().any(|one| entries.contains_key(one.key));
        }
        !companions(choice).contains(&name) || beside(choice, name).iter().any(|key| entries.contains_key(*key))
    })
}

/// Puts a value in where there is none.
fn set(entries: &mut Entries, key: &str, value: Value) {
    entries.entry(key.to_string()).or_insert_with(|| Node::made(value, Layer::Default));
}

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// Calls `visit` with each table in the table `name`, and its name.
fn each(entries: &mut Entries, name: &str, mut visit: impl FnMut(&str, &mut Entries)) {
    if let Some(tables) = entries.get_mut(name).and_then(Node::entries_mut) {
        for (name, node) in tables.iter_mut() {
            if let Some(entries) = node.entries_mut() {
                visit(name, entries);
            }
        }
    }
}

fn derive(document: &mut Node) {
    let Some(recipe) = document.entries_mut() else { return };
    let mut cpus = None;
    if let Some(machine) = recipe.get_mut("machine").and_then(Node::entries_mut) {
        let model = machine.get("type").and_then(Node::text).is_some_and(|kind| kind != "qemu-virt" && kind != "board");
        set(machine, "exception-level", Value::Integer(Some(if model { 3 } else { 2 }), 10));
        cpus = machine.get("cpus").and_then(Node::integer);
    }
    if let Some(dom0) = recipe.get_mut("dom0").and_then(Node::entries_mut) {
        set(dom0, "vcpus", Value::Integer(Some(cpus.unwrap_or(1)), 10));
        let root = if dom0.contains_key("root") { " root=/dev/vda ro" } else { "" };
        set(dom0, "bootargs", text(format!("console=hvc0{root}")));
    }
    each(recipe, "kernel", |_, kernel| {
        if let Some(package) = kernel.get("package").and_then(Node::text) {
            let modules = Entries::from([("package".to_string(), Node::made_string(package, Layer::Default))]);
            set(kernel, "modules", Value::Table(modules));
        }
    });
    each(recipe, "filesystem", |_, filesystem| {
        each(filesystem, "users", |name, user| {
            if let Some(uid) = user.get("uid").and_then(Node::integer) {
                set(user, "gid", Value::Integer(Some(uid), 10));
            }
            let home = if name == "root" { "/root".to_string() } else { format!("/home/{name}") };
            set(user, "home", text(home));
        });
    });
    each(recipe, "guest", derive_guest);
}

fn derive_guest(name: &str, guest: &mut Entries) {
    if let Some(Value::Array(disks)) = guest.get_mut("disk").map(|node| &mut node.value) {
        for (disk, letter) in disks.iter_mut().zip('a'..='p') {
            if let Some(disk) = disk.entries_mut() {
                set(disk, "device", text(format!("xvd{letter}")));
            }
        }
    }
    if let Some(Value::Array(vifs)) = guest.get_mut("vif").map(|node| &mut node.value) {
        for (index, vif) in vifs.iter_mut().enumerate() {
            if let Some(vif) = vif.entries_mut() {
                let hash = Sha256::digest(format!("{name}/{index}"));
                set(vif, "mac", text(format!("00:16:3e:{:02x}:{:02x}:{:02x}", hash[0], hash[1], hash[2])));
            }
        }
    }
    let root = guest
        .get("disk")
        .and_then(|disks| disks.elements().first()?.get("filesystem").and(disks.elements()[0].get("device"))?.text())
        .map_or(String::new(), |device| format!(" root=/dev/{device} ro"));
    set(guest, "extra", text(format!("console=hvc0{root}")));
}
