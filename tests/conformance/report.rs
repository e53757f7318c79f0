//! Command line, the list of operations still to come, and what is printed.

use crate::run::Verdict;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What the command line and environment ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Operations to run: names, or prefixes with `*`. Empty: all.
    pub filters: Vec<String>,
    /// Only print the names of operations.
    pub list: bool,
    /// Print every failing case.
    pub verbose: bool,
    /// Run the operations named on standard input: what the first process asks of the others.
    pub worker: bool,
}

/// Failing cases printed for each operation unless verbose.
const SHOWN: usize = 3;

/// libtest's flags whose value is an argument of its own.
const FLAGS_WITH_VALUE: [&str; 6] = ["--test-threads", "--skip", "--format", "--color", "--logfile", "--shuffle-seed"];

/// The argument that makes a process work for another one.
pub const WORKER: &str = "--worker";

impl Options {
    /// Reads the arguments after the program's name; flags meant for libtest do nothing.
    pub fn parse(args: impl IntoIterator<Item = String>, verbose: bool) -> Options {
        let mut options = Options { verbose, ..Options::default() };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if FLAGS_WITH_VALUE.contains(&arg.as_str()) || arg == "-Z" {
                args.next();
            } else if arg == "--list" {
                options.list = true;
            } else if arg == WORKER {
                options.worker = true;
            } else if !arg.starts_with('-') {
                options.filters.push(arg);
            }
        }
        options
    }

    pub fn selects(&self, op: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|f| matches(f, op))
    }

    /// Filters that select none of `ops`.
    pub fn unmatched<'a>(&'a self, ops: &[String]) -> Vec<&'a str> {
        let none = |f: &&String| !ops.iter().any(|op| matches(f, op));
        self.filters.iter().filter(none).map(String::as_str).collect()
    }
}

fn matches(filter: &str, op: &str) -> bool {
    match filter.strip_suffix('*') {
        Some(prefix) => op.starts_with(prefix),
        None => op == filter,
    }
}

/// Reads a list of operation names, one a line, with `#` comments.
///
/// # Errors
/// When the file is there but can't be read. Without it nothing is to come.
pub fn read_todo(path: &Path) -> Result<BTreeSet<String>, String> {
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let name = |line: &str| line.split('#').next().unwrap_or("").trim().to_owned();
    Ok(text.lines().map(name).filter(|n| !n.is_empty()).collect())
}

/// Counts of one operation, or of all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub unsupported: usize,
    /// Passed error cases that calor's types rule out.
    pub by_type: usize,
    pub ops: usize,
    pub ops_passed: usize,
    /// Operations whose only gaps are dtypes that the adapter lacks.
    pub ops_bounded: usize,
    /// Operations that had to pass wholly, and didn't.
    pub bad: usize,
}

impl Totals {
    fn fields(&mut self) -> [&mut usize; 8] {
        [
            &mut self.passed,
            &mut self.failed,
            &mut self.unsupported,
            &mut self.by_type,
            &mut self.ops,
            &mut self.ops_passed,
            &mut self.ops_bounded,
            &mut self.bad,
        ]
    }

    pub fn add(&mut self, mut other: Totals) {
        self.fields().into_iter().zip(other.fields()).for_each(|(a, b)| *a += *b);
    }

    /// The counts as a line for the process that gathers them.
    pub fn line(mut self) -> String {
        self.fields().map(|n| n.to_string()).join(" ")
    }

    /// Counts from such a line.
    pub fn parse(line: &str) -> Option<Totals> {
        let mut totals = Totals::default();
        let mut words = line.split(' ');
        for field in totals.fields() {
            *field = words.next()?.parse().ok()?;
        }
        words.next().is_none().then_some(totals)
    }

    /// Prints the totals of what `run` names; true if every operation that had to pass did.
    pub fn finish(&self, run: &str) -> bool {
        println!();
        if self.by_type > 0 {
            println!("{} of the passed error cases can't be written with calor's types", self.by_type);
        }
        println!("ops: {} wholly passed of {}", self.ops_passed, self.ops);
        if self.ops_bounded > 0 {
            println!("ops: {} more passed in every dtype that the adapter has", self.ops_bounded);
        }
        println!("{run}: {}", self.summary());
        self.bad == 0
    }

    /// The last line, which other programs read.
    pub fn summary(&self) -> String {
        format!("{} passed, {} failed, {} unsupported", self.passed, self.failed, self.unsupported)
    }
}

/// How an operation went: what is printed, and its counts.
#[derive(Debug)]
pub struct Outcome {
    pub text: String,
    pub totals: Totals,
}

impl Outcome {
    /// An operation that isn't run, with its number of cases.
    pub fn skipped(op: &str, cases: usize, listed: bool) -> Outcome {
        let totals = Totals { ops: 1, unsupported: cases, bad: usize::from(!listed), ..Totals::default() };
        let text = match listed {
            true => format!("todo {op}: {cases} unsupported\n"),
            false => format!("FAIL {op}: {cases} unsupported (no driver, and not in tests/corpus/TODO)\n"),
        };
        Outcome { text, totals }
    }

    /// An operation that can't be run at all, such as an unreadable file.
    pub fn broken(op: &str, why: &str) -> Outcome {
        Outcome { text: format!("FAIL {op}: {why}\n"), totals: Totals { ops: 1, bad: 1, ..Totals::default() } }
    }

    /// The verdicts of an operation's cases, each with the case's name and description.
    pub fn of(op: &str, verdicts: &[(String, Verdict)], verbose: bool) -> Outcome {
        let mut t = Totals { ops: 1, ..Totals::default() };
        let mut lacking = 0;
        let mut messages = Vec::new();
        for (case, verdict) in verdicts {
            match verdict {
                Verdict::Pass => t.passed += 1,
                Verdict::PassByType => {
                    t.passed += 1;
                    t.by_type += 1;
                }
                Verdict::Fail(why) => {
                    t.failed += 1;
                    messages.push(format!("     {case}: {why}\n"));
                }
                Verdict::Unsupported(why) => {
                    t.unsupported += 1;
                    messages.push(format!("     {case}: unsupported: {why}\n"));
                }
                Verdict::Lacking(_) => lacking += 1,
            }
        }
        let wholly = t.failed + t.unsupported == 0;
        let mark = if wholly { "ok  " } else { "FAIL" };
        let note = if lacking == 0 { String::new() } else { format!(", {lacking} of dtypes that the adapter lacks") };
        let counts = format!("{} passed, {} failed, {} unsupported", t.passed, t.failed, t.unsupported);
        let mut text = format!("{mark} {op}: {counts}{note}\n");
        let shown = if verbose { messages.len() } else { SHOWN };
        text.extend(messages.iter().take(shown).map(String::as_str));
        if messages.len() > shown {
            text += &format!("     and {} more (CONFORMANCE_VERBOSE=1 prints all)\n", messages.len() - shown);
        }
        t.ops_passed = usize::from(wholly && lacking == 0);
        t.ops_bounded = usize::from(wholly && lacking > 0);
        t.bad = usize::from(!wholly);
        t.unsupported += lacking;
        Outcome { text, totals: t }
    }
}
