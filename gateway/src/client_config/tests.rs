use clap::{Parser, ValueEnum};
use serde_json::{Value as Json, json};

use super::*;
use crate::config::{Args, Command};

const CANARY: &str = "canary-0123456789abcdef0123456789abcdef";

/// What is written for these arguments, or what is wrong with them.
fn printed(arguments: &[&str]) -> Result<Printed, String> {
    let args = [&["maintenant-gateway", "client-config"], arguments].concat();
    let args = Args::try_parse_from(args).map_err(|error| error.to_string())?;
    let Some(Command::ClientConfig(options)) = &args.command else { panic!("{args:?}") };
    let given = args.given_to_clients().map_err(|error| error.to_string())?;
    let server = server(options, &given).map_err(|error| error.to_string())?;
    let printed = print(options, &server).map_err(|error| error.to_string())?;
    let all = format!("{} {}", printed.configuration, printed.place);
    assert!(!all.contains(CANARY) && !printed.place.contains('\n'), "{all}");
    Ok(printed)
}

fn of(client: Client, arguments: &[&str]) -> Printed {
    let client = client.to_possible_value().unwrap();
    printed(&[&["--client", client.get_name()], arguments].concat()).unwrap()
}

/// The one server, wherever this client keeps it.
fn entry(client: Client, arguments: &[&str]) -> Json {
    let printed = of(client, arguments).configuration;
    let servers = if client == Client::Vscode { "servers" } else { "mcpServers" };
    assert_eq!(printed[servers].as_object().unwrap().len(), 1, "{printed}");
    printed[servers]["maintenant"].clone()
}

fn fault(arguments: &[&str], part: &str) {
    let text = printed(arguments).unwrap_err();
    assert!(text.contains(part), "{arguments:?}: {text}");
}

#[test]
fn over_http_each_client_has_its_own_words() {
    let check = |client, auth: &str, expected: Json| {
        let arguments = ["--url=https://m.example/mcp", "--auth", auth];
        assert_eq!(entry(client, &arguments), expected, "{client:?} {auth}");
    };
    let url = "https://m.example/mcp";
    let http = json!({"type": "http", "url": url});
    let with = |entry: &Json, token: &str| {
        let mut entry = entry.clone();
        entry["headers"] = json!({"Authorization": format!("Bearer {token}")});
        entry
    };
    check(Client::ClaudeCode, "oauth", http.clone());
    check(Client::ClaudeCode, "bearer", with(&http, "${MAINTENANT_MCP_TOKEN}"));
    check(Client::Vscode, "oauth", http.clone());
    check(Client::Vscode, "bearer", with(&http, "${input:MAINTENANT_MCP_TOKEN}"));
    check(Client::Cursor, "oauth", json!({"url": url}));
    check(Client::Cursor, "bearer", with(&json!({"url": url}), "${env:MAINTENANT_MCP_TOKEN}"));
    let windsurf = json!({"serverUrl": url});
    check(Client::Windsurf, "oauth", windsurf.clone());
    check(Client::Windsurf, "bearer", with(&windsurf, "${env:MAINTENANT_MCP_TOKEN}"));
    let bridge = json!({"command": "npx", "args": ["-y", "mcp-remote", url]});
    check(Client::ClaudeDesktop, "oauth", bridge);
    let bridge = json!({"command": "npx",
        "args": ["-y", "mcp-remote", url, "--header", "Authorization:${AUTHORIZATION}"],
        "env": {"AUTHORIZATION": "Bearer <MAINTENANT_MCP_TOKEN>"}});
    check(Client::ClaudeDesktop, "bearer", bridge);
}

#[test]
fn started_by_the_client_each_has_a_program_and_its_settings() {
    let known = ["--url=https://c.example:8081", "--api-token-file=/t/token", "--ca-cert=/t/ca"];
    for client in Client::value_variants() {
        let entry = entry(*client, &known);
        let program = std::env::current_exe().unwrap();
        assert_eq!(entry["command"], json!(program), "{client:?}");
        assert_eq!(entry["args"], json!(["--mcp-stdio"]), "{client:?}");
        let expected = json!({"MAINTENANT_URL": "https://c.example:8081",
            "MAINTENANT_API_TOKEN_FILE": "/t/token", "MAINTENANT_CA_CERT": "/t/ca"});
        assert_eq!(entry["env"], expected, "{client:?}");
        let named = matches!(client, Client::ClaudeCode | Client::Cursor | Client::Vscode);
        assert_eq!(entry["type"], if named { json!("stdio") } else { Json::Null }, "{client:?}");
        assert!(!of(*client, &known).place.contains("<angle"), "{client:?}");
    }
    let relative = entry(Client::Cursor, &["--url=unix:/run/m.sock", "--api-token-file=token"]);
    let file = relative["env"]["MAINTENANT_API_TOKEN_FILE"].as_str().unwrap();
    assert!(file.starts_with('/') && file.ends_with("/token"), "{file}");
    let reads = entry(Client::Windsurf, &["--url=unix:/run/m.sock", "--mcp-read-only"]);
    let expected =
        json!({"MAINTENANT_URL": "unix:/run/m.sock", "MAINTENANT_MCP_READ_ONLY": "true"});
    assert_eq!(reads["env"], expected);
}

#[test]
fn a_token_that_is_no_file_is_asked_for_in_the_clients_own_way() {
    let token = format!("--api-token-from-environment={CANARY}");
    let known = ["--url=https://c.example", &token];
    let check = |client, name: &str, value: &str| {
        assert_eq!(entry(client, &known)["env"][name], json!(value), "{client:?}");
    };
    check(Client::ClaudeCode, "MAINTENANT_API_TOKEN", "${MAINTENANT_API_TOKEN}");
    check(Client::Cursor, "MAINTENANT_API_TOKEN", "${env:MAINTENANT_API_TOKEN}");
    check(Client::Windsurf, "MAINTENANT_API_TOKEN", "${env:MAINTENANT_API_TOKEN}");
    check(Client::Vscode, "MAINTENANT_API_TOKEN", "${input:MAINTENANT_API_TOKEN}");
    let file = "<file with MAINTENANT_API_TOKEN>";
    check(Client::ClaudeDesktop, "MAINTENANT_API_TOKEN_FILE", file);
    let vscode = of(Client::Vscode, &known);
    let input = &vscode.configuration["inputs"][0];
    assert_eq!(input["id"], "MAINTENANT_API_TOKEN");
    assert_eq!((&input["type"], &input["password"]), (&json!("promptString"), &json!(true)));
    assert!(vscode.place.contains("it will ask for MAINTENANT_API_TOKEN"), "{}", vscode.place);
    assert!(of(Client::Cursor, &known).place.contains("set MAINTENANT_API_TOKEN in"));
}

#[test]
fn what_is_not_known_is_marked() {
    let printed = of(Client::Cursor, &[]);
    let settings = &printed.configuration["mcpServers"]["maintenant"]["env"];
    assert_eq!(settings["MAINTENANT_URL"], "<URL of the collector>");
    assert_eq!(settings["MAINTENANT_API_TOKEN_FILE"], "<file with the collector's token>");
    assert!(printed.place.ends_with("replace what stands in <angle brackets>"));
    for url in ["unix:/run/m.sock", "http://localhost:8081", "http://[::1]:8081"] {
        let settings = entry(Client::Cursor, &["--url", url])["env"].clone();
        assert_eq!(settings, json!({"MAINTENANT_URL": url}), "no token is expected");
    }
}

#[test]
fn a_gateway_that_serves_prints_its_own_address() {
    let own = format!("--mcp-token-from-environment={CANARY}");
    let serving =
        ["--mcp", "--url=http://collector:8081", "--base-url=https://m.example/base/", &own];
    let entry_of = |arguments: &[&str]| entry(Client::ClaudeCode, arguments);
    let served = entry_of(&serving);
    assert_eq!(served["url"], "https://m.example/base/mcp");
    assert_eq!(served["headers"]["Authorization"], "Bearer ${MAINTENANT_MCP_TOKEN}");
    let oauth = entry_of(&[serving.as_slice(), &["--auth=oauth"]].concat());
    assert_eq!(oauth["headers"], Json::Null);
    let started = entry_of(&[serving.as_slice(), &["--mcp-stdio"]].concat());
    assert_eq!(started["env"]["MAINTENANT_URL"], "http://collector:8081");
    let inner = [serving.as_slice(), &["--ca-cert=/t/inner"]].concat();
    let place = of(Client::Cursor, &inner).place;
    assert!(!place.contains("/t/inner"), "it is for the collector: {place}");
    let private = ["--url=https://m.example/mcp", "--ca-cert=/t/my ca"];
    let place = of(Client::Cursor, &private).place;
    assert!(place.contains("NODE_EXTRA_CA_CERTS='/t/my ca'"), "{place}");
    let bridge = entry(Client::ClaudeDesktop, &private);
    assert_eq!(bridge["env"]["NODE_EXTRA_CA_CERTS"], "/t/my ca");
    let plain = entry(Client::ClaudeDesktop, &["--url=http://m.example/mcp"]);
    assert_eq!(plain["args"][3], "--allow-http");
}

#[test]
fn over_ssh_the_shell_there_reads_the_same_words() {
    let files = ["--api-token-file=/t/it's", "--ca-cert=/t/ca", "--mcp-read-only"];
    let known = ["--ssh=me@host", "--url=unix:/run/m.sock"];
    let entry = entry(Client::Windsurf, &[known.as_slice(), &files].concat());
    assert_eq!(entry["command"], "ssh");
    assert_eq!(entry["env"], Json::Null);
    let expected = json!([
        "-T",
        "-o",
        "BatchMode=yes",
        "me@host",
        "maintenant-gateway",
        "--mcp-stdio",
        "--url",
        "unix:/run/m.sock",
        "--api-token-file",
        "'/t/it'\\''s'",
        "--ca-cert",
        "/t/ca",
        "--mcp-read-only"
    ]);
    assert_eq!(entry["args"], expected);
    let unknown = of(Client::Windsurf, &["--ssh=host"]);
    let arguments = &unknown.configuration["mcpServers"]["maintenant"]["args"];
    assert_eq!(arguments[7], "'<URL of the collector as that host sees it>'");
    assert!(unknown.place.contains("<angle brackets>"), "{}", unknown.place);
    for host in ["-oProxyCommand=id", "", "a b", "host;id", "$(id)"] {
        fault(&["--client=cursor", &format!("--ssh={host}")], "--ssh");
    }
}

#[test]
fn hostile_values_stay_values() {
    let odd = "/t/\"; $(id) `id` \\ \u{7} ü '$HOME'";
    let flag = format!("--api-token-file={odd}");
    for client in Client::value_variants() {
        let entry = entry(*client, &["--url=https://c.example", &flag]);
        assert_eq!(entry["env"]["MAINTENANT_API_TOKEN_FILE"], json!(odd), "{client:?}");
    }
    let place = of(Client::ClaudeCode, &["--url=https://c.example", &flag]).place;
    let command = place.split_once("run: ").unwrap().1;
    let script = format!("claude() {{ printf '%s\\n' \"$@\"; }}; {command}");
    let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let words: Vec<&str> = said.lines().collect();
    assert_eq!(words[..5], ["mcp", "add-json", "--scope", "user", "maintenant"]);
    let told: Json = serde_json::from_str(words[5]).unwrap();
    assert_eq!(told["env"]["MAINTENANT_API_TOKEN_FILE"], json!(odd));
    let cursor = ["--client=cursor", "--url=https://c.example"];
    fault(&[&cursor[..], &["--ca-cert=/t/${file:/etc/shadow}"]].concat(), "`${`");
    fault(&[&cursor[..], &["--name=a b"]].concat(), "--name");
    fault(&["--client=cursor", "--url=https://u:p@c.example/mcp"], "credentials");
    fault(&["--client=cursor", "--url=a=https://x,b"], "MAINTENANT_URL");
}

#[test]
fn an_unknown_client_is_told_the_known_ones() {
    let text = printed(&["--client=emacs"]).unwrap_err();
    for name in ["claude-code", "claude-desktop", "cursor", "vscode", "windsurf"] {
        assert!(text.contains(name), "{text}");
    }
    fault(&[], "--client");
}
