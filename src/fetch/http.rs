//! The HTTP client: proxies, system certificates, redirects, retries, resumed downloads, and stopping at once.
//! Knows nothing of archives.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

use super::part::{Part, Wanted};
use super::url::Url;
use crate::error::{Error, Kind, Result};
use crate::task::{Cancel, Task};

mod proxy;

pub use proxy::Proxies;

const MOST_REDIRECTS: usize = 5;
/// An attempt that brought something new does not count, but there is an end to that as well.
const MOST_ATTEMPTS: u32 = 50;
/// Longer than this no server may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How to go on after errors that may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Attempts without any progress between them.
    pub attempts: u32,
    /// Wait after the first of them; doubled each time.
    pub first_wait: Duration,
    /// How long a connection may be silent.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { attempts: 4, first_wait: Duration::from_millis(500), silence: Duration::from_secs(60) }
    }
}

/// Why something could not be had.
#[derive(Debug)]
pub enum Failed {
    /// The server has no such file.
    NotFound,
    /// Anything else.
    Error(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Error(error)
    }
}

impl Failed {
    /// Returns it as an error; `missing` tells what it means that the file is not there.
    pub fn or_missing(self, missing: impl FnOnce() -> Error) -> Error {
        match self {
            Failed::NotFound => missing(),
            Failed::Error(error) => error,
        }
    }
}

/// Why one attempt came to nothing.
enum Attempt {
    /// It may work the next time; the server may have said when.
    Passing(String, Option<Duration>),
    /// The server cannot go on where we stopped.
    CannotResume,
    /// For good.
    Final(Failed),
}

/// An HTTP client; shared by threads, and keeps its connections.
#[derive(Debug)]
pub struct Client {
    direct: Agent,
    /// For `http:` through a proxy, with its `Proxy-Authorization`.
    forward: Option<(Agent, Option<String>)>,
    /// For `https:` through a proxy.
    tunnel: Option<Agent>,
    proxies: Proxies,
    patience: Patience,
}

/// Sets what all agents share. Redirects and statuses are ours to judge, so ureq is told to leave them alone.
fn configure(builder: ConfigBuilder<AgentScope>, silence: Option<Duration>) -> ConfigBuilder<AgentScope> {
    builder
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("xenbuild/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .timeout_resolve(Some(Duration::from_secs(15)))
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(silence)
        .timeout_per_read(silence)
}

impl Client {
    /// Makes a client.
    ///
    /// # Errors
    /// [`Kind::Usage`] if a proxy's address cannot be read.
    pub fn new(proxies: Proxies, patience: Patience) -> Result<Client> {
        let config = || configure(Agent::config_builder(), Some(patience.silence));
        let usage =
            |why: String| Error::new(Kind::Usage, why).hint("see http_proxy and https_proxy in the environment");
        let encrypted = |proxy: &&String| proxy.starts_with("https:");
        let forward = proxies.http.as_ref().filter(|proxy| !encrypted(proxy));
        let forward = forward.map(|proxy| proxy::forward(config(), proxy)).transpose().map_err(usage)?;
        let tunnel = proxies.https.as_ref().or(proxies.http.as_ref().filter(encrypted));
        let tunnel = tunnel.map(|proxy| proxy::tunnel(config(), proxy)).transpose().map_err(usage)?;
        Ok(Client { direct: config().build().new_agent(), forward, tunnel, proxies, patience })
    }

    /// Reads a small file into memory; more than `limit` bytes are an error.
    pub fn read(&self, url: &Url, limit: u64, task: &dyn Task) -> Result<Vec<u8>, Failed> {
        self.patiently(url, task, |_progress| {
            let response = self.request(url, 0)?;
            let mut bytes = Vec::new();
            let announced = content_length(&response);
            if announced.is_some_and(|length| length > limit) {
                return Err(too_large(url, limit));
            }
            read_body(response, task.cancel(), |chunk| {
                bytes.extend_from_slice(chunk);
                match bytes.len() as u64 > limit {
                    true => Err(too_large(url, limit)),
                    false => Ok(()),
                }
            })?;
            match announced {
                Some(length) if (bytes.len() as u64) < length => Err(cut_short(bytes.len() as u64, length)),
                _ => Ok(bytes),
            }
        })
    }

    /// Asks for a file's length, without reading it; `None` if the server does not tell.
    pub fn size(&self, url: &Url, task: &dyn Task) -> Result<Option<u64>, Failed> {
        self.patiently(url, task, |_progress| Ok(content_length(&self.request(url, 0)?)))
    }

    /// Downloads a file of known size and hash to `destination`, which appears only once it is whole and right.
    ///
    /// What an earlier attempt, or an earlier run, has left in `part` is not loaded again.
    pub fn download(
        &self,
        url: &Url,
        wanted: &Wanted,
        destination: &Path,
        part: PathBuf,
        task: &dyn Task,
    ) -> Result<(), Failed> {
        let Some(mut part) = Part::open(destination, part, wanted, task)? else { return Ok(()) };
        let mut restarted = false;
        loop {
            self.patiently(url, task, |progress| {
                let before = part.length();
                let result = self.continue_part(url, wanted, &mut part, task);
                *progress = part.length() > before;
                result
            })?;
            match part.finish(wanted) {
                Ok(()) => return Ok(()),
                // The rest may have belonged to another file than the beginning: once more, from the start.
                Err(_) if part.is_resumed() && !restarted => {
                    restarted = true;
                    part.restart()?;
                }
                Err(error) => {
                    part.remove();
                    return Err(error.context(url).into());
                }
            }
        }
    }

    /// Loads what is still missing, in one attempt.
    fn continue_part(&self, url: &Url, wanted: &Wanted, part: &mut Part, task: &dyn Task) -> Result<(), Attempt> {
        let host = |error: Error| Attempt::Final(error.into());
        let mut offset = part.length();
        if offset == wanted.size {
            return Ok(());
        }
        let mut response = self.request(url, offset);
        if matches!(response, Err(Attempt::CannotResume)) {
            part.restart().map_err(host)?;
            offset = 0;
            response = self.request(url, 0);
        }
        let response = response?;
        if offset > 0 && !(response.status() == StatusCode::PARTIAL_CONTENT && starts_at(&response, offset)) {
            // Not what was asked for: the whole file (a server without ranges), or some other range.
            part.restart().map_err(host)?;
            if response.status() == StatusCode::PARTIAL_CONTENT {
                return Err(Attempt::Passing("the server sends another part than asked for".into(), None));
            }
            offset = 0;
        }
        part.mark_resumed();
        if let Some(length) = content_length(&response).filter(|length| offset + length != wanted.size) {
            return Err(Attempt::Final(wanted.wrong_size(url, offset + length).into()));
        }
        let mut too_long = false;
        read_body(response, task.cancel(), |chunk| {
            too_long = part.length() + chunk.len() as u64 > wanted.size;
            if too_long {
                return Err(Attempt::Final(wanted.wrong_size(url, part.length() + chunk.len() as u64).into()));
            }
            part.write(chunk).map_err(host)
        })?;
        match part.length() < wanted.size {
            true => Err(cut_short(part.length(), wanted.size)),
            false => Ok(()),
        }
    }

    /// Repeats an attempt as long as what stops it may pass.
    fn patiently<T>(
        &self,
        url: &Url,
        task: &dyn Task,
        mut attempt: impl FnMut(&mut bool) -> Result<T, Attempt>,
    ) -> Result<T, Failed> {
        let mut wait = self.patience.first_wait;
        let (mut failures, mut total) = (0, 0);
        loop {
            task.cancel().check()?;
            let mut progress = false;
            let result = self.interruptibly(task.cancel(), || attempt(&mut progress));
            task.cancel().check()?;
            let (why, server_wait) = match result {
                Ok(value) => return Ok(value),
                Err(Attempt::Final(failed)) => return Err(failed),
                Err(Attempt::CannotResume) => ("the server cannot resume".into(), None),
                Err(Attempt::Passing(why, server_wait)) => (why, server_wait),
            };
            if progress {
                (failures, wait) = (0, self.patience.first_wait);
            }
            (failures, total) = (failures + 1, total + 1);
            if failures >= self.patience.attempts || total >= MOST_ATTEMPTS {
                return Err(Error::new(Kind::Network, format!("{url}: {why} ({total} attempts)")).into());
            }
            let pause = server_wait.unwrap_or(wait).min(LONGEST_WAIT);
            task.note(&format!("{url}: {why}; trying again in {:.1} s", pause.as_secs_f32()));
            sleep(pause, task.cancel())?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Runs `work`, and shuts all connections as soon as the task is cancelled: a read that hangs ends at once.
    fn interruptibly<T>(&self, cancel: &Cancel, work: impl FnOnce() -> T) -> T {
        let (done, is_done) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while is_done.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                    if cancel.is_set() {
                        let others = self.forward.iter().map(|(agent, _)| agent).chain(&self.tunnel);
                        others.chain([&self.direct]).for_each(|agent| agent.clone().shutdown());
                        return;
                    }
                }
            });
            let result = work();
            drop(done);
            result
        })
    }

    /// Sends one request and follows redirects; the response's status is 200 or 206.
    fn request(&self, url: &Url, offset: u64) -> Result<Response<ureq::Body>, Attempt> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.request_once(&url, offset)?;
            let status = response.status();
            match status.as_u16() {
                200 => return Ok(response),
                206 if offset > 0 => return Ok(response),
                301 | 302 | 303 | 307 | 308 => url = redirect(&url, &response)?,
                404 | 410 => return Err(Attempt::Final(Failed::NotFound)),
                416 => return Err(Attempt::CannotResume),
                408 | 425 | 429 | 500 | 502 | 503 | 504 => {
                    return Err(Attempt::Passing(format!("the server answers {status}"), retry_after(&response)));
                }
                _ => return Err(fatal(format!("{url}: the server answers {status}"))),
            }
        }
        Err(fatal(format!("{url}: more than {MOST_REDIRECTS} redirects")))
    }

    fn request_once(&self, url: &Url, offset: u64) -> Result<Response<ureq::Body>, Attempt> {
        let through = self.proxies.choose(url);
        let (agent, authorization) = match (through, &self.forward, &self.tunnel) {
            (Some(_), Some((agent, authorization)), _) if !url.is_https() => (agent, authorization.as_deref()),
            (Some(_), _, Some(agent)) => (agent, None),
            _ => (&self.direct, None),
        };
        let mut request = agent.get(url.uri());
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        if let Some(authorization) = authorization {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        request.call().map_err(|error| judge(url, &error))
    }
}

fn fatal(why: String) -> Attempt {
    Attempt::Final(Error::new(Kind::Network, why).into())
}

fn too_large(url: &Url, limit: u64) -> Attempt {
    Attempt::Final(Error::new(Kind::Input, format!("{url} is larger than {limit} bytes")).into())
}

fn cut_short(got: u64, wanted: u64) -> Attempt {
    Attempt::Passing(format!("cut short: {got} of {wanted} bytes came"), None)
}

/// Decides whether an error of the transport may pass.
fn judge(url: &Url, error: &ureq::Error) -> Attempt {
    match error {
        // A certificate that does not verify arrives as invalid data.
        ureq::Error::Io(io) if io.kind() != std::io::ErrorKind::InvalidData => Attempt::Passing(io.to_string(), None),
        ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_) => Attempt::Passing(error.to_string(), None),
        _ => fatal(format!("{url}: {error}")),
    }
}

/// Returns where a redirect leads; never from an encrypted address to one in the clear.
fn redirect(url: &Url, response: &Response<ureq::Body>) -> Result<Url, Attempt> {
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| fatal(format!("{url}: the server redirects to nowhere")))?;
    let next = url.follow(location).map_err(|why| fatal(format!("{url}: the server redirects, but {why}")))?;
    match url.is_https() && !next.is_https() {
        true => Err(fatal(format!("{url}: the server redirects to {next}, which is not encrypted"))),
        false => Ok(next),
    }
}

/// Returns how long the server asks to wait, where it says so in seconds (RFC 9110, 10.2.3).
fn retry_after(response: &Response<ureq::Body>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

fn content_length(response: &Response<ureq::Body>) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Says whether a partial response begins at this byte: `Content-Range: bytes 100-199/200` (RFC 9110, 14.4).
fn starts_at(response: &Response<ureq::Body>, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.trim().strip_prefix("bytes ")?.split_once('-'));
    start.is_some_and(|(start, _)| start.trim().parse() == Ok(offset))
}

/// Hands out the body in chunks; looks at the cancel flag between two of them.
fn read_body(
    response: Response<ureq::Body>,
    cancel: &Cancel,
    mut take: impl FnMut(&[u8]) -> Result<(), Attempt>,
) -> Result<(), Attempt> {
    let mut reader = response.into_body().into_reader();
    let mut chunk = vec![0; 64 << 10];
    loop {
        cancel.check().map_err(|error| Attempt::Final(error.into()))?;
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&chunk[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Attempt::Passing(error.to_string(), None)),
        }
    }
}

/// Sleeps, unless the task is cancelled.
fn sleep(duration: Duration, cancel: &Cancel) -> Result<()> {
    let end = std::time::Instant::now() + duration;
    loop {
        cancel.check()?;
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}
