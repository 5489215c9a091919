//! The checks of the finished tree: a table of names, levels and prerequisites, in the order they run.
//!
//! Names, order, prerequisites and wording are dtc's. Resolving references is not done here, as it is in dtc:
//! switching a check off only silences it.

mod bus;
mod interrupt;
mod layout;
mod provider;
mod types;

use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, Kind, Severity};
use crate::intern::Name;
use crate::live::{LiveProperty, LiveTree, NodeId};
use crate::source::Span;

/// What a check's findings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not looked for.
    Off,
    /// Reported.
    Warning,
    /// Reported, and there is no output.
    Error,
}

use Level::{Error, Off, Warning};

/// What a check does.
#[derive(Clone, Copy)]
pub(crate) enum Test {
    /// Done by the resolver, or only a step towards others.
    Elsewhere,
    /// Looks at one node; called for each.
    Node(fn(&mut Context<'_>, NodeId)),
    /// The property of this name must be one cell, one string, or a list of strings, where it is there.
    Cell(&'static str),
    Text(&'static str),
    TextList(&'static str),
    /// `PROPERTY` refers to providers whose `CELLS` property says how many cells follow.
    Provider(&'static str, &'static str),
}

pub(crate) struct Check {
    pub name: &'static str,
    pub level: Level,
    pub needs: &'static [&'static str],
    pub test: Test,
}

const fn check(name: &'static str, level: Level, test: Test, needs: &'static [&'static str]) -> Check {
    Check { name, level, needs, test }
}

/// Every check, in the order they run.
#[rustfmt::skip]
pub(crate) const CHECKS: [Check; 89] = [
    check("duplicate_node_names", Error, Test::Node(layout::duplicate_node_names), &[]),
    check("duplicate_property_names", Error, Test::Node(layout::duplicate_property_names), &[]),
    check("node_name_chars", Error, Test::Node(layout::node_name_chars), &[]),
    check("node_name_format", Error, Test::Node(layout::node_name_format), &["node_name_chars"]),
    check("node_name_not_empty", Error, Test::Node(layout::node_name_not_empty), &[]),
    check("property_name_chars", Error, Test::Node(layout::property_name_chars), &[]),
    check("name_is_string", Error, Test::Text("name"), &[]),
    check("name_properties", Error, Test::Elsewhere, &["name_is_string"]),
    check("duplicate_label", Error, Test::Node(bus::duplicate_label), &[]),
    check("explicit_phandles", Error, Test::Elsewhere, &[]),
    check("phandle_references", Error, Test::Elsewhere, &["duplicate_node_names", "explicit_phandles"]),
    check("path_references", Error, Test::Elsewhere, &["duplicate_node_names"]),
    check("omit_unused_nodes", Error, Test::Elsewhere, &["phandle_references", "path_references"]),
    check("address_cells_is_cell", Warning, Test::Cell("#address-cells"), &[]),
    check("size_cells_is_cell", Warning, Test::Cell("#size-cells"), &[]),
    check("device_type_is_string", Warning, Test::Text("device_type"), &[]),
    check("model_is_string", Warning, Test::Text("model"), &[]),
    check("status_is_string", Warning, Test::Text("status"), &[]),
    check("label_is_string", Warning, Test::Text("label"), &[]),
    check("compatible_is_string_list", Warning, Test::TextList("compatible"), &[]),
    check("names_is_string_list", Warning, Test::Node(types::names_is_string_list), &[]),
    check("property_name_chars_strict", Off, Test::Node(layout::property_name_chars_strict), &[]),
    check("node_name_chars_strict", Off, Test::Node(layout::node_name_chars_strict), &[]),
    check("node_name_vs_property_name", Warning, Test::Node(layout::node_name_vs_property_name), &[]),
    check("addr_size_cells", Warning, Test::Elsewhere, &["address_cells_is_cell", "size_cells_is_cell"]),
    check("reg_format", Warning, Test::Node(layout::reg_format), &["addr_size_cells"]),
    check("ranges_format", Warning, Test::Node(layout::ranges_format), &["addr_size_cells"]),
    check("dma_ranges_format", Warning, Test::Node(layout::dma_ranges_format), &["addr_size_cells"]),
    check("unit_address_vs_reg", Warning, Test::Node(layout::unit_address_vs_reg), &[]),
    check("unit_address_format", Warning, Test::Node(layout::unit_address_format), &["node_name_format", "pci_bridge", "simple_bus_bridge"]),
    check("pci_bridge", Warning, Test::Node(bus::pci_bridge), &["device_type_is_string", "addr_size_cells"]),
    check("pci_device_reg", Warning, Test::Node(bus::pci_device_reg), &["reg_format", "pci_bridge"]),
    check("pci_device_bus_num", Warning, Test::Node(bus::pci_device_bus_num), &["reg_format", "pci_bridge"]),
    check("simple_bus_bridge", Warning, Test::Elsewhere, &["addr_size_cells", "compatible_is_string_list"]),
    check("simple_bus_reg", Warning, Test::Node(bus::simple_bus_reg), &["reg_format", "simple_bus_bridge"]),
    check("i2c_bus_bridge", Warning, Test::Node(bus::i2c_bus_bridge), &["addr_size_cells"]),
    check("i2c_bus_reg", Warning, Test::Node(bus::i2c_bus_reg), &["reg_format", "i2c_bus_bridge"]),
    check("spi_bus_bridge", Warning, Test::Node(bus::spi_bus_bridge), &["addr_size_cells"]),
    check("spi_bus_reg", Warning, Test::Node(bus::spi_bus_reg), &["reg_format", "spi_bus_bridge"]),
    check("avoid_default_addr_size", Warning, Test::Node(layout::avoid_default_addr_size), &["addr_size_cells"]),
    check("avoid_unnecessary_addr_size", Warning, Test::Node(layout::avoid_unnecessary_addr_size), &["avoid_default_addr_size"]),
    check("unique_unit_address", Warning, Test::Node(layout::unique_unit_address), &["avoid_default_addr_size"]),
    check("unique_unit_address_if_enabled", Off, Test::Node(layout::unique_unit_address_if_enabled), &["avoid_default_addr_size"]),
    check("obsolete_chosen_interrupt_controller", Warning, Test::Node(layout::obsolete_chosen_interrupt_controller), &[]),
    check("chosen_node_is_root", Warning, Test::Node(layout::chosen_node_is_root), &[]),
    check("chosen_node_bootargs", Warning, Test::Node(layout::chosen_node_bootargs), &[]),
    check("chosen_node_stdout_path", Warning, Test::Node(layout::chosen_node_stdout_path), &[]),
    check("clocks_property", Warning, Test::Provider("clocks", "#clock-cells"), &["phandle_references"]),
    check("clocks_is_cell", Warning, Test::Cell("#clock-cells"), &[]),
    check("cooling_device_property", Warning, Test::Provider("cooling-device", "#cooling-cells"), &["phandle_references"]),
    check("cooling_device_is_cell", Warning, Test::Cell("#cooling-cells"), &[]),
    check("dmas_property", Warning, Test::Provider("dmas", "#dma-cells"), &["phandle_references"]),
    check("dmas_is_cell", Warning, Test::Cell("#dma-cells"), &[]),
    check("hwlocks_property", Warning, Test::Provider("hwlocks", "#hwlock-cells"), &["phandle_references"]),
    check("hwlocks_is_cell", Warning, Test::Cell("#hwlock-cells"), &[]),
    check("interrupts_extended_property", Warning, Test::Provider("interrupts-extended", "#interrupt-cells"), &["phandle_references"]),
    check("interrupts_extended_is_cell", Warning, Test::Cell("#interrupt-cells"), &[]),
    check("io_channels_property", Warning, Test::Provider("io-channels", "#io-channel-cells"), &["phandle_references"]),
    check("io_channels_is_cell", Warning, Test::Cell("#io-channel-cells"), &[]),
    check("iommus_property", Warning, Test::Provider("iommus", "#iommu-cells"), &["phandle_references"]),
    check("iommus_is_cell", Warning, Test::Cell("#iommu-cells"), &[]),
    check("mboxes_property", Warning, Test::Provider("mboxes", "#mbox-cells"), &["phandle_references"]),
    check("mboxes_is_cell", Warning, Test::Cell("#mbox-cells"), &[]),
    check("msi_parent_property", Warning, Test::Provider("msi-parent", "#msi-cells"), &["phandle_references"]),
    check("msi_parent_is_cell", Warning, Test::Cell("#msi-cells"), &[]),
    check("mux_controls_property", Warning, Test::Provider("mux-controls", "#mux-control-cells"), &["phandle_references"]),
    check("mux_controls_is_cell", Warning, Test::Cell("#mux-control-cells"), &[]),
    check("phys_property", Warning, Test::Provider("phys", "#phy-cells"), &["phandle_references"]),
    check("phys_is_cell", Warning, Test::Cell("#phy-cells"), &[]),
    check("power_domains_property", Warning, Test::Provider("power-domains", "#power-domain-cells"), &["phandle_references"]),
    check("power_domains_is_cell", Warning, Test::Cell("#power-domain-cells"), &[]),
    check("pwms_property", Warning, Test::Provider("pwms", "#pwm-cells"), &["phandle_references"]),
    check("pwms_is_cell", Warning, Test::Cell("#pwm-cells"), &[]),
    check("resets_property", Warning, Test::Provider("resets", "#reset-cells"), &["phandle_references"]),
    check("resets_is_cell", Warning, Test::Cell("#reset-cells"), &[]),
    check("sound_dai_property", Warning, Test::Provider("sound-dai", "#sound-dai-cells"), &["phandle_references"]),
    check("sound_dai_is_cell", Warning, Test::Cell("#sound-dai-cells"), &[]),
    check("thermal_sensors_property", Warning, Test::Provider("thermal-sensors", "#thermal-sensor-cells"), &["phandle_references"]),
    check("thermal_sensors_is_cell", Warning, Test::Cell("#thermal-sensor-cells"), &[]),
    check("deprecated_gpio_property", Off, Test::Node(provider::deprecated_gpio_property), &[]),
    check("gpios_property", Warning, Test::Node(provider::gpios_property), &["phandle_references"]),
    check("interrupts_property", Warning, Test::Node(interrupt::interrupts_property), &["phandle_references"]),
    check("interrupt_provider", Warning, Test::Node(interrupt::interrupt_provider), &["interrupts_extended_is_cell"]),
    check("interrupt_map", Warning, Test::Node(interrupt::interrupt_map), &["phandle_references", "addr_size_cells", "interrupt_provider"]),
    check("alias_paths", Warning, Test::Node(layout::alias_paths), &[]),
    check("graph_nodes", Warning, Test::Node(bus::graph_nodes), &[]),
    check("graph_port", Warning, Test::Node(bus::graph_port), &["graph_nodes"]),
    check("graph_endpoint", Warning, Test::Node(bus::graph_endpoint), &["graph_nodes"]),
    check("always_fail", Off, Test::Node(layout::always_fail), &[]),
];

/// Names that older sources of options still pass; silently accepted.
const RETIRED: [&str; 1] = ["graph_child_address"];

/// The level of every check.
#[derive(Debug, Clone)]
pub struct Checks {
    levels: HashMap<&'static str, Level>,
}

impl Default for Checks {
    fn default() -> Self {
        Checks { levels: CHECKS.iter().map(|check| (check.name, check.level)).collect() }
    }
}

impl Checks {
    /// Returns the checks that are errors by default and no others, for callers that want no advice.
    pub fn errors_only() -> Checks {
        Checks { levels: CHECKS.iter().filter(|c| c.level == Error).map(|c| (c.name, c.level)).collect() }
    }

    /// Returns the names of all checks in the order they run.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CHECKS.iter().map(|check| check.name)
    }

    /// Returns the level of a check.
    pub fn level(&self, name: &str) -> Level {
        self.levels.get(name).copied().unwrap_or(Off)
    }

    /// Follows a `-W` or `-E` option: `name` raises a check and those it needs to at least `level`; `no-name` lowers
    /// it below `level`, and those that need it. Says whether there is such a check.
    pub fn set(&mut self, option: &str, level: Level) -> bool {
        let lowered = option.strip_prefix("no-").or_else(|| option.strip_prefix("no_"));
        let wanted = lowered.unwrap_or(option);
        let Some(check) = CHECKS.iter().find(|check| check.name == wanted) else { return RETIRED.contains(&wanted) };
        match lowered {
            None => self.raise(check, level),
            Some(_) => self.lower(check.name, level),
        }
        true
    }

    fn raise(&mut self, check: &Check, level: Level) {
        let current = self.levels.entry(check.name).or_insert(Off);
        // An error stays one when warnings are asked for.
        if *current >= level {
            return;
        }
        *current = level;
        for needed in CHECKS.iter().filter(|other| check.needs.contains(&other.name)) {
            self.raise(needed, level);
        }
    }

    fn lower(&mut self, name: &'static str, level: Level) {
        let current = self.levels.entry(name).or_insert(Off);
        *current = match level {
            // `-W no-x` switches off, unless it is an error; `-E no-x` leaves a warning.
            Error if *current == Error => Warning,
            Warning if *current == Warning => Off,
            _ => *current,
        };
        for dependent in CHECKS.iter().filter(|other| other.needs.contains(&name)) {
            if self.level(dependent.name) >= level {
                self.lower(dependent.name, level);
            }
        }
    }
}

/// What a running check sees.
pub(crate) struct Context<'t> {
    pub tree: &'t LiveTree,
    pub paths: &'t HashMap<u32, NodeId>,
    pub buses: &'t HashMap<NodeId, bus::Bus>,
    name: &'static str,
    found: Vec<Diagnostic>,
}

impl Context<'_> {
    /// Reports a finding about a node.
    pub fn fail(&mut self, node: NodeId, message: impl Into<String>) {
        let path = self.tree.path(node);
        self.push(path, self.tree.node(node).spans.clone(), message.into());
    }

    /// Reports a finding about a property.
    pub fn fail_property(&mut self, node: NodeId, property: Name, message: impl Into<String>) {
        let written = self.tree.properties(node).find(|found| found.name == property);
        self.fail_at(node, property, written.and_then(|property| property.span), message);
    }

    /// Reports a finding about a node because of a property that another node has, at `span`.
    pub fn fail_at(&mut self, node: NodeId, property: Name, span: Option<Span>, message: impl Into<String>) {
        let path = format!("{}:{}", self.tree.path(node), self.tree.text(property));
        self.push(path, span.into_iter().collect(), message.into());
    }

    fn push(&mut self, path: String, mut spans: Vec<Span>, message: String) {
        let span = (!spans.is_empty()).then(|| spans.remove(0));
        let labels = spans.into_iter().map(|span| (span, "also defined here".to_string())).collect();
        self.found.push(Diagnostic {
            severity: Severity::Warning,
            kind: Kind::Check(self.name),
            message,
            span,
            labels,
            path: Some(path),
        });
    }

    /// Returns a property by name.
    pub fn property(&self, node: NodeId, name: &str) -> Option<&LiveProperty> {
        self.tree.property(node, name)
    }

    /// Returns `#address-cells` and `#size-cells` for a node's children; 2 and 1 where absent.
    pub fn cells(&self, node: NodeId) -> (u32, u32) {
        let cell = |name, default| match self.property(node, name) {
            Some(property) if property.value.bytes.len() >= 4 => cells(&property.value.bytes)[0],
            _ => default,
        };
        (cell("#address-cells", 2), cell("#size-cells", 1))
    }

    /// Returns the node with this phandle.
    pub fn by_phandle(&self, phandle: u32) -> Option<NodeId> {
        self.paths.get(&phandle).copied()
    }
}

/// Returns the whole cells of a value.
pub(crate) fn cells(bytes: &[u8]) -> Vec<u32> {
    fdt::Cells::new(bytes).collect()
}

/// Runs every check that is on over the resolved tree; `failed` names those that the resolver saw fail.
pub(crate) fn run(tree: &LiveTree, checks: &Checks, failed: Vec<&'static str>, report: &mut dyn FnMut(Diagnostic)) {
    let nodes = tree.walk();
    let mut paths = HashMap::new();
    for &id in nodes.iter().rev() {
        if tree.node(id).phandle != 0 {
            paths.insert(tree.node(id).phandle, id);
        }
    }
    let buses = bus::classify(tree, &nodes);
    let mut runner = Runner { tree, checks, nodes, paths, buses, failed, done: Vec::new(), report };
    for check in &CHECKS {
        if checks.level(check.name) != Off {
            runner.run(check);
        }
    }
}

struct Runner<'t> {
    tree: &'t LiveTree,
    checks: &'t Checks,
    nodes: Vec<NodeId>,
    paths: HashMap<u32, NodeId>,
    buses: HashMap<NodeId, bus::Bus>,
    failed: Vec<&'static str>,
    done: Vec<&'static str>,
    report: &'t mut dyn FnMut(Diagnostic),
}

impl Runner<'_> {
    /// Runs a check after those it needs; their names form no circle.
    fn run(&mut self, check: &Check) {
        if self.done.contains(&check.name) {
            return;
        }
        self.done.push(check.name);
        let is_on = self.checks.level(check.name) != Off;
        let mut missing = false;
        for name in check.needs {
            if let Some(needed) = CHECKS.iter().find(|other| other.name == *name) {
                self.run(needed);
            }
            if self.failed.contains(name) {
                missing = true;
                if is_on {
                    (self.report)(failed_prerequisite(check.name, name));
                }
            }
        }
        let mut context =
            Context { tree: self.tree, paths: &self.paths, buses: &self.buses, name: check.name, found: Vec::new() };
        if !missing {
            for &node in &self.nodes {
                match check.test {
                    Test::Elsewhere => break,
                    Test::Node(test) => test(&mut context, node),
                    Test::Cell(name) => types::is_cell(&mut context, node, name),
                    Test::Text(name) => types::is_text(&mut context, node, name),
                    Test::TextList(name) => types::is_text_list(&mut context, node, name),
                    Test::Provider(property, cells) => provider::property(&mut context, node, property, cells),
                }
            }
        }
        let found = context.found;
        if missing || !found.is_empty() {
            self.failed.push(check.name);
        }
        // Checks that only others need run silently.
        if is_on {
            found.into_iter().for_each(&mut self.report);
        }
    }
}

fn failed_prerequisite(check: &'static str, needed: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        kind: Kind::Check(check),
        message: format!("Failed prerequisite '{needed}'"),
        span: None,
        labels: Vec::new(),
        path: None,
    }
}
