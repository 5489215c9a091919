//! HTTP proxies: which one a request goes through, and the request form that a proxy reads for unencrypted addresses.

use std::sync::Arc;

use ureq::config::{Config, ConfigBuilder};
use ureq::http::Uri;
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport};
use ureq::{Agent, Proxy};

use crate::fetch::url::Url;

/// Proxies, as the environment variables name them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proxies {
    /// For `http:` addresses.
    pub http: Option<String>,
    /// For `https:` addresses.
    pub https: Option<String>,
    /// Hosts that are asked directly: names, `.domain`s, or `*`.
    pub none_for: Vec<String>,
}

impl Proxies {
    /// Reads `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in small or capital letters.
    pub fn from_environment() -> Proxies {
        Proxies::from_variables(|name| std::env::var(name).ok())
    }

    /// Reads them from any table of variables.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Proxies {
        let read = |name: &str| {
            let value = variable(name).or_else(|| variable(&name.to_ascii_uppercase()));
            value.map(|value| value.trim().to_string()).filter(|value| !value.is_empty())
        };
        let separated = |value: String| {
            let names = value.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_ascii_lowercase).collect()
        };
        Proxies {
            http: read("http_proxy").or_else(|| read("all_proxy")),
            https: read("https_proxy").or_else(|| read("all_proxy")),
            none_for: read("no_proxy").map(separated).unwrap_or_default(),
        }
    }

    /// Returns the proxy for this address.
    pub fn choose(&self, url: &Url) -> Option<&str> {
        let proxy = if url.is_https() { &self.https } else { &self.http };
        proxy.as_deref().filter(|_| !self.is_exempt(url.host()))
    }

    fn is_exempt(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.none_for.iter().any(|name| {
            let domain = name.trim_start_matches('*').trim_start_matches('.');
            name == "*" || host == domain || (!domain.is_empty() && host.ends_with(&format!(".{domain}")))
        })
    }
}

/// Makes the agent for `https:` addresses (and for proxies that are themselves encrypted): a tunnel by `CONNECT`.
pub fn tunnel(builder: ConfigBuilder<AgentScope>, proxy: &str) -> Result<Agent, String> {
    Ok(builder.proxy(Some(parse(proxy)?)).build().new_agent())
}

/// Makes the agent for `http:` addresses: one that sends the whole address in the request line (RFC 9112, 3.2.2).
///
/// `CONNECT` would do as well in theory, but proxies commonly refuse it for port 80, and caches cannot cache what goes
/// through a tunnel. Returns the agent and the `Proxy-Authorization` that it needs.
pub fn forward(builder: ConfigBuilder<AgentScope>, proxy: &str) -> Result<(Agent, Option<String>), String> {
    let parsed = parse(proxy)?;
    let resolver = ProxyResolver { proxy: parsed.uri().clone(), resolver: DefaultResolver::default() };
    let agent = Agent::with_parts(builder.build(), ().chain(TcpConnector::default()).chain(AbsoluteForm), resolver);
    let user = parsed.username().map(|user| {
        let password = parsed.password().unwrap_or_default();
        format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
    });
    Ok((agent, user))
}

fn parse(proxy: &str) -> Result<Proxy, String> {
    let host = proxy.rsplit_once('@').map_or(proxy, |(_, host)| host);
    Proxy::new(proxy).map_err(|error| format!("the proxy `{host}`: {error}"))
}

/// Finds the proxy's address, whatever host is asked for: only the proxy can perhaps resolve that one.
#[derive(Debug)]
struct ProxyResolver {
    proxy: Uri,
    resolver: DefaultResolver,
}

impl Resolver for ProxyResolver {
    fn resolve(&self, _uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.resolver.resolve(&self.proxy, config, timeout)
    }
}

/// Wraps a connection to a proxy so that each request names its target in full.
#[derive(Debug)]
struct AbsoluteForm;

impl<In: Transport> Connector<In> for AbsoluteForm {
    type Out = AbsoluteFormTransport<In>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        // A kept connection is used again for the same scheme and authority only, so the prefix belongs to it.
        let authority = details.uri.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let prefix: Arc<str> = format!("http://{host}").into();
        Ok(chained.map(|inner| AbsoluteFormTransport { inner, prefix }))
    }
}

/// `GET /path` becomes `GET http://host/path`; all else passes through.
#[derive(Debug)]
struct AbsoluteFormTransport<In> {
    inner: In,
    prefix: Arc<str>,
}

impl<In: Transport> Transport for AbsoluteFormTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        const METHOD: &[u8] = b"GET ";
        // Requests of ours have no body, so whatever begins like a request line is one.
        let output = self.inner.buffers().output();
        let mut amount = amount;
        if output[..amount].starts_with(b"GET /") && amount + self.prefix.len() <= output.len() {
            output.copy_within(METHOD.len()..amount, METHOD.len() + self.prefix.len());
            output[METHOD.len()..METHOD.len() + self.prefix.len()].copy_from_slice(self.prefix.as_bytes());
            amount += self.prefix.len();
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// Encodes as RFC 4648, section 4, says.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            match digit <= chunk.len() {
                true => text.push(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize].into()),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from_variables(|name| {
            variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn the_environment_names_proxies_by_scheme() {
        let url = |text| Url::parse(text).unwrap();
        let both = proxies(&[("http_proxy", "http://p:1"), ("HTTPS_PROXY", "http://p:2")]);
        assert_eq!(both.choose(&url("http://m.test/")), Some("http://p:1"));
        assert_eq!(both.choose(&url("https://m.test/")), Some("http://p:2"));
        assert_eq!(proxies(&[("http_proxy", "")]).choose(&url("http://m.test/")), None);
        assert_eq!(proxies(&[("all_proxy", "p:3")]).choose(&url("https://m.test/")), Some("p:3"));
    }

    #[test]
    fn no_proxy_exempts_hosts_and_domains() {
        let some = |none: &str| proxies(&[("http_proxy", "http://p:1"), ("no_proxy", none)]);
        let through =
            |none: &str, host: &str| some(none).choose(&Url::parse(&format!("http://{host}/")).unwrap()).is_some();
        assert!(!through("m.test", "m.test"));
        assert!(!through("localhost, .test", "m.test"));
        assert!(!through("*.test", "M.TEST"));
        assert!(!through("*", "m.test"));
        assert!(!through("test", "m.test:8080"));
        assert!(through("m.test", "mm.test"));
        assert!(through("localhost", "m.test"));
    }

    #[test]
    fn base64_is_the_standards_own_examples() {
        let examples =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (plain, encoded) in examples {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
