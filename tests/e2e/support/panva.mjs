// An authorization server of the tests: panva's oidc-provider, set up by one JSON argument with
// port, keys (private JWKs), algorithm, scopes, seconds, people and clients.
import { Provider } from 'oidc-provider'

const settings = JSON.parse(process.argv[2])

const provider = new Provider(`http://127.0.0.1:${settings.port}`, {
  clients: settings.clients,
  jwks: { keys: settings.keys },
  scopes: ['openid', 'email', ...settings.scopes],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  ttl: {
    AccessToken: settings.seconds,
    ClientCredentials: settings.seconds,
    IdToken: settings.seconds,
    Grant: 3600,
    Interaction: 600,
    Session: 3600,
  },
  cookies: { keys: ['tests'] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...settings.people[id] }) }),
  extraTokenClaims: (_, token) => settings.people[token.accountId],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, audience) => ({
        scope: settings.scopes.join(' '),
        audience,
        accessTokenFormat: 'jwt',
        accessTokenTTL: settings.seconds,
        jwt: { sign: { alg: settings.algorithm } },
      }),
    },
  },
})
provider.use((context, next) => {
  console.log(`${context.method} ${context.path}`)
  return next()
})
provider.listen(settings.port, '127.0.0.1')
