//! Who is counted as one.

use std::net::IpAddr;

use maintenant_serve::guard::Peer;

use crate::caller::Caller;

/// A caller, or what many callers have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    Subject(Option<&'a str>, &'a str),
    /// A client that calls for itself.
    Client(Option<&'a str>, &'a str),
    /// All subjects of a client.
    SubjectsOf(Option<&'a str>, &'a str),
    StaticToken,
    Address(IpAddr),
    /// A unix socket, or stdio.
    Local,
}

impl<'a> Key<'a> {
    /// The subject, else the client of the token, else that it was the static one; without any, the
    /// address. One house has a whole /64 of IPv6.
    pub fn of(caller: Option<&'a Caller>, peer: Option<Peer>) -> Self {
        if let Some(caller) = caller {
            let issuer = caller.issuer.as_deref();
            return match (caller.subject.as_ref().or(caller.email.as_ref()), &caller.client) {
                (Some(subject), _) => Self::Subject(issuer, subject),
                (None, Some(client)) => Self::Client(issuer, client),
                (None, None) => Self::StaticToken,
            };
        }
        match peer {
            Some(Peer::Tcp(address)) => Self::Address(match address.ip().to_canonical() {
                IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & (u128::MAX << 64)).into()),
                ip @ IpAddr::V4(_) => ip,
            }),
            Some(Peer::Unix) | None => Self::Local,
        }
    }

    /// The OAuth client behind a subject, which may have many.
    pub fn of_client(caller: Option<&'a Caller>) -> Option<Self> {
        let (caller, client) = (caller?, caller?.client.as_deref()?);
        let own = matches!(Self::of(Some(caller), None), Self::Client(..));
        (!own).then_some(Self::SubjectsOf(caller.issuer.as_deref(), client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_apart_by_the_best_that_is_known() {
        let check = |caller: Option<&Caller>, peer: &str, expected: Key<'_>| {
            let peer = Peer::Tcp(peer.parse().unwrap());
            assert_eq!(Key::of(caller, Some(peer)), expected);
        };
        let mut caller = Caller {
            admitted_by: crate::caller::AdmittedBy::Token,
            issuer: Some("i".to_owned()),
            subject: Some("s".to_owned()),
            email: None,
            client: Some("c".to_owned()),
            scopes: None,
            expires_at: None,
        };
        check(Some(&caller), "192.0.2.1:9", Key::Subject(Some("i"), "s"));
        assert_eq!(Key::of_client(Some(&caller)), Some(Key::SubjectsOf(Some("i"), "c")));
        caller.subject = None;
        check(Some(&caller), "192.0.2.1:9", Key::Client(Some("i"), "c"));
        assert_eq!(Key::of_client(Some(&caller)), None, "it is counted as itself");
        caller.client = None;
        check(Some(&caller), "192.0.2.1:9", Key::StaticToken);
        let address = |text: &str| Key::Address(text.parse().unwrap());
        check(None, "192.0.2.1:9", address("192.0.2.1"));
        check(None, "[::ffff:192.0.2.1]:9", address("192.0.2.1"));
        check(None, "[2001:db8:1:2:3:4:5:6]:9", address("2001:db8:1:2::"));
        assert_eq!(Key::of(None, Some(Peer::Unix)), Key::Local);
    }
}
