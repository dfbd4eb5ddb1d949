#!/usr/bin/env python3
"""The gateway over its upstream, measured side by side: `benches/gateway.py` (needs cargo, python3,
openssl and wrk). Each figure is the median over rounds in which the cases take turns, so that ratios hold
on a busy machine while absolute times do not. CPU is what the threads of a server spent per call.

The upstream is `gateway/examples/upstream.rs`: one list of containers, serialised per request as a
collector does it, after as many milliseconds as it is told to wait; it counts its requests.
"""

import base64
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from importlib.machinery import SourceFileLoader

ROOT = pathlib.Path(__file__).resolve().parent.parent
run = SourceFileLoader("run", str(ROOT / "benches" / "run")).load_module()
ROUNDS = 7
SECONDS = 2
CONTAINERS = 50
CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                   "params": {"name": "list_containers", "arguments": {"limit": CONTAINERS}}})
SCRIPT = f"""
wrk.method = "POST"
wrk.body = [[{CALL}]]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json, text/event-stream"
wrk.headers["MCP-Protocol-Version"] = "2025-06-18"
"""


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """An issuer's key set on loopback, and a token signed with its RSA key of 2048 bits."""

    def __init__(self, folder):
        self.key = os.path.join(folder, "key.pem")
        self._openssl("genrsa", "-out", self.key, "2048")
        modulus = self._openssl("rsa", "-in", self.key, "-noout", "-modulus").decode()
        number = encoded(bytes.fromhex(modulus.strip().partition("=")[2]))
        keys = json.dumps({"keys": [{"kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig",
                                     "e": "AQAB", "n": number}]}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(keys)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def _openssl(*arguments, **more):
        command = ["openssl", *arguments]
        return subprocess.run(command, check=True, capture_output=True, **more).stdout

    def token(self):
        header = {"alg": "RS256", "kid": "k", "typ": "at+jwt"}
        now = int(time.time())
        claims = {"iss": self.url, "aud": "bench", "sub": "bench", "client_id": "wrk",
                  "iat": now, "exp": now + 3600}
        text = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        signature = self._openssl("dgst", "-sha256", "-sign", self.key, input=text.encode())
        return f"{text}.{encoded(signature)}"

    def settings(self):
        return {"MAINTENANT_MCP_ISSUER": self.url, "MAINTENANT_MCP_JWKS_URL": self.url,
                "MAINTENANT_MCP_AUDIENCE": "bench"}


def build():
    cargo = ["cargo", "build", "--release", "--quiet", "-p", "maintenant-gateway"]
    subprocess.run([*cargo, "--bins", "--example", "upstream"], cwd=ROOT, check=True)


class Load:
    """What wrk says of a load on one server, and what it cost each of the servers."""

    def __init__(self, url, servers, clients, script=None):
        before = [server.cpu_ms() for server in servers]
        command = ["wrk", "-t1", f"-c{clients}", f"-d{SECONDS}s", "--latency"]
        command += ["-s", script, url] if script else [url]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "Non-2xx" not in text and "Socket errors" not in text, text
        self.calls = int(re.search(r"(\d+) requests in", text).group(1))
        value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
        self.p99_ms = float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
        spent = [server.cpu_ms() - was for server, was in zip(servers, before)]
        self.cpu_us = [1e3 * ms / self.calls for ms in spent]


def upstream(wait_ms):
    return run.Program("examples/upstream", [str(wait_ms), str(CONTAINERS)])


def gateway(server, cache, **more):
    host, port = server.address()
    return run.Program("maintenant-gateway", MAINTENANT_MCP="true", MAINTENANT_MCP_CACHE=cache,
                       MAINTENANT_LOG_LEVEL="warn,maintenant_serve=info,maintenant_gateway=info",
                       MAINTENANT_MCP_RATE="0", MAINTENANT_URL=f"http://{host}:{port}", **more)


def url(program, path):
    host, port = program.address()
    return f"http://{host}:{port}{path}"


def requests_of(server):
    connection = http.client.HTTPConnection(*server.address())
    connection.request("GET", "/requests")
    return int(connection.getresponse().read())


def per_core(script):
    server = upstream(0)
    plain, cached = gateway(server, "0"), gateway(server, "1m")
    idle = plain.resident_mb()
    rows = []
    for _ in range(ROUNDS):
        rest = Load(url(server, "/api/v1/containers"), [server], 64)
        tool = Load(url(plain, "/mcp"), [plain], 64, script)
        kept = Load(url(cached, "/mcp"), [cached], 64, script)
        rows.append((rest.cpu_us[0], tool.cpu_us[0], kept.cpu_us[0]))
    rest, tool, kept = (statistics.median(column) for column in zip(*rows))
    print(f"list_containers of {CONTAINERS}, CPU of the server that is asked")
    print(f"  GET /containers               {rest:8.1f} µs")
    print(f"  tool, uncached                {tool:8.1f} µs")
    print(f"  tool, from the cache          {kept:8.1f} µs")
    ratio = statistics.median(row[0] / row[1] for row in rows)
    print(f"  route / tool                  {ratio:8.2f}   goal 0.30")
    ratio = statistics.median(row[0] / row[2] for row in rows)
    print(f"  route / tool, from the cache  {ratio:8.2f}   goal 0.85")
    print("resident memory of the gateway")
    print(f"  idle                          {idle:8.1f} MB")
    print(f"  after 64 connections          {plain.resident_mb():8.1f} MB")
    for program in (plain, cached, server):
        program.stop()


def once():
    """Equal calls that are under way at the same time."""
    server = upstream(50)
    program = gateway(server, "2s")
    calls = [run.tool(program.address(), {"limit": CONTAINERS}) for _ in range(32)]
    before = requests_of(server)
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"requests of 32 equal calls      {requests_of(server) - before:8d}   goal 1")
    program.stop()
    server.stop()


def tail(folder):
    """Latency where neither is out of breath: 50 clients that rest up to 200 ms between calls."""
    rest_script, tool_script = (os.path.join(folder, name) for name in ("rest.lua", "tool.lua"))
    rests = "function delay() return math.random(0, 200) end\n"
    pathlib.Path(rest_script).write_text(rests)
    pathlib.Path(tool_script).write_text(SCRIPT + rests)
    server = upstream(5)
    program = gateway(server, "0")
    rows = []
    for _ in range(ROUNDS):
        rest = Load(url(server, "/api/v1/containers"), [server], 50, rest_script)
        tool = Load(url(program, "/mcp"), [program], 50, tool_script)
        rows.append((rest.p99_ms, tool.p99_ms, tool.calls / SECONDS))
    rest, tool, pace = (statistics.median(column) for column in zip(*rows))
    ratio = statistics.median(row[1] / row[0] for row in rows)
    print(f"p99 of 50 clients, {pace:.0f} calls a second, an upstream that takes 5 ms, no cache")
    print(f"  GET /containers               {rest:8.1f} ms")
    print(f"  tool                          {tool:8.1f} ms   {ratio:.2f} times, goal 2")
    program.stop()
    server.stop()


def authenticated(script, folder):
    """A valid token in each request against an open door."""
    issuer = Issuer(folder)
    with_token = os.path.join(folder, "token.lua")
    header = f'wrk.headers["Authorization"] = "Bearer {issuer.token()}"\n'
    pathlib.Path(with_token).write_text(SCRIPT + header)
    server = upstream(0)
    for cache, goal in (("0", "   goal 0.75"), ("1m", "")):
        open_door = gateway(server, cache)
        guarded = gateway(server, cache, **issuer.settings())
        rows = []
        for _ in range(ROUNDS):
            free = Load(url(open_door, "/mcp"), [open_door], 64, script)
            known = Load(url(guarded, "/mcp"), [guarded], 64, with_token)
            rows.append((free.cpu_us[0], known.cpu_us[0]))
        free, known = (statistics.median(column) for column in zip(*rows))
        ratio = statistics.median(row[0] / row[1] for row in rows)
        print(f"tool with a token (RS256), {'uncached' if cache == '0' else 'from the cache'}")
        print(f"  open / authenticated          {free:8.1f} / {known:.1f} µs")
        print(f"  ratio                         {ratio:8.2f}{goal}")
        open_door.stop()
        guarded.stop()
    server.stop()
    issuer.server.shutdown()


def main():
    for tool in ("wrk", "openssl"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install {tool}")
    build()
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "call.lua")
        pathlib.Path(script).write_text(SCRIPT)
        per_core(script)
        authenticated(script, folder)
        once()
        tail(folder)


if __name__ == "__main__":
    main()
