//! Every conversation with Linux, and all `unsafe` of the project.
//!
//! Takes chains, sets, addresses and names of kernel knobs; must not know what a Service or an Endpoint is. Talks to the kernel by
//! its own interfaces (netlink, /proc): no child process (but for [`iptables_legacy`]), no C library beside libc.
//!
//! | module | conversation |
//! |---|---|
//! | [`nft`] | nf_tables: typed tables, chains, sets and rules; one batch is one transaction; the same values as nft's text |
//! | [`conntrack`] | flows the kernel remembers: delete one |
//! | [`ipset`] | IP sets: which there are, destroy one |
//! | [`ipvs`] | IPVS: all virtual servers forgotten |
//! | [`iptables_legacy`] | chains of the old iptables: removed |
//! | [`rtnl`] | which addresses and links this network namespace has, and news of addresses |
//! | [`limits`] | open files |
//! | [`memory`] | what the allocator gives back |
//! | [`link`] | bridges, veth pairs, addresses, routes: made and removed |
//! | [`sandbox`] | processes in namespaces of their own |
//! | [`sysctl`] | knobs below /proc/sys |
//! | [`probe`] | what this kernel can do, and why not |
//! | [`udp`] | datagrams by the batch, and the address that each came to |
//! | [`netns`] | network namespaces: entering one, and a harness for tests that send real packets |

pub mod conntrack;
mod errno;
pub mod ipset;
pub mod iptables_legacy;
pub mod ipvs;
pub mod limits;
pub mod link;
pub mod memory;
pub(crate) mod netlink;
pub mod netns;
pub mod nft;
pub mod probe;
pub mod rtnl;
pub mod sandbox;
pub mod sysctl;
pub mod udp;

pub use errno::Errno;
