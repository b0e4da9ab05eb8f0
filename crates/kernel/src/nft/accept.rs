//! Accepts at the head of chains that iptables-nft made.
//!
//! A rule in a table of ours cannot overrule a drop in somebody else's (nft(8)), so these stand where the drop would. They are written
//! as iptables-nft writes them, in matches of x_tables: every version of it lists them, and none calls its table incompatible.
//! Source: linux/netfilter/nf_tables_compat.h, xt_tcpudp.h.

use std::net::IpAddr;

use super::batch::message;
use super::dump::{attributes, of_table, udata};
use super::rule::Compare;
use super::set::Verdict;
use super::{CommitError, Family, Nft, Table, encode, expression};
use crate::netlink::{NLM_F_CREATE, Writer};

/// What is accepted: packets to (or from) a port of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub address: IpAddr,
    /// 6 or 17.
    pub protocol: u8,
    pub port: u16,
    /// Whether address and port are the sender's.
    pub from: bool,
}

const TCP: u8 = 6;

impl Nft {
    /// Puts `accepts` at the head of a chain, unless as many of this comment stand in it. A chain that is not there is no error.
    pub fn put_accepts(&mut self, table: &Table, chain: &str, accepts: &[Accept], comment: &str) -> Result<(), CommitError> {
        let chains = self.get(message::GET_CHAIN, table, |_| {})?;
        if !chains.iter().any(|m| of_table(m, table) && attributes(m).str(3).as_deref() == Some(chain)) {
            return Ok(());
        }
        let there = self.commented(table, comment)?;
        let there: Vec<_> = there.into_iter().filter(|(of, _)| of == chain).collect();
        if there.len() == accepts.len() {
            return Ok(());
        }
        self.delete_rules(table, &there)?;
        self.send(table, (message::NEW_RULE, NLM_F_CREATE), accepts, |w, accept| {
            w.str(2, chain);
            w.nest(4, |w| accept.encode(w, table.family));
            w.nest(5, |w| {
                w.be32(1, u32::from(accept.protocol));
                w.be32(2, 0);
            });
            let mut data = Vec::new();
            encode::comment_tlv(&mut data, comment);
            w.bytes(7, &data);
        })
    }

    /// Removes every rule of this comment from a table; says how many. A table that is not there is no error.
    pub fn remove_commented(&mut self, table: &Table, comment: &str) -> Result<usize, CommitError> {
        let found = self.commented(table, comment)?;
        self.delete_rules(table, &found)?;
        Ok(found.len())
    }

    /// (chain, handle) of the rules of this comment.
    fn commented(&mut self, table: &Table, comment: &str) -> Result<Vec<(String, u64)>, CommitError> {
        let rules = self.get(message::GET_RULE, table, |w| w.str(1, &table.name))?;
        let rules = rules.iter().filter(|m| of_table(m, table)).map(attributes);
        let is_ours = |data: &[u8]| {
            udata(data, encode::udata::COMMENT).is_some_and(|text| text.strip_suffix(&[0]).unwrap_or(text) == comment.as_bytes())
        };
        let ours = rules.filter(|rule| rule.get(7).is_some_and(is_ours));
        Ok(ours.filter_map(|rule| Some((rule.str(2)?, rule.be64(3)?))).collect())
    }
}

impl Accept {
    fn encode(&self, w: &mut Writer, family: Family) {
        let offset = match (family, self.from) {
            (Family::Ip, true) => 12,
            (Family::Ip, false) => 16,
            (Family::Ip6, true) => 8,
            (Family::Ip6, false) => 24,
        };
        let address = match self.address {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        expression::payload(w, expression::NETWORK_HEADER, offset, address.len() as u32, expression::R0);
        expression::cmp(w, expression::R0, Compare::Equal, &address);
        expression::meta(w, expression::META_L4PROTO, expression::R0);
        expression::cmp(w, expression::R0, Compare::Equal, &[self.protocol]);
        expression::expr(w, "match", |w| {
            w.str(1, if self.protocol == TCP { "tcp" } else { "udp" });
            w.be32(2, 0);
            w.bytes(3, &self.ports());
        });
        expression::expr(w, "counter", |_| {});
        expression::expr(w, "immediate", |w| {
            w.be32(1, expression::VERDICT_REGISTER);
            w.nest(2, |w| expression::verdict(w, &Verdict::Accept));
        });
    }

    /// `struct xt_tcp` or `struct xt_udp`: first and last of the sender's and the receiver's ports; then flags, none of which is set.
    fn ports(&self) -> [u8; 16] {
        let (one, any) = ([self.port, self.port], [0, u16::MAX]);
        let ports = if self.from { [one, any] } else { [any, one] };
        let mut out = [0; 16];
        for (at, port) in ports.as_flattened().iter().enumerate() {
            out[2 * at..2 * at + 2].copy_from_slice(&port.to_ne_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;

    #[test]
    fn iptables_lists_what_was_put_before_its_own_rules() {
        let ns = Netns::new("kernel-accept");
        let (table, table6) = (Table::new(Family::Ip, "filter"), Table::new(Family::Ip6, "filter"));
        let accepts =
            |ip: &str, from| [TCP, 17].map(|protocol| Accept { address: ip.parse().expect("an address"), protocol, port: 53, from });
        let put = || {
            ns.run(|| {
                let mut nft = Nft::open().expect("nf_tables");
                nft.put_accepts(&table, "INPUT", &accepts("10.96.0.10", false), "ours").expect("put");
                nft.put_accepts(&table6, "OUTPUT", &accepts("fd00::a", true), "ours").expect("put");
            });
        };
        put();
        assert_eq!(ns.output(&["iptables-nft-save"]), "", "where there is no table none is made");
        ns.output(&["iptables-nft", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP"]);
        ns.output(&["ip6tables-nft", "-P", "OUTPUT", "DROP"]);
        put();
        put();
        let listed = || {
            let listed = ns.output(&["sh", "-c", "iptables-nft-save; ip6tables-nft-save"]);
            listed.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            listed(),
            [
                "-A INPUT -d 10.96.0.10/32 -p udp -m udp --dport 53 -m comment --comment ours -j ACCEPT",
                "-A INPUT -d 10.96.0.10/32 -p tcp -m tcp --dport 53 -m comment --comment ours -j ACCEPT",
                "-A INPUT -s 192.0.2.1/32 -j DROP",
                "-A OUTPUT -s fd00::a/128 -p udp -m udp --sport 53 -m comment --comment ours -j ACCEPT",
                "-A OUTPUT -s fd00::a/128 -p tcp -m tcp --sport 53 -m comment --comment ours -j ACCEPT",
            ]
        );
        ns.run(|| assert_eq!(Nft::open().expect("nf_tables").remove_commented(&table, "ours").expect("removed"), 2));
        ns.run(|| assert_eq!(Nft::open().expect("nf_tables").remove_commented(&table6, "ours").expect("removed"), 2));
        assert_eq!(listed(), ["-A INPUT -s 192.0.2.1/32 -j DROP"]);
    }
}
