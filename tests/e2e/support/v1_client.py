"""One tool call by `mcp` 1.x. Run by the interpreter of that environment: order in, answer out."""

import asyncio
import json
import sys
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client


async def main(order: dict[str, Any]) -> dict[str, Any]:
    if order["url"]:
        token = order.get("token")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection = streamablehttp_client(order["url"], headers=headers)
    else:
        server = StdioServerParameters(
            command=order["command"], args=order["args"], env=order["env"]
        )
        connection = stdio_client(server)
    async with connection as streams, ClientSession(streams[0], streams[1]) as session:
        hello = await session.initialize()
        result = await session.call_tool(order["tool"], order["arguments"])
        return {
            "protocol": hello.protocolVersion,
            "is_error": result.isError,
            "text": "\n".join(getattr(block, "text", "") for block in result.content),
            "data": result.structuredContent,
        }


print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
