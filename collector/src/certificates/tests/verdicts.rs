use maintenant_api::certificates::Verdict;
use rcgen::ExtendedKeyUsagePurpose;

use super::pki::{DAY, Pki, Signer, authority, day, hours, pki, server, shows, trusting};
use crate::certificates::der;
use crate::certificates::verdict::Finding;
use crate::net::tls::{Presented, Trust, server_name};

fn find(trust: &Trust, chain: &[&Signer], name: &str, days: i64) -> Finding {
    let name = server_name(name).unwrap();
    Finding::of(&shows(chain), &name, trust, None, day(days))
}

/// The verdict on `lab.test` today; whether the chain is valid and the name fits; parts of what is
/// said and of the hint.
#[track_caller]
fn check(finding: &Finding, verdict: Verdict, facts: (bool, bool), says: &[&str], hints: &[&str]) {
    assert_eq!(finding.verdict, verdict, "{finding:#?}");
    let seen = (finding.chain_valid, finding.hostname_match);
    assert_eq!(seen, (Some(facts.0), Some(facts.1)), "{finding:#?}");
    assert_eq!(finding.error.is_none(), verdict == Verdict::Ok);
    assert_eq!(finding.hint.is_none(), verdict == Verdict::Ok);
    for part in says {
        assert!(finding.error.as_ref().unwrap().contains(part), "{part}: {:?}", finding.error);
    }
    for part in hints {
        assert!(finding.hint.as_ref().unwrap().contains(part), "{part}: {:?}", finding.hint);
    }
    assert!(finding.facts.is_some());
}

#[test]
fn a_good_chain_is_accepted_and_its_facts_are_read() {
    let Pki { root, intermediate, trust } = pki();
    let mut spec = server();
    spec.issuer_url = Some("http://lab.test/issuing.der");
    let leaf = spec.issued_by(&intermediate);
    let good = find(&trust, &[&leaf, &intermediate], "lab.test", 0);
    check(&good, Verdict::Ok, (true, true), &[], &[]);
    assert_eq!(good.warnings, [""; 0]);
    let facts = good.facts.unwrap();
    assert_eq!((facts.subject_cn.as_str(), facts.issuer_cn.as_str()), ("lab.test", "Lab Issuing"));
    assert_eq!(facts.issuer_org, "Lab Issuing Ltd");
    assert_eq!(facts.sans, ["lab.test", "*.lab.test", "192.0.2.7", "2001:db8::7"]);
    assert_eq!((facts.not_before, facts.not_after), (day(-1), day(364)));
    assert_eq!(facts.signature_algorithm, "ecdsa-with-SHA256");
    assert_eq!(facts.fingerprint_sha256.len(), 64);
    assert_eq!(facts.issuer_url.as_deref(), Some("http://lab.test/issuing.der"));
    assert_eq!(good.path_not_after, Some(day(364)));
    assert_eq!(good.tls_version.as_deref(), Some("TLSv1.3"));
    assert_eq!(good.chain.len(), 2);
    for name in ["192.0.2.7", "[2001:db8::7]", "a.lab.test", "LAB.test."] {
        let found = find(&trust, &[&leaf, &intermediate, &root], name, 0);
        check(&found, Verdict::Ok, (true, true), &[], &[]);
        assert_eq!(found.warnings, [""; 0], "sending the root is usual");
    }
}

#[test]
fn a_missing_intermediate_is_named_with_where_to_get_it() {
    let Pki { intermediate, trust, .. } = pki();
    let mut spec = server();
    spec.issuer_url = Some("http://lab.test/issuing.der");
    let leaf = spec.issued_by(&intermediate);
    let found = find(&trust, &[&leaf], "lab.test", 0);
    let hints = ["http://lab.test/issuing.der", "fullchain.pem", "ca_certificates"];
    check(&found, Verdict::IncompleteChain, (false, true), &["`Lab Issuing`"], &hints);
}

#[test]
fn a_root_that_is_not_trusted_is_named_with_where_to_add_it() {
    let Pki { root, intermediate, .. } = pki();
    let leaf = server().issued_by(&intermediate);
    let hints = ["ca_certificates", "MAINTENANT_PROBE_CA_CERT"];
    for trust in [trusting(&[]), trusting(&[&authority("Other").self_signed()])] {
        let whole = find(&trust, &[&leaf, &intermediate, &root], "lab.test", 0);
        check(&whole, Verdict::UntrustedRoot, (false, true), &["complete", "`Lab Root`"], &hints);
        let usual = find(&trust, &[&leaf, &intermediate], "lab.test", 0);
        check(&usual, Verdict::UntrustedRoot, (false, true), &["`Lab Root`"], &hints);
    }
    // An impostor of the same name and another key.
    let impostor = authority("Lab Root").self_signed();
    let found = find(&trusting(&[&impostor]), &[&leaf, &intermediate, &root], "lab.test", 0);
    check(&found, Verdict::UntrustedRoot, (false, true), &[], &[]);
    let added = trusting(&[]).with(std::slice::from_ref(&root.der)).unwrap();
    let found = find(&added, &[&leaf, &intermediate], "lab.test", 0);
    check(&found, Verdict::Ok, (true, true), &[], &[]);
}

#[test]
fn a_self_signed_certificate_is_told_and_can_be_trusted_itself() {
    let other = pki().trust;
    for is_ca in [false, true] {
        let mut spec = server();
        spec.is_ca = is_ca;
        let own = spec.self_signed();
        let found = find(&other, &[&own], "lab.test", 0);
        let hints: &[&str] =
            if is_ca { &["CA:TRUE", "ca_certificates"] } else { &["ca_certificates"] };
        check(&found, Verdict::SelfSigned, (false, true), &["signed itself"], hints);
        let found = find(&trusting(&[&own]), &[&own], "lab.test", 0);
        check(&found, Verdict::Ok, (true, true), &[], &[]);
    }
}

#[test]
fn a_wrong_name_is_told_with_the_names_presented() {
    let Pki { intermediate, trust, .. } = pki();
    let leaf = server().issued_by(&intermediate);
    for name in ["other.test", "192.0.2.8", "a.b.lab.test"] {
        let found = find(&trust, &[&leaf, &intermediate], name, 0);
        let says = [name, "`lab.test`", "`*.lab.test`", "`192.0.2.7`"];
        check(&found, Verdict::NameMismatch, (true, false), &says, &["server_name"]);
    }
}

#[test]
fn a_name_that_is_only_the_common_name_is_told() {
    let Pki { intermediate, trust, .. } = pki();
    let mut spec = server();
    spec.sans = Vec::new();
    let leaf = spec.issued_by(&intermediate);
    let found = find(&trust, &[&leaf, &intermediate], "lab.test", 0);
    let hints = ["subject alternative name", "`lab.test`"];
    check(&found, Verdict::CommonNameOnly, (true, false), &["common name"], &hints);
    let found = find(&trust, &[&leaf, &intermediate], "other.test", 0);
    check(&found, Verdict::NameMismatch, (true, false), &["no name at all"], &[]);
    spec.name = "*.lab.test";
    let leaf = spec.issued_by(&intermediate);
    let found = find(&trust, &[&leaf, &intermediate], "a.lab.test", 0);
    check(&found, Verdict::CommonNameOnly, (true, false), &[], &[]);
}

#[test]
fn an_ended_certificate_is_told_with_its_date_and_our_clock() {
    let Pki { intermediate, trust, .. } = pki();
    let leaf = server().issued_by(&intermediate);
    let chain = [&leaf, &intermediate];
    let found = find(&trust, &chain, "lab.test", 364 + 10);
    let clock = day(374).to_string();
    let says = [&*day(364).to_string(), "10 days ago"];
    check(&found, Verdict::Expired, (true, true), &says, &["Renew", &clock]);
    // The last moment is part of its life.
    check(&find(&trust, &chain, "lab.test", 364), Verdict::Ok, (true, true), &[], &[]);
}

#[test]
fn one_that_has_not_begun_asks_whether_our_clock_is_right() {
    let Pki { intermediate, trust, .. } = pki();
    let leaf = server().issued_by(&intermediate);
    let chain = shows(&[&leaf, &intermediate]);
    let name = server_name("lab.test").unwrap();
    let at = |before| day(-1) - before;
    let soon = Finding::of(&chain, &name, &trust, None, at(hours(1)));
    check(
        &soon,
        Verdict::NotYetValid,
        (true, true),
        &["in 60 minutes"],
        &["clock", "60 minutes behind"],
    );
    let late = Finding::of(&chain, &name, &trust, None, at(hours(24 * 9)));
    check(&late, Verdict::NotYetValid, (true, true), &["in 9 days"], &["earlier one"]);
}

#[test]
fn a_chain_in_the_wrong_order_is_accepted_with_a_warning() {
    let Pki { root, intermediate, trust } = pki();
    let second = authority("Lab Second").issued_by(&intermediate);
    let leaf = server().issued_by(&second);
    let found = find(&trust, &[&leaf, &root, &intermediate, &second], "lab.test", 0);
    check(&found, Verdict::Ok, (true, true), &[], &[]);
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    assert!(found.warnings[0].contains("out of order"));
}

#[test]
fn an_ended_certificate_that_is_not_on_the_path_is_no_alarm() {
    let Pki { root, intermediate, trust } = pki();
    let leaf = server().issued_by(&intermediate);
    // The root vouched for by an older one, as public authorities did for years.
    let old = authority("Old Root").self_signed();
    let mut spec = authority("Lab Root");
    spec.life = (-2000, -10);
    let cross = spec.cross_signed(&root, &old);
    let found = find(&trust, &[&leaf, &intermediate, &cross], "lab.test", 0);
    check(&found, Verdict::Ok, (true, true), &[], &[]);
    assert_eq!(found.path_not_after, Some(day(364)));
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    assert!(found.warnings[0].contains("`Lab Root` is sent although it ended"));
    // With both roots trusted the path that holds is chosen.
    let both = trusting(&[&root, &old]);
    check(
        &find(&both, &[&leaf, &intermediate, &cross], "lab.test", 0),
        Verdict::Ok,
        (true, true),
        &[],
        &[],
    );
    // Where the ended one is the only way, it is one.
    let found = find(&trusting(&[&old]), &[&leaf, &intermediate, &cross], "lab.test", 0);
    assert_eq!((found.verdict, found.chain_valid), (Verdict::Expired, None));
    assert!(found.error.unwrap().contains("issuing certificate `Lab Root`"));
    assert!(found.hint.unwrap().contains("current one"));
}

#[test]
fn certificates_that_nobody_needs_are_told() {
    let Pki { intermediate, trust, .. } = pki();
    let leaf = server().issued_by(&intermediate);
    let stray = authority("Stray").self_signed();
    let found = find(&trust, &[&leaf, &stray, &intermediate], "lab.test", 0);
    check(&found, Verdict::Ok, (true, true), &[], &[]);
    assert_eq!(found.warnings, ["`Stray` is sent although no client needs it"]);
}

#[test]
fn the_first_end_on_the_path_counts() {
    let root = authority("Lab Root").self_signed();
    let mut spec = authority("Lab Issuing");
    spec.life = (-100, 20);
    let intermediate = spec.issued_by(&root);
    let leaf = server().issued_by(&intermediate);
    let trust = trusting(&[&root]);
    let found = find(&trust, &[&leaf, &intermediate], "lab.test", 0);
    check(&found, Verdict::Ok, (true, true), &[], &[]);
    assert_eq!(found.path_not_after, Some(day(20)));
    assert_eq!(found.facts.as_ref().unwrap().not_after, day(364));
    assert!(found.warnings[0].contains("`Lab Issuing` ends at"), "{:?}", found.warnings);
    let found = find(&trust, &[&leaf, &intermediate], "lab.test", 21);
    check(&found, Verdict::Expired, (true, true), &["`Lab Issuing`", "24 hours ago"], &[]);
    let mut spec = authority("Short Root");
    spec.life = (-100, 5);
    let root = spec.self_signed();
    let leaf = server().issued_by(&root);
    let found = find(&trusting(&[&root]), &[&leaf], "lab.test", 0);
    check(&found, Verdict::Ok, (true, true), &[], &[]);
    assert_eq!(found.path_not_after, Some(day(5)));
    assert!(found.warnings[0].contains("the root ends"), "{:?}", found.warnings);
    let found = find(&trusting(&[&root]), &[&leaf], "lab.test", 6);
    check(&found, Verdict::Expired, (true, true), &["root"], &[]);
}

#[test]
fn what_clients_refuse_for_other_reasons_is_unacceptable() {
    let Pki { intermediate, trust, .. } = pki();
    let mut spec = server();
    spec.usage = ExtendedKeyUsagePurpose::ClientAuth;
    let leaf = spec.issued_by(&intermediate);
    let found = find(&trust, &[&leaf, &intermediate], "lab.test", 0);
    check(
        &found,
        Verdict::Unacceptable,
        (false, true),
        &["clients refuse it"],
        &["server authentication"],
    );
    // An issuer that is no authority.
    let mut spec = authority("No Authority");
    spec.is_ca = false;
    let issuer = spec.issued_by(&intermediate);
    let leaf = server().issued_by(&issuer);
    let found = find(&trust, &[&leaf, &issuer, &intermediate], "lab.test", 0);
    check(&found, Verdict::Unacceptable, (false, true), &[], &[]);
    let name = server_name("lab.test").unwrap();
    let presented = Presented { chain: vec![vec![1, 2, 3].into()], ..Presented::default() };
    let garbage = Finding::of(&presented, &name, &trust, None, day(0));
    assert_eq!((garbage.verdict, garbage.facts), (Verdict::Unacceptable, None));
}

#[test]
fn the_cause_to_mend_first_is_the_verdict() {
    let Pki { intermediate, .. } = pki();
    let mut spec = server();
    spec.sans = vec!["other.test"];
    let leaf = spec.issued_by(&intermediate);
    let nothing = trusting(&[]);
    let all_wrong = find(&nothing, &[&leaf], "lab.test", 1000);
    check(&all_wrong, Verdict::Expired, (false, false), &[], &[]);
    check(
        &find(&nothing, &[&leaf], "lab.test", 0),
        Verdict::NameMismatch,
        (false, false),
        &[],
        &[],
    );
    check(
        &find(&nothing, &[&leaf], "other.test", 0),
        Verdict::IncompleteChain,
        (false, true),
        &[],
        &[],
    );
    let own = spec.self_signed();
    check(&find(&nothing, &[&own], "lab.test", 0), Verdict::NameMismatch, (false, false), &[], &[]);
}

#[test]
fn what_clients_cannot_read_is_for_the_names_in_it() {
    let Pki { intermediate, trust, .. } = pki();
    let mut spec = server();
    spec.has_unknown_critical = true;
    let leaf = spec.issued_by(&intermediate);
    for name in ["lab.test", "A.lab.test", "192.0.2.7", "2001:db8::7"] {
        let found = find(&trust, &[&leaf, &intermediate], name, 0);
        check(&found, Verdict::Unacceptable, (false, true), &["clients refuse it"], &[]);
    }
    let found = find(&trust, &[&leaf, &intermediate], "other.test", 0);
    check(&found, Verdict::NameMismatch, (false, false), &["`lab.test`"], &[]);
}

#[test]
fn a_path_whose_parts_never_held_together_is_neither_valid_nor_not() {
    let root = authority("Lab Root").self_signed();
    let mut spec = authority("Lab Issuing");
    spec.life = (-100, -10);
    let intermediate = spec.issued_by(&root);
    let leaf = server().issued_by(&intermediate);
    let found = find(&trusting(&[&root]), &[&leaf, &intermediate], "lab.test", 0);
    assert_eq!((found.verdict, found.chain_valid), (Verdict::Expired, None), "{found:#?}");
    assert_eq!(found.chain_error, None);
}

#[test]
fn of_roots_renewed_under_one_key_the_last_counts() {
    let mut spec = server();
    let late = spec.self_signed();
    spec.life = (-200, -10);
    let early = spec.resigned(&late);
    for trust in [trusting(&[&late, &early]), trusting(&[&early, &late])] {
        let found = find(&trust, &[&late], "lab.test", 0);
        check(&found, Verdict::Ok, (true, true), &[], &[]);
        assert_eq!(found.path_not_after, Some(day(364)));
    }
}

#[test]
fn what_is_refused_is_known_beside_a_worse_verdict() {
    let Pki { intermediate, trust, .. } = pki();
    let leaf = server().issued_by(&intermediate);
    let name = server_name("other.test").unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.der).unwrap();
    let ocsp = staple(&[0xa1, 2, 0x18, 0], parsed.raw_serial());
    let presented = Presented { ocsp, ..shows(&[&leaf, &intermediate]) };
    let found = Finding::of(&presented, &name, &trust, None, day(0));
    assert_eq!((found.verdict, found.is_refused), (Verdict::NameMismatch, true));
    let plain = shows(&[&leaf, &intermediate]);
    let judge = |fault, at| Finding::of(&plain, &name, &trust, fault, day(at));
    assert!(!judge(None, 0).is_refused);
    let forged = rustls::Error::PeerMisbehaved(
        rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme,
    );
    let found = judge(Some(&forged), 0);
    assert_eq!((found.verdict, found.is_refused), (Verdict::NameMismatch, true));
    let early = judge(None, -2);
    assert_eq!((early.is_refused, early.path_not_before), (true, Some(day(-1))));
}

/// A stapled response with one answer, of this status, about this serial.
fn staple(status: &[u8], serial: &[u8]) -> Vec<u8> {
    let tagged = |tag: u8, content: &[u8]| {
        let mut der = der::sequence(content);
        der[0] = tag;
        der
    };
    let join = |parts: &[&[u8]]| der::sequence(&parts.concat());
    let id = join(&[&join(&[]), &tagged(4, b"name"), &tagged(4, b"key"), &tagged(2, serial)]);
    let single = join(&[&id, status]);
    let data = join(&[&tagged(0xa2, b""), &tagged(0x18, b"20300101000000Z"), &join(&[&single])]);
    let basic = join(&[&data, &join(&[]), &tagged(3, b"")]);
    let bytes = join(&[&tagged(6, b"basic"), &tagged(4, &basic)]);
    join(&[&tagged(10, &[0]), &tagged(0xa0, &bytes)])
}

#[test]
fn a_stapled_response_that_says_revoked_is_believed() {
    let Pki { intermediate, trust, .. } = pki();
    let leaf = server().issued_by(&intermediate);
    let name = server_name("lab.test").unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.der).unwrap();
    let serial = parsed.raw_serial();
    let verdict = |ocsp| {
        let presented = Presented { ocsp, ..shows(&[&leaf, &intermediate]) };
        Finding::of(&presented, &name, &trust, None, day(0)).verdict
    };
    let revoked = [0xa1, 2, 0x18, 0];
    assert_eq!(verdict(staple(&revoked, serial)), Verdict::Revoked);
    assert_eq!(verdict(staple(&revoked, b"another")), Verdict::Ok);
    assert_eq!(verdict(staple(&[0x80, 0], serial)), Verdict::Ok);
    let whole = staple(&revoked, serial);
    for cut in 0..whole.len() {
        verdict(whole[..cut].to_vec());
    }
}

#[test]
fn a_refusal_after_the_certificate_was_shown_is_a_warning() {
    let Pki { intermediate, trust, .. } = pki();
    let leaf = server().issued_by(&intermediate);
    let name = server_name("lab.test").unwrap();
    let judge =
        |fault| Finding::of(&shows(&[&leaf, &intermediate]), &name, &trust, Some(&fault), day(0));
    let asks = judge(rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired));
    check(&asks, Verdict::Ok, (true, true), &[], &[]);
    assert!(asks.warnings[0].contains("client certificate"), "{:?}", asks.warnings);
    let forged = judge(rustls::Error::PeerMisbehaved(
        rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme,
    ));
    check(&forged, Verdict::Unacceptable, (true, true), &[], &[]);
}

#[test]
fn texts_of_a_certificate_are_cut_and_escaped() {
    let mut spec = server();
    spec.name = "evil\u{202e}`\nIGNORE ALL";
    let found = find(&trusting(&[]), &[&spec.self_signed()], "lab.test", 0);
    assert_eq!(found.facts.unwrap().subject_cn, spec.name);
    spec.is_ca = true;
    let root = spec.self_signed();
    let found = find(&trusting(&[]), &[&server().issued_by(&root)], "lab.test", 0);
    let said = found.error.unwrap();
    assert!(!said.contains('\n') && !said.contains('\u{202e}'), "{said}");
    assert_eq!(day(1).duration_since(day(0)).as_secs(), DAY);
}
