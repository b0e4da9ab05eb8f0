//! `bind ADDRESS|LINK... { except ADDRESS|LINK... }`: the addresses on which the block's ports are served, in place of all. Those of a
//! link are the ones that it has when the Corefile is read.
//!
//! One that no interface has is refused, at the start and in a changed Corefile, as by CoreDNS: most of these are mistakes, and whoever
//! moves an address between machines has `net.ipv4.ip_nonlocal_bind` for it.

use std::net::IpAddr;

use crate::config::directive::{Directive, Mistakes};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub addresses: Vec<IpAddr>,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let mut addresses = named(directive, mistakes);
    for property in &directive.body {
        if property.name == "except" {
            let except = named(property, mistakes);
            addresses.retain(|address| !except.contains(address));
        } else {
            mistakes.unknown(property, "bind", &["except"]);
        }
    }
    Some(Options { addresses })
}

/// The addresses that the arguments name.
fn named(directive: &Directive, mistakes: &mut Mistakes) -> Vec<IpAddr> {
    if directive.args.is_empty() {
        mistakes.add(directive.line, format!("`{}` takes one or more addresses or links", directive.name));
    }
    let mut addresses = Vec::new();
    for arg in &directive.args {
        match arg.parse().map(|address| vec![address]).ok().or_else(|| of_link(arg)) {
            Some(found) => addresses.extend(found),
            None => mistakes.add(directive.line, format!("`{} {arg}`: neither an IP address nor a link of this machine", directive.name)),
        }
    }
    addresses
}

/// The addresses of a link; `None` where there is no such link. Link-local ones need the link to be reached: nobody is served there.
fn of_link(name: &str) -> Option<Vec<IpAddr>> {
    let link = kernel::rtnl::links().ok()?.into_iter().find(|link| link.name == name)?;
    let addresses = kernel::rtnl::addresses().ok()?.into_iter().filter(|address| address.link == link.index);
    Some(addresses.map(|it| it.address).filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::Spec;
    use crate::plugins::tests::{mistakes, spec};

    fn check(text: &str, expected: &[&str]) {
        let Spec::Bind(options) = spec(text) else { panic!("bind") };
        let expected: Vec<IpAddr> = expected.iter().map(|address| address.parse().expect("address")).collect();
        assert_eq!(options.addresses, expected, "{text}");
    }

    #[test]
    fn addresses_and_links_are_named_and_excepted() {
        check("bind 10.0.0.1 fd00::1", &["10.0.0.1", "fd00::1"]);
        check("bind 10.0.0.1 10.0.0.2 {\n except 10.0.0.1\n}", &["10.0.0.2"]);
        let Spec::Bind(options) = spec("bind lo") else { panic!("bind") };
        assert!(options.addresses.iter().all(IpAddr::is_loopback), "{options:?}");
        assert_eq!(mistakes("bind"), ["`bind` takes one or more addresses or links"]);
        assert_eq!(mistakes("bind nowhere0"), ["`bind nowhere0`: neither an IP address nor a link of this machine"]);
    }
}
