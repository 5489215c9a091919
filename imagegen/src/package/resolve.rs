//! The resolver: from names of packages to the closed set of them, in the order in which they may be unpacked.
//!
//! Each name has one candidate: the locked or wanted version, else the highest of all suites. What a package needs
//! without a choice is taken first; of alternatives the first that can be had, unless one is there already. A choice
//! that leads nowhere is taken back, and only choices that had a part in it. Equal input gives equal output.

mod candidates;
mod explain;
mod order;
mod relations;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use super::index::{Index, PackageId};
use super::relation::Relation;
use super::version::Version;
use relations::{Group, Needs, Relations};

/// How many choices are taken back before the search is given up.
const RETRIES_MAX: usize = 5000;

/// A package asked for: `name`, `name=VERSION` or `name/SUITE`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Request {
    /// The name, or that of a virtual package.
    pub name: String,
    /// The only version that will do.
    pub version: Option<String>,
    /// The only suite it may come from: an origin of the index.
    pub suite: Option<String>,
}

impl Request {
    /// Reads `name`, `name=VERSION` or `name/SUITE`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, version, suite) = match (text.split_once('='), text.split_once('/')) {
            (Some((name, version)), _) => (name, Some(version), None),
            (None, Some((name, suite))) => (name, None, Some(suite)),
            (None, None) => (text, None, None),
        };
        let part = |text: &str| text.is_empty() || text.contains(char::is_whitespace);
        if part(name) || version.is_some_and(part) || suite.is_some_and(part) {
            return Err(format!("`{text}` is not `name`, `name=VERSION` or `name/SUITE`"));
        }
        if let Some(version) = version {
            Version::parse(version).map_err(|reason| format!("`{text}`: {reason}"))?;
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(Request { name: name.to_owned(), version: owned(version), suite: owned(suite) })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        self.version.iter().try_for_each(|version| write!(f, "={version}"))?;
        self.suite.iter().try_for_each(|suite| write!(f, "/{suite}"))
    }
}

/// What the resolver goes by.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The architecture of the system: packages of it and of `all` are taken.
    pub architecture: String,
    /// Packages to do without: what needs them is told that they are there.
    pub exclude: BTreeSet<String>,
    /// Takes recommended packages too, where they can be had.
    pub recommends: bool,
    /// Takes every package marked `Essential: yes`, as every complete system has them.
    pub essential: bool,
    /// The versions to take, by name; a locked version that the index lacks is an error.
    pub locked: BTreeMap<String, String>,
}

/// Why there is no such set of packages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolveError {
    /// What does not go together.
    pub reason: String,
    /// Who wanted it, and who wanted them, up to what was asked for.
    pub chain: Vec<String>,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.chain.iter().try_for_each(|link| write!(f, "\n  {link}"))
    }
}

impl std::error::Error for ResolveError {}

/// Finds the packages that the requested ones need, themselves included: each after those it needs, circles broken by
/// `Pre-Depends` and then by name.
///
/// # Errors
/// The first thing that cannot be had, or the first two packages that cannot be together, with who wanted them.
pub fn resolve(index: &Index, requests: &[Request], options: &Options) -> Result<Vec<PackageId>, ResolveError> {
    let mut solver = Solver::new(index, options);
    let roots = solver.roots(requests)?;
    let state = solver.search(roots)?;
    Ok(order::sort(index, &mut solver.relations, &state.order))
}

/// The choices that something rests on: indices into the stack of decisions, ascending.
type Levels = Rc<[u32]>;

/// Why a package is in the set.
#[derive(Clone)]
struct Chosen<'a> {
    levels: Levels,
    /// Who wanted it, and in which words; nothing if it was asked for.
    wanted_by: Option<(PackageId, &'a str)>,
}

/// Something that needs a package: a group of alternatives, and who has it.
#[derive(Clone)]
struct Pending<'a> {
    parent: Option<PackageId>,
    group: Rc<Group<'a>>,
    levels: Levels,
}

/// The set so far, and what is still to be done.
#[derive(Clone, Default)]
struct State<'a> {
    chosen: HashMap<PackageId, Chosen<'a>>,
    /// The chosen packages in the order they came.
    order: Vec<PackageId>,
    /// Names that are there, real or provided, by whom, in which version.
    present: HashMap<&'a str, Vec<(PackageId, Option<Version<'a>>)>>,
    /// What chosen packages do not stand beside them, by name.
    refused: HashMap<&'a str, Vec<(PackageId, Relation<'a>)>>,
    needs: VecDeque<Pending<'a>>,
    choices: VecDeque<Pending<'a>>,
    wishes: VecDeque<Pending<'a>>,
}

/// A choice that was made, and what else there is.
struct Decision<'a> {
    before: State<'a>,
    pending: Pending<'a>,
    /// Still to be tried, the next one last; `None` is to do without.
    rest: Vec<Option<PackageId>>,
    /// Earlier decisions that had a part in the failures so far.
    blame: BTreeSet<u32>,
}

/// A dead end: which decisions led there, and what it looks like.
struct DeadEnd {
    levels: BTreeSet<u32>,
    error: ResolveError,
}

struct Solver<'a> {
    index: &'a Index,
    options: &'a Options,
    relations: Relations<'a>,
    /// The one package of each name that may be taken.
    candidates: HashMap<&'a str, Option<PackageId>>,
    wanted: HashMap<&'a str, &'a Request>,
}

impl<'a> Solver<'a> {
    fn new(index: &'a Index, options: &'a Options) -> Self {
        let relations = Relations::new(index, &options.architecture);
        Solver { index, options, relations, candidates: HashMap::new(), wanted: HashMap::new() }
    }

    /// Turns requests into groups of alternatives.
    fn roots(&mut self, requests: &'a [Request]) -> Result<Vec<Pending<'a>>, ResolveError> {
        let mut requests: Vec<&Request> = requests.iter().collect();
        requests.sort();
        for request in &requests {
            let name = request.name.as_str();
            if self.options.exclude.contains(name) {
                return Err(plain(format!("`{name}` is asked for and excluded")));
            }
            if let Some(other) = self.wanted.insert(name, request)
                && other != *request
                && other.version.is_some() | other.suite.is_some()
            {
                if request.version.is_some() | request.suite.is_some() {
                    return Err(plain(format!("`{other}` and `{request}` are both asked for")));
                }
                self.wanted.insert(name, other);
            }
        }
        let mut names: BTreeSet<&'a str> = requests.iter().map(|request| request.name.as_str()).collect();
        if self.options.essential {
            for id in self.index.packages() {
                let package = self.index.package(id);
                if package.essential() && !self.options.exclude.contains(package.name()) {
                    names.insert(package.name());
                }
            }
        }
        let levels: Levels = Rc::new([]);
        let root = |name| {
            let group = Group::of_name(name, self.options).map_err(plain)?;
            Ok(Pending { parent: None, group: Rc::new(group), levels: levels.clone() })
        };
        names.into_iter().map(root).collect()
    }

    fn search(&mut self, roots: Vec<Pending<'a>>) -> Result<State<'a>, ResolveError> {
        let mut state = State { needs: roots.into(), ..State::default() };
        let mut decisions: Vec<Decision<'a>> = Vec::new();
        let mut first_error = None;
        let mut retries = 0;
        loop {
            let dead_end = match self.step(&mut state, &mut decisions) {
                Ok(true) => continue,
                Ok(false) => return Ok(state),
                Err(dead_end) => dead_end,
            };
            // The first dead end is where the preferred way leads: what a person would look at.
            let error: ResolveError = first_error.get_or_insert(dead_end.error).clone();
            retries += 1;
            let mut levels = dead_end.levels;
            state = loop {
                let level = levels.pop_last().filter(|_| retries < RETRIES_MAX).ok_or_else(|| error.clone())?;
                decisions.truncate(level as usize + 1);
                let Some(decision) = decisions.last_mut() else { return Err(error) };
                decision.blame.append(&mut levels);
                if let Some(next) = decision.rest.pop() {
                    let mut state = decision.before.clone();
                    let mut rests_on: BTreeSet<u32> = decision.blame.clone();
                    rests_on.extend(decision.pending.levels.iter());
                    rests_on.insert(level);
                    let pending = decision.pending.clone();
                    let Some(id) = next else {
                        // Doing without a wish is no error to report later.
                        first_error = None;
                        break state;
                    };
                    match self.add(&mut state, id, &pending, rests_on) {
                        Ok(()) => break state,
                        Err(dead_end) => {
                            levels = dead_end.levels;
                            continue;
                        }
                    }
                }
                levels = std::mem::take(&mut decision.blame);
                levels.extend(decision.pending.levels.iter());
                decisions.pop();
            };
        }
    }

    /// Does the next thing; says whether there was one.
    fn step(&mut self, state: &mut State<'a>, decisions: &mut Vec<Decision<'a>>) -> Result<bool, DeadEnd> {
        let (pending, wish) = if let Some(pending) = state.needs.pop_front() {
            (pending, false)
        } else if let Some(pending) = state.choices.pop_front() {
            return self.choose(state, decisions, pending, false).map(|()| true);
        } else if let Some(pending) = state.wishes.pop_front() {
            (pending, true)
        } else {
            return Ok(false);
        };
        if wish {
            return self.choose(state, decisions, pending, true).map(|()| true);
        }
        let found = self.possible(&pending.group);
        if found.excluded || found.packages.iter().any(|id| state.chosen.contains_key(id)) {
            return Ok(true);
        }
        match found.packages.as_slice() {
            [] => Err(DeadEnd { levels: pending.levels.iter().copied().collect(), error: self.unmet(state, &pending) }),
            &[only] => {
                let levels = pending.levels.iter().copied().collect();
                self.add(state, only, &pending, levels).map(|()| true)
            }
            // Later, when it is known what is there anyway.
            _ => {
                state.choices.push_back(pending);
                Ok(true)
            }
        }
    }

    /// Takes the first alternative that can be had, and remembers the others.
    fn choose(
        &mut self,
        state: &mut State<'a>,
        decisions: &mut Vec<Decision<'a>>,
        pending: Pending<'a>,
        wish: bool,
    ) -> Result<(), DeadEnd> {
        let found = self.possible(&pending.group);
        if found.excluded || found.packages.iter().any(|id| state.chosen.contains_key(id)) {
            return Ok(());
        }
        if pending.parent.is_none() && found.packages.len() > 1 && self.candidate(pending.group.text).is_none() {
            // Nobody asked for any of these in particular: choosing for them would be guessing.
            let names: Vec<&str> = found.packages.iter().map(|id| self.index.package(*id).name()).collect();
            let reason = format!("`{}` is virtual: ask for one of {}", pending.group.text, names.join(", "));
            return Err(DeadEnd { levels: BTreeSet::new(), error: plain(reason) });
        }
        let mut levels: BTreeSet<u32> = pending.levels.iter().copied().collect();
        let mut options = Vec::new();
        let mut first_clash = None;
        for &id in &found.packages {
            match self.clash(state, id) {
                None => options.push(Some(id)),
                Some((other, text)) => {
                    levels.extend(state.chosen[&other].levels.iter());
                    first_clash.get_or_insert((id, other, text));
                }
            }
        }
        if wish {
            options.push(None);
        }
        match (options.as_slice(), first_clash) {
            ([None], _) => Ok(()),
            ([], None) => Err(DeadEnd { levels, error: self.unmet(state, &pending) }),
            ([], Some((id, other, text))) => {
                let error = self.conflict(state, id, &pending, other, &text);
                Err(DeadEnd { levels, error })
            }
            (&[Some(only)], _) => self.add(state, only, &pending, levels),
            (&[first, ..], _) => {
                let before = state.clone();
                options.reverse();
                options.pop();
                let blame = levels.clone();
                levels.insert(decisions.len() as u32);
                decisions.push(Decision { before, pending: pending.clone(), rest: options, blame });
                first.map_or(Ok(()), |id| self.add(state, id, &pending, levels))
            }
        }
    }

    /// Puts a package into the set, and what it needs onto the lists.
    fn add(
        &mut self,
        state: &mut State<'a>,
        id: PackageId,
        pending: &Pending<'a>,
        levels: BTreeSet<u32>,
    ) -> Result<(), DeadEnd> {
        if let Some((other, text)) = self.clash(state, id) {
            let mut levels = levels;
            levels.extend(state.chosen[&other].levels.iter());
            return Err(DeadEnd { levels, error: self.conflict(state, id, pending, other, &text) });
        }
        let levels: Levels = levels.into_iter().collect();
        let wanted_by = pending.parent.map(|parent| (parent, pending.group.text));
        state.chosen.insert(id, Chosen { levels: levels.clone(), wanted_by });
        state.order.push(id);
        let needs = match self.relations.of(id) {
            Ok(needs) => needs,
            Err(reason) => {
                let error = ResolveError { reason, chain: self.chain(state, id) };
                return Err(DeadEnd { levels: levels.iter().copied().collect(), error });
            }
        };
        for &(name, version) in &needs.names {
            state.present.entry(name).or_default().push((id, version));
        }
        for relation in &needs.refused {
            state.refused.entry(relation.name).or_default().push((id, *relation));
        }
        let pending =
            |group: &Rc<Group<'a>>| Pending { parent: Some(id), group: group.clone(), levels: levels.clone() };
        state.needs.extend(needs.pre_depends.iter().chain(&needs.depends).map(pending));
        if self.options.recommends {
            state.wishes.extend(needs.recommends.iter().map(pending));
        }
        Ok(())
    }

    /// Finds a chosen package that this one cannot stand beside, and the words that say so.
    fn clash(&mut self, state: &State<'a>, id: PackageId) -> Option<(PackageId, String)> {
        // What cannot be read is found out when the package is added.
        let needs: Rc<Needs<'a>> = self.relations.of(id).ok()?;
        let name = |id| self.index.package(id).name();
        for relation in &needs.refused {
            for &(other, version) in state.present.get(relation.name).into_iter().flatten() {
                if other != id && relation.allows(version) {
                    return Some((other, format!("`{}` conflicts with `{relation}`", name(id))));
                }
            }
        }
        for &(provided, version) in &needs.names {
            for (other, relation) in state.refused.get(provided).into_iter().flatten() {
                if *other != id && relation.allows(version) {
                    return Some((*other, format!("`{}` conflicts with `{relation}`", name(*other))));
                }
            }
        }
        None
    }
}

fn plain(reason: impl Into<String>) -> ResolveError {
    ResolveError { reason: reason.into(), chain: Vec::new() }
}
