//! Source ranges: whose requests are let in.

use std::net::IpAddr;

use model::options::SourceRanges;

/// Denied ranges are asked first (nginx `deny` before `allow`, as ingress-nginx orders them).
pub(crate) fn lets_in(ranges: &SourceRanges, client: IpAddr) -> bool {
    let within = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&client));
    !within(&ranges.deny) && ranges.allow.as_deref().is_none_or(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: Option<&[&str]>, deny: &[&str], client: &str, expected: bool) {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a range")).collect();
        let ranges = SourceRanges { allow: allow.map(nets), deny: nets(deny) };
        assert_eq!(lets_in(&ranges, client.parse().expect("an address")), expected, "{allow:?} {deny:?} {client}");
    }

    #[test]
    fn denied_ranges_come_before_allowed_ones() {
        check(None, &[], "192.0.2.1", true);
        check(None, &["192.0.2.0/24"], "192.0.2.1", false);
        check(Some(&["192.0.2.0/24"]), &[], "192.0.2.1", true);
        check(Some(&["192.0.2.0/24"]), &[], "198.51.100.1", false);
        check(Some(&["192.0.2.0/24"]), &["192.0.2.1/32"], "192.0.2.1", false);
        check(Some(&[]), &[], "192.0.2.1", false);
        check(Some(&["192.0.2.0/24"]), &[], "2001:db8::1", false);
    }
}
