// One client of the TypeScript SDKs: order as JSON in the argument, what happened as JSON on stdout.
//
//   {"sdk": "v1" | "v2", "revision": "2025-11-25" | "2026-07-28", "url", "token", "tool", "arguments"}
const order = JSON.parse(process.argv[2])
const url = new URL(order.url)
const requestInit = order.token ? { headers: { Authorization: `Bearer ${order.token}` } } : {}
const about = { name: `typescript-${order.sdk}`, version: '1' }

async function connectV1() {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js')
  const { StreamableHTTPClientTransport } = await import(
    '@modelcontextprotocol/sdk/client/streamableHttp.js'
  )
  const client = new Client(about)
  await client.connect(new StreamableHTTPClientTransport(url, { requestInit }))
  return client
}

async function connectV2() {
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client')
  const mode = order.revision === '2026-07-28' ? { pin: order.revision } : 'legacy'
  const client = new Client(about, { versionNegotiation: { mode } })
  await client.connect(new StreamableHTTPClientTransport(url, { requestInit }))
  return client
}

async function metadata() {
  const { discoverOAuthProtectedResourceMetadata, extractWWWAuthenticateParams } = await import(
    '@modelcontextprotocol/client'
  )
  const answer = await fetch(url, { method: 'POST' })
  return {
    challenge: extractWWWAuthenticateParams(answer),
    metadata: await discoverOAuthProtectedResourceMetadata(url),
  }
}

async function call() {
  const client = await (order.sdk === 'v1' ? connectV1() : connectV2())
  try {
    const { tools } = await client.listTools()
    const params = { name: order.tool, arguments: order.arguments ?? {} }
    const result = await client.callTool(params)
    return {
      tools: tools.map((tool) => tool.name),
      is_error: result.isError ?? false,
      data: result.structuredContent ?? null,
    }
  } finally {
    await client.close()
  }
}

try {
  const said = order.tool ? await call() : await metadata()
  console.log(JSON.stringify({ ok: true, ...said }))
} catch (error) {
  console.log(JSON.stringify({ ok: false, kind: error.constructor.name, message: error.message }))
}
