//! Executes Datadog log search queries over events.
//!
//! stdin: line 1 a JSON array of queries, then one event (JSON object) a line.
//! stdout: one line for each query: a JSON array of the indices of the events that match,
//! or {"error": "..."}.
//!
//! The grammar is Vector's (crate `vrl`, module datadog_search_syntax), whose files lie in `datadog` beside this one. How a parsed node is
//! matched is written here after docs.datadoghq.com/logs/explorer/search_syntax, because the
//! crate's own matcher drops the escape of `\*` in a glob, takes `?` literally and doesn't look
//! into arrays.
use regex::Regex;
use serde_json::{json, Value};
use std::io::{self, BufRead, Write};
use std::panic;

use datadog::filter::{build_matcher, regex::word_regex, Filter, Matcher, Resolver, Run};
use datadog::search::{Comparison, ComparisonValue, Field, QueryNode};
use path::PathParseError;

#[allow(dead_code, unused_imports)]
mod datadog {
    pub mod filter;
    pub mod search;
}
/// The names by which the files know each other in vrl.
use datadog::search as datadog_search_syntax;
mod path {
    #[derive(Debug)]
    pub enum PathParseError {}
}

/// What `\*`, `\?` and a space that was escaped or quoted are turned into before parsing: the
/// crate's syntax tree keeps no escapes, and `@x:(a b)` is to it the same as `@x:"a b"`.
const STAR: char = '\u{E000}';
const MARK: char = '\u{E001}';
const SPACE: char = '\u{E002}';
/// What `*:`, which looks in all attributes and which the grammar lacks, is turned into.
const ALL: &str = "@all_attributes";

fn plain(text: &str) -> String {
    text.replace(STAR, "*").replace(MARK, "?").replace(SPACE, " ")
}

fn glob(text: &str) -> Regex {
    let mut out = String::from("(?s)^");
    for c in text.chars() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            c => out.push_str(&regex::escape(&plain(&c.to_string()))),
        }
    }
    out.push('$');
    Regex::new(&out).expect("glob")
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// True if a value at the path fulfils the test. A key may itself hold dots; an array fulfils
/// the test if one of its elements does.
fn at(value: &Value, path: &str, test: &dyn Fn(&Value) -> bool) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|v| at(v, path, test)),
        Value::Object(map) if !path.is_empty() => {
            let ends = path.match_indices('.').map(|(i, _)| i).chain([path.len()]);
            ends.into_iter().any(|end| {
                map.get(&path[..end])
                    .is_some_and(|v| at(v, path.get(end + 1..).unwrap_or(""), test))
            })
        }
        Value::Null => false,
        v => path.is_empty() && test(v),
    }
}

/// True if any value anywhere fulfils the test: `*:` searches all attributes.
fn anywhere(value: &Value, test: &dyn Fn(&Value) -> bool) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|v| anywhere(v, test)),
        Value::Object(map) => map.values().any(|v| anywhere(v, test)),
        v => test(v),
    }
}

type Test = Box<dyn Matcher<Value>>;

fn on(field: Field, test: impl Fn(&str) -> bool + Send + Sync + Clone + 'static) -> Test {
    Run::boxed(move |event: &Value| match &field {
        f if f.as_str() == ALL.replace('@', ".") => anywhere(event, &|v| text(v).is_some_and(|s| test(&s))),
        Field::Tag(tag) => at(event, "tags", &|v| {
            v.as_str()
                .and_then(|s| s.split_once(':'))
                .is_some_and(|(key, value)| key == tag && test(value))
        }),
        f => at(event, plain(f.as_str()).trim_start_matches('.'), &|v| {
            text(v).is_some_and(|s| test(&s))
        }),
    })
}

#[derive(Clone)]
struct Docs;
impl Resolver for Docs {}

impl Filter<Value> for Docs {
    fn exists(&self, field: Field) -> Result<Test, PathParseError> {
        Ok(Run::boxed(move |event: &Value| match &field {
            Field::Tag(tag) => at(event, "tags", &|v| {
                v.as_str().is_some_and(|s| s.split(':').next() == Some(tag))
            }),
            f => at(event, plain(f.as_str()).trim_start_matches('.'), &|_| true),
        }))
    }
    fn equals(&self, field: Field, to_match: &str) -> Result<Test, PathParseError> {
        // A plain space is the one the parser joined the terms of `@x:(a b)` with: all must match.
        let mut tests = vec![];
        for want in to_match.split(' ').map(plain) {
            if let Field::Default(_) = field {
                let re = word_regex(&want);
                tests.push(on(field.clone(), move |s| re.is_match(s)));
                continue;
            }
            let number: Option<f64> = want.parse().ok();
            let path = plain(field.as_str()).trim_start_matches('.').to_owned();
            let equal = on(field.clone(), move |s| s == want);
            tests.push(Run::boxed(move |event: &Value| {
                let same = |v: &Value| v.is_number() && v.as_f64() == number;
                equal.run(event) || number.is_some() && at(event, &path, &same)
            }));
        }
        Ok(Run::boxed(move |event: &Value| tests.iter().all(|t| t.run(event))))
    }
    fn prefix(&self, field: Field, prefix: &str) -> Result<Test, PathParseError> {
        let want = plain(prefix);
        Ok(on(field, move |s| s.starts_with(&want)))
    }
    fn wildcard(&self, field: Field, wildcard: &str) -> Result<Test, PathParseError> {
        if wildcard == "*" {
            return self.exists(field);
        }
        let re = glob(wildcard);
        Ok(on(field, move |s| re.is_match(s)))
    }
    fn compare(
        &self,
        field: Field,
        op: Comparison,
        bound: ComparisonValue,
    ) -> Result<Test, PathParseError> {
        let path = plain(field.as_str()).trim_start_matches('.').to_owned();
        let bound = match bound {
            ComparisonValue::Integer(n) => Ok(n as f64),
            ComparisonValue::Float(n) => Ok(n),
            ComparisonValue::String(s) => Err(plain(&s)),
            ComparisonValue::Unbounded => return self.exists(field),
        };
        Ok(Run::boxed(move |event: &Value| {
            at(event, &path, &|v| {
                let order = match (&bound, v) {
                    (Ok(n), Value::Number(m)) => m.as_f64().and_then(|m| m.partial_cmp(n)),
                    (Err(s), Value::String(t)) => Some(t.as_str().cmp(s)),
                    _ => None, // a number is never compared with a text
                };
                order.is_some_and(|o| match op {
                    Comparison::Gt => o.is_gt(),
                    Comparison::Gte => o.is_ge(),
                    Comparison::Lt => o.is_lt(),
                    Comparison::Lte => o.is_le(),
                })
            })
        }))
    }
}

/// The query with `\*` and `\?` marked; an error for what the grammar takes wrongly in silence.
fn marked(query: &str) -> Result<String, String> {
    let (mut out, mut quoted) = (String::new(), false);
    let mut chars = query.chars();
    while let Some(c) = chars.next() {
        match c {
            STAR | MARK | SPACE => return Err("private-use character".into()),
            '\\' => match chars.next() {
                Some('*') => out.push(STAR),
                Some('?') => out.push(MARK),
                Some(' ') => out.push(SPACE),
                Some(next) => out.extend(['\\', next]),
                None => return Err("ends with a backslash".into()),
            },
            '"' => {
                quoted = !quoted;
                out.push(c);
            }
            ' ' if quoted => out.push(SPACE),
            '(' if !quoted && out.trim_end().ends_with("CIDR") => {
                return Err("CIDR() is not in this grammar".into())
            }
            '*' if !quoted && out.ends_with(['(', ' ', '-', ':']) | out.is_empty() && chars.clone().next() == Some(':') => {
                out.push_str(ALL)
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

fn answer(query: &str, events: &[Value]) -> Result<Value, String> {
    let node: QueryNode = marked(query.trim_start())?.parse().map_err(|e| format!("{e}"))?;
    let test = build_matcher(&node, &Docs).map_err(|e| format!("{e:?}"))?;
    let hits = events.iter().enumerate().filter(|(_, e)| test.run(e));
    Ok(json!(hits.map(|(i, _)| i).collect::<Vec<_>>()))
}

fn main() {
    panic::set_hook(Box::new(|_| {})); // the crate panics on `[1 TO 2}`
    let stdin = io::stdin();
    let mut lines = stdin.lock().lines().map(|l| l.unwrap_or_default());
    let queries: Vec<String> = match serde_json::from_str(&lines.next().unwrap_or_default()) {
        Ok(queries) => queries,
        Err(e) => return fail(&format!("line 1 is no JSON array of texts: {e}")),
    };
    let mut events = vec![];
    for (i, line) in lines.enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        match serde_json::from_str(&line) {
            Ok(event) => events.push(event),
            Err(e) => return fail(&format!("event {i}: {e}")),
        }
    }
    let mut out = io::stdout().lock();
    for query in &queries {
        let done = panic::catch_unwind(|| answer(query, &events));
        let done = done.unwrap_or_else(|_| Err("the parser panicked".into()));
        let line = done.unwrap_or_else(|e| json!({"error": e}));
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}

fn fail(why: &str) {
    eprintln!("{why}");
    std::process::exit(2);
}
