//! A web server on loopback that serves a folder, with faults on demand; also what an HTTP proxy looks like to us.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes wrong with one answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status instead of the file.
    Status(u16),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// The whole file, although a part was asked for.
    NoRange,
    /// A part that begins elsewhere.
    WrongRange,
    /// Other bytes in place of the file's: as many, or another number.
    Content(Vec<u8>),
    /// A redirect.
    Redirect(String),
    /// So many bytes of the body, then silence.
    Stall(usize),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET /path HTTP/1.1`.
    pub line: String,
    /// The header lines, in small letters.
    pub headers: Vec<String>,
}

impl Request {
    /// Returns a header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[derive(Default)]
struct State {
    faults: VecDeque<(String, Fault)>,
    requests: Vec<Request>,
}

/// A server; its threads end with the test process.
pub struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(folder: &Path) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, folder) = (state.clone(), folder.to_path_buf());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, folder) = (shared.clone(), folder.clone());
                std::thread::spawn(move || {
                    // The client hangs up whenever it likes.
                    let _ = serve(stream, &folder, &shared);
                });
            }
        });
        Server { port, state }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next answer to a request whose path ends so goes wrong; several faults come one after the other.
    pub fn fault(&self, path_end: &str, fault: Fault) {
        self.state.lock().unwrap().faults.push_back((path_end.into(), fault));
    }

    /// Returns all requests so far whose line contains this.
    pub fn requests(&self, part: &str) -> Vec<Request> {
        let state = self.state.lock().unwrap();
        state.requests.iter().filter(|request| request.line.contains(part)).cloned().collect()
    }
}

fn serve(stream: TcpStream, folder: &Path, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    // Connections are kept, as real servers do: the client's own bookkeeping is tested with them.
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_string()),
            }
        }
        let line = lines.remove(0);
        let headers = lines.iter().map(|line| line.to_ascii_lowercase()).collect();
        let request = Request { line, headers };
        let target = request.line.split(' ').nth(1).unwrap_or("/").to_string();
        // A proxy is asked for whole addresses; this one has the file itself.
        let path = match target.strip_prefix("http://") {
            Some(rest) => rest.split_once('/').map_or("", |(_, path)| path).to_string(),
            None => target.trim_start_matches('/').to_string(),
        };
        let fault = {
            let mut state = state.lock().unwrap();
            state.requests.push(request.clone());
            let at = state.faults.iter().position(|(end, _)| path.ends_with(end.as_str()));
            at.and_then(|at| state.faults.remove(at)).map(|(_, fault)| fault)
        };
        if !answer(&mut stream, &request, &folder.join(&path), fault)? {
            return Ok(());
        }
    }
}

/// Answers one request; says whether the connection goes on.
fn answer(stream: &mut TcpStream, request: &Request, path: &PathBuf, fault: Option<Fault>) -> std::io::Result<bool> {
    let mut status = |status: u16, header: &str| {
        write!(stream, "HTTP/1.1 {status} Status\r\n{header}Content-Length: 0\r\n\r\n").map(|()| true)
    };
    match &fault {
        Some(Fault::Status(code)) => return status(*code, ""),
        Some(Fault::Redirect(location)) => return status(302, &format!("Location: {location}\r\n")),
        _ => {}
    }
    let content = match &fault {
        Some(Fault::Content(bytes)) => bytes.clone(),
        _ => match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(_) => return status(404, ""),
        },
    };
    let start = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let start: usize = start.filter(|_| !matches!(fault, Some(Fault::NoRange))).unwrap_or(0);
    if start > content.len() || (start == content.len() && start > 0) {
        return status(416, "");
    }
    let said = if matches!(fault, Some(Fault::WrongRange)) { start / 2 } else { start };
    let body = &content[said..];
    match start {
        0 => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?,
        _ => write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {said}-{}/{}\r\nContent-Length: {}\r\n\r\n",
            content.len() - 1,
            content.len(),
            body.len()
        )?,
    }
    match fault {
        Some(Fault::Cut(bytes)) => {
            stream.write_all(&body[..bytes.min(body.len())])?;
            stream.shutdown(std::net::Shutdown::Both)?;
            Ok(false)
        }
        Some(Fault::Stall(bytes)) => {
            stream.write_all(&body[..bytes.min(body.len())])?;
            std::thread::sleep(Duration::from_secs(30));
            Ok(false)
        }
        _ => stream.write_all(body).map(|()| true),
    }
}
