//! Batches: operations that take effect together, and the socket that commits them.

use super::set::{Element, Set, write_fields};
use super::{Chain, Name, Rule, Table, encode};
use crate::Errno;
use crate::netlink::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, Refusal, Socket, Writer};

/// The most elements that one transaction should hold: 15 ms on a small machine, during which nobody else changes rules. Above it the
/// kernel's cost per element grows.
pub const MAX_ELEMENTS: usize = 5_000;

/// Bytes of one element list: an attribute's length has 16 bits.
const MAX_LIST: usize = 60_000;

pub(super) const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(super) const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
pub(super) const NFNL_MSG_BATCH_END: u16 = 0x11;

/// `enum nf_tables_msg_types`, as far as we send and read them.
pub(super) mod message {
    pub(crate) const NEW_TABLE: u16 = 0;
    pub(crate) const GET_TABLE: u16 = 1;
    pub(crate) const DEL_TABLE: u16 = 2;
    pub(crate) const NEW_CHAIN: u16 = 3;
    pub(crate) const GET_CHAIN: u16 = 4;
    pub(crate) const DEL_CHAIN: u16 = 5;
    pub(crate) const NEW_RULE: u16 = 6;
    pub(crate) const GET_RULE: u16 = 7;
    pub(crate) const DEL_RULE: u16 = 8;
    pub(crate) const NEW_SET: u16 = 9;
    pub(crate) const GET_SET: u16 = 10;
    pub(crate) const DEL_SET: u16 = 11;
    pub(crate) const NEW_SET_ELEM: u16 = 12;
    pub(crate) const GET_SET_ELEM: u16 = 13;
    pub(crate) const DEL_SET_ELEM: u16 = 14;
}

/// One operation on a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Keeps what is there.
    AddTable,
    /// With everything in it; refused if it is not there.
    DeleteTable,
    AddChain(Chain),
    /// Refused while it has rules or is jumped to.
    DeleteChain(Name),
    /// Removes a chain's rules.
    FlushChain(Name),
    AddRule(Rule),
    AddSet(Set),
    /// Refused while rules use it.
    DeleteSet(Name),
    /// The set is given whole, since how an element is written depends on its kind.
    AddElements(Set, Vec<Element>),
    /// Refused if one of them is not there.
    DeleteElements(Set, Vec<Element>),
    FlushSet(Name),
}

/// Operations on one table that take effect together or not at all. Its `Display` is nft's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub table: Table,
    pub ops: Vec<Op>,
}

/// The kernel took none of the batch.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("the kernel refused `{op}`: {errno}{}{}", message.as_ref().map(|m| format!(": {m}")).unwrap_or_default(), hint(*errno))]
    Refused {
        /// The operation in nft's words, cut short.
        op: String,
        errno: Errno,
        /// The kernel's own words, if any.
        message: Option<String>,
    },
    #[error("no conversation with nf_tables: {errno}{}", hint(*errno))]
    Socket { errno: Errno },
}

impl CommitError {
    pub(super) fn socket(errno: Errno) -> Self {
        CommitError::Socket { errno }
    }

    pub fn errno(&self) -> Errno {
        match self {
            CommitError::Refused { errno, .. } | CommitError::Socket { errno } => *errno,
        }
    }
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => " (CAP_NET_ADMIN is missing)",
        Errno::EPROTONOSUPPORT => " (this kernel has no nf_tables: modprobe nf_tables)",
        _ => "",
    }
}

/// A conversation with nf_tables, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Nft {
    pub(super) socket: Socket,
    seq: u32,
}

// === impl Batch ===

impl Batch {
    pub fn new(table: Table) -> Self {
        Self { table, ops: Vec::new() }
    }

    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many elements it adds and deletes.
    pub fn n_elements(&self) -> usize {
        self.ops
            .iter()
            .map(|op| match op {
                Op::AddElements(_, elements) | Op::DeleteElements(_, elements) => elements.len(),
                _ => 0,
            })
            .sum()
    }

    /// The batch as messages; operation `i` has the sequence number `first + 1 + i`.
    fn encode(&self, first: u32) -> Vec<u8> {
        let mut w = Writer::default();
        let edge = |w: &mut Writer, kind, seq| {
            w.message(kind, NLM_F_REQUEST, seq, |w| w.raw(&[0, 0, 0, NFNL_SUBSYS_NFTABLES as u8]));
        };
        edge(&mut w, NFNL_MSG_BATCH_BEGIN, first);
        for (i, op) in self.ops.iter().enumerate() {
            self.encode_op(&mut w, op, first.wrapping_add(1 + i as u32), i as u32);
        }
        edge(&mut w, NFNL_MSG_BATCH_END, first.wrapping_add(1 + self.ops.len() as u32));
        w.finish()
    }

    fn encode_op(&self, w: &mut Writer, op: &Op, seq: u32, index: u32) {
        use message::*;
        let table = &self.table;
        let mut send = |kind: u16, flags: u16, body: &mut dyn FnMut(&mut Writer)| {
            w.message(NFNL_SUBSYS_NFTABLES << 8 | kind, NLM_F_REQUEST | flags, seq, |w| {
                w.raw(&[table.family.number(), 0, 0, 0]);
                body(w);
            });
        };
        match op {
            Op::AddTable => send(NEW_TABLE, NLM_F_CREATE, &mut |w| {
                w.str(1, &table.name);
                w.be32(2, 0);
            }),
            Op::DeleteTable => send(DEL_TABLE, 0, &mut |w| w.str(1, &table.name)),
            Op::AddChain(chain) => send(NEW_CHAIN, NLM_F_CREATE, &mut |w| encode::chain(w, table, chain)),
            Op::DeleteChain(name) => send(DEL_CHAIN, 0, &mut |w| {
                w.str(1, &table.name);
                w.str(3, name);
            }),
            Op::FlushChain(name) => send(DEL_RULE, 0, &mut |w| {
                w.str(1, &table.name);
                w.str(2, name);
            }),
            Op::AddRule(rule) => send(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, &mut |w| encode::rule(w, table, rule)),
            // Set ids are unique within a batch; we refer to sets by name.
            Op::AddSet(set) => send(NEW_SET, NLM_F_CREATE, &mut |w| encode::set(w, table, set, index + 1)),
            Op::DeleteSet(name) => send(DEL_SET, 0, &mut |w| {
                w.str(1, &table.name);
                w.str(2, name);
            }),
            Op::FlushSet(name) => send(DEL_SET_ELEM, 0, &mut |w| {
                w.str(1, &table.name);
                w.str(2, name);
            }),
            Op::AddElements(set, elements) => {
                element_lists(set, elements, |list| {
                    send(NEW_SET_ELEM, NLM_F_CREATE, &mut |w| element_list(w, table, set, list));
                });
            }
            Op::DeleteElements(set, elements) => {
                // A key is all that names an element.
                let bare: Vec<Element> =
                    elements.iter().map(|e| Element { key_end: e.key_end.clone(), ..Element::new(e.key.clone()) }).collect();
                element_lists(set, &bare, |list| send(DEL_SET_ELEM, 0, &mut |w| element_list(w, table, set, list)));
            }
        }
    }
}

/// One attribute group of a message's element list.
struct Encoded {
    bytes: Vec<u8>,
}

/// Cuts `elements` into lists that fit an attribute.
fn element_lists(set: &Set, elements: &[Element], mut each: impl FnMut(&[Encoded])) {
    let mut list: Vec<Encoded> = Vec::new();
    let mut size = 0;
    let concat = set.key.len() > 1;
    for element in elements {
        let mut w = Writer::default();
        let key = write_fields(&element.key);
        encode::element(&mut w, &key, element, false, concat);
        if let (false, Some(last)) = (concat, &element.key_end)
            && let Some(end) = encode::one_behind(&write_fields(last))
        {
            encode::element(&mut w, &end, element, true, concat);
        }
        let bytes = w.finish();
        if size + bytes.len() > MAX_LIST {
            each(&list);
            list.clear();
            size = 0;
        }
        size += bytes.len();
        list.push(Encoded { bytes });
    }
    if !list.is_empty() {
        each(&list);
    }
}

fn element_list(w: &mut Writer, table: &Table, set: &Set, list: &[Encoded]) {
    w.str(1, &table.name);
    w.str(2, &set.name);
    w.nest(3, |w| {
        for element in list {
            w.raw(&element.bytes);
        }
    });
}

// === impl Nft ===

impl Nft {
    pub fn open() -> Result<Self, CommitError> {
        Ok(Self { socket: Socket::open(libc::NETLINK_NETFILTER).map_err(CommitError::socket)?, seq: 0 })
    }

    /// Commits a batch: all of it or, with an error, nothing.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let first = self.next_seq(batch.ops.len() as u32 + 2);
        let refusals = self.socket.commit(&batch.encode(first)).map_err(CommitError::socket)?;
        let Some(Refusal { seq, errno, message }) = refusals.into_iter().next() else {
            return Ok(());
        };
        let index = seq.wrapping_sub(first).wrapping_sub(1) as usize;
        let op = batch.ops.get(index).map_or_else(|| "the batch".to_owned(), |op| short(&batch.table, op));
        Err(CommitError::Refused { op, errno, message })
    }

    pub(super) fn next_seq(&mut self, n: u32) -> u32 {
        let first = self.seq.wrapping_add(1);
        self.seq = self.seq.wrapping_add(n);
        first
    }
}

/// The first line of an operation's text, at most 200 characters.
fn short(table: &Table, op: &Op) -> String {
    let one = Batch { table: table.clone(), ops: vec![op.clone()] };
    let text = one.to_string();
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}
