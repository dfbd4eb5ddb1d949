//! Settings: read once, validated whole. Every fault is reported, not just the first.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

/// Exit code for bad configuration (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// Collects what is wrong with the settings, so that one run shows all of it.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// The parsed value, or `placeholder` with the fault noted. The placeholder is never used:
    /// [`Faults::finish`] refuses the configuration.
    pub fn or<T>(&mut self, placeholder: T, name: &str, parsed: Result<T, String>) -> T {
        parsed.unwrap_or_else(|fault| {
            self.add(name, &fault);
            placeholder
        })
    }

    pub fn add(&mut self, name: &str, fault: &str) {
        self.0.push(format!("{name}: {fault}"));
    }

    pub fn finish(self) -> Result<(), SettingsError> {
        if self.0.is_empty() { Ok(()) } else { Err(SettingsError(self.0)) }
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub struct SettingsError(pub Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} fault(s):", self.0.len())?;
        for fault in &self.0 {
            write!(f, "\n  {fault}")?;
        }
        write!(f, "\n`--help` lists every setting with its default")
    }
}

/// Where to listen: `host:port`, or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    /// Only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => is_loopback(host),
        }
    }
}

/// `localhost` or a loopback address, with or without brackets.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no address; use host:port, [ipv6]:port or unix:/path");
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(fault()) } else { Ok(Self::Unix(path.into())) };
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            let host = match address.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            return Ok(Self::Tcp { host, port: address.port() });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
        let port = port.parse().map_err(|_| fault())?;
        if host.contains(':') || host.contains('/') {
            return Err(fault());
        }
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

/// `30s`, `5m`, `12h`, `7d`, `500ms`, also combined as in `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let fault = || format!("`{text}` is no duration; use forms such as 30s, 5m, 12h, 7d or 1h30m");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(fault());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| fault())?;
        let unit = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(fault()),
        };
        let span = number.checked_mul(milliseconds).ok_or_else(fault)?;
        total = total.checked_add(Duration::from_millis(span)).ok_or_else(fault)?;
        rest = tail;
    }
    Ok(total)
}

/// `true`, `false`, `1`, `0`.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" | "" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// A comma list without its empty entries.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// A comma list of which an entry `@/file` stands for the lines of a file, without empty ones and
/// those that begin with `#`. Files are read anew at a reload; values of variables cannot be.
pub fn entries(text: &str) -> Result<Vec<String>, String> {
    let mut entries = Vec::new();
    for entry in list(text) {
        let Some(file) = entry.strip_prefix('@').filter(|file| file.starts_with('/')) else {
            entries.push(entry);
            continue;
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read {file}: {error}"))?;
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        entries.extend(lines.map(str::to_owned));
    }
    Ok(entries)
}

/// A comma list of networks and single addresses.
pub fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let parse = |text: &String| {
        text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
            format!("`{text}` is no network; use forms such as 10.0.0.0/8, 192.0.2.1 or fd00::/8")
        })
    };
    list(text).iter().map(parse).collect()
}

/// A value that is never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, to be sent or compared, never logged.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A secret given as itself or as the file that holds it (`NAME_FILE`).
pub fn secret(
    name: &str,
    value: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<Secret>, String> {
    let text = match (value, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(format!("both {name} and {name}_FILE are set; keep one")),
        (Some(value), None) => value.to_owned(),
        (None, Some(file)) => std::fs::read_to_string(file)
            .map_err(|error| format!("{name}_FILE: cannot read {}: {error}", file.display()))?,
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("it is empty; unset it, or give it a value".to_owned());
    }
    if text.chars().any(|c| c.is_control() || c == ' ') {
        return Err("it contains a space or a control character".to_owned());
    }
    Ok(Some(Secret::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_contract_writes_them() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("2m0s"), Ok(Duration::from_mins(2)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "30", "s", "1y", "-1s", "1.5h", "99999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn addresses_are_host_and_port_or_a_socket() {
        let tcp = |host: &str, port| Ok(Address::Tcp { host: host.to_owned(), port });
        assert_eq!("127.0.0.1:8081".parse(), tcp("127.0.0.1", 8081));
        assert_eq!("[::1]:8081".parse(), tcp("[::1]", 8081));
        assert_eq!(":8081".parse(), tcp("0.0.0.0", 8081));
        assert_eq!("unix:/run/m.sock".parse(), Ok(Address::Unix("/run/m.sock".into())));
        for bad in ["", "8081", "host:", "host:70000", "::1:80", "unix:", "http://h:80"] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn local_means_loopback_or_a_socket() {
        let local = |text: &str| text.parse::<Address>().unwrap().is_local();
        assert!(local("127.0.0.1:1") && local("localhost:1") && local("[::1]:1"));
        assert!(local("unix:/x"));
        assert!(!local("0.0.0.0:1") && !local("[::]:1") && !local("192.0.2.1:1"));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = secret("TOKEN", Some("hunter2"), None).unwrap().unwrap();
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_secret_file_loses_one_line_end_and_must_not_be_empty() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "hunter2\n").unwrap();
        assert_eq!(secret("T", None, Some(&file)).unwrap().unwrap().expose(), "hunter2");
        std::fs::write(&file, "\n").unwrap();
        assert!(secret("T", None, Some(&file)).is_err());
        assert!(secret("T", Some("x"), Some(&file)).unwrap_err().contains("both T and T_FILE"));
    }

    #[test]
    fn an_entry_may_be_a_file_of_entries() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        std::fs::write(&file, "b\r\n\n# note\n  c,d  \n").unwrap();
        let text = format!("a, @{}, @e", file.display());
        assert_eq!(entries(&text).unwrap(), ["a", "b", "c,d", "@e"]);
        assert!(entries("@/nowhere").unwrap_err().contains("cannot read /nowhere"));
    }

    #[test]
    fn all_faults_are_reported() {
        let mut faults = Faults::default();
        faults.or(Duration::ZERO, "MAINTENANT_UPDATE_INTERVAL", duration("soon"));
        faults.or(false, "MAINTENANT_MCP", boolean("maybe"));
        let text = faults.finish().unwrap_err().to_string();
        assert!(text.contains("MAINTENANT_UPDATE_INTERVAL: `soon`"), "{text}");
        assert!(text.contains("MAINTENANT_MCP: `maybe`"), "{text}");
    }
}
