//! Where to get a token for `/mcp`: OAuth 2.0 Protected Resource Metadata (RFC 9728).
//!
//! Public, and built from the configured URL alone: a `Host` header is anyone's to write.

use axum::routing::get;
use axum::{Json, Router};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use serde::Serialize;

use crate::auth::settings::AuthSettings;
use crate::caller::Scope;
use crate::config::McpSettings;

const ROOT: &str = "/.well-known/oauth-protected-resource";

/// The document at its root, for `/mcp`, and where the base URL has a path also below that. None
/// without an issuer.
pub(super) fn routes(settings: &McpSettings) -> Router {
    // The base URL's path is none of axum's patterns.
    let mut routes = Router::new().without_v07_checks();
    if settings.auth.issuers.is_empty() {
        return routes;
    }
    let document = document(settings);
    let mut paths =
        vec![ROOT.to_owned(), format!("{ROOT}/mcp"), settings.metadata_url().path().to_owned()];
    paths.dedup();
    for path in paths {
        let document = document.clone();
        // Clients in web pages read it as well.
        let headers = [(ACCESS_CONTROL_ALLOW_ORIGIN, "*"), (CACHE_CONTROL, "public, max-age=300")];
        routes = routes.route(&path, get(async move || (headers, Json(document))));
    }
    routes
}

/// RFC 9728 §2.
#[derive(Clone, Serialize)]
struct Document {
    resource: String,
    resource_name: &'static str,
    authorization_servers: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    /// The least that is of use; a call that takes more says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes_supported: Option<[&'static str; 1]>,
}

fn document(settings: &McpSettings) -> Document {
    let AuthSettings { issuers, scopes, .. } = &settings.auth;
    Document {
        resource: settings.resource(),
        resource_name: "maintenant monitoring",
        authorization_servers: issuers.iter().map(|issuer| issuer.name.clone()).collect(),
        bearer_methods_supported: ["header"],
        scopes_supported: scopes.then(|| [Scope::MonitorRead.as_str()]),
    }
}
