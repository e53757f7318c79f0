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
}

/// Failing cases printed for each operation unless verbose.
const SHOWN: usize = 3;

/// libtest's flags whose value is an argument of its own.
const FLAGS_WITH_VALUE: [&str; 6] = ["--test-threads", "--skip", "--format", "--color", "--logfile", "--shuffle-seed"];

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

/// Counts of the whole run.
#[derive(Debug, Default)]
pub struct Report {
    verbose: bool,
    passed: usize,
    by_type: usize,
    failed: usize,
    unsupported: usize,
    ops: usize,
    ops_passed: usize,
    /// Operations whose only gaps are dtypes that the adapter lacks.
    ops_bounded: usize,
    /// Whether an operation that isn't to come didn't pass wholly.
    bad: bool,
}

impl Report {
    pub fn new(verbose: bool) -> Report {
        Report { verbose, ..Report::default() }
    }

    /// An operation that isn't run, with its number of cases.
    pub fn skip(&mut self, op: &str, cases: usize, listed: bool) {
        self.ops += 1;
        self.unsupported += cases;
        if listed {
            println!("todo {op}: {cases} unsupported");
        } else {
            self.bad = true;
            println!("FAIL {op}: {cases} unsupported (no driver, and not in tests/corpus/TODO)");
        }
    }

    /// An operation that can't be run at all, such as an unreadable file.
    pub fn broken(&mut self, op: &str, why: &str) {
        self.ops += 1;
        self.bad = true;
        println!("FAIL {op}: {why}");
    }

    /// The verdicts of an operation's cases, each with the case's name and description.
    pub fn op(&mut self, op: &str, verdicts: &[(String, Verdict)]) {
        let mut passed = 0;
        let mut failed = 0;
        let mut unsupported = 0;
        let mut lacking = 0;
        let mut messages = Vec::new();
        for (case, verdict) in verdicts {
            match verdict {
                Verdict::Pass => passed += 1,
                Verdict::PassByType => {
                    passed += 1;
                    self.by_type += 1;
                }
                Verdict::Fail(why) => {
                    failed += 1;
                    messages.push(format!("     {case}: {why}"));
                }
                Verdict::Unsupported(why) => {
                    unsupported += 1;
                    messages.push(format!("     {case}: unsupported: {why}"));
                }
                Verdict::Lacking(_) => lacking += 1,
            }
        }
        let wholly = failed + unsupported == 0;
        let mark = if wholly { "ok  " } else { "FAIL" };
        let note = if lacking == 0 { String::new() } else { format!(", {lacking} of dtypes that the adapter lacks") };
        println!("{mark} {op}: {passed} passed, {failed} failed, {unsupported} unsupported{note}");
        let shown = if self.verbose { messages.len() } else { SHOWN };
        messages.iter().take(shown).for_each(|m| println!("{m}"));
        if messages.len() > shown {
            println!("     and {} more (CONFORMANCE_VERBOSE=1 prints all)", messages.len() - shown);
        }
        self.ops += 1;
        self.ops_passed += usize::from(wholly && lacking == 0);
        self.ops_bounded += usize::from(wholly && lacking > 0);
        self.bad |= !wholly;
        self.passed += passed;
        self.failed += failed;
        self.unsupported += unsupported + lacking;
    }

    /// Prints the totals; true if every operation that had to pass did.
    pub fn finish(&self) -> bool {
        println!();
        if self.by_type > 0 {
            println!("{} of the passed error cases can't be written with calor's types", self.by_type);
        }
        println!("ops: {} wholly passed of {}", self.ops_passed, self.ops);
        if self.ops_bounded > 0 {
            println!("ops: {} more passed in every dtype that the adapter has", self.ops_bounded);
        }
        println!("{}", self.summary());
        !self.bad
    }

    /// The last line, which other programs read.
    pub fn summary(&self) -> String {
        format!("conformance: {} passed, {} failed, {} unsupported", self.passed, self.failed, self.unsupported)
    }
}
