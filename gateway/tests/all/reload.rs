//! The gateway as a process: SIGHUP reads settings again, SIGTERM lets calls finish.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use maintenant_serve::process::install_crypto;
use maintenant_serve::tls::TlsFiles;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::fake::{Fake, contract};
use crate::tls;

/// A running gateway; killed when dropped.
pub(crate) struct Process {
    child: Child,
    log: mpsc::UnboundedReceiver<String>,
    pub(crate) address: String,
    pub(crate) client: reqwest::Client,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    async fn start(upstream: &str, settings: &[String]) -> Self {
        let upstream = ["--url".to_owned(), upstream.to_owned()];
        Self::start_with(&[upstream.as_slice(), settings].concat()).await
    }

    pub(crate) async fn start_with(settings: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_maintenant-gateway"))
            .args(["--mcp", "--addr=127.0.0.1:0", "--log-format=json"])
            .args(settings)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let mut process = Self { child, log, address: String::new(), client };
        let line = process.logged("\"listening\"").await;
        process.address = line["address"].as_str().map(str::to_owned).unwrap();
        process
    }

    /// The next line of the log with this part.
    pub(crate) async fn logged(&mut self, part: &str) -> Value {
        loop {
            let line = self.log.recv().await.unwrap_or_else(|| panic!("ended before {part}"));
            if line.contains(part) {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// The answer to `tools/list` with the token, by its status.
    async fn status(&self, token: &str) -> u16 {
        let request = self
            .client
            .post(format!("http://{}/mcp", self.address))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{}}");
        request.send().await.unwrap().status().as_u16()
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = self
            .client
            .post(format!("http://{}/mcp", self.address))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body.to_string());
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    async fn call(&self, tool: &str) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": {}})).await
    }

    async fn tools(&self) -> usize {
        let listed = self.ask("tools/list", json!({})).await;
        listed["result"]["tools"].as_array().unwrap().len()
    }
}

fn flag(name: &str, file: &Path) -> String {
    format!("--{name}={}", file.display())
}

#[tokio::test]
async fn sighup_reads_token_lists_and_audit_file_again_and_a_fault_keeps_the_old() {
    let fake = Fake::tcp(contract).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(file(name), text).unwrap();
    write("token", "first\n");
    write("off", "get_health\n");
    let off = format!("--mcp-tools-off=@{}", file("off").display());
    let audit = flag("mcp-audit", &file("audit"));
    let live = "--mcp-cache=0".to_owned();
    let settings = [flag("api-token-file", &file("token")), audit, off, live];
    let mut process = Process::start(&fake.url, &settings).await;
    let all = process.tools().await;
    process.call("list_containers").await;

    write("token", "second\n");
    write("off", "get_health\nlist_alerts\n");
    std::fs::rename(file("audit"), file("audit.1")).unwrap();
    process.signal("-HUP");
    process.logged("settings reloaded").await;
    process.call("list_containers").await;
    assert_eq!(process.tools().await, all - 1);

    write("token", "third\n");
    write("off", "get_helth\n");
    process.signal("-HUP");
    let line = process.logged("the old settings stay").await;
    assert!(line["message"].as_str().unwrap().contains("`get_helth` is no tool"), "{line}");
    process.call("list_containers").await;
    assert_eq!(process.tools().await, all - 1);

    // The look at the start, which asks for something else, may have come by now.
    let sent: Vec<String> = fake
        .requests
        .lock()
        .unwrap()
        .iter()
        .filter(|seen| seen.path == "containers")
        .map(|seen| seen.authorization.clone().unwrap())
        .collect();
    assert_eq!(sent, ["Bearer first", "Bearer second", "Bearer second"]);
    process.signal("-TERM");
    assert!(process.child.wait().unwrap().success());
    let lines = |name: &str| std::fs::read_to_string(file(name)).unwrap().lines().count();
    assert_eq!((lines("audit.1"), lines("audit")), (1, 2));
}

#[tokio::test]
async fn sighup_replaces_the_token_of_the_door_and_never_opens_it() {
    let fake = Fake::tcp(contract).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let [first, second] = ["1".repeat(32), "2".repeat(32)];
    std::fs::write(&file, &first).unwrap();
    let mut process = Process::start(&fake.url, &[flag("mcp-token-file", &file)]).await;
    assert_eq!((process.status(&first).await, process.status(&second).await), (200, 401));

    std::fs::write(&file, &second).unwrap();
    process.signal("-HUP");
    process.logged("settings reloaded").await;
    assert_eq!((process.status(&first).await, process.status(&second).await), (401, 200));

    for bad in ["", "short"] {
        std::fs::write(&file, bad).unwrap();
        process.signal("-HUP");
        process.logged("the old settings stay").await;
        assert_eq!((process.status(&first).await, process.status(&second).await), (401, 200));
    }
}

#[tokio::test]
async fn at_sigterm_a_running_call_is_answered_and_written_down_and_nobody_else_is_let_in() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let answer = Arc::new(Semaphore::new(0));
    let open = answer.clone();
    let app = Router::new().fallback(async move |request: Request| {
        // The look at the start asks for something else.
        if request.uri().path() == "/api/v1/certificates" {
            arrived.send(()).unwrap();
        }
        open.acquire().await.unwrap().forget();
        "{\"certificates\":[]}"
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });

    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let mut process = Process::start(&url, &[flag("mcp-audit", &audit)]).await;
    let (client, address) = (process.client.clone(), process.address.clone());
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                      "params": {"name": "list_certificates", "arguments": {}}});
    let running = async move {
        let request = client
            .post(format!("http://{address}/mcp"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body.to_string());
        request.send().await.unwrap().text().await.unwrap()
    };
    let mut calls = JoinSet::new();
    calls.spawn(running);
    arrivals.recv().await.unwrap();
    process.signal("-TERM");
    process.logged("stopping: SIGTERM").await;
    // The listener goes right after that line.
    loop {
        match tokio::net::TcpStream::connect(&process.address).await {
            Err(_) => break,
            Ok(stream) => drop(stream),
        }
        tokio::task::yield_now().await;
    }
    answer.add_permits(100);
    let text = calls.join_next().await.unwrap().unwrap();
    assert!(text.contains("\"isError\":false"), "{text}");
    assert!(process.child.wait().unwrap().success());
    let lines = std::fs::read_to_string(&audit).unwrap();
    assert!(lines.contains("\"result\":\"ok\""), "{lines}");
}

#[tokio::test]
async fn a_call_that_is_cut_at_the_end_is_written_down() {
    let fake = Fake::held(contract, Arc::new(Semaphore::new(0))).await;
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let mut process = Process::start(&fake.url, &[flag("mcp-audit", &audit)]).await;
    let (client, url) = (process.client.clone(), format!("http://{}/mcp", process.address));
    let cut = async {
        while !fake.paths().iter().any(|path| path == "containers") {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        process.signal("-TERM");
        process.logged("stopping: SIGTERM").await;
        process.signal("-TERM");
        process.logged("cutting").await;
    };
    let call = async {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                          "params": {"name": "list_containers", "arguments": {}}});
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        request.body(body.to_string()).send().await
    };
    let (answer, ()) = tokio::join!(call, cut);
    assert!(answer.as_ref().ok().is_none_or(|answer| answer.status() == 500), "{answer:?}");
    assert!(process.child.wait().unwrap().success());
    let lines = std::fs::read_to_string(&audit).unwrap();
    assert!(lines.contains("\"result\":\"cancelled\""), "{lines}");
}

#[tokio::test]
async fn sighup_reads_the_certificates_towards_collectors_again() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (server, key) = tls::certificate(folder.path(), "server");
    let (other, _) = tls::certificate(folder.path(), "other");
    let files = TlsFiles { certificate: server.clone().into(), key: key.into(), client_ca: None };
    let (url, _task) = tls::collector(files).await;
    let ca = folder.path().join("ca");
    std::fs::copy(other, &ca).unwrap();
    let mut process = Process::start(&url, &[flag("ca-cert", &ca)]).await;
    let untrusted = "cannot be reached over TLS";
    assert!(process.call("get_health").await.to_string().contains(untrusted));
    std::fs::copy(server, &ca).unwrap();
    process.signal("-HUP");
    process.logged("settings reloaded").await;
    let health = process.call("get_health").await.to_string();
    assert!(!health.contains(untrusted), "{health}");
}

#[tokio::test]
async fn that_a_proxy_is_not_trusted_is_said_once() {
    let fake = Fake::tcp(contract).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let token = "1".repeat(32);
    std::fs::write(&file, &token).unwrap();
    let warnings = async |proxies: &str| {
        let settings = [flag("mcp-token-file", &file), format!("--trusted-proxies={proxies}")];
        let mut process = Process::start(&fake.url, &settings).await;
        for _ in 0..3 {
            let request = process.client.get(format!("http://{}/mcp", process.address));
            let request = request.header("x-forwarded-for", "192.0.2.1").bearer_auth(&token);
            assert_eq!(request.send().await.unwrap().status(), 405);
        }
        process.signal("-TERM");
        assert!(process.child.wait().unwrap().success());
        let mut warnings = 0;
        while let Some(line) = process.log.recv().await {
            warnings += usize::from(line.contains("not in MAINTENANT_TRUSTED_PROXIES"));
        }
        warnings
    };
    assert_eq!((warnings("10.0.0.0/8").await, warnings("127.0.0.1").await), (1, 0));
}
