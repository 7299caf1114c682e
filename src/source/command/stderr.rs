//! The last lines of a program's stderr, for the error message.
//!
//! Invariant: bounded, and holds none of the secrets that it was told, nor a password in a URL.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::process::ChildStderr;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What is kept.
const KEEP_BYTES: usize = 4096;
const KEEP_LINES: usize = 5;
/// How long the end of stderr is waited for after the program has ended: another process may still hold it.
const GRACE: Duration = Duration::from_millis(500);

/// Drains a program's stderr on a thread of its own, so that the program never blocks on it.
pub(super) struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    secrets: Vec<String>,
    ended: Receiver<()>,
}

impl Tail {
    pub(super) fn drain(mut stderr: ChildStderr, secrets: Vec<String>) -> io::Result<Self> {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let (end, ended) = mpsc::channel();
        let into = kept.clone();
        let body = move || {
            let _end = end;
            let mut buffer = [0; 4096];
            while let Ok(read) = stderr.read(&mut buffer) {
                if read == 0 {
                    break;
                }
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&buffer[..read]);
                let excess = kept.len().saturating_sub(KEEP_BYTES);
                kept.drain(..excess);
            }
        };
        thread::Builder::new().name("command-stderr".into()).spawn(body)?;
        Ok(Self { kept, secrets, ended })
    }

    /// The last lines, joined by " | ".
    pub(super) fn text(self) -> String {
        let _ = self.ended.recv_timeout(GRACE);
        let kept: Vec<u8> = self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        last_lines(&String::from_utf8_lossy(&kept), kept.len() >= KEEP_BYTES, &self.secrets)
    }
}

/// `cut`: the first line lost its beginning, and with it perhaps the part by which a secret would be recognised.
fn last_lines(text: &str, cut: bool, secrets: &[String]) -> String {
    let mut text = match text.split_once('\n') {
        Some((_, rest)) if cut => rest.to_owned(),
        None if cut => "(one long line)".to_owned(),
        Some(_) | None => text.to_owned(),
    };
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "***");
    }
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let lines = &lines[lines.len().saturating_sub(KEEP_LINES)..];
    blot_urls(&lines.join(" | ")).replace(|c: char| c.is_control(), "\u{fffd}")
}

/// `scheme://user:password@host` becomes `scheme://***@host`.
fn blot_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out += head;
        let end = tail.find(|c: char| c.is_whitespace() || matches!(c, '/' | '\'' | '"')).unwrap_or(tail.len());
        rest = match tail[..end].rfind('@') {
            Some(user) => {
                out += "***";
                &tail[user..]
            }
            None => tail,
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_never_show() {
        let secrets = ["hunter2".to_owned(), String::new()];
        let text = "login with hunter2 failed\ncannot reach postgres://app:hunter3@db:5432/x and http://plain/@y\n";
        let said = last_lines(text, false, &secrets);
        assert_eq!(said, "login with *** failed | cannot reach postgres://***@db:5432/x and http://plain/@y");
    }

    #[test]
    fn a_line_without_its_beginning_is_left_out() {
        assert_eq!(last_lines("ter2 failed\nnext\n", true, &["hunter2".to_owned()]), "next");
        assert_eq!(last_lines("endless", true, &[]), "(one long line)");
    }

    #[test]
    fn only_the_last_lines_are_kept_and_none_moves_the_cursor() {
        let text: String = (0..20).map(|n| format!("line {n}\n\n")).collect();
        assert_eq!(last_lines(&text, false, &[]), "line 15 | line 16 | line 17 | line 18 | line 19");
        assert_eq!(last_lines("a\u{1b}[2Jb", false, &[]), "a\u{fffd}[2Jb");
    }
}
