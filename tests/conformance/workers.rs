//! Several processes, each with a device of its own: most of the time goes into the driver's compiler, which has one
//! thread for each device. A process that dies costs the operation it ran.

use crate::report::{Outcome, Totals, WORKER};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};

/// Stands before the line that ends an answer.
const END: &str = "=totals ";

/// Prints an operation's outcome for the process that asked.
pub fn answer(outcome: &Outcome) {
    let mut out = std::io::stdout().lock();
    // who asked may be gone; then nobody reads this
    let _ = writeln!(out, "{}{END}{}", outcome.text, outcome.totals.line()).and_then(|()| out.flush());
}

struct Worker {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    fn start() -> Result<Worker, String> {
        let text = |e: std::io::Error| format!("starting a process: {e}");
        let program = std::env::current_exe().map_err(text)?;
        let mut child = Command::new(program)
            .args(std::env::args().skip(1))
            .arg(WORKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(text)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Worker { child, to, from: BufReader::new(from) }),
            _ => Err("starting a process: no pipes".to_owned()),
        }
    }

    /// The outcome of an operation; `None` if the process died.
    fn ask(&mut self, op: &str) -> Option<Outcome> {
        writeln!(self.to, "{op}").and_then(|()| self.to.flush()).ok()?;
        let mut text = String::new();
        loop {
            let start = text.len();
            if self.from.read_line(&mut text).ok()? == 0 {
                return None;
            }
            if let Some(counts) = text[start..].strip_prefix(END) {
                let totals = Totals::parse(counts.trim_end())?;
                text.truncate(start);
                return Some(Outcome { text, totals });
            }
        }
    }
}

/// Runs `ops` on as many processes as there are processors; outcomes come as they are ready.
pub fn run(ops: &[String], mut each: impl FnMut(Outcome)) {
    let asked = std::env::var("CONFORMANCE_JOBS").ok().and_then(|v| v.parse().ok());
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = asked.unwrap_or_else(cores).clamp(1, ops.len().max(1));
    let queue = Mutex::new(ops.iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (send, receive) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                let mut worker: Option<Worker> = None;
                while let Some(op) = next() {
                    let mut live = match worker.take().map_or_else(Worker::start, Ok) {
                        Ok(live) => live,
                        Err(e) => {
                            let _ = send.send(Outcome::broken(op, &e));
                            continue;
                        }
                    };
                    let outcome = match live.ask(op) {
                        Some(outcome) => {
                            worker = Some(live);
                            outcome
                        }
                        None => {
                            let why = live.child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
                            Outcome::broken(op, &format!("its process died: {why}"))
                        }
                    };
                    let _ = send.send(outcome);
                }
                if let Some(Worker { mut child, to, .. }) = worker {
                    drop(to);
                    let _ = child.wait();
                }
            });
        }
        drop(send);
        receive.into_iter().for_each(&mut each);
    });
}
