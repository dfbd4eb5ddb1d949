//! `docs/configuration.md`, made from the arguments of the three programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

/// What stands above the tables.
const BEGINNING: &str = "\
# Configuration

Made from the arguments of the programs by a test; `cargo test -p maintenant documentation` writes it anew.

Every setting is an environment variable, most are also a flag, and a flag wins over its variable. `--help` lists
them. All are checked before anything starts: with a fault the program ends with exit code 64 and names every one.

- **Secrets** (a variable with a `_FILE` beside it) are given as the variable or as a file that holds nothing else;
  the end of its line does not count. Both at once is a fault. `--help` has no flag for a secret, as command lines
  are public.
- **BOOL** is `true`, `false`, `1` or `0`; a flag without a value is `true`.
- **DURATION** is `500ms`, `30s`, `5m`, `12h`, `7d`, or joined: `1h30m`.
- **Lists** are separated by commas. Where `@/path` is possible, it stands for the lines of that file.
- *programs*: `collector` is `maintenant-collector`, `gateway` is `maintenant-gateway`, `both in one` is
  `maintenant`; `all` are these three.
";

/// What stands below them: variables that are no arguments of ours.
const END: &str = "
## Read by libraries

| variable | programs | meaning |
|---|---|---|
| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS` | gateway, both in one | as OpenTelemetry specifies them, where `OTEL_EXPORTER_OTLP_ENDPOINT` is set |
| `SSL_CERT_FILE`, `SSL_CERT_DIR` | all | where the system's certificate authorities are |
| `HOME` | collector, both in one | `~/.docker`, where `DOCKER_CONFIG` is not set |

`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are minded for traces alone.
";

/// A table: its title, and the structs and single variables in it. Variables go before structs.
const TABLES: [(&str, &[&str]); 10] = [
    (
        "Listening",
        &[
            "ListenArgs",
            "MAINTENANT_ALLOWED_HOSTS",
            "MAINTENANT_ALLOWED_ORIGINS",
            "MAINTENANT_ALLOW_UNAUTHENTICATED",
            "MAINTENANT_CORS_ORIGINS",
        ],
    ),
    ("Token of the REST API", &["TokenArgs"]),
    (
        "Docker",
        &[
            "MAINTENANT_RUNTIME",
            "DOCKER_HOST",
            "DOCKER_CERT_PATH",
            "DOCKER_TLS_VERIFY",
            "DOCKER_CONFIG",
        ],
    ),
    ("What the collector does", &["CollectorArgs"]),
    ("Mail", &["SmtpArgs"]),
    ("Collectors that a gateway asks", &["MAINTENANT_URL", "UpstreamArgs", "LoadArgs"]),
    ("MCP", &["McpArgs"]),
    ("Calls: limits, tools, audit, metrics, traces", &["CallArgs"]),
    ("Who may call /mcp", &["AuthArgs"]),
    ("Logs", &["LogArgs"]),
];

/// Arguments that `--help` hides, though they are no secrets: program, variable, why.
const HIDDEN: [(&str, &str, &str); 1] = [(
    "maintenant",
    "MAINTENANT_URL",
    "Refused, as this program watches its own machine; it is there to say so",
)];

/// One line of a table, without the programs that have it.
#[derive(Clone, PartialEq, Eq)]
struct Row {
    table: &'static str,
    variable: String,
    flag: String,
    default: String,
    meaning: String,
}

fn programs() -> [(&'static str, Command); 3] {
    [
        ("collector", maintenant_collector::config::Args::command()),
        ("gateway", maintenant_gateway::config::Args::command()),
        ("both in one", super::Args::command()),
    ]
    .map(|(name, mut command)| {
        command.build();
        (name, command)
    })
}

fn rows(command: &Command) -> Vec<Row> {
    let variables: Vec<String> = command.get_arguments().filter_map(variable).collect();
    let of = |arg: &Arg| {
        let variable = variable(arg)?;
        let (meaning, default) = words(arg);
        let secret_file = format!("{variable}_FILE");
        let hidden = |(program, name, _): &&(&str, &str, &str)| {
            *program == command.get_name() && *name == variable
        };
        let (flag, meaning) = if !arg.is_hide_set() {
            (format!("`{}`", flag(arg)), meaning)
        } else if variables.contains(&secret_file) {
            (String::new(), format!("The secret itself, in place of `{secret_file}`"))
        } else if let Some((_, _, why)) = HIDDEN.iter().find(hidden) {
            (String::new(), (*why).to_owned())
        } else {
            panic!("{variable} is hidden and no secret; say why in HIDDEN");
        };
        let table = table(command, arg, &variable);
        Some(Row { table, variable, flag, default, meaning })
    };
    command.get_arguments().filter_map(of).collect()
}

fn variable(arg: &Arg) -> Option<String> {
    Some(arg.get_env()?.to_str().unwrap().to_owned())
}

/// The title of the table an argument stands in. `clap` makes a group of each struct, and leaves it
/// empty where others are flattened into it: that is the collector's, and the one of MCP.
fn table(command: &Command, arg: &Arg, variable: &str) -> &'static str {
    let group = command.get_groups().find(|group| group.get_args().any(|id| id == arg.get_id()));
    let group = match group {
        Some(group) => group.get_id().as_str(),
        None if variable.starts_with("MAINTENANT_MCP") => "McpArgs",
        None => "CollectorArgs",
    };
    let holding = |name: &str| {
        TABLES.iter().find(|(_, members)| members.contains(&name)).map(|(title, _)| *title)
    };
    let found = holding(variable).or_else(|| holding(group));
    found.unwrap_or_else(|| panic!("{variable} of {group} stands in no table; add it to TABLES"))
}

/// Its help and its default, which may stand at the end of the help.
fn words(arg: &Arg) -> (String, String) {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let given: Vec<_> = arg.get_default_values().iter().map(|v| v.to_str().unwrap()).collect();
    let (help, default) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, given.join(",")),
    };
    (help.replace('|', "\\|").replace('<', "&lt;"), default)
}

fn flag(arg: &Arg) -> String {
    let long = arg.get_long().unwrap();
    let takes_value = arg.get_action().takes_values();
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    match value.filter(|_| takes_value) {
        None => format!("--{long}"),
        Some(value) if arg.is_require_equals_set() => format!("--{long}[={value}]"),
        // What `clap` makes of the name says nothing.
        Some(value) if value.eq_ignore_ascii_case(arg.get_id().as_str()) => {
            format!("--{long} VALUE")
        }
        Some(value) => format!("--{long} {value}"),
    }
}

/// A row for each variable of each program; equal ones are one.
fn tables() -> String {
    let mut all: Vec<(Row, Vec<&str>)> = Vec::new();
    for (program, command) in programs() {
        for row in rows(&command) {
            match all.iter_mut().find(|(known, _)| *known == row) {
                Some((_, programs)) => programs.push(program),
                None => all.push((row, vec![program])),
            }
        }
    }
    let mut text = String::new();
    for (title, _) in TABLES {
        let head = "| variable | flag | default | programs | meaning |\n|---|---|---|---|---|";
        writeln!(text, "\n## {title}\n\n{head}").unwrap();
        let mut rows: Vec<_> = all.iter().filter(|(row, _)| row.table == title).collect();
        // The same variable of several programs stands together, where it came first.
        let first: BTreeMap<_, _> =
            rows.iter().enumerate().rev().map(|(n, (row, _))| (row.variable.clone(), n)).collect();
        rows.sort_by_key(|(row, _)| first.get(&row.variable).copied());
        for (row, programs) in rows {
            let Row { variable, flag, default, meaning, .. } = row;
            let programs = if programs.len() == 3 { "all".to_owned() } else { programs.join(", ") };
            let is_value = !default.contains(' ') || default.contains('<');
            let default = match default.as_str() {
                "" | "none" | "discovered" => default.clone(),
                _ if is_value => format!("`{default}`"),
                _ => default.clone(),
            };
            writeln!(text, "| `{variable}` | {flag} | {default} | {programs} | {meaning} |")
                .unwrap();
        }
    }
    text
}

/// Flags without a variable, and commands.
fn commands() -> String {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    let mut add = |line: String, program| match lines.iter_mut().find(|(known, _)| *known == line) {
        Some((_, programs)) => programs.push(program),
        None => lines.push((line, vec![program])),
    };
    for (program, command) in programs() {
        for arg in command.get_arguments() {
            let is_usual = ["help", "version"].contains(&arg.get_id().as_str());
            if arg.get_env().is_none() && !is_usual {
                add(format!("| `{}` | {} |", flag(arg), words(arg).0), program);
            }
        }
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let own = |arg: &&Arg| {
                let named = |other: &Arg| other.get_id() == arg.get_id();
                !command.get_arguments().any(named) && arg.get_id() != "help"
            };
            let mut usage = sub.get_name().to_owned();
            for arg in sub.get_arguments().filter(own) {
                assert!(arg.get_env().is_none(), "{usage}: {arg} has a variable that no table has");
                let value = arg.get_value_names().and_then(|names| names.first());
                if arg.is_positional() {
                    write!(usage, " {}", value.unwrap()).unwrap();
                } else if arg.is_required_set() {
                    write!(usage, " {}", flag(arg)).unwrap();
                } else {
                    write!(usage, " [{}]", flag(arg)).unwrap();
                }
            }
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            add(format!("| `{usage}` | {about} |"), program);
        }
    }
    let mut text =
        "\n## Commands, and flags without a variable\n\n| | meaning | programs |\n|---|---|---|\n"
            .to_owned();
    for (line, programs) in lines {
        let programs = if programs.len() == 3 { "all".to_owned() } else { programs.join(", ") };
        writeln!(text, "{line} {programs} |").unwrap();
    }
    text + "\n`--help` and `--version` work as usual; flags may also stand behind a command.\n"
}

/// The committed page is the one the arguments make. A difference is written and fails.
#[test]
fn the_page_of_the_configuration_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let made = format!("{BEGINNING}{}{}{END}", tables(), commands());
    if made != std::fs::read_to_string(path).unwrap_or_default() {
        std::fs::write(path, made).unwrap();
        panic!("docs/configuration.md was out of date and has been rewritten; commit it");
    }
}

#[test]
fn a_secret_is_no_flag_and_may_be_a_file() {
    for (program, command) in programs() {
        let variables: Vec<_> = command.get_arguments().filter_map(variable).collect();
        for arg in command.get_arguments() {
            let Some(name) = variable(arg) else { continue };
            let is_secret = name.ends_with("TOKEN") || name.ends_with("PASSWORD");
            assert_eq!(is_secret, variables.contains(&format!("{name}_FILE")), "{program} {name}");
            assert!(!is_secret || arg.is_hide_set(), "{program} {name} is shown by --help");
            assert!(!is_secret || arg.is_hide_env_values_set(), "{program} {name}: its value");
        }
    }
}
