//! `maintenant-gateway client-config`: what a client needs to reach this gateway, ready to be put
//! into its file.
//!
//! The values are those of the settings. Of secrets only the place is written: a file, or the
//! client's own way to ask for them. What is not known stands in `<angle brackets>`.

mod clients;

use std::io::Write;
use std::path::{Path, PathBuf};

pub use clients::{Client, Printed};
use maintenant_serve::settings::{Faults, SettingsError, boolean, is_loopback};
use reqwest::Url;

use crate::collector::settings::{Target, targets};
use crate::config::http_url;

const PROGRAM: &str = "maintenant-gateway";
const API_TOKEN: &str = "MAINTENANT_API_TOKEN";
const URL: &str = "MAINTENANT_URL";

/// For whom, and how that client is to come here.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The client
    #[arg(long, value_name = "NAME")]
    pub client: Client,
    /// What the client is to call this server
    #[arg(long, value_name = "NAME", default_value = "maintenant", value_parser = name)]
    pub name: String,
    /// Start the gateway there, over ssh; MAINTENANT_URL and files are then as HOST sees them
    #[arg(long, value_name = "HOST")]
    pub ssh: Option<String>,
    /// How the client shows who it is over HTTP [default: bearer where the settings have a static
    /// token, else oauth]
    #[arg(long, value_name = "HOW")]
    pub auth: Option<Auth>,
}

impl Options {
    /// Whether a static token is shown over HTTP; unless something else is asked for, where there
    /// is one.
    pub fn bearer(&self, has_token: bool) -> bool {
        self.auth.map_or(has_token, |auth| auth == Auth::Bearer)
    }
}

/// How a client shows over HTTP who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Auth {
    /// A static token, in a header
    Bearer,
    /// A token of an issuer, which the client gets by itself; nothing where nobody is asked
    Oauth,
}

/// The settings that matter to a client, as they were given.
#[derive(Debug, Clone, Default)]
pub struct Given<'a> {
    /// Of collectors, or of `/mcp`.
    pub url: Option<&'a str>,
    pub token_file: Option<&'a Path>,
    /// The token itself is set, which is written nowhere.
    pub has_token: bool,
    /// CA, certificate and key towards collectors.
    pub files: [(&'static str, Option<&'a Path>); 3],
    pub read_only: bool,
    /// `--mcp-stdio`
    pub stdio: bool,
    /// Where this gateway itself serves `/mcp`, if it does.
    pub served_at: Option<Url>,
    /// `/mcp` takes a static token.
    pub has_mcp_token: bool,
    /// This program.
    pub program: Option<PathBuf>,
}

/// A value of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Known(String),
    /// Looked up or asked for by the client, under this name.
    Secret(&'static str),
    /// What it is; whoever reads the configuration has to put it there.
    Unknown(&'static str),
}

/// What a client connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// A program that it starts, with variables.
    Program { command: String, arguments: Vec<String>, settings: Vec<(&'static str, Value)> },
    /// Streamable HTTP. `ca` is what the client has to trust.
    Http { url: Url, bearer: bool, ca: Option<String> },
}

/// Writes the configuration to stdout and where it belongs to stderr.
pub fn run(options: &Options, given: &Given<'_>) -> anyhow::Result<()> {
    write(options, &server(options, given)?)
}

/// The same for a server that is known.
pub fn write(options: &Options, server: &Server) -> anyhow::Result<()> {
    let Printed { configuration, place } = print(options, server)?;
    let text = format!("{}\n", serde_json::to_string_pretty(&configuration)?);
    std::io::stdout().write_all(text.as_bytes())?;
    std::io::stderr().write_all(format!("{place}\n").as_bytes())?;
    Ok(())
}

fn print(options: &Options, server: &Server) -> Result<Printed, SettingsError> {
    if server.texts().any(|text| text.contains("${")) {
        let fault = "a setting holds `${`, which clients replace by something else";
        return Err(SettingsError(vec![fault.to_owned()]));
    }
    Ok(options.client.print(&options.name, server))
}

/// What the client is to connect to, or all that is wrong with the settings of it.
pub fn server(options: &Options, given: &Given<'_>) -> Result<Server, SettingsError> {
    let mut faults = Faults::default();
    let url = given.url.filter(|url| !url.is_empty());
    let at_mcp = url.and_then(|url| http_url(url).ok()).filter(is_mcp);
    let bearer = options.bearer(given.has_mcp_token);
    // The CA comes first. Where this gateway serves, it is for collectors.
    let ca = given.files.first().and_then(|(_, file)| *file).filter(|_| at_mcp.is_some());
    let server = if let Some(host) = &options.ssh {
        if !is_host(host) {
            let fault = "it is a host, or user@host, as ssh takes it";
            faults.add("--ssh", fault);
        }
        over_ssh(host, url, given)
    } else if let Some(url) = at_mcp.or_else(|| given.served_at.clone()).filter(|_| !given.stdio) {
        Server::Http { url, bearer, ca: ca.map(absolute) }
    } else {
        started_here(url, given)
    };
    if let (Some(url), Server::Program { .. }) = (url, &server) {
        faults.or(Vec::new(), URL, targets(url));
    }
    faults.finish().map(|()| server)
}

/// The gateway as a program of the machine where the client is.
fn started_here(url: Option<&str>, given: &Given<'_>) -> Server {
    let known = |text: &str| Value::Known(text.to_owned());
    let mut settings = vec![(URL, url.map_or(Value::Unknown("URL of the collector"), known))];
    let file = "MAINTENANT_API_TOKEN_FILE";
    match given.token_file {
        Some(path) => settings.push((file, Value::Known(absolute(path)))),
        None if given.has_token => settings.push((API_TOKEN, Value::Secret(API_TOKEN))),
        None if url.is_none_or(asks_for_a_token) => {
            settings.push((file, Value::Unknown("file with the collector's token")));
        }
        None => {}
    }
    let files = given.files.iter().filter_map(|(name, file)| Some((*name, absolute((*file)?))));
    settings.extend(files.map(|(name, file)| (name, Value::Known(file))));
    if given.read_only {
        settings.push(("MAINTENANT_MCP_READ_ONLY", known("true")));
    }
    let program = given.program.as_deref().and_then(Path::to_str).unwrap_or(PROGRAM);
    Server::Program {
        command: program.to_owned(),
        arguments: vec!["--mcp-stdio".to_owned()],
        settings,
    }
}

/// The gateway as a program of another machine. A shell there reads the command once more.
fn over_ssh(host: &str, url: Option<&str>, given: &Given<'_>) -> Server {
    // Nobody could answer a question of ssh, so it must not ask one.
    let mut arguments: Vec<String> =
        ["-T", "-o", "BatchMode=yes", host, PROGRAM, "--mcp-stdio"].map(str::to_owned).into();
    let mut add = |flag: &str, value: &str| {
        arguments.push(flag.to_owned());
        arguments.push(shell_word(value));
    };
    add("--url", url.unwrap_or("<URL of the collector as that host sees it>"));
    match given.token_file.and_then(Path::to_str) {
        Some(file) => add("--api-token-file", file),
        None if given.has_token || url.is_some_and(asks_for_a_token) => {
            add("--api-token-file", "<file there with the collector's token>");
        }
        None => {}
    }
    for (flag, (_, file)) in ["--ca-cert", "--client-cert", "--client-key"].iter().zip(given.files)
    {
        if let Some(file) = file.and_then(Path::to_str) {
            add(flag, file);
        }
    }
    if given.read_only {
        arguments.push("--mcp-read-only".to_owned());
    }
    Server::Program { command: "ssh".to_owned(), arguments, settings: Vec::new() }
}

impl Server {
    /// All that was given by somebody.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let (mut texts, settings): (Vec<&str>, _) = match self {
            Self::Program { command, arguments, settings } => {
                let arguments = arguments.iter().map(String::as_str);
                (arguments.chain([command.as_str()]).collect(), settings.as_slice())
            }
            Self::Http { url, ca, .. } => {
                ([url.as_str()].into_iter().chain(ca.as_deref()).collect(), [].as_slice())
            }
        };
        texts.extend(settings.iter().filter_map(|(_, value)| match value {
            Value::Known(text) => Some(text.as_str()),
            Value::Secret(_) | Value::Unknown(_) => None,
        }));
        texts.into_iter()
    }
}

/// `true` as settings write it.
pub fn is_true(text: Option<&str>) -> bool {
    text.is_some_and(|text| boolean(text) == Ok(true))
}

/// One word of a POSIX shell, whatever it holds.
fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Clients start programs in folders of their own.
pub fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.display().to_string()
}

fn is_mcp(url: &Url) -> bool {
    url.path().trim_end_matches('/').ends_with("/mcp")
}

/// A collector beyond this machine has a token, or should have one.
fn asks_for_a_token(url: &str) -> bool {
    targets(url).is_ok_and(|targets| {
        targets.iter().any(|(_, target)| match target {
            Target::Unix(_) => false,
            Target::Http(url) => !url.host_str().is_some_and(is_loopback),
        })
    })
}

fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_name = (1..=64).contains(&text.len()) && text.bytes().all(plain);
    is_name.then(|| text.to_owned()).ok_or_else(|| "1 to 64 letters, digits, - and _".to_owned())
}

/// What begins with `-` would be an option of ssh, which can run programs here.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@._-:[]%/".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain)
}

#[cfg(test)]
mod tests;
