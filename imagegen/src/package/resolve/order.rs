//! The order of a closed set: each package after those it needs.
//!
//! Packages that need each other form a circle (a strongly connected component). Circles come in the order of what
//! they need; within one, `Pre-Depends` decides, then the name.

use std::collections::HashMap;

use super::relations::{Group, Relations};
use crate::package::index::{Index, PackageId};

/// Sorts the chosen packages.
pub(super) fn sort<'a>(index: &'a Index, relations: &mut Relations<'a>, chosen: &[PackageId]) -> Vec<PackageId> {
    let mut packages = chosen.to_vec();
    packages.sort_by_key(|id| index.package(*id).name());
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, id) in packages.iter().enumerate() {
        for (name, _) in relations.of(*id).iter().flat_map(|needs| needs.names.clone()) {
            by_name.entry(name).or_default().push(at);
        }
    }
    let mut graph = Graph::default();
    for id in &packages {
        let needs = relations.of(*id).ok();
        let mut edges = |groups: &[std::rc::Rc<Group<'a>>]| -> Vec<usize> {
            let mut edges = Vec::new();
            for relation in groups.iter().flat_map(|group| &group.alternatives) {
                for &at in by_name.get(relation.name).into_iter().flatten() {
                    let names = relations.of(packages[at]).map(|needs| needs.names.clone()).unwrap_or_default();
                    if names.iter().any(|(name, version)| *name == relation.name && relation.allows(*version)) {
                        edges.push(at);
                    }
                }
            }
            edges.sort_unstable();
            edges.dedup();
            edges
        };
        let before = needs.as_ref().map(|needs| edges(&needs.pre_depends)).unwrap_or_default();
        let mut all = needs.as_ref().map(|needs| edges(&needs.depends)).unwrap_or_default();
        all.extend(&before);
        all.sort_unstable();
        all.dedup();
        graph.needs.push(all);
        graph.needs_before.push(before);
    }
    let order = graph.components().into_iter().flat_map(|component| graph.within(component));
    order.map(|at| packages[at]).collect()
}

/// Who needs whom, by position; positions are in the order of names.
#[derive(Default)]
struct Graph {
    needs: Vec<Vec<usize>>,
    needs_before: Vec<Vec<usize>>,
}

impl Graph {
    /// Returns the circles, each after those it needs (Tarjan's algorithm, without recursion).
    fn components(&self) -> Vec<Vec<usize>> {
        const UNSEEN: usize = usize::MAX;
        let count = self.needs.len();
        let (mut number, mut low, mut open) = (vec![UNSEEN; count], vec![0; count], vec![false; count]);
        let (mut stack, mut components, mut next) = (Vec::new(), Vec::new(), 0);
        for root in 0..count {
            if number[root] != UNSEEN {
                continue;
            }
            // Each node with how many of its edges have been followed.
            let mut path = vec![(root, 0)];
            while let Some((node, followed)) = path.pop() {
                if followed == 0 {
                    (number[node], low[node], open[node]) = (next, next, true);
                    next += 1;
                    stack.push(node);
                }
                if let Some(&target) = self.needs[node].get(followed) {
                    path.push((node, followed + 1));
                    if number[target] == UNSEEN {
                        path.push((target, 0));
                    } else if open[target] {
                        low[node] = low[node].min(number[target]);
                    }
                    continue;
                }
                if low[node] == number[node] {
                    let start = stack.iter().rposition(|&other| other == node).unwrap_or(0);
                    let mut component = stack.split_off(start);
                    component.iter().for_each(|&member| open[member] = false);
                    component.sort_unstable();
                    components.push(component);
                }
                if let Some(&(parent, _)) = path.last() {
                    low[parent] = low[parent].min(low[node]);
                }
            }
        }
        components
    }

    /// Orders a circle: whoever has all its `Pre-Depends` of the circle before it, first by name.
    fn within(&self, mut left: Vec<usize>) -> Vec<usize> {
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let ready = |at: &usize| !self.needs_before[*at].iter().any(|need| need != at && left.contains(need));
            let next = left.iter().position(ready).unwrap_or(0);
            order.push(left.remove(next));
        }
        order
    }
}
