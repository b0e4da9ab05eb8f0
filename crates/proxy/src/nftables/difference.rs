//! Operations that would make the kernel what it should be, told as differences.

use std::collections::HashMap;

use kernel::nft::{Batch, Element, Field, Op, Set, Table};

use crate::Difference;

/// Each difference once: an element that would be deleted and added is one that is wrong.
pub(super) fn describe(table: &Table, ops: Vec<Op>) -> Vec<Difference> {
    let mut told = Vec::new();
    let mut tell = |part: String, words: String| {
        told.push(Difference { table: table.to_string(), part, words });
    };
    let mut deleted: HashMap<(String, Vec<Field>), (Set, Element)> = HashMap::new();
    let mut last_flushed = None;
    for op in ops {
        match op {
            Op::AddTable => tell("table".to_owned(), "is missing".to_owned()),
            Op::AddChain(chain) => tell(format!("chain {}", chain.name), "is missing".to_owned()),
            Op::AddSet(set) => tell(format!("set {}", set.name), "is missing".to_owned()),
            Op::DeleteElements(set, elements) => {
                for element in elements {
                    deleted.insert((set.name.to_string(), element.key.clone()), (set.clone(), element));
                }
            }
            Op::AddElements(set, elements) => {
                for element in elements {
                    let now = text(table, &set, &element);
                    match deleted.remove(&(set.name.to_string(), element.key.clone())) {
                        Some((_, old)) => tell(part(&set), format!("{} should be {now}", text(table, &set, &old))),
                        None => tell(part(&set), format!("{now} is missing")),
                    }
                }
            }
            // What follows says whether it has other rules or should not be there.
            Op::FlushChain(chain) => last_flushed = Some(chain),
            Op::AddRule(rule) => {
                if last_flushed.take_if(|chain| *chain == rule.chain).is_some() {
                    tell(format!("chain {}", rule.chain), "has other rules".to_owned());
                }
            }
            Op::DeleteChain(chain) => tell(format!("chain {chain}"), "should not be there".to_owned()),
            Op::DeleteSet(set) => tell(format!("set {set}"), "should not be there".to_owned()),
            Op::DeleteTable => tell("table".to_owned(), "should not be there".to_owned()),
            Op::FlushSet(set) => tell(format!("set {set}"), "should be empty".to_owned()),
        }
    }
    let mut beyond: Vec<(String, String)> =
        deleted.into_values().map(|(set, element)| (part(&set), format!("{} should not be there", text(table, &set, &element)))).collect();
    beyond.sort();
    beyond.into_iter().for_each(|(part, words)| tell(part, words));
    told
}

fn part(set: &Set) -> String {
    format!("{} {}", if set.data.is_some() { "map" } else { "set" }, set.name)
}

/// As nft writes it between the braces.
fn text(table: &Table, set: &Set, element: &Element) -> String {
    let batch = Batch { table: table.clone(), ops: vec![Op::AddElements(set.clone(), vec![element.clone()])] };
    let line = batch.to_string();
    let inside = line.split_once("{ ").and_then(|(_, rest)| rest.rsplit_once(" }")).map(|(inside, _)| inside);
    inside.unwrap_or(&line).trim().to_owned()
}
