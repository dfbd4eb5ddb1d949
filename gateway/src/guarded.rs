//! What holds for every call of an MCP handler, whatever it does.
//!
//! rmcp leaves a request whose handler panics unanswered for ever, sets no time limit, and does
//! not drop the work of a cancelled request. Here a panic and a time-out become answers, a
//! cancelled call ends, each tool call leaves one log line (no arguments, no results), and clients
//! of 2026-07-28 find the server's name in each result.

#![expect(deprecated, reason = "clients before 2026-07-28 still call what it deprecated")]

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use maintenant_serve::logging::foreign;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    ContentBlock, CustomRequest, CustomResult, DiscoverResult, ErrorData, GetPromptRequestParams,
    GetPromptResponse, Implementation, InitializeRequestParams, InitializeResult,
    ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    MetaObject, PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams,
    ReadResourceResponse, ServerConfig, SetLevelRequestParams, SubscribeRequestParams,
    SubscriptionFilter, Tool, UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::untrusted;

/// Longer than any tool needs: finding a container ends after 12 seconds, reading its log after
/// another 15, any other call after ten.
const DEADLINE: Duration = Duration::from_secs(30);

/// A handler with these guarantees. Methods that are not passed on below answer as rmcp does for
/// a server that does not have them.
#[derive(Debug, Clone)]
pub struct Guarded<H>(pub H);

enum Ending<T> {
    Done(T),
    Panicked,
    TimedOut,
    Cancelled,
}

async fn watch<T>(cancelled: CancellationToken, work: impl Future<Output = T>) -> Ending<T> {
    tokio::select! {
        biased;
        done = AssertUnwindSafe(work).catch_unwind() => {
            // The panic hook has written message and place to stderr.
            done.map_or(Ending::Panicked, Ending::Done)
        }
        () = cancelled.cancelled() => Ending::Cancelled,
        () = tokio::time::sleep(DEADLINE) => Ending::TimedOut,
    }
}

/// The protocol error for work that did not end by itself.
fn answer<T>(ending: Ending<Result<T, ErrorData>>) -> Result<T, ErrorData> {
    let fault = match ending {
        Ending::Done(result) => return result,
        Ending::Panicked => "internal error; the gateway's log says more",
        Ending::TimedOut => "the gateway gave up after 30 seconds",
        Ending::Cancelled => "cancelled",
    };
    Err(ErrorData::internal_error(fault, None))
}

fn tool_answer(
    ending: Ending<Result<CallToolResponse, ErrorData>>,
) -> Result<CallToolResponse, ErrorData> {
    let sentence = match ending {
        Ending::Done(result) => return result,
        Ending::Cancelled => return Err(ErrorData::internal_error("cancelled", None)),
        Ending::Panicked => {
            "This is a fault of the gateway, not of your call; its log says more. Trying the same \
             call again is unlikely to help; other tools still work."
        }
        Ending::TimedOut => {
            "The gateway gave up after 30 seconds. Ask for less, or try again later; get_health \
             shows which collectors answer."
        }
    };
    Ok(CallToolResult::error(vec![ContentBlock::text(sentence)]).into())
}

impl<H: ServerHandler> Guarded<H> {
    /// The server's name, for a client that has had no `initialize` answer to learn it from.
    fn signature(&self, context: &RequestContext<RoleServer>) -> Option<Value> {
        is_modern(context)
            .then(|| serde_json::to_value(self.0.get_info().server_info).ok())
            .flatten()
    }
}

/// The error for a method we have, called with params of another shape.
pub fn misshapen(request: &CustomRequest) -> Option<ErrorData> {
    let method = request.method.as_str();
    let params = request.params.clone().unwrap_or_else(|| Value::Object(Map::new()));
    let fault = match method {
        "initialize" => fault::<InitializeRequestParams>(params),
        "tools/call" => fault::<CallToolRequestParams>(params),
        "prompts/get" => fault::<GetPromptRequestParams>(params),
        "resources/read" => fault::<ReadResourceRequestParams>(params),
        "completion/complete" => fault::<CompleteRequestParams>(params),
        _ => return None,
    };
    let message = format!("the params of {method} do not have the form MCP gives them{fault}");
    Some(ErrorData::invalid_params(message, None))
}

fn fault<T: DeserializeOwned>(params: Value) -> String {
    serde_json::from_value::<T>(params)
        .err()
        .map(|error| format!(": {}", untrusted::text(&error.to_string(), 300)))
        .unwrap_or_default()
}

fn sign(meta: &mut Option<MetaObject>, signature: Option<Value>) {
    if let Some(signature) = signature {
        let key = "io.modelcontextprotocol/serverInfo".to_owned();
        meta.get_or_insert_default().insert(key, signature);
    }
}

/// The client speaks 2026-07-28 or later.
pub fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

impl<H: ServerHandler> ServerHandler for Guarded<H> {
    fn get_info(&self) -> ServerConfig {
        self.0.get_info()
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.get_tool(name)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.0.supported_protocol_versions()
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        log_client(&request.client_info);
        answer(watch(context.ct.clone(), self.0.initialize(request, context)).await)
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        self.0.accepted_subscription_filter(requested)
    }

    /// The one request without a time limit; the handler ends it.
    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let listening = AssertUnwindSafe(self.0.listen(context)).catch_unwind();
        answer(listening.await.map_or(Ending::Panicked, Ending::Done))
    }

    async fn discover(
        &self,
        context: RequestContext<RoleServer>,
    ) -> Result<DiscoverResult, ErrorData> {
        answer(watch(context.ct.clone(), self.0.discover(context)).await)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = foreign(&request.name);
        let started = Instant::now();
        let signature = self.signature(&context);
        let ending = watch(context.ct.clone(), self.0.call_tool(request, context)).await;
        let outcome = match &ending {
            Ending::Done(Ok(CallToolResponse::Complete(result)))
                if result.is_error == Some(true) =>
            {
                "error"
            }
            Ending::Done(Ok(_)) => "ok",
            Ending::Done(Err(_)) => "refused",
            Ending::Panicked => "panic",
            Ending::TimedOut => "timeout",
            Ending::Cancelled => "cancelled",
        };
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(tool, milliseconds, outcome, "tool call");
        let mut response = tool_answer(ending)?;
        if let CallToolResponse::Complete(result) = &mut response {
            sign(&mut result.meta, signature);
        }
        Ok(response)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let signature = self.signature(&context);
        let ending = watch(context.ct.clone(), self.0.list_tools(request, context)).await;
        answer(ending).map(|mut result| {
            sign(&mut result.meta, signature);
            result
        })
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let signature = self.signature(&context);
        let ending = watch(context.ct.clone(), self.0.list_prompts(request, context)).await;
        answer(ending).map(|mut result| {
            sign(&mut result.meta, signature);
            result
        })
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let signature = self.signature(&context);
        let ending = watch(context.ct.clone(), self.0.get_prompt(request, context)).await;
        answer(ending).map(|mut response| {
            if let GetPromptResponse::Complete(result) = &mut response {
                sign(&mut result.meta, signature);
            }
            response
        })
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let signature = self.signature(&context);
        let ending = watch(context.ct.clone(), self.0.list_resources(request, context)).await;
        answer(ending).map(|mut result| {
            sign(&mut result.meta, signature);
            result
        })
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let signature = self.signature(&context);
        let ct = context.ct.clone();
        let work = self.0.list_resource_templates(request, context);
        answer(watch(ct, work).await).map(|mut result| {
            sign(&mut result.meta, signature);
            result
        })
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let signature = self.signature(&context);
        let ending = watch(context.ct.clone(), self.0.read_resource(request, context)).await;
        answer(ending).map(|mut response| {
            if let ReadResourceResponse::Complete(result) = &mut response {
                sign(&mut result.meta, signature);
            }
            response
        })
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let signature = self.signature(&context);
        let ending = watch(context.ct.clone(), self.0.complete(request, context)).await;
        answer(ending).map(|mut result| {
            sign(&mut result.meta, signature);
            result
        })
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        answer(watch(context.ct.clone(), self.0.set_level(request, context)).await)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        answer(watch(context.ct.clone(), self.0.subscribe(request, context)).await)
    }

    /// What rmcp cannot read as the method it names comes here, as what it does not know.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        match misshapen(&request) {
            // Since 2026-07-28 `initialize` is no method any more.
            Some(fault) if request.method != "initialize" || !is_modern(&context) => Err(fault),
            _ => self.0.on_custom_request(request, context).await,
        }
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        answer(watch(context.ct.clone(), self.0.unsubscribe(request, context)).await)
    }
}

fn log_client(client: &Implementation) {
    tracing::info!(client = foreign(&client.name), version = foreign(&client.version), "connected");
}
