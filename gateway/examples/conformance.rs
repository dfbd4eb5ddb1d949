//! The fixtures that the MCP conformance suite asks a server for, on the gateway's own HTTP stack.
//!
//! It proves the stack rather than the tools: the same routes, the same guards, another handler.
//! `MAINTENANT_ADDR=127.0.0.1:8772 cargo run -p maintenant-gateway --example conformance`, and the
//! suite against it, as `tests/conformance` does.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::single_match_else,
    clippy::unnecessary_wraps,
    clippy::unused_self,
    deprecated,
    reason = "a fixture for tests, never shipped; old revisions are tested too"
)]

use std::time::Duration;

use clap::Parser;
use maintenant_gateway::auth::admission::Admission;
use maintenant_gateway::calls::Calls;
use maintenant_gateway::config::Args;
use maintenant_gateway::guarded::Guarded;
use maintenant_gateway::guarded::is_modern;
use maintenant_gateway::http::mcp_routes;
use maintenant_serve::guard::{BodyLimits, guarded};
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve_all};
use maintenant_serve::process::Signals;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities,
    CompleteRequestParams, CompleteResult, ContentBlock, ErrorData, GetPromptRequestParams,
    GetPromptResponse, InputRequiredResult, InputResponses, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, LoggingLevel,
    LoggingMessageNotificationParam, PaginatedRequestParams, ProgressNotificationParam,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
    SetLevelRequestParams, SubscribeRequestParams, Tool, UnsubscribeRequestParams,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

type Context = RequestContext<RoleServer>;

/// One red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
/// A sound without samples.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

#[tokio::main]
async fn main() {
    let args = Args::try_parse_from(["conformance", "--mcp", "--url=http://localhost"]).unwrap();
    let (config, logging) = args.check().unwrap();
    logging.init();
    let signals = Signals::listen().unwrap();
    let drain = Drain::default();
    let admission = Admission::new(&config.mcp).unwrap();
    let listener = Listener::bind(&config.address, None).await.unwrap();
    tracing::info!(address = listener.address(), "listening");
    let limits = BodyLimits { bytes: u64::MAX, ..BodyLimits::default() };
    let fixtures = Guarded::new(Fixtures, Calls::default());
    let app = guarded(mcp_routes(fixtures, &config.mcp, &admission, &drain.cut), limits);
    signals
        .drain(&drain, serve_all(vec![(listener, app)], &ConnectionLimits::default(), &drain))
        .await;
}

#[derive(Clone)]
struct Fixtures;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A result that is no question.
fn complete<T: DeserializeOwned>(mut value: Value) -> T {
    value["resultType"] = json!("complete");
    read(value)
}

fn tools() -> Vec<Tool> {
    let plain = [
        "test_audio_content",
        "test_embedded_resource",
        "test_error_handling",
        "test_image_content",
        "test_input_required_result_capabilities",
        "test_input_required_result_elicitation",
        "test_input_required_result_list_roots",
        "test_input_required_result_multi_round",
        "test_input_required_result_multiple_inputs",
        "test_input_required_result_request_state",
        "test_input_required_result_sampling",
        "test_input_required_result_tampered_state",
        "test_logging_tool",
        "test_missing_capability",
        "test_multiple_content_types",
        "test_simple_text",
        "test_streaming_elicitation",
        "test_tool_with_logging",
        "test_tool_with_progress",
    ];
    let mut tools: Vec<Tool> = plain
        .into_iter()
        .map(|name| {
            read(json!({"name": name, "description": "A fixture.",
                        "inputSchema": {"type": "object", "properties": {}}}))
        })
        .collect();
    tools.insert(
        0,
        read(json!({
        "name": "json_schema_2020_12_tool",
        "description": "Tool with JSON Schema 2020-12 features",
        "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {
                "street": {"type": "string"}, "city": {"type": "string"}}}},
            "properties": {
                "name": {"type": "string"},
                "address": {"$ref": "#/$defs/address"},
                "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                "phone": {"type": "string"},
                "email": {"type": "string"}},
            "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
            "if": {"properties": {"contactMethod": {"const": "phone"}},
                   "required": ["contactMethod"]},
            "then": {"required": ["phone"]},
            "else": {"required": ["email"]},
            "additionalProperties": false
        }})),
    );
    tools.push(read(json!({
        "name": "test_x_mcp_header",
        "description": "A fixture with a parameter that is mirrored in a header.",
        "inputSchema": {"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"}}}})));
    tools
}

fn text(text: &str) -> Result<CallToolResponse, ErrorData> {
    Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
}

fn content(content: Value) -> Result<CallToolResponse, ErrorData> {
    Ok(complete::<CallToolResult>(json!({"content": content})).into())
}

fn ask(question: &str, field: &str, kind: &str) -> Value {
    json!({"method": "elicitation/create", "params": {"message": question, "requestedSchema": {
        "type": "object", "properties": {field: {"type": kind}}, "required": [field]}}})
}

fn sample(question: &str) -> Value {
    json!({"method": "sampling/createMessage", "params": {"maxTokens": 100, "messages": [
        {"role": "user", "content": {"type": "text", "text": question}}]}})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

fn required(requests: Value, state: Option<&str>) -> InputRequiredResult {
    InputRequiredResult::new(Some(read(requests)), state.map(sealed))
}

/// A keyed sum: enough to notice a change, which is all this fixture promises.
fn sealed(state: &str) -> String {
    let sum = format!("fixture:{state}")
        .bytes()
        .fold(7_u64, |sum, byte| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    format!("{state}.{sum:x}")
}

fn opened(sealed_state: Option<&String>) -> Result<Option<String>, ErrorData> {
    let Some(given) = sealed_state else { return Ok(None) };
    let state = given.split('.').next().unwrap_or_default();
    if *given == sealed(state) {
        return Ok(Some(state.to_owned()));
    }
    Err(ErrorData::invalid_params("requestState was not made by this server", None))
}

/// The accepted field of an elicitation's answer.
fn accepted<'a>(responses: &'a InputResponses, key: &str, field: &str) -> Option<&'a Value> {
    responses.get(key)?.get("content")?.get(field)
}

impl Fixtures {
    async fn progress(&self, context: &Context) {
        let Some(token) = context.meta.get_progress_token() else { return };
        for progress in [0.0, 50.0, 100.0] {
            let step = ProgressNotificationParam::new(token.clone(), progress).with_total(100.0);
            let _ = context.peer.notify_progress(step).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn log(&self, context: &Context) {
        if is_modern(context) && context.meta.log_level().is_none() {
            return;
        }
        for line in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
            let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(line));
            let _ = context.peer.notify_logging_message(message).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn input_required(
        &self,
        request: &CallToolRequestParams,
        context: &Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let none = InputResponses::new();
        let given = request.input_responses.as_ref().unwrap_or(&none);
        let state = opened(request.request_state.as_ref())?;
        let name = request.name.strip_prefix("test_input_required_result_").unwrap_or_default();
        match name {
            "elicitation" => match accepted(given, "user_name", "name").and_then(Value::as_str) {
                Some(name) => text(&format!("Hello, {name}!")),
                None => {
                    let question = ask("What is your name?", "name", "string");
                    Ok(required(json!({"user_name": question}), None).into())
                }
            },
            "sampling" => match given.get("capital_question") {
                Some(answer) => text(&answer.to_string()),
                None => {
                    let question = sample("What is the capital of France?");
                    Ok(required(json!({"capital_question": question}), None).into())
                }
            },
            "list_roots" => match given.get("client_roots") {
                Some(roots) => text(&format!("roots: {roots}")),
                None => Ok(required(json!({"client_roots": roots()}), None).into()),
            },
            "request_state" | "tampered_state" => match (accepted(given, "confirm", "ok"), state) {
                (Some(_), Some(_)) => text("state-ok"),
                _ => {
                    let question = ask("Please confirm", "ok", "boolean");
                    Ok(required(json!({"confirm": question}), Some("confirm")).into())
                }
            },
            "multiple_inputs" => {
                let keys = ["user_name", "greeting", "client_roots"];
                if keys.iter().all(|key| given.contains_key(*key)) && state.is_some() {
                    return text("all inputs received");
                }
                let questions = json!({
                    "user_name": ask("What is your name?", "name", "string"),
                    "greeting": sample("Generate a greeting"),
                    "client_roots": roots()});
                Ok(required(questions, Some("multiple")).into())
            }
            "multi_round" => match state.as_deref() {
                Some("round-1") if given.contains_key("step1") => {
                    let question = ask("Step 2: What is your favorite color?", "color", "string");
                    Ok(required(json!({"step2": question}), Some("round-2")).into())
                }
                Some("round-2") if given.contains_key("step2") => text("all rounds done"),
                _ => {
                    let question = ask("Step 1: What is your name?", "name", "string");
                    Ok(required(json!({"step1": question}), Some("round-1")).into())
                }
            },
            _ => {
                let can = context.client_capabilities().unwrap_or_default();
                let mut questions = json!({});
                if can.sampling.is_some() {
                    questions["sample"] = sample("Generate a greeting");
                }
                if can.elicitation.is_some() {
                    questions["ask"] = ask("What is your name?", "name", "string");
                }
                Ok(required(questions, None).into())
            }
        }
    }
}

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        let capabilities = json!({"tools": {}, "prompts": {}, "resources": {}, "completions": {}});
        ServerConfig::new(read::<ServerCapabilities>(capabilities))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult { tools: tools(), ..complete(json!({"tools": []})) })
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
        match request.name.as_ref() {
            "test_simple_text" => text("This is a simple text response for testing."),
            "test_image_content" => content(json!([image])),
            "test_audio_content" => {
                content(json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]))
            }
            "test_embedded_resource" => content(json!([{"type": "resource", "resource": {
                "uri": "test://embedded-resource", "mimeType": "text/plain",
                "text": "This is an embedded resource content."}}])),
            "test_multiple_content_types" => content(json!([
                {"type": "text", "text": "Multiple content types test:"},
                image,
                {"type": "resource", "resource": {
                    "uri": "test://mixed-content-resource", "mimeType": "application/json",
                    "text": r#"{"test":"data","value":123}"#}}])),
            "test_error_handling" => {
                let sentence = "This tool intentionally returns an error for testing";
                Ok(CallToolResult::error(vec![ContentBlock::text(sentence)]).into())
            }
            "test_tool_with_progress" | "test_streaming_elicitation" => {
                self.progress(&context).await;
                text("done")
            }
            "test_tool_with_logging" | "test_logging_tool" => {
                self.log(&context).await;
                text("done")
            }
            "test_missing_capability" => {
                if context.client_capabilities().is_some_and(|can| can.sampling.is_some()) {
                    return text("done");
                }
                let sampling = read::<ClientCapabilities>(json!({"sampling": {}}));
                Err(ErrorData::missing_required_client_capability(sampling))
            }
            "test_x_mcp_header" | "json_schema_2020_12_tool" => text("done"),
            name if name.starts_with("test_input_required_result_") => {
                self.input_required(&request, &context)
            }
            _ => Err(ErrorData::invalid_params("unknown tool", None)),
        }
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resource = |name: &str, kind: &str| {
            json!({"uri": format!("test://{name}"), "name": name, "description": "A fixture.",
                   "mimeType": kind})
        };
        Ok(complete(json!({"resources": [resource("static-text", "text/plain"),
                                     resource("static-binary", "image/png")]})))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(complete(json!({"resourceTemplates": [{"uriTemplate": "test://template/{id}/data",
            "name": "template", "description": "A fixture.", "mimeType": "application/json"}]})))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let contents = match (uri, id) {
            ("test://static-text", _) => json!({"uri": uri, "mimeType": "text/plain",
                "text": "This is the content of the static text resource."}),
            ("test://static-binary", _) => {
                json!({"uri": uri, "mimeType": "image/png", "blob": PNG})
            }
            (_, Some(id)) => {
                let data = json!({"id": id, "templateTest": true,
                                  "data": format!("Data for ID: {id}")});
                json!({"uri": uri, "mimeType": "application/json", "text": data.to_string()})
            }
            _ => {
                let data = json!({"uri": uri});
                return Err(ErrorData::resource_not_found("Resource not found", Some(data)));
            }
        };
        let result: rmcp::model::ReadResourceResult = complete(json!({"contents": [contents]}));
        Ok(result.into())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let argument =
            |name: &str| json!({"name": name, "description": "An argument.", "required": true});
        let prompt = |name: &str, arguments: Value| json!({"name": name, "description": "A fixture.", "arguments": arguments});
        Ok(complete(json!({"prompts": [
            prompt("test_simple_prompt", json!([])),
            prompt("test_prompt_with_arguments", json!([argument("arg1"), argument("arg2")])),
            prompt("test_prompt_with_embedded_resource", json!([argument("resourceUri")])),
            prompt("test_prompt_with_image", json!([])),
            prompt("test_input_required_result_prompt", json!([])),
        ]})))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let argument = |name: &str| {
            let given = request.arguments.as_ref().and_then(|given| given.get(name));
            given.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let say = |text: &str| json!({"type": "text", "text": text});
        let messages = match request.name.as_str() {
            "test_simple_prompt" => vec![say("This is a simple prompt for testing.")],
            "test_prompt_with_arguments" => {
                let (one, two) = (argument("arg1"), argument("arg2"));
                vec![say(&format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
            }
            "test_prompt_with_embedded_resource" => vec![
                json!({"type": "resource", "resource": {
                    "uri": argument("resourceUri"), "mimeType": "text/plain",
                    "text": "Embedded resource content for testing."}}),
                say("Please process the embedded resource above."),
            ],
            "test_prompt_with_image" => vec![
                json!({"type": "image", "data": PNG, "mimeType": "image/png"}),
                say("Please analyze the image above."),
            ],
            "test_input_required_result_prompt" => {
                let none = InputResponses::new();
                let given = request.input_responses.as_ref().unwrap_or(&none);
                let Some(context) = accepted(given, "user_context", "context") else {
                    let question = ask("What context should the prompt use?", "context", "string");
                    return Ok(required(json!({"user_context": question}), None).into());
                };
                vec![say(&format!("Context: {context}"))]
            }
            _ => return Err(ErrorData::invalid_params("unknown prompt", None)),
        };
        let messages: Vec<Value> = messages
            .into_iter()
            .map(|content| json!({"role": "user", "content": content}))
            .collect();
        let result: rmcp::model::GetPromptResult = complete(json!({"messages": messages}));
        Ok(result.into())
    }

    async fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        Ok(complete(
            json!({"completion": {"values": ["paris", "park"], "total": 2, "hasMore": false}}),
        ))
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        if is_modern(&context) {
            return Err(ErrorData::method_not_found::<rmcp::model::SetLevelRequestMethod>());
        }
        Ok(())
    }

    async fn subscribe(
        &self,
        _request: SubscribeRequestParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        Ok(())
    }
}
