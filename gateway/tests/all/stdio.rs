//! MCP on a pair of pipes, line by line.

use std::time::Duration;

use maintenant_gateway::calls::Calls;
use maintenant_gateway::guarded::Guarded;
use maintenant_gateway::stdio::serve_on;
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fake::{Fake, contract, gateway};

struct Session {
    input: WriteHalf<DuplexStream>,
    output: Lines<BufReader<ReadHalf<DuplexStream>>>,
    server: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    _fake: Option<Fake>,
}

impl Session {
    async fn new() -> Self {
        let fake = Fake::tcp(contract).await;
        let session = Self::with(gateway(&fake.url));
        Self { _fake: Some(fake), ..session }
    }

    fn with(handler: impl ServerHandler) -> Self {
        let (near, far) = tokio::io::duplex(1 << 12);
        let (input, output) = tokio::io::split(far);
        let stop = CancellationToken::new();
        let mut server = JoinSet::new();
        server.spawn(serve_on(
            Guarded::new(handler, Calls::default()),
            input,
            output,
            stop.clone(),
        ));
        let (output, input) = tokio::io::split(near);
        Self { input, output: BufReader::new(output).lines(), server, stop, _fake: None }
    }

    async fn send(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).await.unwrap();
        self.input.write_all(b"\n").await.unwrap();
    }

    async fn answer(&mut self) -> Value {
        serde_json::from_str(&self.output.next_line().await.unwrap().unwrap()).unwrap()
    }

    async fn initialize(&mut self, version: &str) -> Value {
        let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": version, "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"}}});
        self.send(&initialize.to_string()).await;
        let answer = self.answer().await;
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        answer
    }

    async fn end(mut self) {
        self.input.shutdown().await.unwrap();
        self.server.join_next().await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_bad_line_is_answered_and_the_session_goes_on() {
    let mut session = Session::new().await;
    session.initialize("2025-11-25").await;
    let cases = [
        ("this is no JSON", -32700, Value::Null),
        (r#"{"jsonrpc":"2.0","id":1"#, -32700, Value::Null),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600, Value::Null),
        (r#"{"jsonrpc":"1.0","id":5,"method":"ping"}"#, -32600, json!(5)),
        (r#"{"jsonrpc":"2.0","id":6}"#, -32600, json!(6)),
    ];
    for (line, code, id) in cases {
        session.send(line).await;
        let answer = session.answer().await;
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &id), "{line}");
        assert!(answer.as_object().unwrap().contains_key("id"), "{line}");
    }
    session.send("").await;
    session.send("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}\r").await;
    assert_eq!(session.answer().await["id"], 7);
    session.end().await;
}

#[tokio::test]
async fn a_line_over_a_mebibyte_is_skipped_and_answered() {
    let mut session = Session::new().await;
    session.initialize("2025-11-25").await;
    let long = "x".repeat(3 << 20);
    // The answer comes while the line is still being sent.
    let (mut input, mut output) = (session.input, session.output);
    let send = async {
        input.write_all(long.as_bytes()).await.unwrap();
        input.write_all(b"\n{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"ping\"}\n").await.unwrap();
    };
    let read = async {
        let mut answers = Vec::new();
        for _ in 0..2 {
            let line = output.next_line().await.unwrap().unwrap();
            answers.push(serde_json::from_str::<Value>(&line).unwrap());
        }
        answers
    };
    let ((), answers) = tokio::join!(send, read);
    assert_eq!(answers[0]["error"]["code"], -32600);
    assert_eq!(answers[1]["id"], 8);
}

#[tokio::test]
async fn both_eras_are_spoken() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut session = Session::new().await;
        let answer = session.initialize(version).await;
        assert_eq!(answer["result"]["protocolVersion"], version);
        assert_eq!(answer["result"]["serverInfo"]["name"], "maintenant");
        session.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
        assert_eq!(session.answer().await["result"]["tools"].as_array().unwrap().len(), 18);
        session.end().await;
    }
    let mut session = Session::new().await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                      "io.modelcontextprotocol/clientCapabilities": {}});
    let discover = json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover",
                          "params": {"_meta": meta}});
    session.send(&discover.to_string()).await;
    let answer = session.answer().await;
    assert_eq!(answer["result"]["ttlMs"], 300_000);
    let versions = answer["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{versions:?}");
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "get_health", "arguments": {}, "_meta": meta}});
    session.send(&call.to_string()).await;
    let answer = session.answer().await;
    assert_eq!(answer["result"]["structuredContent"]["status"], "ok");
    let server = &answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(server["name"], "maintenant");
    session.end().await;
}

#[tokio::test]
async fn the_last_line_needs_no_end() {
    let mut session = Session::new().await;
    session.initialize("2025-11-25").await;
    session.input.write_all(br#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#).await.unwrap();
    session.input.shutdown().await.unwrap();
    assert_eq!(session.answer().await["id"], 3);
    session.server.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn messages_before_their_time_do_not_end_the_session() {
    let mut session = Session::new().await;
    session.send(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await;
    session.send(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#).await;
    session.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    session.send(r#"{"jsonrpc":"2.0","id":2,"method":"initialize","params":{}}"#).await;
    let answer = session.answer().await;
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32602), &json!(2)));
    assert!(answer["error"]["message"].as_str().unwrap().contains("initialize"), "{answer}");
    let answer = session.initialize("2025-11-25").await;
    assert_eq!(answer["result"]["serverInfo"]["name"], "maintenant");
    session.end().await;
}

/// Its tools need as many seconds as their names say.
struct Slow;

impl ServerHandler for Slow {
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        tokio::time::sleep(Duration::from_secs(request.name.parse().unwrap())).await;
        Ok(CallToolResult::success(Vec::new()).into())
    }
}

#[tokio::test(start_paused = true)]
async fn running_calls_have_ten_seconds_to_finish() {
    for by_signal in [true, false] {
        let mut session = Session::with(Slow);
        session.initialize("2025-11-25").await;
        for seconds in [3, 9, 29] {
            let call = json!({"jsonrpc": "2.0", "id": seconds, "method": "tools/call",
                              "params": {"name": seconds.to_string()}});
            session.send(&call.to_string()).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let started = Instant::now();
        if by_signal {
            session.stop.cancel();
        } else {
            session.input.shutdown().await.unwrap();
        }
        assert_eq!(session.answer().await["id"], 3);
        assert_eq!(session.answer().await["id"], 9);
        session.server.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(started.elapsed().as_secs(), 10);
    }
}

#[tokio::test]
async fn an_end_before_the_first_message_is_no_failure() {
    Session::new().await.end().await;
}

#[tokio::test]
async fn a_stop_ends_the_session() {
    let mut session = Session::new().await;
    session.initialize("2025-11-25").await;
    session.stop.cancel();
    session.server.join_next().await.unwrap().unwrap().unwrap();
}
