//! What is settled about calls: how many, which tools, and who is told of them.

use std::path::PathBuf;

use maintenant_serve::settings::{Address, Faults, entries};
use reqwest::Url;

use super::choice::ToolChoice;

/// Calls a minute of one caller, where nothing is said.
const DEFAULT_RATE: u32 = 600;

/// Settings of calls, as part of the MCP settings.
#[derive(Debug, Default, clap::Args)]
pub struct CallArgs {
    /// Calls a minute of one caller, 0 for no limit [default: 600]
    #[arg(long, env = "MAINTENANT_MCP_RATE", value_name = "CALLS")]
    mcp_rate: Option<String>,

    /// Only these tools (comma list; @/file for one a line)
    #[arg(long, env = "MAINTENANT_MCP_TOOLS", value_name = "TOOLS")]
    mcp_tools: Option<String>,

    /// Not these tools (comma list; @/file for one a line)
    #[arg(long, env = "MAINTENANT_MCP_TOOLS_OFF", value_name = "TOOLS")]
    mcp_tools_off: Option<String>,

    /// Write one JSON line for each call to this file, or to stderr [default: none]
    #[arg(long, env = "MAINTENANT_MCP_AUDIT", value_name = "FILE")]
    mcp_audit: Option<String>,

    /// Serve Prometheus metrics on /metrics of this address [default: none]
    #[arg(long, env = "MAINTENANT_METRICS_ADDR", value_name = "ADDRESS")]
    metrics_addr: Option<String>,

    /// Send OpenTelemetry traces to this OTLP endpoint, over HTTP [default: none]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otel_exporter_otlp_endpoint: Option<String>,
}

/// [`CallArgs`], checked.
#[derive(Debug, Clone)]
pub struct CallSettings {
    /// Calls a minute of one caller; 0: neither their number nor how many run at once is limited.
    pub rate: u32,
    pub tools: ToolChoice,
    pub audit: Option<AuditSink>,
    pub metrics: Option<Address>,
    /// The OTLP endpoint, to which `v1/traces` is added.
    pub traces: Option<Url>,
}

/// Where audit lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditSink {
    Stderr,
    /// Appended to; made with mode 0600.
    File(PathBuf),
}

impl Default for CallSettings {
    fn default() -> Self {
        let tools = ToolChoice::default();
        Self { rate: DEFAULT_RATE, tools, audit: None, metrics: None, traces: None }
    }
}

impl CallArgs {
    pub fn check(&self, faults: &mut Faults) -> CallSettings {
        let rate = given(self.mcp_rate.as_ref()).map(|text| {
            let fault = format!("`{text}` is no number of calls; use 0 to 1000000");
            text.parse().ok().filter(|rate| *rate <= 1_000_000).ok_or(fault)
        });
        let metrics = given(self.metrics_addr.as_ref()).map(str::parse).transpose();
        let traces = given(self.otel_exporter_otlp_endpoint.as_ref()).map(endpoint).transpose();
        CallSettings {
            rate: faults.or(0, "MAINTENANT_MCP_RATE", rate.unwrap_or(Ok(DEFAULT_RATE))),
            tools: ToolChoice {
                only: tools("MAINTENANT_MCP_TOOLS", self.mcp_tools.as_ref(), faults),
                off: tools("MAINTENANT_MCP_TOOLS_OFF", self.mcp_tools_off.as_ref(), faults)
                    .unwrap_or_default(),
            },
            audit: given(self.mcp_audit.as_ref()).map(|text| match text {
                "stderr" => AuditSink::Stderr,
                file => AuditSink::File(file.into()),
            }),
            metrics: faults.or(None, "MAINTENANT_METRICS_ADDR", metrics),
            traces: faults.or(None, "OTEL_EXPORTER_OTLP_ENDPOINT", traces),
        }
    }
}

/// A variable set to nothing is not set.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn tools(name: &str, text: Option<&String>, faults: &mut Faults) -> Option<Vec<String>> {
    let tools =
        entries(given(text)?).and_then(|tools| super::choice::known(&tools).map(|()| tools));
    Some(faults.or(Vec::new(), name, tools))
}

/// The fault, without the text: it may hold a password.
fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL ({error})"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("is neither http://… nor https://…; only OTLP over HTTP is spoken".to_owned());
    }
    Ok(url)
}
