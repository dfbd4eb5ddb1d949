//! `docs/tools.md`, made from the tools as they are listed. The examples are `docs/answers/*.json`,
//! which `tests/documents/take.py` takes from a running system.

use std::fmt::Write;

use rmcp::model::Tool;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::caller::Scope;
use crate::collectors::Collectors;
use crate::config::{CollectorSettings, Target};
use crate::server::Gateway;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

const BEGINNING: &str = "\
# Tools

Made from the tools as a client is told of them, by a test; `cargo test -p maintenant-gateway documentation` writes
it anew. The examples are answers of a real system, taken by `tests/documents/take.py`; of lists, two entries are shown,
of lines four, and long texts are cut at `…`.

- A tool takes one [scope](auth.md#scopes), where `MAINTENANT_MCP_SCOPES=true`.
- Those that change something are left out with `MAINTENANT_MCP_READ_ONLY=true`; `MAINTENANT_MCP_TOOLS` and
  `MAINTENANT_MCP_TOOLS_OFF` [choose](gateway.md#which-tools). None is destructive: nothing is deleted, no
  container is touched.
- *extended*: the collector must have `MAINTENANT_EDITION=extended`.
- Arguments that are not listed are refused. An answer has at most 32 KiB and says in `hint` what was left out;
  `next_cursor` leads to the next page. One call may take 30 s.
- With several collectors all tools but `get_health` also take `collector`, the name of one of them.
";

/// One call of a real system.
#[derive(Deserialize)]
struct Example {
    arguments: Map<String, Value>,
    answer: Value,
}

fn tools() -> Vec<Tool> {
    let target = Target::Unix("/nowhere".into());
    let collectors = ["prod", "lab"].map(|name| (name.to_owned(), target.clone())).into();
    let settings = CollectorSettings { collectors, ..CollectorSettings::default() };
    Gateway::new(Collectors::new(settings).unwrap(), false).tools().to_vec()
}

fn example(tool: &str) -> Example {
    let path = format!("{DOCS}/answers/{tool}.json");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}; tests/documents/take.py makes it"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn hint(tool: &Tool, name: &str) -> bool {
    serde_json::to_value(tool.annotations.as_ref().unwrap()).unwrap()[name].as_bool().unwrap()
}

fn changes(tool: &Tool) -> &'static str {
    match (hint(tool, "readOnlyHint"), hint(tool, "destructiveHint")) {
        (true, _) => "reads",
        (false, false) => "changes",
        (false, true) => "destroys",
    }
}

fn index(tools: &[Tool]) -> String {
    let mut text = "\n| tool | what it does | scope | |\n|---|---|---|---|\n".to_owned();
    for tool in tools {
        let description = tool.description.as_ref().unwrap();
        let first = description.split_once([':', ';', '.']).map_or("", |(first, _)| first);
        let extended = if description.contains("extended edition") { ", extended" } else { "" };
        let (name, scope) = (&tool.name, Scope::of_tool(&tool.name).as_str());
        let does = changes(tool);
        writeln!(text, "| [`{name}`](#{name}) | {first} | `{scope}` | {does}{extended} |").unwrap();
    }
    text
}

fn section(tool: &Tool) -> String {
    let mut text = format!("\n## {}\n\n{}\n\n", tool.name, tool.description.as_ref().unwrap());
    let yes = |hint: bool| if hint { "yes" } else { "no" };
    writeln!(
        text,
        "Scope `{}`. Read-only: {}; destructive: {}; twice is as once: {}; reaches others: {}.\n",
        Scope::of_tool(&tool.name).as_str(),
        yes(hint(tool, "readOnlyHint")),
        yes(hint(tool, "destructiveHint")),
        yes(hint(tool, "idempotentHint")),
        yes(hint(tool, "openWorldHint")),
    )
    .unwrap();
    let schema = Value::Object((*tool.input_schema).clone());
    let required = |name: &str| {
        let names = schema["required"].as_array();
        names.is_some_and(|names| names.iter().any(|known| known == name))
    };
    let arguments = schema["properties"].as_object().into_iter().flatten();
    let mut rows = String::new();
    for (name, about) in arguments.filter(|(name, _)| *name != "collector") {
        let needed = if required(name) { "required" } else { "" };
        let meaning = about["description"].as_str().unwrap();
        writeln!(rows, "| `{name}` | {} | {needed} | {meaning} |", kind(about)).unwrap();
    }
    if rows.is_empty() {
        text.push_str("It takes no arguments.\n");
    } else {
        writeln!(text, "| argument | values | | meaning |\n|---|---|---|---|\n{rows}").unwrap();
    }
    let fields = tool.output_schema.as_ref().unwrap()["properties"].as_object().unwrap();
    let fields: Vec<_> = fields.keys().map(|name| format!("`{name}`")).collect();
    let Example { arguments, answer } = example(&tool.name);
    let asked = serde_json::to_string(&arguments).unwrap();
    let answer = serde_json::to_string_pretty(&answer).unwrap();
    let text = text.trim_end();
    format!(
        "{text}\n\nAnswers with {}.\n\n<details><summary>Example: <code>{asked}</code></summary>\n\n\
         ```json\n{answer}\n```\n\n</details>\n",
        fields.join(", ")
    )
}

/// What may be given, in words.
fn kind(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<_> = words.iter().map(|w| format!("`{}`", w.as_str().unwrap())).collect();
        return words.join(" ");
    }
    match (schema["type"].as_str().unwrap(), &schema["minimum"], &schema["maximum"]) {
        ("array", ..) => format!("list of {}", kind(&schema["items"])),
        (kind, Value::Null, Value::Null) => kind.to_owned(),
        (kind, least, most) => format!("{kind}, {least} to {most}"),
    }
}

/// The committed page is the one the tools make. A difference is written and fails.
#[test]
fn the_page_of_the_tools_is_current() {
    let path = format!("{DOCS}/tools.md");
    let tools = tools();
    let sections: String = tools.iter().map(section).collect();
    let made = format!("{BEGINNING}{}{sections}", index(&tools));
    if made != std::fs::read_to_string(&path).unwrap_or_default() {
        std::fs::write(path, made).unwrap();
        panic!("docs/tools.md was out of date and has been rewritten; commit it");
    }
}

#[test]
fn each_example_is_an_answer_of_its_tool() {
    let tools = tools();
    for tool in &tools {
        let Example { arguments, answer } = example(&tool.name);
        for (schema, value) in [
            (Value::Object((*tool.input_schema).clone()), Value::Object(arguments)),
            (Value::Object((**tool.output_schema.as_ref().unwrap()).clone()), answer),
        ] {
            let validator = jsonschema::validator_for(&schema).unwrap();
            let faults: Vec<_> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
            assert!(faults.is_empty(), "{}: {faults:?} in {value}", tool.name);
        }
    }
    let files = std::fs::read_dir(format!("{DOCS}/answers")).unwrap().count();
    assert_eq!(files, tools.len(), "docs/answers has a file that belongs to no tool");
}

#[test]
fn nothing_destroys() {
    for tool in tools() {
        assert!(!hint(&tool, "destructiveHint"), "{}: the page says that none does", tool.name);
    }
}
