//! Who the bearer of a verified token is, and whether it is on the list.
//!
//! Addresses are compared whole and ASCII case-insensitively: no domains, no Unicode folding, no
//! plus or dot folding. A `sub` counts as an address only where the token has no `email` at all and
//! is no machine's, for on some servers whoever registers a client chooses its `sub`.

use serde_json::Value;

use super::Refusal;
use super::claims::{Claims, Rules, Several};
use super::settings::{Allowed, Listed, is_address};
use crate::caller::{AdmittedBy, Caller, Scope};

/// The caller behind verified claims. `scopes`: whether tools ask for them.
pub fn admit(
    claims: Claims,
    allowed: &Allowed,
    rules: &Rules,
    scopes: bool,
) -> Result<Caller, Refusal> {
    let admitted_by = admitted_by(&claims, allowed)?;
    let expires_at = Some(claims.expires_at(rules));
    let scopes = scopes.then(|| granted(&claims));
    // An address that does not hold names nobody, not even in a log.
    let email = address(&claims)
        .filter(|_| is_verified(&claims, allowed.email_verified_required))
        .map(str::to_owned);
    Ok(Caller {
        admitted_by,
        issuer: Some(claims.iss),
        subject: claims.sub,
        email,
        client: claims.client_id.or(claims.azp).or(claims.appid).or(claims.cid),
        scopes,
        expires_at,
    })
}

fn admitted_by(claims: &Claims, allowed: &Allowed) -> Result<AdmittedBy, Refusal> {
    if allowed.emails.is_empty() && allowed.subjects.is_empty() {
        return Ok(AdmittedBy::Token);
    }
    let is_listed = |list: &[Listed], is: &dyn Fn(&str) -> bool| {
        list.iter().any(|entry| entry.is_of(&claims.iss) && is(&entry.value))
    };
    let is_subject = |listed: &str| claims.sub.as_deref() == Some(listed);
    if is_listed(&allowed.subjects, &is_subject) {
        return Ok(AdmittedBy::Subject);
    }
    let refuse = |reason| Err(Refusal::NotAllowed(reason));
    let by = if claims.email.is_some() {
        let Some(email) = address(claims) else { return refuse("email is no address") };
        if !is_listed(&allowed.emails, &|listed| listed.eq_ignore_ascii_case(email)) {
            return refuse("the address is not on the list");
        }
        AdmittedBy::Email
    } else {
        if !allowed.subject_as_email || !is_listed(&allowed.emails, &is_subject) {
            return refuse("no address, and the subject is not on a list");
        }
        if is_machine(claims) {
            return refuse("no address, and the subject is a client's");
        }
        AdmittedBy::SubjectAsEmail
    };
    if !is_verified(claims, allowed.email_verified_required) {
        return refuse("the address is not verified");
    }
    Ok(by)
}

/// `email`, where it is one address.
fn address(claims: &Claims) -> Option<&str> {
    let email = claims.email.as_ref()?.as_str()?;
    is_address(email).then_some(email)
}

/// Some issuers write the boolean as a string.
fn is_verified(claims: &Claims, required: bool) -> bool {
    match &claims.email_verified {
        None => !required,
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(text)) => text == "true",
        Some(_) => false,
    }
}

/// A client that acts for itself (RFC 9068 §5 warns of its `sub`).
fn is_machine(claims: &Claims) -> bool {
    let is_client = claims.sub.is_some() && claims.clients().contains(&&claims.sub);
    let grants = claims.gty.iter().flat_map(Several::iter);
    let mut machine_grants =
        grants.filter(|grant| ["client-credentials", "client_credentials"].contains(grant));
    is_client || machine_grants.next().is_some() || claims.idtyp.as_deref() == Some("app")
}

/// The scopes we know, of `scope` and `scp`.
fn granted(claims: &Claims) -> Vec<Scope> {
    let lists = claims.scope.iter().chain(&claims.scp);
    let names: Vec<&str> =
        lists.flat_map(Several::iter).flat_map(|names| names.split(' ')).collect();
    Scope::ALL.into_iter().filter(|scope| names.contains(&scope.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn allowed() -> Allowed {
        Allowed {
            emails: vec!["Alice@example.com".into(), "kim@example.com".into()],
            subjects: vec!["s-1".into()],
            subject_as_email: true,
            email_verified_required: false,
        }
    }

    fn caller(claims: &Value, allowed: &Allowed, scopes: bool) -> Result<Caller, Refusal> {
        let mut all = json!({"iss": "i", "aud": "a", "exp": 1_800_000_000});
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let rules = Rules {
            audiences: Vec::new(),
            resource: String::new(),
            leeway: Duration::ZERO,
            max_token_age: None,
        };
        admit(Claims::parse(all.to_string().as_bytes()).unwrap(), allowed, &rules, scopes)
    }

    fn check(claims: &Value, allowed: &Allowed, expected: Option<AdmittedBy>) {
        let got = caller(claims, allowed, false);
        match (&got, expected) {
            (Ok(caller), Some(by)) => assert_eq!(caller.admitted_by, by, "{claims}"),
            (Err(Refusal::NotAllowed(_)), None) => {}
            _ => panic!("{claims}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn without_lists_every_good_token_is_let_in() {
        let open = Allowed::default();
        check(&json!({}), &open, Some(AdmittedBy::Token));
        let claims = json!({"sub": "s", "email": "a@b.c", "client_id": "c", "azp": "z"});
        let caller = caller(&claims, &open, false).unwrap();
        assert_eq!(caller.issuer.as_deref(), Some("i"));
        assert_eq!(caller.subject.as_deref(), Some("s"));
        assert_eq!(caller.email.as_deref(), Some("a@b.c"));
        assert_eq!(caller.client.as_deref(), Some("c"));
        assert_eq!(caller.scopes, None);
        assert_eq!(caller.expires_at.map(jiff::Timestamp::as_second), Some(1_800_000_000));
    }

    #[test]
    fn an_unverified_address_names_nobody() {
        let open = Allowed::default();
        for claims in [
            json!({"sub": "s", "email": "a@b.c", "email_verified": false}),
            json!({"sub": "s", "email": "a b@c"}),
        ] {
            assert_eq!(caller(&claims, &open, false).unwrap().name(), Some("s"));
        }
    }

    #[test]
    fn a_listed_address_is_compared_whole_and_without_case() {
        for good in ["alice@example.com", "ALICE@EXAMPLE.COM", "kim@example.com"] {
            check(&json!({"email": good}), &allowed(), Some(AdmittedBy::Email));
        }
        for bad in [
            "bob@example.com",
            "me+alice@example.com",
            "alice+x@example.com",
            "a.lice@example.com",
            " alice@example.com",
            "alice@example.com ",
            "alice@example.com\n",
            "attacker@evil.com@example.com",
            "example.com",
            "@example.com",
            "alice@",
            "",
            "\u{212a}im@example.com",
            "alice@example.com.evil",
            "s-1",
        ] {
            check(&json!({"email": bad}), &allowed(), None);
        }
        for bad in [json!(null), json!(1), json!(["alice@example.com"]), json!({"a": 1})] {
            check(&json!({"email": bad, "sub": "alice@example.com"}), &allowed(), None);
        }
    }

    #[test]
    fn an_address_has_one_at_and_at_most_254_bytes() {
        let long = |length: usize| format!("{}@b.c", "a".repeat(length - 4));
        assert!(is_address("a@b") && is_address(&long(254)) && !is_address(&long(255)));
        assert!(!is_address("a@b@c") && !is_address("é@b.c") && !is_address("a\u{7f}@b"));
    }

    #[test]
    fn verified_means_true_and_absent_only_where_it_is_not_required() {
        let required = Allowed { email_verified_required: true, ..allowed() };
        let email = "alice@example.com";
        check(&json!({"email": email}), &required, None);
        check(&json!({"sub": "kim@example.com"}), &required, None);
        for yes in [json!(true), json!("true")] {
            let claims = json!({"email": email, "email_verified": yes});
            check(&claims, &allowed(), Some(AdmittedBy::Email));
            check(&claims, &required, Some(AdmittedBy::Email));
        }
        for no in
            [json!(false), json!("false"), json!("True"), json!(1), json!(null), json!([true])]
        {
            let claims = json!({"email": email, "email_verified": no});
            check(&claims, &allowed(), None);
            check(&json!({"sub": "kim@example.com", "email_verified": no}), &allowed(), None);
        }
    }

    #[test]
    fn a_subject_on_the_list_is_let_in_whatever_its_address() {
        for claims in [
            json!({"sub": "s-1"}),
            json!({"sub": "s-1", "email": "x@y.z", "email_verified": false}),
            json!({"sub": "s-1", "client_id": "s-1"}),
        ] {
            check(&claims, &allowed(), Some(AdmittedBy::Subject));
        }
        for sub in ["S-1", "s-1 ", "", "s-10"] {
            check(&json!({"sub": sub}), &allowed(), None);
        }
        check(&json!({}), &allowed(), None);
    }

    #[test]
    fn an_entry_of_one_issuer_lets_nobody_of_another_in() {
        let of = |issuer: &str, value: &str| {
            vec![Listed { issuer: Some(issuer.to_owned()), value: value.to_owned() }]
        };
        for (issuer, holds) in [("i", true), ("j", false), ("", false), ("I", false)] {
            let by = |by: AdmittedBy| holds.then_some(by);
            let subjects = Allowed { subjects: of(issuer, "s"), ..Allowed::default() };
            check(&json!({"sub": "s"}), &subjects, by(AdmittedBy::Subject));
            let emails = of(issuer, "a@b.c");
            let emails = Allowed { emails, subject_as_email: true, ..Allowed::default() };
            check(&json!({"email": "A@b.c"}), &emails, by(AdmittedBy::Email));
            check(&json!({"sub": "a@b.c"}), &emails, by(AdmittedBy::SubjectAsEmail));
        }
    }

    #[test]
    fn the_client_of_okta_is_its_cid() {
        let claims = json!({"sub": "s", "cid": "c"});
        let caller = caller(&claims, &Allowed::default(), false).unwrap();
        assert_eq!(caller.client.as_deref(), Some("c"));
    }

    #[test]
    fn a_subject_is_an_address_only_without_email_byte_for_byte_and_of_no_machine() {
        let sub = "kim@example.com";
        check(&json!({"sub": sub}), &allowed(), Some(AdmittedBy::SubjectAsEmail));
        check(&json!({"sub": sub, "client_id": "c"}), &allowed(), Some(AdmittedBy::SubjectAsEmail));
        check(&json!({"sub": "KIM@example.com"}), &allowed(), None);
        check(&json!({"sub": sub, "email": "bob@example.com"}), &allowed(), None);
        check(&json!({"sub": sub, "email": ""}), &allowed(), None);
        let off = Allowed { subject_as_email: false, ..allowed() };
        check(&json!({"sub": sub}), &off, None);
        for machine in [
            json!({"sub": sub, "client_id": sub}),
            json!({"sub": sub, "azp": sub}),
            json!({"sub": sub, "appid": sub}),
            json!({"sub": sub, "cid": sub}),
            json!({"sub": sub, "client_id": "c", "azp": sub}),
            json!({"sub": sub, "gty": "client-credentials"}),
            json!({"sub": sub, "gty": ["client-credentials"]}),
            json!({"sub": sub, "idtyp": "app"}),
        ] {
            check(&machine, &allowed(), None);
        }
    }

    #[test]
    fn scopes_are_words_of_scope_and_of_scp() {
        let open = Allowed::default();
        let scopes = |claims: Value| caller(&claims, &open, true).unwrap().scopes.unwrap();
        assert_eq!(scopes(json!({})), []);
        let both = [Scope::MonitorRead, Scope::LogsRead];
        assert_eq!(scopes(json!({"scope": "openid logs:read monitor:read"})), both);
        assert_eq!(scopes(json!({"scp": ["logs:read", "monitor:read"]})), both);
        assert_eq!(scopes(json!({"scp": "logs:read", "scope": "monitor:read"})), both);
        assert_eq!(scopes(json!({"scope": "monitor:reader MONITOR:READ monitor:"})), []);
    }
}
