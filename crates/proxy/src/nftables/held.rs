//! What the kernel holds of our table, read back in the terms of this mode.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use kernel::nft::{Element, Field, Name, Nft, Table};

use super::class::Class;
use super::front::{self, Comment};
use super::layout::{self, Lane};
use super::plan::{Change, Place};
use super::want::Front;
use crate::ApplyError;

/// Everything of the table but its structure.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) fronts: HashMap<Front, front::Held>,
    /// These two until they are compared; from then on they are what `Uses` has.
    pub(super) cluster_ips: HashSet<IpAddr>,
    pub(super) hairpins: HashSet<IpAddr>,
    pub(super) globals: HashMap<Name, Vec<Element>>,
    /// Codes that the verdict maps know, by lane.
    pub(super) verdicts: HashMap<Lane, HashSet<u32>>,
    /// Elements that make no sense, such as a slot behind a gap: to be deleted.
    pub(super) stray: Vec<Change>,
}

impl Held {
    /// Reads every set back.
    pub(super) fn read(nft: &mut Nft, table: &Table) -> Result<Self, ApplyError> {
        let mut held = Held::default();
        let family = table.family;
        for lane in Lane::ALL {
            held.read_lane(nft, table, lane)?;
        }
        let single = |found: &mut HashSet<IpAddr>, element: Element| found.extend(element.key.first().and_then(|ip| ip.as_ip()));
        held.cluster_ips = nft.fold_elements(table, &layout::cluster_ips(family), single)?;
        held.hairpins = nft.fold_elements(table, &layout::hairpins(family), single)?;
        held.read_sources(nft, table)?;
        for set in [layout::service_cidrs(family), layout::nodeport_ips(family)] {
            let elements = nft.elements(table, &set)?;
            held.globals.insert(set.name, elements);
        }
        Ok(held)
    }

    fn read_lane(&mut self, nft: &mut Nft, table: &Table, lane: Lane) -> Result<(), ApplyError> {
        let fronts = nft.fold_elements(table, &lane.services_map(table.family), |found: &mut HashMap<_, front::Held>, element| {
            let (Some(front), [Field::ClassId(code)]) = (Front::from_key(lane, &element.key), element.fields()) else { return };
            let comment = element.comment.as_deref().map(Comment::of);
            found.insert(front, front::Held { class: Some(Class::from_code(*code)), comment, ..front::Held::default() });
        })?;
        // The first lane is the big one.
        if self.fronts.is_empty() {
            self.fronts = fronts
        } else {
            self.fronts.extend(fronts)
        }

        let mut slots = nft.fold_elements(table, &lane.backends_map(table.family), |found: &mut Vec<_>, element| {
            let Some((Field::Mark(slot), key)) = element.key.split_last() else { return };
            let (Some(front), [address, Field::Port(port)]) = (Front::from_key(lane, key), element.fields()) else { return };
            found.extend(address.as_ip().map(|ip| (front, *slot, SocketAddr::new(ip, *port))));
        })?;
        slots.sort_unstable_by_key(|(front, slot, _)| (*front, *slot));
        for of_one in slots.chunk_by(|(a, ..), (b, ..)| a == b) {
            let front = of_one[0].0;
            let n = of_one.iter().zip(0..).take_while(|((_, slot, _), at)| slot == at).count();
            self.fronts.entry(front).or_default().slots = of_one[..n].iter().map(|(.., endpoint)| *endpoint).collect();
            let stray = of_one[n..].iter().map(|(_, slot, endpoint)| front::backend(&front, *slot as usize, *endpoint));
            self.stray.extend(stray.map(|element| Change::Delete(Place::Backends(lane), element)));
        }
        let codes = nft.elements(table, &lane.verdicts_map())?.into_iter().filter_map(|e| match e.key[..] {
            [Field::ClassId(code)] => Some(code),
            _ => None,
        });
        self.verdicts.insert(lane, codes.collect());
        Ok(())
    }

    fn read_sources(&mut self, nft: &mut Nft, table: &Table) -> Result<(), ApplyError> {
        let mut sources: HashMap<Front, Vec<IpNet>> = HashMap::new();
        for element in nft.elements(table, &layout::firewalled(table.family))? {
            if let Some(front) = Front::from_key(Lane::Address, &element.key) {
                sources.entry(front).or_default();
            }
        }
        for element in nft.elements(table, &layout::allowed_sources(table.family))? {
            let front = element.key.split_last().and_then(|(_, key)| Front::from_key(Lane::Address, key));
            let Some(sources) = front.and_then(|front| sources.get_mut(&front)) else {
                self.stray.push(Change::Delete(Place::AllowedSources, element));
                continue;
            };
            sources.extend(nets_of(&element));
        }
        for (front, nets) in sources {
            self.fronts.entry(front).or_default().sources = Some(IpNet::aggregate(&nets).into());
        }
        Ok(())
    }
}

/// The range of sources in an element of `allowed-sources`, as networks.
fn nets_of(element: &Element) -> Vec<IpNet> {
    let first = element.key.last().and_then(|f| f.as_ip());
    let last = element.key_end.as_ref().unwrap_or(&element.key).last().and_then(|f| f.as_ip());
    match (first, last) {
        (Some(IpAddr::V4(a)), Some(IpAddr::V4(b))) => ipnet::Ipv4Subnets::new(a, b, 0).map(IpNet::V4).collect(),
        (Some(IpAddr::V6(a)), Some(IpAddr::V6(b))) => ipnet::Ipv6Subnets::new(a, b, 0).map(IpNet::V6).collect(),
        _ => Vec::new(),
    }
}
