//! Events as a trace that Perfetto and Chrome show.

use std::fmt::Write as _;

/// What an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Track {
    Gpu,
    Host(u32),
}

/// Something that took time, in nanoseconds since the start.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub name: String,
    pub track: Track,
    pub start: u64,
    pub end: u64,
    pub args: Vec<(&'static str, u64)>,
}

/// A string as JSON has it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                // writing to a String cannot fail
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Process and thread of a track.
fn place(track: Track) -> (u32, u32) {
    match track {
        Track::Gpu => (1, 0),
        Track::Host(thread) => (2, thread),
    }
}

/// The trace-event format: complete events with times in microseconds, after the names of the tracks.
pub(super) fn json(device: &str, events: &[Event]) -> String {
    let mut lines = Vec::with_capacity(events.len() + 4);
    let name = |kind: &str, (pid, tid): (u32, u32), name: &str| {
        let name = quoted(name);
        format!("{{\"name\":\"{kind}\",\"ph\":\"M\",\"pid\":{pid},\"tid\":{tid},\"args\":{{\"name\":{name}}}}}")
    };
    lines.push(name("process_name", (1, 0), device));
    lines.push(name("thread_name", (1, 0), "kernels"));
    lines.push(name("process_name", (2, 0), "host"));
    let mut threads: Vec<u32> = events
        .iter()
        .filter_map(|e| match e.track {
            Track::Host(thread) => Some(thread),
            Track::Gpu => None,
        })
        .collect();
    threads.sort_unstable();
    threads.dedup();
    lines.extend(threads.iter().map(|t| name("thread_name", (2, *t), &format!("thread {t}"))));
    for event in events {
        let ((pid, tid), micros) = (place(event.track), |nanos: u64| nanos as f64 / 1e3);
        let args: Vec<String> = event.args.iter().map(|(k, v)| format!("{}:{v}", quoted(k))).collect();
        lines.push(format!(
            "{{\"name\":{},\"ph\":\"X\",\"pid\":{pid},\"tid\":{tid},\"ts\":{:.3},\"dur\":{:.3},\"args\":{{{}}}}}",
            quoted(&event.name),
            micros(event.start),
            micros(event.end.saturating_sub(event.start)),
            args.join(",")
        ));
    }
    format!("{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{}\n]}}\n", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind_are_json() {
        let name = "a \"b\" \\ \n \u{1} ü".to_owned();
        let gpu = Event { name: name.clone(), track: Track::Gpu, start: 1500, end: 2750, args: vec![("bytes", 7)] };
        let host = Event { name: "plan".into(), track: Track::Host(3), start: 0, end: 10, args: vec![] };
        let trace: serde_json::Value = serde_json::from_str(&json("x", &[gpu, host])).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("a list");
        let found = events.iter().find(|e| e["name"] == name.as_str()).expect("the kernel");
        assert_eq!((&found["ts"], &found["dur"], &found["args"]["bytes"]), (&1.5.into(), &1.25.into(), &7.into()));
    }
}
