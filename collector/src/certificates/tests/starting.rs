use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::certificates::starttls::StartTls;

/// Plays a server: what it says first, then what it answers to each thing it hears. An answer is
/// sent in one piece. What it heard, and how it ended for the client.
async fn play(kind: StartTls, greeting: &str, turns: &[(&str, &str)]) -> (String, String) {
    let (mut client, mut server) = tokio::io::duplex(64 * 1024);
    let greeting = greeting.to_owned();
    let turns: Vec<(Vec<u8>, Vec<u8>)> = turns
        .iter()
        .map(|(hear, say)| (hear.as_bytes().to_vec(), say.as_bytes().to_vec()))
        .collect();
    let script = async move {
        let mut heard = Vec::new();
        let _ = server.write_all(greeting.as_bytes()).await;
        for (hear, say) in turns {
            let mut buffer = vec![0; hear.len()];
            if server.read_exact(&mut buffer).await.is_err() {
                break;
            }
            heard.extend(buffer);
            let _ = server.write_all(&say).await;
        }
        // The connection stays open until the client has decided.
        (heard, server)
    };
    let begin = async move {
        let result = kind.begin(&mut client).await;
        drop(client);
        result
    };
    let (result, (heard, server)) = tokio::join!(begin, script);
    drop(server);
    let outcome = result.map_or_else(|error| error.to_string(), |()| "TLS".to_owned());
    (String::from_utf8_lossy(&heard).into_owned(), outcome)
}

async fn check(kind: StartTls, greeting: &str, turns: &[(&str, &str)], expected: &str) {
    let (_, outcome) = play(kind, greeting, turns).await;
    assert!(outcome.contains(expected), "{greeting:?} {turns:?}: {outcome}");
}

const EHLO: &str = "EHLO [127.0.0.1]\r\n";
const OFFERS: &str = "250-mail.test\r\n250-SIZE 1000\r\n250 StartTLS\r\n";

#[tokio::test]
async fn smtp_begins_tls_after_the_offer() {
    let turns = [(EHLO, OFFERS), ("STARTTLS\r\n", "220 go ahead\r\n")];
    let (heard, outcome) = play(StartTls::Smtp, "220-mail.test\r\n220 ESMTP\r\n", &turns).await;
    assert_eq!((heard.as_str(), outcome.as_str()), ("EHLO [127.0.0.1]\r\nSTARTTLS\r\n", "TLS"));
}

#[tokio::test]
async fn smtp_that_will_not_is_told() {
    use StartTls::Smtp;
    check(Smtp, "554 go away\r\n", &[], "does not speak SMTP: `554 go away`").await;
    check(Smtp, "SSH-2.0-OpenSSH\r\n", &[], "does not speak SMTP").await;
    check(Smtp, "220 hi\r\n", &[(EHLO, "250 mail.test\r\n")], "no STARTTLS among its offers").await;
    check(Smtp, "220 hi\r\n", &[(EHLO, "502 what\r\n")], "does not speak SMTP: `502 what`").await;
    let turns = [(EHLO, OFFERS), ("STARTTLS\r\n", "454 no certificate\r\n")];
    check(Smtp, "220 hi\r\n", &turns, "refuses TLS over SMTP: `454 no certificate`").await;
}

#[tokio::test]
async fn imap_begins_tls_after_its_tag() {
    let turns = [("a1 STARTTLS\r\n", "* CAPABILITY IMAP4rev2\r\na1 OK begin\r\n")];
    let (heard, outcome) = play(StartTls::Imap, "* OK [CAPABILITY IMAP4rev1] hi\r\n", &turns).await;
    assert_eq!((heard.as_str(), outcome.as_str()), ("a1 STARTTLS\r\n", "TLS"));
    check(StartTls::Imap, "* BYE too busy\r\n", &[], "does not speak IMAP: `* BYE").await;
    check(StartTls::Imap, "* PREAUTH in\r\n", &[], "does not speak IMAP").await;
    let turns = [("a1 STARTTLS\r\n", "a1 NO not here\r\n")];
    check(StartTls::Imap, "* OK hi\r\n", &turns, "refuses TLS over IMAP: `a1 NO").await;
    let turns = [("a1 STARTTLS\r\n", "a2 OK\r\n")];
    check(StartTls::Imap, "* OK hi\r\n", &turns, "does not speak IMAP: `a2 OK`").await;
}

#[tokio::test]
async fn postgres_answers_one_byte() {
    let (mut client, mut server) = tokio::io::duplex(64);
    let script = async {
        let mut request = [0; 8];
        server.read_exact(&mut request).await.unwrap();
        server.write_all(b"S").await.unwrap();
        request
    };
    let (result, request) = tokio::join!(StartTls::Postgres.begin(&mut client), script);
    result.unwrap();
    // Length 8, code 1234 5679.
    assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
    let hear = "\0\0\0\u{8}\u{4}abc";
    check(StartTls::Postgres, "", &[(hear, "N")], "refuses TLS over PostgreSQL: `N`").await;
    check(StartTls::Postgres, "", &[(hear, "HTTP/1.1 400")], "does not speak PostgreSQL").await;
}

#[tokio::test]
async fn words_in_the_clear_after_the_consent_are_a_fault() {
    let injected = "arrived in the clear";
    let turns = [(EHLO, OFFERS), ("STARTTLS\r\n", "220 go ahead\r\n250 forged\r\n")];
    check(StartTls::Smtp, "220 hi\r\n", &turns, injected).await;
    let turns = [(EHLO, "250 STARTTLS\r\n220 forged\r\n")];
    check(StartTls::Smtp, "220 hi\r\n", &turns, injected).await;
    let turns = [("a1 STARTTLS\r\n", "a1 OK begin\r\n* OK forged\r\n")];
    check(StartTls::Imap, "* OK hi\r\n", &turns, injected).await;
    let hear = "\0\0\0\u{8}\u{4}abc";
    check(StartTls::Postgres, "", &[(hear, "SE")], "1 byte(s) arrived in the clear").await;
}

#[tokio::test]
async fn a_server_that_talks_on_is_cut_short() {
    let long = "220 ".to_owned() + &"x".repeat(10_000) + "\r\n";
    check(StartTls::Smtp, &long, &[], "without an end").await;
    let many = "220-more\r\n".repeat(1000);
    check(StartTls::Smtp, &many, &[], "without an end").await;
    let many = "* more\r\n".repeat(1000);
    check(StartTls::Imap, "* OK hi\r\n", &[("a1 STARTTLS\r\n", &many)], "without an end").await;
}
