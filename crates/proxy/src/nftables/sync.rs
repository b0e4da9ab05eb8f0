//! One family's table: a full sync from whatever the kernel holds, or the difference between two views.
//!
//! Both go the same way: claims decide who has a front, each front turns from held to wanted, and the plan makes transactions of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use kernel::nft::{Dump, Element, Field, Name, Nft, Op, Table};
use model::node::{NodeKey, NodeService};
use model::{Family, Issue, NodeView, Reason};

use super::claims::Claims;
use super::class::Class;
use super::difference;
use super::front::{DRAIN_AFTER, Moved};
use super::held::Held;
use super::layout::{self, Lane};
use super::plan::{Change, Place, Plan, Sink};
use super::structure::Structure;
use super::uses::{Member, Uses};
use super::want::{self, Front, Want};
use super::{nft_family, sticky};
use crate::{Applied, ApplyError, Config, Difference};

pub(super) struct FamilySync {
    config: Arc<Config>,
    family: Family,
    table: Table,
    nft: Option<Nft>,
    state: State,
    /// Services whose issues were looked at again, for [`FamilySync::take_issues`].
    looked_at: BTreeMap<NodeKey, Vec<Issue>>,
}

/// What the kernel holds by our knowledge; thrown away by a full sync.
#[derive(Default)]
struct State {
    held: Held,
    claims: Claims,
    endpoint_uses: Uses,
    cluster_ip_uses: Uses,
    structure: Structure,
    /// Fronts with slots to drain, and from when on.
    drains: HashMap<Front, Instant>,
}

/// What has to be seen to once the transactions are through.
#[derive(Default)]
struct Later {
    draining: Vec<Front>,
    moved: Vec<(Front, Class, Vec<Moved>)>,
}

// === impl FamilySync ===

impl FamilySync {
    pub(super) fn new(config: Arc<Config>, family: Family) -> Self {
        Self { config, family, table: super::table(family), nft: None, state: State::default(), looked_at: BTreeMap::new() }
    }

    pub(super) fn sync(&mut self, view: &NodeView, last: Option<&NodeView>) -> Result<Applied, ApplyError> {
        let mut nft = match self.nft.take() {
            Some(nft) => nft,
            None => Nft::open()?,
        };
        let result = match last {
            Some(last) => self.difference(&mut nft, view, last),
            None => self.full(&mut nft, view),
        };
        self.nft = Some(nft);
        result
    }

    pub(super) fn render(&mut self, view: &NodeView) -> String {
        let mut text = String::new();
        let plan = Plan::new(self.table.clone(), Sink::Text(&mut text));
        self.fill(plan, view, true).expect("BUG: text takes every batch");
        text
    }

    pub(super) fn intact(&mut self) -> Result<bool, ApplyError> {
        let Some(nft) = &mut self.nft else { return Ok(true) };
        let Some(dump) = nft.dump(&self.table)? else { return Ok(false) };
        let names: HashSet<&str> = dump.set_names().collect();
        let structure = &self.state.structure;
        Ok(structure.sets.iter().all(|set| names.contains(set.as_ref()))
            && structure.chains.iter().all(|(chain, rules)| dump.has_rules(&self.table, chain, rules.iter())))
    }

    /// What is wrong with Services, of those that were looked at since it was last asked; an empty list: nothing any more.
    pub(super) fn take_issues(&mut self) -> BTreeMap<NodeKey, Vec<Issue>> {
        std::mem::take(&mut self.looked_at)
    }

    /// What the kernel holds other than `view` asks for. Changes nothing.
    pub(super) fn differences(&mut self, view: &NodeView) -> Result<Vec<Difference>, ApplyError> {
        let mut nft = Nft::open()?;
        self.state = State::default();
        let found = Found::look(self, &mut nft)?;
        let Some((table, dump)) = found.ours else {
            let words = "there is no such table, or it has the layout of another version".to_owned();
            return Ok(vec![Difference { table: self.table.to_string(), part: "table".to_owned(), words }]);
        };
        self.table = table;
        self.state.held = Held::read(&mut nft, &self.table)?;
        self.state.structure.found = Some(dump);
        let mut ops = Vec::new();
        let plan = Plan::new(self.table.clone(), Sink::Collect(&mut ops));
        self.fill(plan, view, false)?;
        Ok(difference::describe(&self.table, ops))
    }

    /// Reads the table back and applies the difference.
    ///
    /// A table of another layout (an older or newer version's) cannot be turned into ours: it stays in force until ours, under the
    /// other name, is whole. While both are there the one that was first decides.
    fn full(&mut self, nft: &mut Nft, view: &NodeView) -> Result<Applied, ApplyError> {
        self.state = State::default();
        let Found { ours, free, others } = Found::look(self, nft)?;
        let fresh = ours.is_none();
        match ours {
            Some((table, dump)) => {
                self.table = table;
                self.state.held = Held::read(nft, &self.table)?;
                self.state.structure.found = Some(dump);
            }
            None => self.table = free,
        }
        for other in &others {
            tracing::warn!(table = %other, by = %self.table, "the table has another layout and is replaced");
        }
        if fresh && others.contains(&self.table) {
            delete(nft, &self.table)?; // both names are taken
        }
        let plan = Plan::new(self.table.clone(), Sink::Kernel(nft));
        let (applied, later) = self.fill(plan, view, fresh)?;
        for other in others.iter().filter(|other| **other != self.table) {
            delete(nft, other)?;
        }
        self.after(nft, applied, later)
    }

    fn is_ours(&self, dump: &Dump) -> bool {
        layout::sets(nft_family(self.family)).iter().all(|set| dump.has_set(set) != Some(false))
            && layout::base_chains()
                .iter()
                .all(|(chain, _)| dump.chains.iter().find(|found| found.name == chain.name).is_none_or(|found| found == chain))
    }

    /// From what is held to `view`, all of it.
    fn fill(&mut self, mut plan: Plan<'_>, view: &NodeView, fresh: bool) -> Result<(Applied, Later), ApplyError> {
        let mut later = Later::default();
        if fresh {
            plan.structure([Op::AddTable]);
        }
        for set in layout::sets(nft_family(self.family)) {
            self.state.structure.ensure_set(set, &mut plan);
        }
        for (chain, rules) in layout::chains(&self.config, self.family, view) {
            self.state.structure.ensure_chain(chain, rules, &self.table, &mut plan);
        }
        self.turn_globals(view, &mut plan);
        plan.unit(std::mem::take(&mut self.state.held.stray))?;

        let node_ips = node_ips(view);
        let ours: BTreeSet<&NodeKey> = view.services.iter().map(|(key, _)| key).filter(|key| key.family == self.family).collect();
        for key in &ours {
            let Some(service) = view.services.get(key) else { continue };
            for (front, _) in want::fronts(service, node_ips) {
                self.state.claims.claim(front, key);
            }
            self.state.endpoint_uses.count(want::endpoint_ips(service));
            self.state.cluster_ip_uses.count([service.cluster_ip]);
        }
        self.turn_members(&mut plan)?;
        for key in ours {
            let Some(service) = view.services.get(key) else { continue };
            for (front, want) in want::fronts(service, node_ips) {
                if self.state.claims.owner(&front) == Some(key) {
                    self.turn(front, Some((key, &want)), &mut plan, &mut later)?;
                }
            }
            let issues = issues_of(&self.state.claims, key, service, node_ips);
            if !issues.is_empty() {
                self.looked_at.insert(key.clone(), issues);
            }
        }
        let orphans: BTreeSet<Front> =
            self.state.held.fronts.keys().filter(|front| self.state.claims.owner(front).is_none()).copied().collect();
        for front in orphans {
            self.turn(front, None, &mut plan, &mut later)?;
        }
        for (chain, rules) in layout::base_chains() {
            self.state.structure.ensure_base_chain(chain, rules, &self.table, &mut plan);
        }
        self.remove_unneeded(&mut plan)?;
        Ok((plan.finish()?, later))
    }

    /// Applies what differs between two views.
    fn difference(&mut self, nft: &mut Nft, view: &NodeView, last: &NodeView) -> Result<Applied, ApplyError> {
        let mut later = Later::default();
        let mut plan = Plan::new(self.table.clone(), Sink::Kernel(nft));
        self.drain(&mut plan)?;
        if last.revision < view.globals_at {
            for (chain, rules) in layout::chains(&self.config, self.family, view) {
                self.state.structure.ensure_chain(chain, rules, &self.table, &mut plan);
            }
            self.turn_globals(view, &mut plan);
        }
        let (mut dirty, mut wants) = (BTreeSet::new(), HashMap::new());
        let (mut endpoints, mut cluster_ips) = (HashMap::new(), HashMap::new());
        let changed = self.changed(view, last);
        let mut rivals: BTreeSet<NodeKey> = BTreeSet::new();
        for key in &changed {
            let (old, new) = (last.services.get(key), view.services.get(key));
            let of = |service: Option<&Arc<NodeService>>, view| -> HashMap<Front, Want> {
                service.map(|s| want::fronts(s, node_ips(view)).into_iter().collect()).unwrap_or_default()
            };
            let (old_fronts, new_fronts) = (of(old, last), of(new, view));
            for front in old_fronts.keys().filter(|front| !new_fronts.contains_key(front)) {
                rivals.extend(self.state.claims.contestants(front).cloned());
                self.state.claims.release(*front, key);
                dirty.insert(*front);
            }
            for (front, want) in new_fronts {
                if old_fronts.get(&front) != Some(&want) {
                    self.state.claims.claim(front, key);
                    rivals.extend(self.state.claims.contestants(&front).cloned());
                    dirty.insert(front);
                    wants.insert((front, key.clone()), want);
                }
            }
            for (service, sign) in [(old, -1), (new, 1)] {
                let Some(service) = service else { continue };
                want::endpoint_ips(service).for_each(|ip| *endpoints.entry(ip).or_insert(0) += sign);
                *cluster_ips.entry(service.cluster_ip).or_insert(0) += sign;
            }
        }
        let hairpins = self.state.endpoint_uses.recount(endpoints).into_iter().map(|member| change(member, hairpin));
        let cluster_ips = self.state.cluster_ip_uses.recount(cluster_ips).into_iter().map(|member| change(member, cluster_ip));
        plan.unit(hairpins.chain(cluster_ips).collect())?;
        for front in dirty {
            let Some(owner) = self.state.claims.owner(&front).cloned() else {
                self.turn(front, None, &mut plan, &mut later)?;
                continue;
            };
            let want = wants.remove(&(front, owner.clone())).or_else(|| {
                // One that inherits it, or keeps it against the one that changed.
                let service = view.services.get(&owner)?;
                want::fronts(service, node_ips(view)).into_iter().find(|(f, _)| *f == front).map(|(_, want)| want)
            });
            self.turn(front, want.as_ref().map(|want| (&owner, want)), &mut plan, &mut later)?;
        }
        let applied = plan.finish()?;
        for key in changed.into_iter().chain(rivals) {
            let service = view.services.get(&key);
            let issues = service.map_or_else(Vec::new, |service| issues_of(&self.state.claims, &key, service, node_ips(view)));
            self.looked_at.insert(key, issues);
        }
        self.after(nft, applied, later)
    }

    fn changed(&self, view: &NodeView, last: &NodeView) -> Vec<NodeKey> {
        let held = last.services.iter().map(|(key, _)| key);
        let mut keys = view.since(last.revision).or_all(&view.services, held);
        keys.retain(|key| key.family == self.family);
        keys.sort_unstable();
        keys
    }

    /// What follows once the kernel has the transactions: draining starts to count, and affinity follows moved endpoints.
    fn after(&mut self, nft: &mut Nft, mut applied: Applied, later: Later) -> Result<Applied, ApplyError> {
        let ready = Instant::now() + DRAIN_AFTER;
        self.state.drains.extend(later.draining.into_iter().map(|front| (front, ready)));
        for (front, class, moved) in later.moved {
            sticky::follow(nft, &self.table, &front, class, &moved);
        }
        applied.again_at = self.state.drains.values().min().copied();
        Ok(applied)
    }

    /// Deletes the slots whose time has come.
    fn drain(&mut self, plan: &mut Plan<'_>) -> Result<(), ApplyError> {
        let now = Instant::now();
        let due: BTreeSet<Front> = self.state.drains.iter().filter(|(_, at)| **at <= now).map(|(front, _)| *front).collect();
        for front in due {
            self.state.drains.remove(&front);
            if let Some(held) = self.state.held.fronts.get_mut(&front) {
                let changes = held.drain(&front);
                if held.class.is_none() {
                    self.state.held.fronts.remove(&front);
                }
                plan.unit(changes)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, front: Front, want: Option<(&NodeKey, &Want)>, plan: &mut Plan<'_>, later: &mut Later) -> Result<(), ApplyError> {
        let State { held, structure, .. } = &mut self.state;
        let entry = held.fronts.entry(front).or_default();
        let before = entry.class;
        let (mut changes, moved) = entry.turn(&front, want);
        if entry.is_draining() {
            later.draining.push(front);
        }
        if let Some(class) = before.filter(|class| class.sticky.is_some()) {
            let same = entry.class.is_some_and(|now| now.sticky == class.sticky);
            // With another time-out the old memory serves nobody any more.
            let moved = if same { moved } else { (0..entry.slots.len()).map(|slot| Moved { slot, to: None }).collect() };
            if !moved.is_empty() {
                later.moved.push((front, class, moved));
            }
        }
        if let Some(class) = entry.class {
            let known = held.verdicts.entry(front.lane).or_default();
            if structure.ensure_class(front.lane, class, &self.table, plan, &mut changes, known) {
                known.insert(class.code());
            }
        }
        if entry.class.is_none() && !entry.is_draining() {
            self.state.held.fronts.remove(&front);
        }
        plan.unit(changes)
    }

    /// Sets that depend on the Node and the configuration.
    fn turn_globals(&mut self, view: &NodeView, plan: &mut Plan<'_>) {
        for (set, wanted) in layout::global_elements(&self.config, self.family, view) {
            let held = self.state.held.globals.insert(set.name.clone(), wanted.clone()).unwrap_or_default();
            let of = |a: &[Element], b: &[Element]| a.iter().filter(|e| !b.contains(e)).cloned().collect::<Vec<_>>();
            let (gone, new) = (of(&held, &wanted), of(&wanted, &held));
            if !gone.is_empty() {
                plan.structure([Op::DeleteElements(set.clone(), gone)]);
            }
            if !new.is_empty() {
                plan.structure([Op::AddElements(set, new)]);
            }
        }
    }

    /// Sets of addresses, for a full sync: counts are known, what is held was read.
    fn turn_members(&mut self, plan: &mut Plan<'_>) -> Result<(), ApplyError> {
        let State { endpoint_uses, cluster_ip_uses, held, .. } = &mut self.state;
        for member in endpoint_uses.align(&std::mem::take(&mut held.hairpins)) {
            plan.unit(vec![change(member, hairpin)])?;
        }
        for member in cluster_ip_uses.align(&std::mem::take(&mut held.cluster_ips)) {
            plan.unit(vec![change(member, cluster_ip)])?;
        }
        Ok(())
    }

    /// Verdicts, chains and sets that a table found at the start has beyond what is needed.
    fn remove_unneeded(&mut self, plan: &mut Plan<'_>) -> Result<(), ApplyError> {
        let State { held, structure, .. } = &mut self.state;
        let Some(found) = structure.found.take() else { return Ok(()) };
        for (lane, codes) in &mut held.verdicts {
            let gone: Vec<u32> = codes.iter().filter(|code| !structure.classes.contains(&(*lane, **code))).copied().collect();
            for code in gone {
                codes.remove(&code);
                plan.unit(vec![Change::Delete(Place::Verdicts(*lane), Element::new([Field::ClassId(code)]))])?;
            }
        }
        let chains: Vec<Name> = found.chains.iter().map(|c| c.name.clone()).filter(|name| !structure.chains.contains_key(name)).collect();
        plan.finally(chains.iter().cloned().map(Op::FlushChain));
        plan.finally(chains.into_iter().map(Op::DeleteChain));
        let sets = found.set_names().filter(|name| !structure.sets.contains(*name));
        plan.finally(sets.map(|name| Op::DeleteSet(name.to_owned().into())));
        Ok(())
    }
}

// === impl Found ===

/// Tables under our names.
struct Found {
    /// The one that can be turned into what is wanted.
    ours: Option<(Table, Dump)>,
    /// The name for a new one.
    free: Table,
    /// All others that are there.
    others: Vec<Table>,
}

impl Found {
    fn look(family: &FamilySync, nft: &mut Nft) -> Result<Self, ApplyError> {
        let names = nft.tables(nft_family(family.family))?;
        let mut tables = super::tables(family.family);
        let mut found = Found { ours: None, free: tables.next().expect("BUG: a table has a name"), others: Vec::new() };
        let mut taken = BTreeSet::new();
        for table in std::iter::once(found.free.clone()).chain(tables) {
            if !names.contains(&table.name) {
                continue;
            }
            taken.insert(table.name.clone());
            match nft.dump(&table)?.filter(|dump| !dump.chains.is_empty() && family.is_ours(dump)) {
                Some(dump) if found.ours.is_none() => found.ours = Some((table, dump)),
                _ => found.others.push(table),
            }
        }
        if let Some(free) = super::tables(family.family).find(|table| !taken.contains(&table.name)) {
            found.free = free;
        }
        Ok(found)
    }
}

fn delete(nft: &mut Nft, table: &Table) -> Result<(), ApplyError> {
    let mut plan = Plan::new(table.clone(), Sink::Kernel(nft));
    plan.structure([Op::DeleteTable]);
    plan.finish().map(|_| ())
}

/// What is wrong with a Service: what it asks for, and what another has.
fn issues_of(claims: &Claims, key: &NodeKey, service: &NodeService, node_ips: &[IpAddr]) -> Vec<Issue> {
    let mut issues = want::issues(service);
    for (front, _) in want::fronts(service, node_ips) {
        // Both lanes of an address have one owner: told once.
        let first = matches!(front.lane, Lane::Address | Lane::NodePort);
        if let Some(owner) = claims.owner(&front).filter(|owner| *owner != key && first) {
            let (field, what) = match front.address {
                None => ("spec.ports", format!("node port {}", front.port)),
                Some(ip) => ("spec", format!("{}", std::net::SocketAddr::new(ip, front.port))),
            };
            issues.push(Issue::new(
                field,
                Reason::Conflict,
                format!("{what} is that of Service {}, whose name comes first", owner.service),
            ));
        }
    }
    issues
}

fn node_ips(view: &NodeView) -> &[IpAddr] {
    view.node.as_ref().map_or(&[], |node| &node.internal_ips)
}

fn hairpin(ip: IpAddr) -> (Place, Element) {
    (Place::Hairpins, Element::new([Field::ip(ip), Field::ip(ip)]))
}

fn cluster_ip(ip: IpAddr) -> (Place, Element) {
    (Place::ClusterIps, Element::new([Field::ip(ip)]))
}

fn change(member: Member, element: fn(IpAddr) -> (Place, Element)) -> Change {
    match member {
        Member::New(ip) => {
            let (place, element) = element(ip);
            Change::Add(place, element)
        }
        Member::Gone(ip) => {
            let (place, element) = element(ip);
            Change::Delete(place, element)
        }
    }
}
