//! Reading what users set. What cannot be read is refused with what is accepted.

use maintenant_api::certificates::CertificateInput;
use maintenant_serve::logging::foreign;
use rustls::RootCertStore;

use super::model::{DEFAULT_INTERVAL, Monitor};
use super::probe::{Target, read_roots};
use super::sql::Wanted;
use super::starttls::StartTls;
use super::{sources, thresholds};
use crate::http::error::ApiError;

const INTERVALS: std::ops::RangeInclusive<i64> = 3600..=604_800;
const MOST_THRESHOLDS: usize = 10;
const LONGEST_THRESHOLD: i64 = 3650;
/// Of `ca_certificates`.
const MOST_ROOTS: usize = 20;
const LONGEST_ROOTS: usize = 64 * 1024;

/// A new monitor. 0 stands for a default, as other servers of this contract read it.
pub fn create(input: CertificateInput) -> Result<Wanted, ApiError> {
    let hostname = input.hostname.as_deref().unwrap_or_default();
    if hostname.trim().is_empty() {
        return Err(fault("hostname", "it is needed: a host name or an IP address".to_owned()));
    }
    let host = sources::host(hostname).map_err(|error| fault("hostname", error))?;
    let port = match input.port.unwrap_or_default() {
        0 => 443,
        port => u16::try_from(port)
            .map_err(|_| fault("port", format!("{port} is no number from 1 to 65535")))?,
    };
    let target = Target { host, port, server_name: None, starttls: None, ca_certificates: None };
    let interval_seconds = input.check_interval_seconds.filter(|seconds| *seconds != 0);
    let defaults = Wanted {
        target,
        interval_seconds: DEFAULT_INTERVAL,
        thresholds: thresholds::DEFAULT.into(),
    };
    read(CertificateInput { check_interval_seconds: interval_seconds, ..input }, defaults)
}

/// A monitor changed: what is not named stays.
pub fn update(input: CertificateInput, monitor: Monitor) -> Result<Wanted, ApiError> {
    let now = Wanted {
        target: monitor.target,
        interval_seconds: monitor.interval_seconds,
        thresholds: monitor.thresholds,
    };
    read(input, now)
}

fn read(input: CertificateInput, mut wanted: Wanted) -> Result<Wanted, ApiError> {
    if let Some(seconds) = input.check_interval_seconds {
        if !INTERVALS.contains(&seconds) {
            let (low, high) = (INTERVALS.start(), INTERVALS.end());
            let text = format!("{seconds} is no number of seconds from {low} to {high}");
            return Err(fault("check_interval_seconds", text));
        }
        wanted.interval_seconds = seconds;
    }
    if let Some(days) = input.warning_thresholds {
        wanted.thresholds = read_thresholds(days)?;
    }
    if let Some(name) = input.server_name {
        let name = name.trim();
        let name = if name.is_empty() {
            String::new()
        } else {
            sources::host(name).map_err(|error| fault("server_name", error))?
        };
        wanted.target.server_name = (name != wanted.target.host).then_some(name);
    }
    if let Some(word) = input.starttls {
        wanted.target.starttls = match word.as_str() {
            "" => None,
            word => Some(StartTls::parse(word).ok_or_else(|| {
                let given = foreign(word);
                fault("starttls", format!("`{given}` is not one of smtp, imap, postgres"))
            })?),
        };
    }
    if let Some(pem) = input.ca_certificates {
        wanted.target.ca_certificates = if pem.trim().is_empty() {
            None
        } else {
            check_roots(&pem).map_err(|error| fault("ca_certificates", error))?;
            Some(pem)
        };
    }
    Ok(wanted)
}

fn read_thresholds(mut days: Vec<i64>) -> Result<Vec<i64>, ApiError> {
    let accepted =
        format!("use 1 to {MOST_THRESHOLDS} numbers of days, each from 1 to {LONGEST_THRESHOLD}");
    if days.is_empty() {
        return Err(fault("warning_thresholds", format!("it is empty; {accepted}")));
    }
    if let Some(bad) = days.iter().find(|days| !(1..=LONGEST_THRESHOLD).contains(*days)) {
        return Err(fault("warning_thresholds", format!("{bad} is not possible; {accepted}")));
    }
    days.sort_unstable_by(|a, b| b.cmp(a));
    days.dedup();
    if days.len() > MOST_THRESHOLDS {
        return Err(fault(
            "warning_thresholds",
            format!("{} are too many; {accepted}", days.len()),
        ));
    }
    Ok(days)
}

fn check_roots(pem: &str) -> Result<(), String> {
    const ACCEPTED: &str = "use certificates of authorities in PEM, one after the other";
    if pem.len() > LONGEST_ROOTS {
        return Err(format!("{} bytes are too many; {LONGEST_ROOTS} are accepted", pem.len()));
    }
    // What is stored is served again.
    if pem.contains("PRIVATE KEY") {
        return Err(format!("there is a private key in it, which nobody should see; {ACCEPTED}"));
    }
    let roots = read_roots(pem).map_err(|error| format!("{error:#}; {ACCEPTED}"))?;
    if roots.len() > MOST_ROOTS {
        return Err(format!(
            "{} certificates are too many; {MOST_ROOTS} are accepted",
            roots.len()
        ));
    }
    let mut store = RootCertStore::empty();
    for (place, root) in (1..).zip(roots) {
        store.add(root).map_err(|_| format!("certificate {place} cannot be read; {ACCEPTED}"))?;
    }
    Ok(())
}

fn fault(field: &'static str, fault: String) -> ApiError {
    ApiError::InvalidInput { field, fault }
}
