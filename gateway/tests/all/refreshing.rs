//! Keys over time: rotation, outages, floods. The clock is paused, the issuer is a script, and what
//! counts is how often it was asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use maintenant_gateway::auth::keys::KeySet;
use maintenant_gateway::auth::refresh::{COOLDOWN, Fetch, INTERVAL};
use maintenant_gateway::auth::settings::AuthSettings;
use maintenant_gateway::auth::{Refusal, Verifier};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};

use crate::goals::size;
use crate::signer::Signer;

const NOW: i64 = 1_800_000_000;
const ALGORITHM: &str = "ES256";

/// An issuer that answers as it is told, and counts.
#[derive(Clone)]
struct Script {
    /// Keys, or why there are none, after some time.
    answer: Arc<Mutex<(Duration, Result<Value, String>)>>,
    fetches: Arc<AtomicUsize>,
}

#[async_trait]
impl Fetch for Script {
    async fn fetch(&self) -> Result<KeySet, String> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let (delay, answer) = self.answer.lock().unwrap().clone();
        sleep(delay).await;
        KeySet::parse(answer?.to_string().as_bytes())
    }
}

struct Bench {
    script: Script,
    verifier: Verifier,
    refresher: JoinSet<()>,
}

impl Bench {
    fn new(keys: &[Value]) -> Self {
        let answer = Arc::new(Mutex::new((Duration::from_millis(20), Ok(json!({"keys": keys})))));
        let script = Script { answer, fetches: Arc::default() };
        let settings = AuthSettings { audiences: vec!["m".to_owned()], ..AuthSettings::default() };
        let issuers = vec![("i".to_owned(), Box::new(script.clone()) as Box<dyn Fetch>)];
        let verifier = Verifier::over(&settings, issuers).unwrap();
        let mut refresher = JoinSet::new();
        let refreshing = verifier.clone();
        refresher.spawn(async move { refreshing.refresh().await });
        Self { script, verifier, refresher }
    }

    fn publish(&self, keys: &[Value]) {
        *self.script.answer.lock().unwrap() =
            (Duration::from_millis(20), Ok(json!({"keys": keys})));
    }

    fn fail(&self, after: Duration) {
        *self.script.answer.lock().unwrap() = (after, Err("it is away".to_owned()));
    }

    fn fetches(&self) -> usize {
        self.script.fetches.load(Ordering::SeqCst)
    }

    async fn verify(&self, token: &str) -> Result<(), Refusal> {
        self.verifier.verify(token, Timestamp::from_second(NOW).unwrap()).await.map(|_| ())
    }
}

/// A good token of a key, as its `kid` says.
fn token(signer: &Signer, kid: Option<&str>) -> String {
    let mut header = json!({"alg": ALGORITHM});
    if let Some(kid) = kid {
        header["kid"] = json!(kid);
    }
    signer.token(ALGORITHM, &header, &json!({"iss": "i", "aud": "m", "exp": NOW + 300, "sub": "s"}))
}

fn is_unavailable(result: &Result<(), Refusal>) -> bool {
    matches!(result, Err(Refusal::Unavailable(_)))
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_loses_nobody_and_costs_one_fetch() {
    let key = Signer::good(ALGORITHM);
    let bench = Bench::new(&[key.named("a")]);
    bench.script.answer.lock().unwrap().0 = Duration::from_millis(1900);
    let token = token(key, Some("a"));
    let callers = (0..200).map(|_| bench.verify(&token));
    assert!(join_all(callers).await.iter().all(Result::is_ok));
    assert_eq!(bench.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_any_key_callers_are_told_so_within_two_seconds_and_served_soon_after() {
    let key = Signer::good(ALGORITHM);
    let bench = Bench::new(&[]);
    bench.fail(Duration::from_secs(5));
    let token = token(key, Some("a"));
    let began = Instant::now();
    let callers = (0..50).map(|_| bench.verify(&token));
    assert!(join_all(callers).await.iter().all(is_unavailable));
    assert!(began.elapsed() <= Duration::from_millis(2001));

    bench.fail(Duration::ZERO);
    sleep(Duration::from_hours(1)).await;
    let state = bench.verifier.state().remove(0);
    assert_eq!((state.keys, state.fetched_at), (0, None));
    assert_eq!(state.error.as_deref(), Some("it is away"));
    bench.publish(&[key.named("a")]);
    sleep(Duration::from_secs(15)).await;
    assert_eq!(bench.verify(&token).await, Ok(()));
    let state = bench.verifier.state().remove(0);
    assert_eq!((state.keys, state.error), (1, None));
    assert!(state.fetched_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_every_ten_minutes() {
    let bench = Bench::new(&[Signer::good(ALGORITHM).named("a")]);
    sleep(INTERVAL * 60 + INTERVAL / 2).await;
    // 60 intervals of 9 to 11 minutes.
    assert!((54..=68).contains(&bench.fetches()), "{}", bench.fetches());
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_taken_at_its_first_token_by_all_who_bring_one() {
    let (old, new) = (Signer::good(ALGORITHM), Signer::other(ALGORITHM));
    let bench = Bench::new(&[old.named("a")]);
    assert_eq!(bench.verify(&token(old, Some("a"))).await, Ok(()));
    sleep(COOLDOWN).await;
    bench.publish(&[old.named("a"), new.named("b")]);
    let (old_token, new_token) = (token(old, Some("a")), token(new, Some("b")));
    let callers = (0..200).map(|n| bench.verify(if n % 2 == 0 { &old_token } else { &new_token }));
    assert!(join_all(callers).await.iter().all(Result::is_ok));
    assert_eq!(bench.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_rotations_with_overlap_refuse_nobody() {
    let keys: Vec<Signer> = (0..=200).map(|_| Signer::new(ALGORITHM)).collect();
    let name = |at: usize| format!("key-{at}");
    let bench = Bench::new(&[keys[0].named(&name(0))]);
    for at in 1..=200 {
        bench.publish(&[keys[at - 1].named(&name(at - 1)), keys[at].named(&name(at))]);
        sleep(COOLDOWN).await;
        let tokens = [at - 1, at].map(|who| token(&keys[who], Some(&name(who))));
        // At full size as many as 200 calls a second are until the next rotation.
        for _ in 0..size(2, 3000) {
            for token in &tokens {
                assert_eq!(bench.verify(token).await, Ok(()), "rotation {at}");
            }
        }
    }
    println!("{} calls, {} fetches", 200 * 2 * size(2, 3000), bench.fetches());
    assert!(bench.fetches() <= 202 + 12, "{}", bench.fetches());
}

#[tokio::test(start_paused = true)]
async fn keys_without_names_rotate_too() {
    let (old, new) = (Signer::good(ALGORITHM), Signer::other(ALGORITHM));
    let bench = Bench::new(&[old.jwk()]);
    for kid in [None, Some("whatever")] {
        assert_eq!(bench.verify(&token(old, kid)).await, Ok(()));
    }
    sleep(COOLDOWN).await;
    bench.publish(&[new.jwk()]);
    assert_eq!(bench.verify(&token(new, None)).await, Ok(()));
    assert!(bench.verify(&token(old, None)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_dies_with_the_next_set() {
    let (old, new) = (Signer::good(ALGORITHM), Signer::other(ALGORITHM));
    let bench = Bench::new(&[old.named("a")]);
    let old_token = token(old, Some("a"));
    assert_eq!(bench.verify(&old_token).await, Ok(()));
    bench.publish(&[new.named("b")]);
    assert_eq!(bench.verify(&old_token).await, Ok(()));
    // One interval, and the tenth by which it varies.
    sleep(INTERVAL + INTERVAL / 10 + Duration::from_secs(1)).await;
    assert_eq!(bench.verify(&old_token).await, Err(Refusal::Invalid("signed by no known key")));
    // The same name for another key helps nobody.
    bench.publish(&[new.named("a")]);
    sleep(INTERVAL * 2).await;
    let refused = Err(Refusal::Invalid("the signature is not that of its key"));
    assert_eq!(bench.verify(&old_token).await, refused);
    assert_eq!(bench.verify(&token(new, Some("a"))).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn made_up_keys_cost_one_fetch_in_thirty_seconds_and_others_no_time() {
    let key = Signer::good(ALGORITHM);
    let bench = Bench::new(&[key.named("a")]);
    let good = token(key, Some("a"));
    assert_eq!(bench.verify(&good).await, Ok(()));
    // The issuer hangs until it is given up on.
    bench.fail(Duration::from_secs(5));
    sleep(COOLDOWN).await;

    let forger = Signer::other(ALGORITHM);
    let before = bench.fetches();
    let tenths = size(900, 6000);
    let flood = async {
        // Three cool-downs, ten forged tokens every tenth of a second.
        for tenth in 0..tenths {
            let forged: Vec<_> = (0..size(10, 100))
                .map(|n| token(forger, Some(&format!("made-up-{tenth}-{n}"))))
                .collect();
            let verdicts = join_all(forged.iter().map(|forged| bench.verify(forged))).await;
            let refused = Err(Refusal::Invalid("signed by no known key"));
            assert!(verdicts.iter().all(|verdict| *verdict == refused), "{verdicts:?}");
            sleep(Duration::from_millis(100)).await;
        }
    };
    let others = async {
        for _ in 0..tenths {
            let began = Instant::now();
            assert_eq!(bench.verify(&good).await, Ok(()));
            assert_eq!(began.elapsed(), Duration::ZERO, "it waited");
            sleep(Duration::from_millis(100)).await;
        }
    };
    let began = Instant::now();
    tokio::join!(flood, others);
    let windows = began.elapsed().as_secs().div_ceil(COOLDOWN.as_secs());
    let fetches = bench.fetches() - before;
    let flooded = began.elapsed();

    // What is fetched in such an outage anyway, which a long flood lives to see.
    let bench = Bench::new(&[key.named("a")]);
    assert_eq!(bench.verify(&good).await, Ok(()));
    bench.fail(Duration::from_secs(5));
    sleep(COOLDOWN + flooded).await;
    let (anyway, most) = (bench.fetches() - 1, usize::try_from(windows).unwrap());
    let forged = tenths * size(10, 100);
    println!("{forged} forged tokens, {fetches} fetches in {windows} windows, {anyway} anyway");
    assert!((1..=most + anyway).contains(&fetches), "{fetches} in {windows}, {anyway} anyway");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_refused_at_once_while_fetches_rest() {
    let bench = Bench::new(&[Signer::good(ALGORITHM).named("a")]);
    let forged = token(Signer::other(ALGORITHM), Some("b"));
    let _ = bench.verify(&forged).await;
    let began = Instant::now();
    for _ in 0..1000 {
        assert!(bench.verify(&forged).await.is_err());
    }
    assert_eq!((began.elapsed(), bench.fetches()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_known_name_with_a_wrong_signature_causes_no_fetch() {
    let bench = Bench::new(&[Signer::good(ALGORITHM).named("a")]);
    sleep(COOLDOWN * 2).await;
    for _ in 0..100 {
        assert!(bench.verify(&token(Signer::other(ALGORITHM), Some("a"))).await.is_err());
    }
    assert_eq!(bench.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_hold_causes_no_fetch() {
    let key = Signer::good(ALGORITHM);
    let bench = Bench::new(&[key.named("a")]);
    sleep(COOLDOWN * 2).await;
    let claims = json!({"iss": "i", "aud": "m", "exp": NOW - 3600, "sub": "s"});
    let stale = key.token(ALGORITHM, &json!({"alg": ALGORITHM, "kid": "old"}), &claims);
    assert_eq!(bench.verify(&stale).await, Err(Refusal::Invalid("expired")));
    assert_eq!(bench.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_serve_through_outages_until_they_are_too_old() {
    let key = Signer::good(ALGORITHM);
    let bench = Bench::new(&[key.named("a")]);
    let good = token(key, Some("a"));
    assert_eq!(bench.verify(&good).await, Ok(()));
    bench.fail(Duration::from_secs(5));
    for _ in 0..23 {
        sleep(Duration::from_hours(1)).await;
        let began = Instant::now();
        assert_eq!(bench.verify(&good).await, Ok(()));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    assert_eq!(bench.verifier.state()[0].error.as_deref(), Some("it is away"));
    let state = || {
        let state = bench.verifier.state().remove(0);
        (state.keys, state.usable, state.fetched_at.is_some())
    };
    assert_eq!(state(), (1, true, true));
    sleep(Duration::from_hours(2)).await;
    assert!(is_unavailable(&bench.verify(&good).await));
    assert_eq!(state(), (1, false, true), "they are known, and too old");
    bench.publish(&[key.named("a")]);
    // The running attempt, the longest pause with keys too old to serve, and the next.
    sleep(Duration::from_secs(17)).await;
    assert_eq!(bench.verify(&good).await, Ok(()));
    assert_eq!(state(), (1, true, true));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_outages_of_every_kind_refuse_nobody_and_end_by_themselves() {
    let key = Signer::good(ALGORITHM);
    let good = token(key, Some("a"));
    let faults = [
        (0, Err("refused".to_owned())),
        (5, Err("no answer".to_owned())),
        (0, Ok(json!({"keys": []}))),
        (0, Ok(json!({"keys": [{"kty": "oct", "k": "AA"}]}))),
        (0, Ok(json!({}))),
        (1, Err("reset".to_owned())),
        (5, Ok(json!({"keys": []}))),
        (0, Ok(json!(null))),
        (0, Ok(json!([]))),
        (0, Ok(json!("keys"))),
        (0, Ok(json!({"keys": null}))),
        (0, Ok(json!({"keys": {}}))),
        (0, Ok(json!({"keys": [null]}))),
        (0, Ok(json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}))),
        (0, Ok(json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}))),
        (0, Ok(json!({"keys": [{"kty": "OKP", "crv": "Ed448", "x": "AA"}]}))),
    ];
    let bench = Bench::new(&[key.named("a")]);
    for cycle in 0..100 {
        for (delay, answer) in faults.clone() {
            assert_eq!(bench.verify(&good).await, Ok(()), "cycle {cycle}");
            *bench.script.answer.lock().unwrap() = (Duration::from_secs(delay), answer);
            sleep(INTERVAL * 2).await;
            assert_eq!(bench.verify(&good).await, Ok(()), "cycle {cycle}");
            assert!(bench.verifier.state()[0].error.is_some(), "cycle {cycle}");
            bench.publish(&[key.named("a")]);
            sleep(Duration::from_secs(75)).await;
            assert_eq!(bench.verifier.state()[0].error, None, "cycle {cycle}");
        }
    }
    println!("{} kinds, 100 cycles each, none refused", faults.len());
}

#[tokio::test(start_paused = true)]
async fn keys_are_those_of_the_issuer_in_the_token() {
    let (one, two) = (Signer::good(ALGORITHM), Signer::other(ALGORITHM));
    let script = |signer: &Signer| -> Box<dyn Fetch> {
        // Both call their key the same.
        let answer = (Duration::ZERO, Ok(json!({"keys": [signer.named("a")]})));
        Box::new(Script { answer: Arc::new(Mutex::new(answer)), fetches: Arc::default() })
    };
    let settings = AuthSettings { audiences: vec!["m".to_owned()], ..AuthSettings::default() };
    let issuers = vec![("one".to_owned(), script(one)), ("two".to_owned(), script(two))];
    let verifier = Verifier::over(&settings, issuers).unwrap();
    let mut refresher = JoinSet::new();
    let refreshing = verifier.clone();
    refresher.spawn(async move { refreshing.refresh().await });
    let check = async |issuer: &str, signer: &Signer| {
        let claims = json!({"iss": issuer, "aud": "m", "exp": NOW + 300, "sub": "s"});
        let token = signer.token(ALGORITHM, &json!({"alg": ALGORITHM, "kid": "a"}), &claims);
        let caller = verifier.verify(&token, Timestamp::from_second(NOW).unwrap()).await;
        caller.map(|caller| caller.issuer.unwrap())
    };
    assert_eq!(check("one", one).await.as_deref(), Ok("one"));
    assert_eq!(check("two", two).await.as_deref(), Ok("two"));
    assert!(check("one", two).await.is_err() && check("two", one).await.is_err());
    assert!(check("three", one).await.is_err());
    assert_eq!(verifier.state().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_is_not_refreshed_says_so_in_time() {
    let mut bench = Bench::new(&[Signer::good(ALGORITHM).named("a")]);
    bench.refresher.abort_all();
    while bench.refresher.join_next().await.is_some() {}
    advance(Duration::from_secs(1)).await;
    let began = Instant::now();
    let verdict = bench.verify(&token(Signer::good(ALGORITHM), Some("a"))).await;
    assert!(is_unavailable(&verdict), "{verdict:?}");
    assert!(began.elapsed() <= Duration::from_millis(2001));
}
