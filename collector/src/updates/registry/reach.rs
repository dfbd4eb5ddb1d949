//! Which addresses registries, their token servers and their redirects may have.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;
use url::{Host as UrlHost, Url};

use crate::net::Net;
use crate::updates::reference::is_loopback;

const LOOK_UP: Duration = Duration::from_secs(5);

pub(super) fn is_loopback_name(host: &str) -> bool {
    is_loopback(&format!("{host}:"))
}

/// The rule of what is never probed, for names and for addresses in their place.
#[derive(Clone)]
pub(super) struct Guarded(pub(super) Net);

impl Guarded {
    /// TLS everywhere but within this machine, and no address that is refused.
    pub(super) fn check_url(&self, url: &Url, is_local: bool) -> Result<(), String> {
        let address: Option<IpAddr> = match url.host() {
            Some(UrlHost::Ipv4(address)) => Some(address.into()),
            Some(UrlHost::Ipv6(address)) => Some(address.into()),
            Some(UrlHost::Domain(_)) => None,
            None => return Err("the address has no host".to_owned()),
        };
        match url.scheme() {
            "https" => {}
            "http" if is_local && url.host_str().is_some_and(is_loopback_name) => {}
            scheme => return Err(format!("{scheme} is not spoken with other machines; use https")),
        }
        match address.map(|address| self.0.guard.check(address)) {
            Some(Err(refused)) => Err(refused.to_string()),
            _ => Ok(()),
        }
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let net = self.0.clone();
        Box::pin(async move {
            let resolved = net.resolver.resolve(name.as_str(), Instant::now() + LOOK_UP).await;
            let addresses = resolved.addresses?;
            let (mut permitted, mut refused) = (Vec::new(), None);
            for address in addresses {
                match net.guard.check(address) {
                    Ok(()) => permitted.push(SocketAddr::new(address, 0)),
                    Err(fault) => refused = Some(fault),
                }
            }
            match refused {
                Some(fault) if permitted.is_empty() => Err(fault.into()),
                _ => Ok(Box::new(permitted.into_iter()) as Addrs),
            }
        })
    }
}
