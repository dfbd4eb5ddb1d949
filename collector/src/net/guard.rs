//! Addresses that are never probed unless the operator lists them.
//!
//! Private networks are what a monitor is for. What is refused is what no service answers on and
//! attackers ask for: link-local addresses, above all the metadata services of clouds, and addresses
//! that name no single host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Metadata services outside the link-local range: Alibaba, Azure, Oracle, and Google over IPv6.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// The rule, and the operator's exceptions from it.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
}

/// An address that is not probed, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} is {what}, which is not probed; list it in MAINTENANT_ALLOWED_TARGETS if it should be"
)]
pub struct Refused {
    pub address: IpAddr,
    pub what: &'static str,
}

impl Guard {
    /// With exceptions: networks that may be probed whatever the rule says.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// The operator lists it.
    pub fn allows(&self, address: IpAddr) -> bool {
        let listed = |address| self.allowed.iter().any(|net| net.contains(&address));
        listed(address) || listed(meant(address))
    }

    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        if self.allows(address) {
            return Ok(());
        }
        let what = match meant(address) {
            address if METADATA.contains(&address) => "a cloud's metadata service",
            // All services of the host on AWS have their IPv6 addresses here.
            IpAddr::V6(v6) if v6.segments().starts_with(&[0xfd00, 0xec2]) => {
                "a cloud's metadata service"
            }
            IpAddr::V4(v4) if v4.is_link_local() => "a link-local address",
            IpAddr::V4(v4) if v4.octets()[0] == 0 => "no address of a host",
            IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
            IpAddr::V6(v6) if v6.is_unicast_link_local() => "a link-local address",
            IpAddr::V6(v6) if v6.is_unspecified() => "no address of a host",
            address if address.is_multicast() => "a multicast address",
            _ => return Ok(()),
        };
        Err(Refused { address, what })
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped or compatible (RFC 4291 §2.5.5),
/// translated (RFC 2765 §2.1), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056).
pub(crate) fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, addresses: &[&str], permitted: bool) {
        for address in addresses {
            let answer = guard.check(address.parse().unwrap());
            assert_eq!(answer.is_ok(), permitted, "{address}: {answer:?}");
        }
    }

    #[test]
    fn private_networks_and_loopback_are_what_a_monitor_is_for() {
        let own = ["127.0.0.1", "::1", "10.0.0.1", "172.17.0.2", "192.168.1.1", "100.64.0.1"];
        check(&Guard::default(), &own, true);
        check(&Guard::default(), &["fd00::1", "2001:db8::1", "192.0.2.1", "8.8.8.8"], true);
    }

    #[test]
    fn metadata_and_link_local_are_refused_in_every_spelling() {
        let denied = [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "::ffff:0:169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:2:3:4:a9fe:a9fe",
            "fd00:ec2::254",
            "fd00:ec2::123",
            "fd00:ec2:1::23",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ];
        check(&Guard::default(), &denied, false);
    }

    #[test]
    fn the_operator_may_list_exceptions() {
        let guard = Guard::new(vec!["169.254.169.254/32".parse().unwrap()]);
        check(&guard, &["169.254.169.254", "::ffff:169.254.169.254"], true);
        check(&guard, &["169.254.169.253"], false);
        let fault = guard.check("169.254.1.1".parse().unwrap()).unwrap_err().to_string();
        assert!(fault.contains("MAINTENANT_ALLOWED_TARGETS"), "{fault}");
    }
}
