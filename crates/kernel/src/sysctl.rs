//! Kernel knobs below /proc/sys, by their dotted names: `net.ipv4.ip_forward`.
//!
//! Interface names with a dot in them are written with a slash, as sysctl(8) does it: `net.ipv4.conf.eth0/5.rp_filter`.

use std::path::PathBuf;

use crate::Errno;

pub fn read(name: &str) -> Result<String, Errno> {
    Ok(std::fs::read_to_string(path(name))?.trim().to_owned())
}

/// Writes the knob unless it has the value already: /proc/sys is often read-only in a container whose values are right.
pub fn write(name: &str, value: &str) -> Result<(), Errno> {
    if read(name).is_ok_and(|now| now == value) {
        return Ok(());
    }
    Ok(std::fs::write(path(name), value)?)
}

fn path(name: &str) -> PathBuf {
    let swapped: String = name
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect();
    PathBuf::from("/proc/sys").join(swapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_change_places() {
        assert_eq!(path("net.ipv4.conf.eth0/5.rp_filter").to_str(), Some("/proc/sys/net/ipv4/conf/eth0.5/rp_filter"));
    }
}
