//! Which addresses messages may be sent to. Whoever may make a channel must not reach through it what
//! only this machine reaches.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;
use url::{Host, Url};

use crate::net::Net;
use crate::net::guard::meant;
use crate::net::resolve::ResolveError;

/// For a name to be looked up.
const LOOK_UP: Duration = Duration::from_secs(5);

/// The rule. It is asked for every connection, after the look-up of its name.
#[derive(Debug, Clone)]
pub struct Reach {
    net: Net,
    allow_private: bool,
}

/// No address of a host may be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub String);

impl Reach {
    pub fn new(net: Net, allow_private: bool) -> Self {
        Self { net, allow_private }
    }

    /// Whether plain http and private addresses are allowed.
    pub fn allows_private(&self) -> bool {
        self.allow_private
    }

    /// Metadata services, link-local and other addresses of no host are refused whatever is allowed,
    /// private ones unless they are.
    pub fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        self.net.guard.check(address).map_err(|refused| Forbidden(refused.to_string()))?;
        if self.allow_private || self.net.guard.allows(address) || !is_private(meant(address)) {
            return Ok(());
        }
        Err(Forbidden(format!(
            "{address} is a private address; MAINTENANT_ALLOW_PRIVATE_WEBHOOKS=true allows such"
        )))
    }

    /// An address in place of a name, which no resolver is asked for.
    pub fn check_literal(&self, url: &Url) -> Result<(), Forbidden> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(address.into()),
            Some(Host::Ipv6(address)) => self.check(address.into()),
            _ => Ok(()),
        }
    }

    /// Only https, unless private addresses are allowed.
    pub fn check_scheme(&self, url: &Url) -> Result<(), Forbidden> {
        if self.allow_private || url.scheme() == "https" {
            return Ok(());
        }
        let text = "use https; MAINTENANT_ALLOW_PRIVATE_WEBHOOKS=true also allows http";
        Err(Forbidden(text.to_owned()))
    }

    /// Says early what would be refused at every connection. A resolver that does not answer says
    /// nothing of the name.
    pub async fn check_url(&self, url: &Url) -> Result<(), Forbidden> {
        self.check_literal(url)?;
        let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
        if self.allow_private {
            return Ok(());
        }
        match self.look_up(name).await {
            Err(LookUp::Forbidden(forbidden)) => Err(forbidden),
            Err(LookUp::Failed(ResolveError::Failed(_) | ResolveError::Empty)) => {
                Err(Forbidden("its host cannot be resolved".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// The addresses of a name that may be reached, at least one.
    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, LookUp> {
        let resolved = self.net.resolver.resolve(name, Instant::now() + LOOK_UP).await;
        let (mut permitted, mut refused) = (Vec::new(), None);
        for address in resolved.addresses.map_err(LookUp::Failed)? {
            match self.check(address) {
                Ok(()) => permitted.push(address),
                Err(forbidden) => refused = Some(forbidden),
            }
        }
        match refused {
            Some(forbidden) if permitted.is_empty() => Err(LookUp::Forbidden(forbidden)),
            _ => Ok(permitted),
        }
    }
}

enum LookUp {
    Failed(ResolveError),
    Forbidden(Forbidden),
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.clone();
        Box::pin(async move {
            match reach.look_up(name.as_str()).await {
                Ok(found) => {
                    let addresses = found.into_iter().map(|address| SocketAddr::new(address, 0));
                    Ok(Box::new(addresses) as Addrs)
                }
                Err(LookUp::Forbidden(forbidden)) => Err(forbidden.into()),
                Err(LookUp::Failed(error)) => {
                    Err(format!("its host cannot be resolved: {error}").into())
                }
            }
        })
    }
}

/// Loopback, private, shared (RFC 6598), benchmarks (RFC 2544), protocol assignments (RFC 6890), and
/// unique or site local IPv6 (RFC 4193, RFC 3879).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let octets = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || matches!(octets, [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18 | 19, ..])
                || octets[0] >= 240
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unique_local() || v6.segments()[0] & 0xffc0 == 0xfec0
        }
    }
}
