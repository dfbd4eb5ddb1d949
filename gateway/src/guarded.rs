//! What holds for every call of an MCP handler, whatever it does.
//!
//! rmcp leaves a request whose handler panics unanswered for ever, sets no time limit, and does
//! not drop the work of a cancelled request. Here a panic and a time-out become answers, a
//! cancelled call ends, no answer is larger than the budget, calls are limited, counted and written
//! down ([`crate::calls`]), and clients of 2026-07-28 find the server's name in each result.

#![expect(deprecated, reason = "clients before 2026-07-28 still call what it deprecated")]

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use maintenant_serve::logging::foreign;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    ContentBlock, CustomRequest, CustomResult, DiscoverResult, ErrorCode, ErrorData,
    GetPromptRequestParams, GetPromptResponse, Implementation, InitializeRequestParams,
    InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, MetaObject, PaginatedRequestParams, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, ResultType, ServerConfig,
    SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::{self, Bounded};
use crate::calls::{Asked, Calls, Outcome};
use crate::splice::{self, Slot};
use crate::untrusted;

/// Longer than any tool needs: finding a container ends after 12 seconds, reading its log after
/// another 15, any other call after ten.
const DEADLINE: Duration = Duration::from_secs(30);
/// Our own codes lie outside JSON-RPC's reserved range.
const REFUSED: ErrorCode = ErrorCode(4290);

/// A handler with these guarantees. Methods that are not passed on below answer as rmcp does for
/// a server that does not have them.
#[derive(Debug, Clone)]
pub struct Guarded<H> {
    handler: H,
    calls: Calls,
}

enum Ending<T> {
    Done(T),
    /// Nothing was done, for the reason in this sentence.
    Refused(String),
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

/// How the work on an answer ended.
type Worked<T> = Ending<Result<T, ErrorData>>;

/// What [`Signed`] is about.
type Fields<'a> = (&'a mut Option<ResultType>, &'a mut Option<MetaObject>);

/// An answer with fields of which clients before 2026-07-28 know nothing.
trait Signed {
    fn fields(&mut self) -> Option<Fields<'_>>;

    /// Puts the server's name into it, for clients that have had no `initialize` answer to learn it
    /// from; for others takes out what rmcp would take out when it sends it.
    fn sign(&mut self, signature: Option<Value>) {
        let Some((kind, meta)) = self.fields() else { return };
        if signature.is_none() {
            kind.take_if(|kind| kind.is_complete());
        }
        sign(meta, signature);
    }
}

impl Signed for CallToolResponse {
    fn fields(&mut self) -> Option<Fields<'_>> {
        let Self::Complete(result) = self else { return None };
        Some((&mut result.result_type, &mut result.meta))
    }
}

impl Signed for GetPromptResponse {
    fn fields(&mut self) -> Option<Fields<'_>> {
        let Self::Complete(result) = self else { return None };
        Some((&mut result.result_type, &mut result.meta))
    }
}

impl Signed for ReadResourceResponse {
    fn fields(&mut self) -> Option<Fields<'_>> {
        let Self::Complete(result) = self else { return None };
        Some((&mut result.result_type, &mut result.meta))
    }
}

impl Signed for CompleteResult {
    fn fields(&mut self) -> Option<Fields<'_>> {
        Some((&mut self.result_type, &mut self.meta))
    }
}

impl<T: Bounded> Ending<Result<T, ErrorData>> {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Done(Ok(answer)) if answer.is_error() => Outcome::Error,
            Self::Done(Ok(_)) => Outcome::Ok,
            Self::Done(Err(error)) => outcome_of(error),
            Self::Refused(_) => Outcome::Refused,
            Self::Panicked => Outcome::Panicked,
            Self::TimedOut => Outcome::TimedOut,
            Self::Cancelled => Outcome::Cancelled,
        }
    }
}

fn outcome_of(error: &ErrorData) -> Outcome {
    if error.code == ErrorCode::INTERNAL_ERROR { Outcome::Error } else { Outcome::Refused }
}

/// The protocol error for work that did not end by itself.
fn answer<T>(ending: Ending<Result<T, ErrorData>>) -> Result<T, ErrorData> {
    let fault = match ending {
        Ending::Done(result) => return result.map_err(budget::bounded_error),
        Ending::Refused(sentence) => return Err(ErrorData::new(REFUSED, sentence, None)),
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
        Ending::Done(result) => return result.map_err(budget::bounded_error),
        Ending::Cancelled => return Err(ErrorData::internal_error("cancelled", None)),
        Ending::Refused(sentence) => sentence,
        Ending::Panicked => {
            "This is a fault of the gateway, not of your call; its log says more. Trying the same \
             call again is unlikely to help; other tools still work."
                .to_owned()
        }
        Ending::TimedOut => {
            "The gateway gave up after 30 seconds. Ask for less, or try again later; get_health \
             shows which collectors answer."
                .to_owned()
        }
    };
    Ok(CallToolResult::error(vec![ContentBlock::text(sentence)]).into())
}

impl<H: ServerHandler> Guarded<H> {
    /// What holds for each call, to be told also of requests that never become one.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    pub fn new(handler: H, calls: Calls) -> Self {
        Self { handler, calls }
    }

    /// The server's name, for a client that has had no `initialize` answer to learn it from.
    fn signature(&self, context: &RequestContext<RoleServer>) -> Option<Value> {
        is_modern(context)
            .then(|| serde_json::to_value(self.handler.get_info().server_info).ok())
            .flatten()
    }

    /// Work that is limited, written down and counted, with an answer that is never too large and
    /// says in its own way (`told`) how the work ended.
    async fn counted<T: Bounded + Signed>(
        &self,
        asked: Asked<'_>,
        context: RequestContext<RoleServer>,
        told: fn(Worked<T>) -> Result<T, ErrorData>,
        work: impl AsyncFnOnce(RequestContext<RoleServer>) -> Result<T, ErrorData>,
    ) -> (Outcome, Result<T, ErrorData>) {
        let signature = self.signature(&context);
        let mut call = self.calls.begin(&asked, &context);
        let ct = context.ct.clone();
        let ending = match call.admitted(&context) {
            Err(sentence) => Ending::Refused(sentence),
            Ok(()) => match watch(ct.clone(), call.announced(&asked)).await {
                Ending::Done(Ok(())) => call.scope(watch(ct, work(context))).await,
                Ending::Done(Err(sentence)) | Ending::Refused(sentence) => {
                    Ending::Refused(sentence)
                }
                Ending::Panicked => Ending::Panicked,
                Ending::TimedOut => Ending::TimedOut,
                Ending::Cancelled => Ending::Cancelled,
            },
        };
        let ending = match ending {
            Ending::Done(Ok(answer)) => Ending::Done(answer.bounded()),
            other => other,
        };
        let outcome = ending.outcome();
        let mut answer = told(ending);
        if let Ok(answer) = &mut answer {
            answer.sign(signature);
        }
        let bytes = match &answer {
            // Nobody waits for it.
            _ if outcome == Outcome::Cancelled => 0,
            Ok(answer) => answer.bytes(),
            Err(error) => budget::size(error),
        };
        call.end(outcome, bytes);
        (outcome, answer)
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
        self.handler.get_info()
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.handler.get_tool(name)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.handler.supported_protocol_versions()
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        log_client(&request.client_info);
        answer(watch(context.ct.clone(), self.handler.initialize(request, context)).await)
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        self.handler.accepted_subscription_filter(requested)
    }

    /// The one request without a time limit; the handler ends it.
    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let uris = context.accepted().resource_subscriptions.as_deref().unwrap_or_default();
        let listening = match self.calls.listen(uris, context.request_context()) {
            Ok(listening) => listening,
            Err(sentence) => return answer(Ending::Refused(sentence)),
        };
        let work = AssertUnwindSafe(self.handler.listen(context)).catch_unwind();
        let result = work.await;
        listening.end(match &result {
            Ok(Ok(())) => Outcome::Ok,
            Ok(Err(error)) => outcome_of(error),
            Err(_) => Outcome::Panicked,
        });
        answer(result.map_or(Ending::Panicked, Ending::Done))
    }

    async fn discover(
        &self,
        context: RequestContext<RoleServer>,
    ) -> Result<DiscoverResult, ErrorData> {
        answer(watch(context.ct.clone(), self.handler.discover(context)).await)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.clone();
        let started = Instant::now();
        let tool = self.handler.get_tool(&name);
        let hints = tool.as_ref().map(|tool| tool.annotations.as_ref());
        let reads = hints.map(|hints| hints.and_then(|hints| hints.read_only_hint) == Some(true));
        let arguments = request.arguments.clone();
        let asked = Asked {
            method: "tools/call",
            name: &name,
            known: tool.is_some(),
            changes: reads == Some(false),
            arguments: arguments.as_ref(),
        };
        let work = async |context| self.handler.call_tool(request, context).await;
        let slot = Slot::of(&context);
        let counted = self.counted(asked, context, tool_answer, work);
        let (outcome, response) = splice::within(slot, counted).await;
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let outcome = outcome.word();
        tracing::info!(tool = foreign(&name), milliseconds, outcome, "tool call");
        response
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let signature = self.signature(&context);
        let ending = watch(context.ct.clone(), self.handler.list_tools(request, context)).await;
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
        let ending = watch(context.ct.clone(), self.handler.list_prompts(request, context)).await;
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
        let (name, arguments) = (request.name.clone(), request.arguments.clone());
        let asked = Asked { arguments: arguments.as_ref(), ..Asked::of("prompts/get", &name) };
        let work = async |context| self.handler.get_prompt(request, context).await;
        self.counted(asked, context, answer, work).await.1
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let signature = self.signature(&context);
        let ending = watch(context.ct.clone(), self.handler.list_resources(request, context)).await;
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
        let work = self.handler.list_resource_templates(request, context);
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
        let uri = request.uri.clone();
        let asked = Asked::of("resources/read", &uri);
        let work = async |context| self.handler.read_resource(request, context).await;
        self.counted(asked, context, answer, work).await.1
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let name = request.argument.name.clone();
        let asked = Asked::of("completion/complete", &name);
        let work = async |context| self.handler.complete(request, context).await;
        self.counted(asked, context, answer, work).await.1
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        answer(watch(context.ct.clone(), self.handler.set_level(request, context)).await)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        answer(watch(context.ct.clone(), self.handler.subscribe(request, context)).await)
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
            _ => self.handler.on_custom_request(request, context).await,
        }
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        answer(watch(context.ct.clone(), self.handler.unsubscribe(request, context)).await)
    }
}

fn log_client(client: &Implementation) {
    tracing::info!(client = foreign(&client.name), version = foreign(&client.version), "connected");
}
