//! Facts about reaching things, on loopback.

use std::net::{IpAddr, SocketAddr};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, ProtocolVersion, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Net;
use super::connect::{ConnectError, ConnectFault, Connected, interleaved, worst};
use super::guard::Guard;
use super::resolve::{ResolveError, Resolver, fault as look_up_fault};
use super::testing::{
    BlackHole, FUTURE, Identity, NOW, PAST, Pki, Server, closed_port, hold, reply, self_signed,
    stand_still,
};
use super::tls::{HandshakeError, Presented, Trust, server_name};

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn nobody() -> Trust {
    Trust::of(RootCertStore::empty()).unwrap()
}

fn net(look_up: super::resolve::LookUp) -> Net {
    let mut net = Net::new(Guard::default(), nobody());
    net.resolver = Resolver::asking(look_up);
    net
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

// --- names --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_literal_is_its_own_address_and_asks_nobody() {
    let resolver = Resolver::asking(|_| panic!("asked"));
    for (text, address) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("::1", "::1")] {
        assert_eq!(resolver.resolve(text, soon()).await.addresses, Ok(addresses(&[address])));
    }
}

#[tokio::test]
async fn names_are_looked_up_as_the_system_does() {
    let found = Resolver::default().resolve("localhost", soon()).await.addresses.unwrap();
    assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    // RFC 6761 §6.4: it does not exist, and no resolver may say otherwise.
    let resolved = Resolver::default().resolve("does-not-exist.invalid", soon()).await;
    let error = resolved.addresses.unwrap_err();
    assert!(matches!(&error, ResolveError::Failed(words) if !words.is_empty()), "{error:?}");
}

fn never(_: &str) -> Result<Vec<IpAddr>, ResolveError> {
    std::thread::sleep(Duration::from_hours(1));
    Err(ResolveError::Empty)
}

#[tokio::test]
async fn a_silent_resolver_is_told_from_one_that_was_never_asked() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let resolver = Resolver::asking(|name| {
        ASKED.fetch_add(1, Ordering::SeqCst);
        never(name)
    });
    let still = stand_still();
    let until = Instant::now() + Duration::from_secs(2);
    let asked = |_| resolver.resolve("slow.example", until);
    let answers = futures_util::future::join_all((0..40).map(asked));
    // Time goes on once as many have begun as there are free to ask.
    let begun = async {
        when(|| ASKED.load(Ordering::SeqCst) == 16).await;
        drop(still);
    };
    let (answers, ()) = tokio::join!(answers, begun);
    let count = |fault: &ResolveError| {
        answers.iter().filter(|answer| answer.addresses.as_ref() == Err(fault)).count()
    };
    assert_eq!((count(&ResolveError::Timeout), count(&ResolveError::Busy)), (16, 24));
    assert_eq!(ASKED.load(Ordering::SeqCst), 16);
}

/// Waits until it is so, and everybody else has heard of it.
async fn when(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn waiting_for_a_look_up_to_begin_is_no_time_of_the_resolver() {
    const TAKES: Duration = Duration::from_millis(1200);
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    // When those end that are free to ask, and when the last one does.
    static ENDS: [Barrier; 2] = [Barrier::new(17), Barrier::new(2)];
    let _still = stand_still();
    let net = net(|_| {
        let is_last = ASKED.fetch_add(1, Ordering::SeqCst) == 16;
        ENDS[usize::from(is_last)].wait();
        Ok(addresses(&["127.0.0.1"]))
    });
    let server = Server::greeting(reply("hello")).await;
    // Each look-up has time for one and not for two, and one more is asked than are free to ask.
    let until = Instant::now() + Duration::from_secs(2);
    let connect = |_| net.connect("slow.example", server.port(), until);
    let all = futures_util::future::join_all((0..17).map(connect));
    let time = async {
        for (end, asked) in ENDS.iter().zip([16, 17]) {
            when(|| ASKED.load(Ordering::SeqCst) == asked).await;
            tokio::time::advance(TAKES).await;
            end.wait();
            when(|| server.seen.lock().unwrap().len() == asked).await;
        }
    };
    let (all, ()) = tokio::join!(all, time);
    let all: Vec<Connected> = all.into_iter().map(Result::unwrap).collect();
    let last = all.iter().max_by_key(|one| one.waited).unwrap();
    assert_eq!((last.waited, last.dns), (TAKES, TAKES), "{last:?}");
}

#[test]
fn a_look_up_that_this_machine_could_not_make_is_no_fault_of_the_name() {
    use std::io::{Error, ErrorKind};
    let words = || Error::other("failed to lookup address information: Temporary failure");
    let raw = Error::from_raw_os_error;
    let failed = ResolveError::Failed("Temporary failure".to_owned());
    assert_eq!(look_up_fault(&words(), Ok(())), failed);
    assert_eq!(look_up_fault::<()>(&words(), Err(raw(24))), ResolveError::Busy);
    assert_eq!(look_up_fault::<()>(&words(), Err(ErrorKind::AddrNotAvailable.into())), failed);
    for ours in [raw(23), raw(24), raw(12), raw(105)] {
        assert_eq!(look_up_fault(&ours, Ok(())), ResolveError::Busy, "{ours}");
    }
}

// --- connections --------------------------------------------------------------------------------

#[test]
fn families_take_turns_beginning_with_the_systems_choice() {
    let check = |given: &[&str], tried: &[&str]| {
        assert_eq!(interleaved(addresses(given)), addresses(tried));
    };
    check(&[], &[]);
    check(&["10.0.0.1", "10.0.0.2"], &["10.0.0.1", "10.0.0.2"]);
    check(&["::1", "::2", "10.0.0.1"], &["::1", "10.0.0.1", "::2"]);
    check(&["10.0.0.1", "::1", "::2", "10.0.0.2"], &["10.0.0.1", "::1", "10.0.0.2", "::2"]);
    let many: Vec<String> = (0..20).map(|last| format!("10.0.0.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(&many, &many[..8]);
}

async fn fault(net: &Net, host: &str, port: u16) -> ConnectError {
    net.connect(host, port, soon()).await.unwrap_err()
}

#[tokio::test]
async fn addresses_that_are_not_probed_are_left_out() {
    let net = net(|name| {
        Ok(addresses(match name {
            "both.example" => &["169.254.169.254", "127.0.0.1"],
            _ => &["169.254.169.254", "fe80::1"],
        }))
    });
    let server = Server::greeting(reply("hello")).await;
    let Connected { address, .. } =
        net.connect("both.example", server.port(), soon()).await.unwrap();
    assert_eq!(address, server.address);
    let none = fault(&net, "metadata.example", 80).await;
    assert!(matches!(none.fault, ConnectFault::Refused(_)), "{none:?}");
    assert_eq!(none.connect, None);
    let literal = fault(&net, "[::ffff:169.254.169.254]", 80).await;
    assert!(matches!(literal.fault, ConnectFault::Refused(_)), "{literal:?}");
}

#[tokio::test]
async fn what_this_process_listens_on_is_not_connected_to() {
    let server = Server::greeting(reply("hello")).await;
    let (address, port) = (server.address, server.port());
    let refused = async |listens: SocketAddr, host: &str, port: u16| {
        let net = net(|_| Ok(addresses(&["127.0.0.1"]))).of_listener([listens]);
        let error = net.connect(host, port, soon()).await.err();
        error.is_some_and(|error| error.to_string().contains("the collector itself"))
    };
    let any = SocketAddr::new("0.0.0.0".parse().unwrap(), port);
    let any_v6 = SocketAddr::new("::".parse().unwrap(), port);
    for host in ["127.0.0.1", "self.example", "[::ffff:127.0.0.1]"] {
        for listens in [address, any, any_v6] {
            assert!(refused(listens, host, port).await, "{host} {listens}");
        }
    }
    // The system gives the other end another address of its own.
    assert!(refused(any, "127.0.0.5", port).await);
    assert!(!refused(address, "127.0.0.5", port).await, "somebody else may listen there");
    let (_held, closed) = closed_port();
    assert!(!refused(address, "127.0.0.1", closed).await);
    // An address of documentation (RFC 5737): no machine has it.
    let net = net(|_| Err(ResolveError::Busy)).of_listener([any]);
    assert_eq!(net.refuse_own("192.0.2.1".parse().unwrap(), port), Ok(()));
    let mut listed = net;
    listed.guard = Guard::new(vec!["127.0.0.1/32".parse().unwrap()]).into();
    assert!(listed.connect("127.0.0.1", port, soon()).await.is_ok());
}

#[tokio::test]
async fn a_fault_of_the_target_is_no_fault_of_ours() {
    let net = net(|_| Err(ResolveError::Busy));
    let (_held, closed) = closed_port();
    let refused = fault(&net, "127.0.0.1", closed).await;
    assert_eq!(refused.fault, ConnectFault::Connect("connection refused".to_owned()));
    assert!(!refused.fault.is_ours() && refused.connect.is_some());
    let busy = fault(&net, "busy.example", 80).await;
    assert!(busy.fault.is_ours() && busy.connect.is_none());
}

#[test]
fn of_several_faults_the_one_that_tells_most_is_reported() {
    use std::io::ErrorKind::{ConnectionRefused, NetworkUnreachable, OutOfMemory};
    let check = |faults: &[(bool, std::io::ErrorKind)], ours: bool, words: &str| {
        let faults: Vec<_> = faults.iter().map(|(local, kind)| (*local, (*kind).into())).collect();
        let fault = worst(&faults);
        assert_eq!((fault.is_ours(), fault.to_string().contains(words)), (ours, true), "{fault}");
    };
    let (refused, no_route) = ((false, ConnectionRefused), (false, NetworkUnreachable));
    check(&[refused, no_route], false, "connection refused");
    check(&[no_route, refused], false, "connection refused");
    check(&[no_route], false, "network unreachable");
    check(&[(true, OutOfMemory), refused], true, "out of memory");
}

#[tokio::test]
async fn an_address_that_says_nothing_does_not_hold_up_the_next() {
    let server = Server::greeting(reply("hello")).await;
    let hole = BlackHole::at(SocketAddr::new("127.0.0.9".parse().unwrap(), server.port())).await;
    assert_eq!(hole.address.port(), server.port());
    let net = net(|_| Ok(addresses(&["127.0.0.9", "127.0.0.1"])));
    let connected = net.connect("two.example", server.port(), soon()).await.unwrap();
    assert_eq!(connected.address, server.address);
    let alone = net.connect("127.0.0.9", server.port(), Instant::now() + Duration::from_millis(50));
    assert_eq!(alone.await.unwrap_err().fault, ConnectFault::Timeout);
}

#[tokio::test]
async fn a_family_without_a_route_is_passed_over() {
    // Documentation addresses (RFC 3849): unreachable at once, or silent, whatever the machine.
    let server = Server::greeting(reply("hello")).await;
    let net = net(|_| Ok(addresses(&["2001:db8::1", "127.0.0.1"])));
    let connected = net.connect("two.example", server.port(), soon()).await.unwrap();
    assert_eq!(connected.address, server.address);
}

// --- TLS ----------------------------------------------------------------------------------------

async fn shake(trust: &Trust, server: &Server, name: &str) -> Result<Presented, HandshakeError> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let shaken = trust.handshake(stream, server_name(name).unwrap(), soon()).await;
    shaken.map(|(_, presented)| presented)
}

async fn presented(identity: Identity) -> (Vec<CertificateDer<'static>>, Presented) {
    let chain = identity.chain.clone();
    let server = Server::https(identity, |_| reply("")).await;
    (chain, shake(&nobody(), &server, "a.example").await.unwrap())
}

#[tokio::test]
async fn whatever_is_presented_is_recorded() {
    let pki = Pki::named("our");
    let of_another_name = pki.issue(&["b.example"], NOW);
    for identity in [pki.issue(&["a.example"], PAST), self_signed(&["a.example"]), of_another_name]
    {
        let (sent, seen) = presented(identity).await;
        assert_eq!(seen.chain, sent);
        assert_eq!(seen.version, Some(ProtocolVersion::TLSv1_3));
    }
}

#[tokio::test]
async fn names_go_out_as_sni_and_addresses_do_not() {
    let server = Server::https(self_signed(&["a.example"]), |_| reply("")).await;
    for name in ["a.example", "a.example.", "127.0.0.1", "[::1]"] {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let shaken = nobody().handshake(stream, server_name(name).unwrap(), soon()).await;
        let (mut stream, _) = shaken.unwrap();
        stream.write_all(b"\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    }
    let asked: Vec<_> = server.names.lock().unwrap().clone();
    let named = Some("a.example".to_owned());
    assert_eq!(asked, [named.clone(), named, None, None]);
}

#[tokio::test]
async fn a_handshake_that_fails_says_how() {
    let plain = Server::http(|_| reply("")).await;
    let stream = TcpStream::connect(plain.address).await.unwrap();
    let until = Instant::now() + Duration::from_millis(50);
    let silent = nobody().handshake(stream, server_name("a.example").unwrap(), until).await;
    assert!(matches!(silent, Err(HandshakeError::Timeout)), "{silent:?}");
    let garbage = Server::greeting(hold("220 smtp.example ESMTP\r\n")).await;
    let garbage = shake(&nobody(), &garbage, "a.example").await;
    assert!(matches!(garbage, Err(HandshakeError::Tls(rustls::Error::InvalidMessage(_)))));
    let closing = Server::greeting(reply("")).await;
    let closing = shake(&nobody(), &closing, "a.example").await;
    assert!(matches!(closing, Err(HandshakeError::Io(_))), "{closing:?}");
}

/// The verdict today, in one word.
fn verdict(trust: &Trust, chain: &[CertificateDer<'static>], name: &str) -> &'static str {
    use CertificateError as Fault;
    let presented = Presented { chain: chain.to_vec(), ..Presented::default() };
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    match trust.judge(&presented, &server_name(name).unwrap(), now) {
        Ok(()) => "trusted",
        Err(rustls::Error::InvalidCertificate(fault)) => match fault {
            Fault::UnknownIssuer => "unknown issuer",
            Fault::ExpiredContext { .. } => "expired",
            Fault::NotValidYetContext { .. } => "not yet",
            Fault::NotValidForNameContext { .. } => "name",
            _ => "other",
        },
        Err(_) => "no certificate fault",
    }
}

#[test]
fn a_chain_is_judged_by_roots_name_and_time() {
    let (pki, stranger) = (Pki::named("our"), Pki::named("their"));
    let trust = pki.trust();
    let good = pki.issue(&["a.example", "10.0.0.1"], NOW).chain;
    assert_eq!(verdict(&trust, &good, "a.example"), "trusted");
    assert_eq!(verdict(&trust, &good, "10.0.0.1"), "trusted");
    assert_eq!(verdict(&trust, &good, "b.example"), "name");
    assert_eq!(verdict(&trust, &good[..1], "a.example"), "unknown issuer");
    assert_eq!(verdict(&trust, &[], "a.example"), "unknown issuer");
    let past = pki.issue(&["a.example"], PAST).chain;
    assert_eq!(verdict(&trust, &past, "a.example"), "expired");
    let future = pki.issue(&["a.example"], FUTURE).chain;
    assert_eq!(verdict(&trust, &future, "a.example"), "not yet");
    let own = self_signed(&["a.example"]).chain;
    assert_eq!(verdict(&trust, &own, "a.example"), "unknown issuer");
    assert_eq!(verdict(&trust.with(&own).unwrap(), &own, "a.example"), "trusted");
    assert_eq!(verdict(&stranger.trust(), &good, "a.example"), "unknown issuer");
    let both = stranger.trust().with(&[pki.root()]).unwrap();
    assert_eq!(verdict(&both, &good, "a.example"), "trusted");
    assert_eq!(verdict(&nobody(), &good, "a.example"), "unknown issuer");
}

#[test]
fn hosts_are_names_as_tls_knows_them() {
    for (host, name) in [("a.example.", "a.example"), ("[::1]", "::1"), ("10.0.0.1", "10.0.0.1")] {
        assert_eq!(server_name(host).unwrap().to_str(), name);
    }
    assert_eq!(server_name("a b"), None);
}
