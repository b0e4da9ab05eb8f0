//! Hostile packets without end: those of the `corpus` folder and random questions, broken in ways that know the format.
//!
//! Knows nothing of the server, so that the tests over sockets make the same packets. A seed gives the same packets every time.

use std::path::Path;

use crate::wire::Random;

/// What may lie in a field of one octet or two and mean something.
const OCTETS: &[u8] = &[0, 1, 12, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xc1, 0xff];
const PAIRS: &[u16] = &[0, 1, 2, 3, 41, 127, 250, 251, 252, 254, 255, 256, 511, 512, 4_096, 0x7fff, 0x8000, 0xc00c, 0xffff];
const HEADER: usize = 12;

/// The packets that are kept, by their files' names.
pub(crate) fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let files = std::fs::read_dir(&folder).expect("the corpus").map(|file| file.expect("a file").path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "hex"));
    let mut kept: Vec<_> = files
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("text");
            (path.file_stem().expect("a name").to_string_lossy().into_owned(), read(&text))
        })
        .collect();
    // A folder has no order of its own.
    kept.sort();
    kept
}

/// Hexadecimal octets apart, `#` up to the end of its line.
fn read(text: &str) -> Vec<u8> {
    let words = text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    words.map(|word| u8::from_str_radix(word, 16).expect("two hexadecimal digits")).collect()
}

/// As a file of the corpus has it.
pub(crate) fn written(packet: &[u8]) -> String {
    packet.iter().map(|octet| format!("{octet:02x} ")).collect()
}

/// Breaks `packet` in one place. `other` is another packet, to be mixed with it.
pub(crate) fn mutate(packet: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if packet.is_empty() {
        packet.extend(other);
        return;
    }
    let at = random.below(packet.len());
    let (octet, pair) = (OCTETS[random.below(OCTETS.len())], PAIRS[random.below(PAIRS.len())]);
    match random.below(18) {
        0 => packet[at] ^= 1 << random.below(8),
        1 => packet[at] = octet,
        2 => put(packet, at, pair),
        3 => put(packet, 4 + 2 * random.below(4), if random.below(2) == 0 { pair } else { random.below(4) as u16 }),
        4 => put(packet, 2, 1 << random.below(16)),
        5 => {
            let starts = labels(packet);
            packet[starts[random.below(starts.len())]] = octet;
        }
        6 => {
            let starts = labels(packet);
            let to = random.below(packet.len() + 8) as u16;
            put(packet, starts[random.below(starts.len())], 0xc000 | to);
        }
        7 => {
            let n = random.below(9);
            packet.splice(at..at, random.bytes(n));
        }
        8 => drop(packet.drain(at..(at + 1 + random.below(16)).min(packet.len()))),
        9 => packet.truncate(at),
        10 => option_record(packet, random),
        11 => record(packet, random),
        12 => {
            packet.truncate(at);
            packet.extend(&other[random.below(other.len() + 1)..]);
        }
        13 => packet.iter_mut().skip(HEADER).filter(|octet| octet.is_ascii_alphabetic()).for_each(|octet| {
            *octet ^= 0x20 * random.below(2) as u8;
        }),
        // The type, the class.
        kind @ (14 | 15) => {
            let back = if kind == 14 { 4 } else { 2 };
            let to = question_end(packet).saturating_sub(back);
            put(packet, to, pair);
        }
        16 => {
            let label = vec![b'a'; 1 + random.below(63)];
            let mut name = Vec::new();
            for _ in 0..random.below(130) {
                name.push(label.len() as u8);
                name.extend(&label);
            }
            let from = HEADER.min(packet.len());
            packet.splice(from..from, name);
        }
        _ => {
            let room = [600, 4_096, 5_000][random.below(3)] - packet.len().min(600);
            packet.extend(random.bytes(random_length(room, at)));
        }
    }
}

/// Mostly short: long packets cost time and hold nothing new.
fn random_length(room: usize, at: usize) -> usize {
    if at.is_multiple_of(8) { room } else { room % 64 }
}

/// Where the question's labels start, or the start of all.
fn labels(packet: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = HEADER;
    while at < packet.len() && starts.len() < 128 {
        starts.push(at);
        match packet[at] {
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => break,
        }
    }
    if starts.is_empty() { vec![0] } else { starts }
}

fn question_end(packet: &[u8]) -> usize {
    labels(packet).last().map_or(0, |root| root + 5)
}

/// An OPT record whose fields and lengths may lie.
fn option_record(packet: &mut Vec<u8>, random: &mut Random) {
    let mut options = Vec::new();
    for _ in 0..random.below(3) {
        let said = if random.below(3) == 0 { PAIRS[random.below(PAIRS.len())] } else { 4 };
        options.extend((random.below(20) as u16).to_be_bytes());
        options.extend(said.to_be_bytes());
        options.extend(random.bytes(4));
    }
    let said = if random.below(4) == 0 { PAIRS[random.below(PAIRS.len())] } else { options.len() as u16 };
    packet.extend([0, 0, 41]);
    packet.extend(PAIRS[random.below(PAIRS.len())].to_be_bytes());
    packet.extend([random.below(256) as u8, [0, 0, 0, 1, 255][random.below(5)], random.below(256) as u8, 0]);
    packet.extend(said.to_be_bytes());
    packet.extend(options);
    count_one_more(packet, 10);
}

/// A record of any type in any section, whose length may lie and whose name may point anywhere.
fn record(packet: &mut Vec<u8>, random: &mut Random) {
    let to = random.below(packet.len() + 30) as u16;
    packet.extend((0xc000 | to).to_be_bytes());
    packet.extend(PAIRS[random.below(PAIRS.len())].to_be_bytes());
    packet.extend([0, 1, 0, 0, 0, 5]);
    let data = random.below(40);
    let said = if random.below(3) == 0 { PAIRS[random.below(PAIRS.len())] } else { data as u16 };
    packet.extend(said.to_be_bytes());
    packet.extend(random.bytes(data));
    count_one_more(packet, 6 + 2 * random.below(3));
}

fn count_one_more(packet: &mut [u8], at: usize) {
    if let Some(count) = packet.get_mut(at + 1) {
        *count = count.wrapping_add(1);
    }
}

fn put(packet: &mut [u8], at: usize, pair: u16) {
    if let Some(to) = packet.get_mut(at..at + 2) {
        to.copy_from_slice(&pair.to_be_bytes());
    }
}
