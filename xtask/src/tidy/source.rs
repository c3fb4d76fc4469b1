//! A Rust file as the rules see it: its lines, and its tokens without comments and texts, each with its line.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::Finding;

/// One token.
#[derive(Debug, Clone)]
pub struct Token {
    /// An identifier, a punctuation mark, a bracket; literals are `"…"`, whatever they hold.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
    /// Whether it is only there in tests: below `#[cfg(test)]` or `#[test]`.
    pub test: bool,
    /// Modules that are open around it in this file.
    pub modules: Vec<String>,
}

/// A Rust file.
#[derive(Debug)]
pub struct Source {
    /// Its path, relative to the workspace's root.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its tokens; none if it can't be read.
    pub tokens: Vec<Token>,
    /// Its functions with their lengths.
    pub functions: Vec<Function>,
    error: Option<String>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

impl Source {
    /// Reads a file of the workspace.
    pub fn read(path: &str) -> Result<Source, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        Ok(Source::parse(path, &text))
    }

    /// Takes a text apart.
    pub fn parse(path: &str, text: &str) -> Source {
        let mut source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: Vec::new(),
            functions: Vec::new(),
            error: None,
        };
        // A first line of the form `#!` is the shell's, not Rust's.
        match TokenStream::from_str(text) {
            Ok(stream) => source.flatten(stream, is_test_file(path), &[]),
            Err(error) => source.error = Some(error.to_string()),
        }
        source
    }

    /// A file that isn't Rust is a finding of its own: no rule can be checked in it.
    pub fn unreadable(&self) -> Option<Finding> {
        let error = self.error.as_ref()?;
        Some(Finding::new(&self.path, 1, format!("can't be read as Rust: {error}")))
    }

    /// Where a sequence of tokens begins, by index.
    pub fn find<'a>(&'a self, pattern: &'a [&'a str]) -> impl Iterator<Item = usize> + 'a {
        let windows = self.tokens.windows(pattern.len()).enumerate();
        windows.filter(move |(_, window)| window.iter().zip(pattern).all(|(t, p)| t.text == *p)).map(|(at, _)| at)
    }

    fn flatten(&mut self, stream: TokenStream, test: bool, modules: &[String]) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        // Until where (exclusive) the trees belong to an item that is for tests only.
        let mut test_until = 0;
        for (at, tree) in trees.iter().enumerate() {
            if is_test_attribute(&trees[at..]) {
                test_until = test_until.max(item_end(&trees, at));
            }
            let test = test || at < test_until;
            self.measure_function(&trees, at);
            match tree {
                TokenTree::Group(group) => {
                    let (open, close) = brackets(group.delimiter());
                    self.push(open, group.span_open().start().line, test, modules);
                    match opened_module(&trees[..at]).filter(|_| group.delimiter() == Delimiter::Brace) {
                        Some(name) => self.flatten(group.stream(), test, &[modules, &[name]].concat()),
                        None => self.flatten(group.stream(), test, modules),
                    }
                    self.push(close, group.span_close().end().line, test, modules);
                }
                TokenTree::Ident(ident) => {
                    self.push(ident.to_string().trim_start_matches("r#"), ident.span().start().line, test, modules);
                }
                TokenTree::Punct(punct) => {
                    let second = matches!(at.checked_sub(1).map(|before| &trees[before]),
                        Some(TokenTree::Punct(first)) if first.as_char() == ':'
                            && first.spacing() == proc_macro2::Spacing::Joint);
                    if punct.as_char() == ':' && second {
                        if let Some(last) = self.tokens.last_mut() {
                            last.text = "::".to_owned();
                        }
                    } else {
                        self.push(&punct.as_char().to_string(), punct.span().start().line, test, modules);
                    }
                }
                TokenTree::Literal(literal) => self.push("\"…\"", literal.span().start().line, test, modules),
            }
        }
    }

    fn push(&mut self, text: &str, line: usize, test: bool, modules: &[String]) {
        if !text.is_empty() {
            self.tokens.push(Token { text: text.to_owned(), line, test, modules: modules.to_vec() });
        }
    }

    fn measure_function(&mut self, trees: &[TokenTree], at: usize) {
        let (Some(keyword), Some(TokenTree::Ident(name))) = (ident(&trees[at]), trees.get(at + 1)) else { return };
        if keyword != "fn" {
            return;
        }
        for tree in &trees[at + 2..] {
            match tree {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    let line = trees[at].span().start().line;
                    let lines = group.span_close().end().line + 1 - line;
                    self.functions.push(Function { name: name.to_string(), line, lines });
                    return;
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => return,
                _ => {}
            }
        }
    }
}

/// Whole files of tests and measurements.
pub fn is_test_file(path: &str) -> bool {
    let room = |name: &str| path.starts_with(&format!("{name}/")) || path.contains(&format!("/{name}/"));
    room("tests") || room("benches") || room("examples") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

fn ident(tree: &TokenTree) -> Option<String> {
    if let TokenTree::Ident(ident) = tree { Some(ident.to_string()) } else { None }
}

fn brackets(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Brace => ("{", "}"),
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]` or `#[test]` (also `#[tokio::test]`) at the front.
fn is_test_attribute(trees: &[TokenTree]) -> bool {
    let [TokenTree::Punct(hash), TokenTree::Group(group), ..] = trees else { return false };
    if hash.as_char() != '#' || group.delimiter() != Delimiter::Bracket {
        return false;
    }
    let text: String = group.stream().into_iter().map(|tree| tree.to_string()).collect();
    let text = text.replace(char::is_whitespace, "");
    text == "cfg(test)" || text.starts_with("cfg(all(test,") || text == "test" || text.starts_with("tokio::test")
}

/// One past the item that begins at `at`: its first brace group, or its semicolon.
fn item_end(trees: &[TokenTree], at: usize) -> usize {
    let ends = |tree: &TokenTree| match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    trees[at..].iter().position(ends).map_or(trees.len(), |offset| at + offset + 1)
}

/// The module's name if the trees end with `mod name`.
fn opened_module(before: &[TokenTree]) -> Option<String> {
    let [.., keyword, name] = before else { return None };
    if ident(keyword)? == "mod" { ident(name) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_texts_are_no_tokens_and_lines_are_right() {
        let source = Source::parse("a.rs", "// Instant::now()\nlet a = \"Instant::now()\";\n\nstd::Instant::now();");
        let found: Vec<usize> = source.find(&["Instant", "::", "now"]).map(|at| source.tokens[at].line).collect();
        assert_eq!(found, [4]);
    }

    #[test]
    fn what_is_below_a_test_attribute_is_test_code_and_no_more() {
        let text =
            "#[cfg(test)]\nmod tests { fn a() { inside(); } }\nfn b() { outside(); }\n#[test] fn c() { third(); }";
        let source = Source::parse("a.rs", text);
        let test = |name: &str| source.tokens.iter().find(|token| token.text == name).expect("there").test;
        assert!(test("inside") && !test("outside") && test("third"));
        let inside = source.tokens.iter().find(|token| token.text == "inside").expect("there");
        assert_eq!(inside.modules, ["tests"]);
    }

    #[test]
    fn functions_are_measured_with_signature_and_braces() {
        let source = Source::parse("a.rs", "fn one() {}\nimpl A {\n fn two(\n  a: u8,\n ) {\n  a;\n }\n fn none();\n}");
        let measured: Vec<_> = source.functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(measured, [("one", 1, 1), ("two", 3, 5)]);
    }

    #[test]
    fn a_broken_file_is_told() {
        let source = Source::parse("a.rs", "fn a( {");
        assert!(source.unreadable().is_some());
    }
}
