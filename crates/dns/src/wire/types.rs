//! The names of record types and classes (IANA's registry, as CoreDNS knows it).

use std::fmt;

use super::CLASS_ANY;

/// A type by its name, or by its number where it has none: `TYPE65280` (RFC 3597 section 5).
pub(crate) struct Type(pub(crate) u16);

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(known, _)| *known == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

/// The type of a name, whatever its letter case.
pub(crate) fn type_named(name: &str) -> Option<u16> {
    NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(rtype, _)| *rtype)
}

#[rustfmt::skip]
const NAMES: &[(u16, &str)] = &[
    (1, "A"), (2, "NS"), (3, "MD"), (4, "MF"), (5, "CNAME"), (6, "SOA"), (7, "MB"), (8, "MG"), (9, "MR"), (10, "NULL"), (12, "PTR"),
    (13, "HINFO"), (14, "MINFO"), (15, "MX"), (16, "TXT"), (17, "RP"), (18, "AFSDB"), (19, "X25"), (20, "ISDN"), (21, "RT"),
    (23, "NSAP-PTR"), (24, "SIG"), (25, "KEY"), (26, "PX"), (27, "GPOS"), (28, "AAAA"), (29, "LOC"), (30, "NXT"), (31, "EID"),
    (32, "NIMLOC"), (33, "SRV"), (34, "ATMA"), (35, "NAPTR"), (36, "KX"), (37, "CERT"), (39, "DNAME"), (41, "OPT"), (42, "APL"),
    (43, "DS"), (44, "SSHFP"), (45, "IPSECKEY"), (46, "RRSIG"), (47, "NSEC"), (48, "DNSKEY"), (49, "DHCID"), (50, "NSEC3"),
    (51, "NSEC3PARAM"), (52, "TLSA"), (53, "SMIMEA"), (55, "HIP"), (56, "NINFO"), (57, "RKEY"), (58, "TALINK"), (59, "CDS"),
    (60, "CDNSKEY"), (61, "OPENPGPKEY"), (62, "CSYNC"), (63, "ZONEMD"), (64, "SVCB"), (65, "HTTPS"), (99, "SPF"), (100, "UINFO"),
    (101, "UID"), (102, "GID"), (103, "UNSPEC"), (104, "NID"), (105, "L32"), (106, "L64"), (107, "LP"), (108, "EUI48"), (109, "EUI64"),
    (128, "NXNAME"), (249, "TKEY"), (250, "TSIG"), (251, "IXFR"), (252, "AXFR"), (253, "MAILB"), (254, "MAILA"), (255, "ANY"),
    (256, "URI"), (257, "CAA"), (258, "AVC"), (260, "AMTRELAY"), (261, "RESINFO"), (32768, "TA"), (32769, "DLV"),
];

/// A class by its name, or by its number where it has none.
pub(crate) struct Class(pub(crate) u16);

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `ANY` is a type as well, and would not say which of the two is meant.
        match CLASSES.iter().find(|(known, _)| *known == self.0 && *known != CLASS_ANY) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "CLASS{}", self.0),
        }
    }
}

/// The class of a name, whatever its letter case.
pub(crate) fn class_named(name: &str) -> Option<u16> {
    CLASSES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(class, _)| *class)
}

const CLASSES: &[(u16, &str)] = &[(1, "IN"), (2, "CS"), (3, "CH"), (4, "HS"), (254, "NONE"), (CLASS_ANY, "ANY")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_never_taken_for_a_type() {
        assert_eq!([1, 254, 255, 9].map(|class| Class(class).to_string()), ["IN", "NONE", "CLASS255", "CLASS9"]);
    }
}
