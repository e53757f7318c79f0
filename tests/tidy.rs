//! The house rules that a program can check: layers, file lengths, headers, panics, who says `wgpu::`.

use std::fs;
use std::path::{Path, PathBuf};

/// Layers of `src/`, low to high; a module imports its own layer and lower ones.
const LAYERS: &[&[&str]] = &[
    &["error", "dtype", "shape", "layout"],
    &["gpu"],
    &["graph"],
    &["tensor"],
    &["ops"],
    &["autograd", "amp"],
    &["nn", "optim", "data", "io"],
    &["vision", "parallel"],
];

fn files(dir: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("inside").display().to_string()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|l| l.contains(&module))
}

fn module(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("in src");
    let first = inside.components().next().expect("a component").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_string()
}

/// Source without its unit tests, which stand last in a file, and without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("text");
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

#[test]
fn layers_import_downwards() {
    let mut wrong = Vec::new();
    for path in files("src", "rs") {
        let own = module(&path);
        if own == "lib" {
            continue;
        }
        let Some(height) = layer(&own) else {
            wrong.push(format!("{}: module {own} has no layer", name(&path)));
            continue;
        };
        for (number, line) in code(&path).lines().enumerate() {
            for part in line.split("crate::").skip(1) {
                let other: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if layer(&other).is_some_and(|h| h > height) {
                    wrong.push(format!("{}:{}: {own} imports {other}", name(&path), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for dir in ["src", "tests", "examples", "benches", "derive/src"] {
        for path in files(dir, "rs") {
            let text = fs::read_to_string(&path).expect("text");
            if !text.starts_with("//!") {
                wrong.push(format!("{}: does not open with //!", name(&path)));
            }
            if text.lines().count() > 800 {
                wrong.push(format!("{}: {} lines", name(&path), text.lines().count()));
            }
        }
    }
    for path in files("shaders", "wgsl") {
        let text = fs::read_to_string(&path).expect("text");
        if !text.starts_with("//") {
            wrong.push(format!("{}: does not say what it is", name(&path)));
        }
        if text.lines().count() > 800 {
            wrong.push(format!("{}: {} lines", name(&path), text.lines().count()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_gpu_says_wgpu() {
    let says = |p: &PathBuf| module(p) != "gpu" && code(p).contains("wgpu::");
    let wrong: Vec<String> = files("src", "rs").iter().filter(|p| says(p)).map(|p| name(p)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_panics() {
    let mut wrong = Vec::new();
    for path in files("src", "rs").iter().filter(|p| p.file_stem().is_none_or(|s| s != "tests")) {
        for (number, line) in code(path).lines().enumerate() {
            let hit = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!("];
            if hit.iter().any(|h| line.contains(h)) {
                wrong.push(format!("{}:{}: {}", name(path), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_engine_names_no_operation() {
    // the names of primitives, as plans print them
    let names = ["matmul", "softmax", "conv2d", "\"sum\"", "relu", "gather", "\"add\"", "\"mul\""];
    let mut wrong = Vec::new();
    for path in files("src/graph", "rs") {
        let text = code(&path);
        wrong.extend(names.iter().filter(|n| text.contains(**n)).map(|n| format!("{}: {n}", name(&path))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn public_items_have_examples() {
    // what these layers make public is for users; lower ones have much that only the crate sees
    let dirs = ["src/nn", "src/optim", "src/data", "src/io", "src/autograd"];
    let mut wrong = Vec::new();
    for path in dirs.iter().flat_map(|dir| files(dir, "rs")) {
        let text = fs::read_to_string(&path).expect("text");
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let kinds = ["pub fn ", "pub async fn ", "pub struct ", "pub enum ", "pub trait "];
            // the docs of items that are named where a macro is called stand there
            let item = kinds.iter().find_map(|k| line.strip_prefix(k)).filter(|n| !n.starts_with('$'));
            // so do those of the options of nn, whose example may be a value: `name: type = default => example,`
            let option = || {
                let (_, default) = line.split_once(": ")?.1.split_once(" = ")?;
                let call = lines[..number].iter().rev().find(|l| l.ends_with("! {"))?;
                let bare = default.ends_with(',') && !default.contains(" => ");
                let nn = self::name(&path).starts_with("src/nn/") && ["options! {", "settings! {"].contains(call);
                (bare && nn).then_some(*line)
            };
            let Some(name) = item.or_else(option) else {
                continue;
            };
            let above = lines[..number].iter().rev();
            let docs = above.take_while(|l| l.starts_with("//") || !l.is_empty() && !l.ends_with(['{', '}', ';']));
            if !docs.into_iter().any(|l| l.contains("```")) {
                let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                wrong.push(format!("{}:{}: {name} has no example", self::name(&path), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
