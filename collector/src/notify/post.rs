//! One try: a request over HTTP or a mail over SMTP, each within its time.

use std::cmp::Reverse;
use std::error::Error;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use jiff::Timestamp;
use lettre::message::header::{HeaderName as MailHeaderName, HeaderValue as MailHeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use maintenant_serve::logging::foreign;
use maintenant_serve::settings::Secret;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::Url;

use super::Settings;
use super::channels::{HIDDEN, Headers};
use super::kinds::Request;
use super::reach::{Forbidden, Reach};
use super::retry::{Failure, Why, after, of_status};
use crate::net::Net;

/// For one try over HTTP.
const DEADLINE: Duration = Duration::from_secs(10);
/// For one mail, which a server may look at for long before it takes it.
const MAIL: Duration = Duration::from_mins(1);
/// For what a receiver says of a failure.
const REASON: Duration = Duration::from_secs(2);
/// Bytes read of an answer.
const ANSWER: usize = 4096;
/// Characters shown of an answer.
const SHOWN: usize = 200;
/// Shorter parts of an address are no secrets.
const SHORTEST_SECRET: usize = 8;
/// Connections to one receiver kept for the next message.
const KEPT: usize = 4;

/// The server that e-mail is handed to.
#[derive(Debug, Clone)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
    pub credentials: Option<(String, Secret)>,
    pub from: Mailbox,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Demanded after a plain greeting.
    Starttls,
    /// From the first byte.
    Tls,
    None,
}

/// A request, and what marks it as one delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcel {
    pub request: Request,
    /// The same at every try.
    pub key: String,
    pub event: String,
    /// Of a subscription with a secret.
    pub signature: Option<String>,
}

/// What sends.
#[derive(Debug)]
pub struct Post {
    client: reqwest::Client,
    pub reach: Reach,
    mailer: Option<Mailer>,
}

#[derive(Debug)]
struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Post {
    pub fn new(net: Net, settings: &Settings) -> anyhow::Result<Self> {
        let tls = net.trust.verifying()?;
        let reach = Reach::new(net, settings.allow_private);
        let client = reqwest::Client::builder()
            .user_agent(concat!("maintenant/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .dns_resolver(reach.clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .pool_max_idle_per_host(KEPT)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()?;
        let mailer = settings.smtp.as_ref().map(Mailer::new).transpose();
        let mailer = mailer.context("MAINTENANT_SMTP_HOST")?;
        Ok(Self { client, reach, mailer })
    }

    /// Whether e-mail can be sent.
    pub fn has_mail(&self) -> bool {
        self.mailer.is_some()
    }

    /// Sends once and says which code the receiver answered.
    pub async fn send(&self, parcel: &Parcel, now: Timestamp) -> Result<u16, Failure> {
        self.send_within(parcel.request.deadline(), parcel, now).await
    }

    /// As [`Post::send`], with another deadline.
    pub async fn send_within(
        &self,
        deadline: Duration,
        parcel: &Parcel,
        now: Timestamp,
    ) -> Result<u16, Failure> {
        let sending = async {
            match &parcel.request {
                Request::Http { url, headers, body } => {
                    self.http(url, headers, body, parcel, now).await
                }
                Request::Mail { to, subject, text, unsubscribe } => {
                    let Some(mailer) = &self.mailer else {
                        let text = "no mail server is set; set MAINTENANT_SMTP_HOST";
                        return Err(Failure::new(Why::Refused, text));
                    };
                    let unsubscribe = unsubscribe.as_deref();
                    mailer.send(to, (subject, text), unsubscribe, &parcel.key, now).await
                }
            }
        };
        let late = || {
            let text = format!("no answer within {} seconds", deadline.as_secs());
            Err(Failure::new(Why::Passing, text))
        };
        tokio::time::timeout(deadline, sending).await.unwrap_or_else(|_| late())
    }

    async fn http(
        &self,
        url: &Url,
        headers: &Headers,
        body: &str,
        parcel: &Parcel,
        now: Timestamp,
    ) -> Result<u16, Failure> {
        // No resolver is asked for an address. What was made under other settings may be http.
        self.reach
            .check_literal(url)
            .and_then(|()| self.reach.check_scheme(url))
            .map_err(|forbidden| Failure::new(Why::Refused, forbidden.to_string()))?;
        let mut request = self
            .client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", &parcel.key)
            .header("x-maintenant-delivery", &parcel.key)
            .header("x-maintenant-event", &parcel.event);
        if let Some(signature) = &parcel.signature {
            request = request.header("x-maintenant-signature", signature);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = request.body(body.to_owned()).send().await.map_err(failure)?;
        let status = response.status();
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let mut retry_after = asked.and_then(|asked| after(asked, now));
        // Whatever becomes of its body, the status is the answer.
        let Some(why) = of_status(status.as_u16()) else { return Ok(status.as_u16()) };
        let mut answer = Vec::new();
        let reading = async {
            while answer.len() < ANSWER {
                let Ok(Some(chunk)) = response.chunk().await else { break };
                answer.extend_from_slice(chunk.get(..ANSWER - answer.len()).unwrap_or(&chunk));
            }
        };
        let _ = tokio::time::timeout(REASON, reading).await;
        if status.as_u16() == 429 {
            retry_after = retry_after.or_else(|| asked_in_body(&answer));
        }
        let mut text = format!("it answered {status}");
        if status.is_redirection() {
            text.push_str("; redirects are not followed");
        }
        let said = String::from_utf8_lossy(&answer);
        let said: String = scrubbed(&said, url, headers).trim().chars().take(SHOWN).collect();
        if !said.is_empty() {
            text = format!("{text}: `{}`", foreign(&said));
        }
        Err(Failure { text, why, retry_after })
    }
}

/// Seconds to wait, as Discord and Telegram say them.
fn asked_in_body(answer: &[u8]) -> Option<Duration> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let asked = answer.get("retry_after").or_else(|| answer.pointer("/parameters/retry_after"))?;
    Duration::try_from_secs_f64(asked.as_f64()?).ok()
}

/// What a receiver answered, without what it may have repeated of our secrets.
pub(super) fn scrubbed(text: &str, url: &Url, headers: &Headers) -> String {
    let in_query = url.query().unwrap_or_default().split(['&', '=']);
    let in_url = url.path().split('/').chain([url.username()]).chain(url.password());
    let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let mut secrets: Vec<String> = url.query_pairs().map(|(_, value)| value.into_owned()).collect();
    for part in in_url.chain(in_query) {
        for part in [part.to_owned(), decode(part)] {
            // A token of Telegram stands behind this word.
            secrets.extend(part.strip_prefix("bot").map(str::to_owned));
            secrets.push(part);
        }
    }
    for value in headers.values() {
        let pieces = value.split([' ', ',', ';', '=', '"']);
        secrets.extend(pieces.chain([value.as_str()]).map(str::to_owned));
    }
    secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
    // What is left of a longer one would still say most of it.
    secrets.sort_by_key(|secret| Reverse(secret.len()));
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
}

/// The innermost cause, which names no address but the one that was refused.
fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    loop {
        if let Some(Forbidden(text)) = cause.downcast_ref() {
            return Failure::new(Why::Refused, text);
        }
        let Some(source) = cause.source() else { break };
        cause = source;
    }
    Failure::new(Why::Passing, foreign(&cause.to_string()))
}

impl Request {
    /// For one try.
    pub fn deadline(&self) -> Duration {
        match self {
            Self::Http { .. } => DEADLINE,
            Self::Mail { .. } => MAIL,
        }
    }
}

impl Mailer {
    fn new(smtp: &Smtp) -> anyhow::Result<Self> {
        let tls = match smtp.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::Starttls => Tls::Required(TlsParameters::new(smtp.host.clone())?),
            SmtpTls::Tls => Tls::Wrapper(TlsParameters::new(smtp.host.clone())?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
            .port(smtp.port)
            .tls(tls)
            .timeout(Some(MAIL))
            // No connection is used twice: one whose try was cut short would answer the next with
            // what was meant for the last.
            .pool_config(PoolConfig::new().max_size(0));
        if let Some((user, password)) = &smtp.credentials {
            let password = password.expose().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self { transport: builder.build(), from: smtp.from.clone() })
    }

    async fn send(
        &self,
        to: &[Mailbox],
        (subject, text): (&str, &str),
        unsubscribe: Option<&str>,
        key: &str,
        now: Timestamp,
    ) -> Result<u16, Failure> {
        let header = |name, value: &str| {
            MailHeaderValue::new(MailHeaderName::new_from_ascii_str(name), value.to_owned())
        };
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .date(SystemTime::from(now))
            .message_id(Some(format!("<{key}@{}>", self.from.email.domain())))
            // RFC 3834 §5: nobody's absence is to answer it.
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-maintenant-Delivery", key));
        if let Some(url) = unsubscribe {
            message = message.raw_header(header("List-Unsubscribe", &format!("<{url}>")));
            // RFC 8058 §3.1: by one POST, and only over HTTPS.
            if url.starts_with("https://") {
                let one_click = header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click");
                message = message.raw_header(one_click);
            }
        }
        for mailbox in to {
            message = message.to(mailbox.clone());
        }
        let refused = |error: lettre::error::Error| Failure::new(Why::Refused, error.to_string());
        let message = message.body(text.to_owned()).map_err(refused)?;
        match self.transport.send(message).await {
            Ok(response) => Ok(response.code().to_string().parse().unwrap_or(250)),
            Err(error) => {
                let why = if error.is_permanent() { Why::Refused } else { Why::Passing };
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                let text: String = format!("{error}{cause}").chars().take(SHOWN).collect();
                Err(Failure::new(why, foreign(&text)))
            }
        }
    }
}
