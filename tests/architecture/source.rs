//! Rust sources as the rules see them: code without comments and tests, string literals, and the paths that code names.

use std::collections::BTreeSet;
use std::path::Path;

/// One token of code. A string literal keeps its content, everything else its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

/// A path as code spells it ("crate::vault::Id"), groups of a `use` written out, and the line where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

/// One file, read.
#[derive(Debug)]
pub(crate) struct Source {
    /// Below src/, with `/`: "vault/pack.rs".
    pub(crate) name: String,
    /// Tokens outside comments and outside what is compiled for tests only.
    pub(crate) tokens: Vec<(usize, Token)>,
    /// Lines of the file without those of test items.
    pub(crate) lines: usize,
    /// Modules that are declared for tests only and have a file of their own.
    test_modules: Vec<String>,
}

impl Source {
    pub(crate) fn read(name: &str, text: &str) -> Self {
        let all = tokenize(text);
        let (tokens, test_lines, test_modules) = without_tests(&all);
        Self { name: name.to_owned(), tokens, lines: text.lines().count() - test_lines, test_modules }
    }

    /// The module that the file is: `["vault", "pack"]`; empty for lib.rs and main.rs.
    pub(crate) fn module(&self) -> Vec<&str> {
        let stem = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        if matches!(stem, "lib" | "main") { Vec::new() } else { stem.split('/').collect() }
    }

    /// String literals with their lines.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (usize, &str)> {
        self.tokens.iter().filter_map(|(line, token)| match token {
            Token::Text(text) => Some((*line, text.as_str())),
            Token::Word(_) | Token::Mark(_) => None,
        })
    }

    /// Macros that are called, by their last name, with their lines.
    pub(crate) fn macros(&self) -> impl Iterator<Item = (usize, &str)> {
        self.tokens.windows(2).filter_map(|pair| match (&pair[0], &pair[1]) {
            ((line, Token::Word(name)), (_, Token::Mark('!'))) => Some((*line, name.as_str())),
            _ => None,
        })
    }

    /// Every path of at least one `::`, and every crate that a `use` names.
    pub(crate) fn paths(&self) -> Vec<Named> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let (line, Token::Word(word)) = &self.tokens[at] else {
                at += 1;
                continue;
            };
            if word == "use" {
                at = tree(&self.tokens, at + 1, &[], &mut found);
            } else if at >= 1 && self.tokens[at - 1].1 == Token::Mark('.') {
                at += 1; // a field or a method
            } else {
                let (path, after) = segments(&self.tokens, at);
                if path.len() > 1 {
                    found.push(Named { path, line: *line });
                }
                at = after;
            }
        }
        found
    }

    /// Where a path starts, seen from the crate's root: `crate::`, `self::` and `super::` resolved; `None` for names that
    /// are local or of other crates.
    pub(crate) fn rooted(&self, path: &[String]) -> Option<Vec<String>> {
        let own: Vec<String> = self.module().into_iter().map(str::to_owned).collect();
        let supers = path.iter().take_while(|segment| *segment == "super").count();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "drctl" if self.name == "main.rs" => Some(path[1..].to_vec()),
            "self" => Some([&own[..], &path[1..]].concat()),
            "super" => Some([&own[..own.len().saturating_sub(supers)], &path[supers..]].concat()),
            _ => None,
        }
    }
}

/// All files below `root`, but for those that only tests compile.
pub(crate) fn read_all(root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push(Source::read(&name, &std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    without_test_files(files)
}

/// Drops the files of modules that are declared under `#[cfg(test)]`, and what is below them.
pub(crate) fn without_test_files(files: Vec<Source>) -> Vec<Source> {
    let mut dropped = BTreeSet::new();
    for file in &files {
        for module in &file.test_modules {
            dropped.insert([file.module(), vec![module.as_str()]].concat().join("/"));
        }
    }
    let is_test = |file: &Source| {
        let module = file.module().join("/");
        // named by a `#[path]` beside the module that they test
        if file.name.ends_with("_tests.rs") {
            return true;
        }
        dropped.iter().any(|test| module == *test || module.starts_with(&format!("{test}/")))
    };
    let keep: Vec<bool> = files.iter().map(|file| !is_test(file)).collect();
    files.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect()
}

fn tokenize(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        let start = at;
        match chars[at] {
            '/' if peek(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if peek(at + 1) == '*' => at = block_comment(&chars, at),
            '"' => {
                let (content, after) = string(&chars, at);
                tokens.push((line, Token::Text(content)));
                at = after;
            }
            '\'' => at = char_or_lifetime(&chars, at),
            c if c.is_alphanumeric() || c == '_' => {
                while peek(at).is_alphanumeric() || peek(at) == '_' {
                    at += 1;
                }
                let word: String = chars[start..at].iter().collect();
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                if matches!(word.as_str(), "r" | "br" | "cr") && peek(at + hashes) == '"' {
                    let (content, after) = raw_string(&chars, at, hashes);
                    tokens.push((line, Token::Text(content)));
                    at = after;
                } else if matches!(word.as_str(), "b" | "c") && peek(at) == '"' {
                    let (content, after) = string(&chars, at);
                    tokens.push((line, Token::Text(content)));
                    at = after;
                } else if word == "b" && peek(at) == '\'' {
                    at = char_or_lifetime(&chars, at);
                } else {
                    tokens.push((line, Token::Word(word)));
                }
            }
            c if c.is_whitespace() => at += 1,
            c => {
                tokens.push((line, Token::Mark(c)));
                at += 1;
            }
        }
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars.get(at..at + 2) {
            Some(['/', '*']) => {
                depth += 1;
                at += 2;
            }
            Some(['*', '/']) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string(chars: &[char], quote: usize) -> (String, usize) {
    let mut content = String::new();
    let mut at = quote + 1;
    while at < chars.len() && chars[at] != '"' {
        if chars[at] == '\\' {
            content.push('\\');
            at += 1;
        }
        content.extend(chars.get(at));
        at += 1;
    }
    (content, (at + 1).min(chars.len()))
}

fn raw_string(chars: &[char], at: usize, hashes: usize) -> (String, usize) {
    let first = at + hashes + 1;
    let mut end = first;
    let closes =
        |end: usize| chars[end] == '"' && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    while end < chars.len() && !closes(end) {
        end += 1;
    }
    (chars[first..end].iter().collect(), (end + 1 + hashes).min(chars.len()))
}

fn char_or_lifetime(chars: &[char], quote: usize) -> usize {
    match (chars.get(quote + 1), chars.get(quote + 2)) {
        (Some('\\'), _) => {
            let mut at = quote + 3; // past the escaped character, which may be a quote
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at + 1
        }
        (Some(_), Some('\'')) => quote + 3,
        _ => quote + 1,
    }
}

/// Tokens without the items under `#[cfg(test)]`, how many lines those have, and the out-of-line modules among them.
fn without_tests(all: &[(usize, Token)]) -> (Vec<(usize, Token)>, usize, Vec<String>) {
    let mark = |c| Token::Mark(c);
    let word = |text: &str| Token::Word(text.to_owned());
    let attribute = [mark('#'), mark('['), word("cfg"), mark('('), word("test"), mark(')'), mark(']')];
    let is = |at: usize, what: &[Token]| {
        all.len() >= at + what.len() && all[at..at + what.len()].iter().map(|(_, token)| token).eq(what)
    };
    let (mut kept, mut lines, mut modules) = (Vec::new(), 0, Vec::new());
    let mut at = 0;
    while at < all.len() {
        if !is(at, &attribute) {
            kept.push(all[at].clone());
            at += 1;
            continue;
        }
        let first = all[at].0;
        at += attribute.len();
        let item = at;
        let mut depth = 0_usize;
        loop {
            match all.get(at).map(|(_, token)| token) {
                Some(Token::Mark('{')) => depth += 1,
                Some(Token::Mark('}')) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        break;
                    }
                }
                Some(Token::Mark(';')) if depth == 0 => {
                    if let [(_, Token::Word(before)), (_, Token::Word(name))] = &all[at - 2..at]
                        && before == "mod"
                        && at >= item + 2
                    {
                        modules.push(name.clone());
                    }
                    break;
                }
                Some(_) => {}
                None => break,
            }
            at += 1;
        }
        let last = all.get(at).or(all.last()).map_or(first, |(line, _)| *line);
        lines += last - first + 1;
        at += 1;
    }
    (kept, lines, modules)
}

fn is_colons(tokens: &[(usize, Token)], at: usize) -> bool {
    tokens.len() >= at + 2 && tokens[at..at + 2].iter().all(|(_, token)| *token == Token::Mark(':'))
}

/// The path that starts with the word at `at`, and where it ends.
fn segments(tokens: &[(usize, Token)], mut at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    while let Some((_, Token::Word(word))) = tokens.get(at) {
        path.push(word.clone());
        at += 1;
        if !is_colons(tokens, at) {
            break;
        }
        at += 2;
    }
    (path, at)
}

/// Writes out the `use` tree that starts at `at`; returns where it ends.
fn tree(tokens: &[(usize, Token)], mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    if is_colons(tokens, at) {
        at += 2;
    }
    let line = tokens.get(at).map_or(0, |(line, _)| *line);
    let (own, mut at) = segments(tokens, at);
    let path = [before, &own].concat();
    if tokens.get(at).map(|(_, token)| token) == Some(&Token::Mark('{')) {
        at += 1;
        while at < tokens.len() && tokens[at].1 != Token::Mark('}') {
            let next = tree(tokens, at, &path, found);
            at = next.max(at + 1);
            if tokens.get(at).map(|(_, token)| token) == Some(&Token::Mark(',')) {
                at += 1;
            }
        }
        return at + 1;
    }
    if tokens.get(at).map(|(_, token)| token) == Some(&Token::Mark('*')) {
        at += 1;
    }
    if !path.is_empty() {
        found.push(Named { path, line });
    }
    if tokens.get(at).map(|(_, token)| token) == Some(&Token::Word("as".to_owned())) {
        at += 2;
    }
    at
}
