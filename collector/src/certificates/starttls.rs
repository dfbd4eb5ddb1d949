//! Servers that speak in the clear first and change to TLS when asked.
//!
//! What arrives in the clear after the server's consent was put there by somebody between us and the
//! server (CVE-2011-0411 and its kin), so it is a fault, never read as part of what follows.

use std::fmt;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest line of an answer; RFC 5321 §4.5.3.1.5 allows 512, servers send more.
const LONGEST_LINE: usize = 4096;
const MOST_LINES: usize = 100;

/// The protocol spoken before TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartTls {
    /// RFC 3207.
    Smtp,
    /// RFC 9051 §6.2.1.
    Imap,
    /// `SSLRequest`, PostgreSQL protocol §53.2.11.
    Postgres,
}

/// Why it did not come to TLS. What the server said is quoted as it was: show it escaped.
#[derive(Debug, thiserror::Error)]
pub enum StartTlsError {
    #[error("{}", crate::net::connect::words(.0))]
    Io(#[from] std::io::Error),
    #[error("the server closed the connection before TLS")]
    Closed,
    #[error("the server does not speak {0}: `{1}`")]
    Protocol(StartTls, String),
    #[error("the server refuses TLS over {0}: `{1}`")]
    Refused(StartTls, String),
    #[error("{0} byte(s) arrived in the clear after the server had agreed to TLS")]
    Injected(usize),
    #[error("the server talks on without an end")]
    TooLong,
}

impl StartTls {
    pub const ALL: [Self; 3] = [Self::Smtp, Self::Imap, Self::Postgres];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Imap => "imap",
            Self::Postgres => "postgres",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Brings `stream` to where the handshake begins.
    pub async fn begin<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        stream: &mut S,
    ) -> Result<(), StartTlsError> {
        let mut talk = Talk { stream, buffer: Vec::new(), kind: self };
        match self {
            Self::Smtp => talk.smtp().await,
            Self::Imap => talk.imap().await,
            Self::Postgres => talk.postgres().await,
        }
    }
}

impl fmt::Display for StartTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smtp => "SMTP",
            Self::Imap => "IMAP",
            Self::Postgres => "PostgreSQL",
        })
    }
}

struct Talk<'a, S> {
    stream: &'a mut S,
    /// Received and not read yet.
    buffer: Vec<u8>,
    kind: StartTls,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<'_, S> {
    async fn smtp(&mut self) -> Result<(), StartTlsError> {
        self.reply("220").await?;
        self.say(b"EHLO [127.0.0.1]\r\n").await?;
        let offers = self.reply("250").await?;
        let offers_tls = offers.iter().any(|line| {
            line.get(4..).is_some_and(|offer| offer.trim().eq_ignore_ascii_case("STARTTLS"))
        });
        if !offers_tls {
            return Err(StartTlsError::Refused(self.kind, "no STARTTLS among its offers".into()));
        }
        self.say(b"STARTTLS\r\n").await?;
        let line = self.reply("").await?.pop().unwrap_or_default();
        if !line.starts_with("220") {
            return Err(StartTlsError::Refused(self.kind, line));
        }
        self.nothing_more()
    }

    /// The lines of one SMTP reply, which must begin with `code`.
    async fn reply(&mut self, code: &str) -> Result<Vec<String>, StartTlsError> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            let is_reply =
                line.len() >= 3 && line.bytes().take(3).all(|byte| byte.is_ascii_digit());
            if !is_reply || !line.starts_with(code) {
                return Err(StartTlsError::Protocol(self.kind, line));
            }
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if is_last {
                return Ok(lines);
            }
            if lines.len() >= MOST_LINES {
                return Err(StartTlsError::TooLong);
            }
        }
    }

    async fn imap(&mut self) -> Result<(), StartTlsError> {
        let greeting = self.line().await?;
        if !greeting.to_ascii_uppercase().starts_with("* OK") {
            return Err(StartTlsError::Protocol(self.kind, greeting));
        }
        self.say(b"a1 STARTTLS\r\n").await?;
        for _ in 0..MOST_LINES {
            let line = self.line().await?;
            match line.split_once(' ') {
                Some(("*", _)) => {}
                Some(("a1", result)) if result.to_ascii_uppercase().starts_with("OK") => {
                    return self.nothing_more();
                }
                Some(("a1", _)) => return Err(StartTlsError::Refused(self.kind, line)),
                _ => return Err(StartTlsError::Protocol(self.kind, line)),
            }
        }
        Err(StartTlsError::TooLong)
    }

    async fn postgres(&mut self) -> Result<(), StartTlsError> {
        self.say(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await?;
        self.receive().await?;
        match self.buffer.split_first() {
            Some((b'S', rest)) => match rest.len() {
                0 => Ok(()),
                more => Err(StartTlsError::Injected(more)),
            },
            Some((b'N', _)) => Err(StartTlsError::Refused(self.kind, "N".to_owned())),
            _ => {
                let text = String::from_utf8_lossy(&self.buffer).into_owned();
                Err(StartTlsError::Protocol(self.kind, text))
            }
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), StartTlsError> {
        // An answer before the question is as forged as one after the consent.
        self.nothing_more()?;
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    fn nothing_more(&self) -> Result<(), StartTlsError> {
        match self.buffer.len() {
            0 => Ok(()),
            more => Err(StartTlsError::Injected(more)),
        }
    }

    async fn line(&mut self) -> Result<String, StartTlsError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() >= LONGEST_LINE {
                return Err(StartTlsError::TooLong);
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> Result<(), StartTlsError> {
        let mut some = [0; 1024];
        let count = self.stream.read(&mut some).await?;
        if count == 0 {
            return Err(StartTlsError::Closed);
        }
        self.buffer.extend(some.iter().take(count));
        Ok(())
    }
}
