//! What the kernel holds of our table, read back in the terms of this mode.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use kernel::nft::{Element, Field, Name, Nft, Set, Table};

use super::class::Class;
use super::front;
use super::layout::{self, Lane};
use super::plan::{Change, Place};
use super::want::Front;
use crate::ApplyError;

/// Everything of the table but its structure.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) fronts: HashMap<Front, front::Held>,
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
        let singles = |elements: Vec<Element>| elements.into_iter().filter_map(|e| e.key.first()?.as_ip()).collect();
        held.cluster_ips = singles(nft.elements(table, &layout::cluster_ips(family))?);
        held.hairpins = singles(nft.elements(table, &layout::hairpins(family))?);
        held.read_sources(nft, table)?;
        for set in [layout::service_cidrs(family), layout::nodeport_ips(family)] {
            let elements = nft.elements(table, &set)?;
            held.globals.insert(set.name, elements);
        }
        Ok(held)
    }

    fn read_lane(&mut self, nft: &mut Nft, table: &Table, lane: Lane) -> Result<(), ApplyError> {
        let mut elements = |set: Set| nft.elements(table, &set);
        for element in elements(lane.services_map(table.family))? {
            let (Some(front), [Field::ClassId(code)]) = (Front::from_key(lane, &element.key), element.fields()) else { continue };
            let held = self.fronts.entry(front).or_default();
            held.class = Some(Class::from_code(*code));
            held.comment = element.comment.map(String::into_boxed_str);
        }
        let mut slots: HashMap<Front, Vec<(u32, SocketAddr, Element)>> = HashMap::new();
        for element in elements(lane.backends_map(table.family))? {
            let Some((Field::Mark(slot), key)) = element.key.split_last() else { continue };
            let (Some(front), [address, Field::Port(port)]) = (Front::from_key(lane, key), element.fields()) else { continue };
            let Some(ip) = address.as_ip() else { continue };
            slots.entry(front).or_default().push((*slot, SocketAddr::new(ip, *port), element));
        }
        for (front, mut found) in slots {
            found.sort_unstable_by_key(|(slot, ..)| *slot);
            let held = self.fronts.entry(front).or_default();
            for (slot, endpoint, element) in found {
                if slot as usize == held.slots.len() {
                    held.slots.push(endpoint);
                } else {
                    self.stray.push(Change::Delete(Place::Backends(lane), element));
                }
            }
        }
        let codes = elements(lane.verdicts_map())?.into_iter().filter_map(|e| match e.key[..] {
            [Field::ClassId(code)] => Some(code),
            _ => None,
        });
        self.verdicts.insert(lane, codes.collect());
        Ok(())
    }

    fn read_sources(&mut self, nft: &mut Nft, table: &Table) -> Result<(), ApplyError> {
        for element in nft.elements(table, &layout::firewalled(table.family))? {
            if let Some(front) = Front::from_key(Lane::Address, &element.key) {
                self.fronts.entry(front).or_default().sources.get_or_insert_default();
            }
        }
        for element in nft.elements(table, &layout::allowed_sources(table.family))? {
            let front = element.key.split_last().and_then(|(_, key)| Front::from_key(Lane::Address, key));
            let Some(sources) = front.and_then(|front| self.fronts.get_mut(&front)?.sources.as_mut()) else {
                self.stray.push(Change::Delete(Place::AllowedSources, element));
                continue;
            };
            sources.extend(nets_of(&element));
        }
        for held in self.fronts.values_mut() {
            held.sources = held.sources.take().map(|nets| IpNet::aggregate(&nets));
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
