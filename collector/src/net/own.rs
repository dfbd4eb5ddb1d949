//! Whether an address is our own.
//!
//! Whoever declares an endpoint chooses method, path and headers of a request. Sent to ourselves, it
//! would come from this machine and under a permitted host: others could use our rights.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::Net;
use super::guard::{Refused, meant};

impl Net {
    /// Refuses an address on which this process listens, unless the operator lists it.
    pub(super) fn refuse_own(&self, address: IpAddr, port: u16) -> Result<(), Refused> {
        let listens = |own: &&SocketAddr| {
            let ip = meant(address);
            let any = own.ip().is_unspecified() && is_local(ip);
            own.port() == port && (any || meant(own.ip()) == ip)
        };
        match self.own.iter().find(listens) {
            Some(_) if !self.guard.allows(address) => {
                Err(Refused { address, what: "the collector itself" })
            }
            _ => Ok(()),
        }
    }
}

/// It belongs to this machine: only then can a socket be bound to it. A connection does not tell,
/// because the system may give its own end another of our addresses.
fn is_local(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::AddrNotAvailable,
    }
}
