//! The file of weights: a line with a name, then a line `ADDRESS WEIGHT` for each of its addresses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Weighted, addresses};
use crate::name::Name;
use crate::plugins::forward::random_u16;
use crate::wire::message::Record;

/// By names in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Weights(HashMap<Name, Vec<(IpAddr, u8)>>);

/// The weights of the moment.
pub(super) struct File(ArcSwap<Weights>);

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot read the weights in {0}: {1}")]
    Unreadable(String, #[source] std::io::Error),
    #[error("{0}:{1}: `{2}`: neither a name nor an address with a weight from 1 to 255 below one")]
    Line(String, usize, String),
}

// === impl Weights ===

impl Weights {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::Unreadable(shown.clone(), error))?;
        Self::parse(&text).map_err(|at| Error::Line(shown, at + 1, text.lines().nth(at).unwrap_or_default().trim().to_owned()))
    }

    /// # Errors
    /// Which line is none, from 0 on.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut weights = Self::default();
        let mut last = None;
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#')) {
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                [] => {}
                [name] if name.parse::<IpAddr>().is_err() => last = Some(Name::parse(name).map_err(|_| at)?.folded()),
                [address, weight] => {
                    let of = weights.0.entry(last.clone().ok_or(at)?).or_default();
                    let weight = weight.parse().ok().filter(|weight| *weight > 0).ok_or(at)?;
                    of.push((address.parse().map_err(|_| at)?, weight));
                }
                _ => return Err(at),
            }
        }
        Ok(weights)
    }

    /// 1 where the file says nothing.
    fn of(&self, record: &Record) -> u32 {
        let known = self.0.get(&record.name.folded()).zip(record.ip());
        known.and_then(|(weights, ip)| weights.iter().find(|(known, _)| *known == ip)).map_or(1, |(_, weight)| (*weight).into())
    }

    /// Which of the addresses stands first where `number` came up among the sum of all weights.
    fn first(&self, addresses: &[Record], number: u32) -> usize {
        let sum: u32 = addresses.iter().map(|record| self.of(record)).sum();
        let mut left = number % sum.max(1);
        let reached = |record: &Record| {
            let weight = self.of(record);
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        };
        addresses.iter().position(reached).unwrap_or(0)
    }
}

// === impl File ===

impl File {
    pub(super) fn open(weighted: &Weighted, live: bool) -> Arc<Self> {
        let read = Weights::read(&weighted.file).unwrap_or_else(|error| {
            tracing::warn!(%error, "every address weighs the same");
            Weights::default()
        });
        let file = Arc::new(Self(ArcSwap::from_pointee(read)));
        if live && !weighted.reload.is_zero() {
            file.watch(weighted.clone());
        }
        file
    }

    /// Reads it again for as long as somebody else holds it.
    fn watch(self: &Arc<Self>, Weighted { file: path, reload }: Weighted) {
        let file = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(reload).await;
                let looked = path.clone();
                // A disk may take its time.
                let Ok(read) = tokio::task::spawn_blocking(move || Weights::read(&looked)).await else { return };
                let Some(file) = file.upgrade() else { return };
                match read {
                    Ok(new) if new != **file.0.load() => {
                        file.0.store(Arc::new(new));
                        tracing::info!(file = %path.display(), "read weights again");
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "kept the old weights"),
                }
            }
        });
    }

    /// Puts one of the addresses first, and the one that stood there in its place.
    pub(super) fn choose(&self, records: &mut [Record]) {
        let addresses = addresses(records);
        let number = u32::from(random_u16()) << 16 | u32::from(random_u16());
        let chosen = self.0.load().first(addresses, number);
        addresses.swap(0, chosen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_first_as_often_as_it_weighs() {
        let weights = Weights::parse("# of the shop\nWWW.example\n10.0.0.1 3\n\n 10.0.0.2 1\nother\n10.0.0.3 200\n").expect("weights");
        let record = |text: &str| Record::parse(text).expect(text);
        let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| record(&format!("www.example A {ip}")));
        let first: Vec<_> = (0..10).map(|number| weights.first(&addresses, number)).collect();
        assert_eq!(first, [0, 0, 0, 1, 2, 0, 0, 0, 1, 2]);
        for (text, line) in
            [("10.0.0.1", 0), ("10.0.0.1 1", 0), ("a\n10.0.0.1 0", 1), ("a\n10.0.0.1 256", 1), ("a\n\nb 1", 2), ("a\n1 2 3", 1)]
        {
            assert_eq!(Weights::parse(text), Err(line), "{text}");
        }
    }
}
