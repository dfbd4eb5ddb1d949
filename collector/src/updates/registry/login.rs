//! Logins: what a registry wants to see, and getting it.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use reqwest::Response;
use tokio::time::Instant;
use url::Url;

use super::auth::{Challenge, Token, challenges};
use super::reach::Guarded;
use super::{Fault, Host, LARGEST_TOKEN, Registries, fault_of, limited, limits};
use crate::updates::credentials::Credential;
use crate::updates::reference::{HUB, Place, is_loopback};

/// Tokens by repository, and until when they are good.
#[derive(Debug, Default)]
pub(super) struct Logins(HashMap<String, (String, Instant)>);

impl Logins {
    fn fresh(&self, repository: &str) -> Option<String> {
        let (header, until) = self.0.get(repository)?;
        (*until > Instant::now()).then(|| header.clone())
    }
}

impl Registries {
    /// The header to begin with, for a registry that is known to want one.
    pub(super) async fn login(&self, host: &Host, place: &Place) -> Result<Option<String>, Fault> {
        let fresh = host.known().logins.fresh(&place.repository);
        if fresh.is_some() {
            return Ok(fresh);
        }
        let Some(challenge) = self.memory.challenge(&place.host) else { return Ok(None) };
        match self.meet(host, place, &challenge).await {
            Ok(header) => Ok(Some(header)),
            Err(fault) => {
                // It may want another login by now, or none for this repository.
                self.memory.set_challenge(&place.host, None);
                if matches!(fault, Fault::Unauthorized(..)) { Ok(None) } else { Err(fault) }
            }
        }
    }

    /// Gets what the registry wants to see: the header for the same request once more.
    pub(super) async fn log_in(
        &self,
        host: &Host,
        place: &Place,
        refusal: &Response,
    ) -> Result<String, Fault> {
        if !is_of(place, refusal.url()) {
            let why = "it sends to another host, which wants a login of its own";
            return Err(Fault::Unauthorized(place.host.clone(), why.to_owned()));
        }
        let asked: Vec<_> = refusal
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenges)
            .collect();
        let is_bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
        let Some(challenge) = asked.iter().find(is_bearer).or(asked.first()) else {
            return Err(Fault::Unauthorized(place.host.clone(), self.why_refused(place)));
        };
        let header = self.meet(host, place, challenge).await?;
        let general = match challenge.clone() {
            Challenge::Bearer { realm, service, .. } => {
                Challenge::Bearer { realm, service, scope: None }
            }
            Challenge::Basic => Challenge::Basic,
        };
        self.memory.set_challenge(&place.host, Some(general));
        Ok(header)
    }

    /// Does what a challenge asks for. A token is kept for the next request.
    async fn meet(
        &self,
        host: &Host,
        place: &Place,
        challenge: &Challenge,
    ) -> Result<String, Fault> {
        let credential = self.credentials.find(&place.host);
        match (challenge, credential) {
            (Challenge::Basic, Some(Credential::Password { user, password })) => {
                Ok(basic(user, password.expose()))
            }
            (Challenge::Basic, _) => {
                Err(Fault::Unauthorized(place.host.clone(), self.why_refused(place)))
            }
            (Challenge::Bearer { realm, service, scope }, credential) => {
                let usual = format!("repository:{}:pull", place.repository);
                let scope = scope.as_deref().unwrap_or(&usual);
                let (token, life) =
                    self.token(place, realm, service.as_deref(), scope, credential).await?;
                let header = format!("Bearer {token}");
                let kept = (header.clone(), Instant::now() + life);
                host.known().logins.0.insert(place.repository.clone(), kept);
                Ok(header)
            }
        }
    }

    /// Asks a token server. It is told the password where there is one; the registry has named it.
    async fn token(
        &self,
        place: &Place,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<(String, Duration), Fault> {
        let at = &place.host;
        let unusable = |why: String| Fault::Unauthorized(at.clone(), why);
        let url =
            Url::parse(realm).map_err(|_| unusable("its token server is no address".into()))?;
        Guarded(self.net.clone()).check_url(&url, is_loopback(at)).map_err(unusable)?;
        let service = service.map(|service| ("service", service));
        let request = match credential {
            Some(Credential::Identity(token)) => {
                let known = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token.expose()),
                    ("scope", scope),
                    ("client_id", "maintenant"),
                ];
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(known.into_iter().chain(service));
                let form_type = "application/x-www-form-urlencoded";
                self.token_client.post(url).header(CONTENT_TYPE, form_type).body(form.finish())
            }
            credential => {
                let mut request = self.token_client.get(url);
                request = request.query(&[("scope", scope)]).query(&Vec::from_iter(service));
                if let Some(Credential::Password { user, password }) = credential {
                    request = request.header(AUTHORIZATION, basic(user, password.expose()));
                }
                request
            }
        };
        self.net.turn().await;
        let answer = request.send().await.map_err(|error| fault_of(at, &error.without_url()))?;
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::TOO_MANY_REQUESTS => {
                let pause = limits::pause(answer.headers(), clock::now());
                self.memory.pause(at, pause);
                return Err(limited(place, pause));
            }
            status if status.is_client_error() => {
                return Err(Fault::Unauthorized(at.clone(), self.why_refused(place)));
            }
            status => {
                return Err(Fault::Status(format!("the token server of {at}"), status.as_u16()));
            }
        }
        let body = self.read(place, answer, LARGEST_TOKEN).await?;
        // What serde says of an answer may repeat the token.
        let token: Token = serde_json::from_slice(&body)
            .map_err(|_| unusable("its token server did not answer with a token".into()))?;
        token.usable().ok_or_else(|| unusable("its token server gave no token".into()))
    }

    /// What could be done about a refusal.
    pub(super) fn why_refused(&self, place: &Place) -> String {
        let known = self.credentials.find(&place.host).is_some();
        let named = match &*place.host {
            "registry-1.docker.io" => HUB,
            host => host,
        };
        if known {
            return "the credentials of Docker's configuration do not open this repository".into();
        }
        if let Some(helper) = self.credentials.helper(&place.host) {
            return format!(
                "its credentials are kept by the helper `{}`, which is not run; put them into \
                 `auths` of a config.json and name its folder in DOCKER_CONFIG",
                foreign(helper)
            );
        }
        if let Some(fault) = &self.credentials.fault {
            return format!("there are no credentials: {}", foreign(fault));
        }
        format!(
            "the repository does not exist or is private, and there are no credentials for {}; \
             `docker login` writes them into the config.json of DOCKER_CONFIG",
            foreign(named)
        )
    }
}

/// Whether an address is at the registry itself, and not where it redirects to.
fn is_of(place: &Place, url: &Url) -> bool {
    Url::parse(&format!("{}://{}", url.scheme(), place.host)).is_ok_and(|own| {
        own.host() == url.host() && own.port_or_known_default() == url.port_or_known_default()
    })
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let both = format!("{user}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
}
