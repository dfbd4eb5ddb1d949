//! How each client writes down a server, as its own documentation has it.
//!
//! | client | its documentation |
//! |---|---|
//! | Claude Code | <https://code.claude.com/docs/en/mcp> |
//! | Claude Desktop | <https://modelcontextprotocol.io/docs/develop/connect-local-servers> |
//! | Cursor | <https://cursor.com/docs/mcp> |
//! | VS Code | <https://code.visualstudio.com/docs/agents/reference/mcp-configuration> |
//! | Windsurf | <https://docs.windsurf.com/windsurf/cascade/mcp> |

use maintenant_serve::settings::is_loopback;
use serde_json::{Map, Value as Json, json};

use super::{Server, Value, shell_word};

const MCP_TOKEN: &str = "MAINTENANT_MCP_TOKEN";

/// A client of which the form is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    ClaudeCode,
    ClaudeDesktop,
    Cursor,
    Vscode,
    Windsurf,
}

/// What is put into the client's file, and a line that says which one that is.
#[derive(Debug)]
pub struct Printed {
    pub configuration: Json,
    pub place: String,
}

impl Client {
    /// The configuration with this one server, called `name`.
    pub fn print(self, name: &str, server: &Server) -> Printed {
        let bridged;
        let (server, bearer) = match server {
            Server::Http { url, bearer, ca } if self == Self::ClaudeDesktop => {
                bridged = bridge(url, *bearer, ca.as_deref());
                (&bridged, false)
            }
            Server::Http { bearer, .. } => (server, *bearer),
            Server::Program { .. } => (server, false),
        };
        let entry = self.entry(server);
        let mut secrets: Vec<&str> = secrets(server).chain(bearer.then_some(MCP_TOKEN)).collect();
        if self == Self::ClaudeDesktop {
            secrets.clear();
        }
        let mut configuration = Map::new();
        if self == Self::Vscode {
            let ask = |name: &&str| json!({"type": "promptString", "id": name, "description": name, "password": true});
            if !secrets.is_empty() {
                configuration.insert("inputs".to_owned(), secrets.iter().map(ask).collect());
            }
            configuration.insert("servers".to_owned(), json!({name: entry}));
        } else {
            configuration.insert("mcpServers".to_owned(), json!({name: entry}));
        }
        let mut place = vec![self.place(name, &entry)];
        if !secrets.is_empty() {
            let secrets = secrets.join(", ");
            place.push(match self {
                Self::Vscode => format!("it will ask for {secrets}"),
                _ => format!("set {secrets} in the environment that the client is started in"),
            });
        }
        if let Server::Http { ca: Some(ca), .. } = server {
            let ca = shell_word(ca);
            place.push(format!("the client has to trust {ca}: NODE_EXTRA_CA_CERTS={ca}"));
        }
        if entry.to_string().contains('<') {
            place.push("replace what stands in <angle brackets>".to_owned());
        }
        Printed { configuration: Json::Object(configuration), place: place.join("; ") }
    }

    fn entry(self, server: &Server) -> Json {
        match server {
            Server::Program { command, arguments, settings } => {
                let mut entry = json!({"command": command, "args": arguments});
                let settings: Map<String, Json> = settings
                    .iter()
                    .map(|(name, value)| match (value, self) {
                        // It neither asks for secrets nor knows variables.
                        (Value::Secret(_), Self::ClaudeDesktop) => {
                            (format!("{name}_FILE"), json!(format!("<file with {name}>")))
                        }
                        _ => ((*name).to_owned(), json!(self.text(value))),
                    })
                    .collect();
                if !settings.is_empty() {
                    set(&mut entry, "env", Json::Object(settings));
                }
                if matches!(self, Self::ClaudeCode | Self::Vscode | Self::Cursor) {
                    set(&mut entry, "type", json!("stdio"));
                }
                entry
            }
            Server::Http { url, bearer, .. } => {
                let mut entry = match self {
                    Self::Windsurf => json!({"serverUrl": url.as_str()}),
                    Self::Cursor => json!({"url": url.as_str()}),
                    _ => json!({"type": "http", "url": url.as_str()}),
                };
                if *bearer {
                    let token = format!("Bearer {}", self.text(&Value::Secret(MCP_TOKEN)));
                    set(&mut entry, "headers", json!({"Authorization": token}));
                }
                entry
            }
        }
    }

    fn text(self, value: &Value) -> String {
        match (value, self) {
            (Value::Known(text), _) => text.clone(),
            (Value::Secret(name), Self::ClaudeCode) => format!("${{{name}}}"),
            (Value::Secret(name), Self::Cursor | Self::Windsurf) => format!("${{env:{name}}}"),
            (Value::Secret(name), Self::Vscode) => format!("${{input:{name}}}"),
            (Value::Secret(what), Self::ClaudeDesktop) | (Value::Unknown(what), _) => {
                format!("<{what}>")
            }
        }
    }

    fn place(self, name: &str, entry: &Json) -> String {
        match self {
            Self::ClaudeCode => format!(
                "for .mcp.json in the project's folder; for all projects run: claude mcp add-json \
                 --scope user {name} {}",
                shell_word(&entry.to_string())
            ),
            Self::ClaudeDesktop => "for claude_desktop_config.json (~/.config/Claude, macOS \
                                    ~/Library/Application Support/Claude, Windows \
                                    %APPDATA%\\Claude); then start Claude Desktop anew"
                .to_owned(),
            Self::Cursor => {
                "for ~/.cursor/mcp.json, or .cursor/mcp.json in the project's folder".to_owned()
            }
            Self::Vscode => "for .vscode/mcp.json in the project's folder, or the file that the \
                             command MCP: Open User Configuration opens"
                .to_owned(),
            Self::Windsurf => "for ~/.codeium/windsurf/mcp_config.json".to_owned(),
        }
    }
}

/// Claude Desktop's file knows programs only; `mcp-remote` is one that speaks HTTP. A space in an
/// argument is lost on Windows, so the header's value is a variable, as its documentation advises.
fn bridge(url: &reqwest::Url, bearer: bool, ca: Option<&str>) -> Server {
    let mut arguments = vec!["-y".to_owned(), "mcp-remote".to_owned(), url.to_string()];
    let mut settings = Vec::new();
    if url.scheme() == "http" && !url.host_str().is_some_and(is_loopback) {
        arguments.push("--allow-http".to_owned());
    }
    if bearer {
        arguments.extend(["--header".to_owned(), "Authorization:${AUTHORIZATION}".to_owned()]);
        settings.push(("AUTHORIZATION", Value::Known(format!("Bearer <{MCP_TOKEN}>"))));
    }
    if let Some(ca) = ca {
        settings.push(("NODE_EXTRA_CA_CERTS", Value::Known(ca.to_owned())));
    }
    Server::Program { command: "npx".to_owned(), arguments, settings }
}

fn secrets(server: &Server) -> impl Iterator<Item = &'static str> {
    let settings = match server {
        Server::Program { settings, .. } => settings.as_slice(),
        Server::Http { .. } => &[],
    };
    settings.iter().filter_map(|(_, value)| match value {
        Value::Secret(name) => Some(*name),
        Value::Known(_) | Value::Unknown(_) => None,
    })
}

fn set(entry: &mut Json, key: &str, value: Json) {
    if let Json::Object(entry) = entry {
        entry.insert(key.to_owned(), value);
    }
}
