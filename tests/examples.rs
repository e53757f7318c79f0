//! Every example runs, to its result line, and those that train go on from their checkpoint.
//!
//! What there is comes from the folder; `cargo test` has built it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Examples of the folder: files, and folders with a `main.rs`.
fn all() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        let source = if path.is_dir() { path.join("main.rs") } else { path.clone() };
        let is_source = source.extension().is_some_and(|e| e == "rs") && source.is_file();
        if let (true, Some(name)) = (is_source, path.file_stem().and_then(|n| n.to_str())) {
            found.push((name.to_string(), std::fs::read_to_string(&source).expect("a source")));
        }
    }
    found.sort();
    assert!(found.len() >= 10, "{} examples", found.len());
    found
}

/// The built program, beside the folder of this test's.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let folder = own.parent().and_then(Path::parent).expect("a folder").join("examples");
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// What an example prints.
fn run(name: &str, arguments: &[&str]) -> String {
    let program = program(name);
    assert!(program.is_file(), "{} was not built: run `cargo test` or `cargo build --examples`", program.display());
    let output = Command::new(program).args(arguments).output().expect("a process");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[test]
fn each_example_runs_to_its_end() {
    for (name, source) in all() {
        // what is driven by another program is tested there
        if name == "rows" {
            println!("{name} is run by scripts/peers");
            continue;
        }
        let started = std::time::Instant::now();
        if !source.contains("clap") {
            let out = run(&name, &[]);
            assert!(!out.trim().is_empty(), "{name} prints nothing");
        } else {
            let out = std::env::temp_dir().join(format!("calor-example-{name}-{}", std::process::id()));
            let folder = out.to_str().expect("a path");
            let size: &[&str] = match name.as_str() {
                "mnist" => &["--epochs", "1", "--batch", "256"],
                "char_gpt" => &["--steps", "2", "--width", "32", "--layers", "1", "--batch", "2", "--sample", "5"],
                "lstm" => &["--steps", "2", "--length", "4", "--hidden", "8", "--batch", "4", "--tensorboard"],
                "cifar" => &["--steps", "2", "--width", "4", "--batch", "8"],
                _ => &["--steps", "2"],
            };
            let printed = run(&name, &[size, &["--out", folder]].concat());
            let last = printed.lines().last().unwrap_or_default();
            // the result is a number of the last line
            let number = last.split([' ', ',']).filter_map(|w| w.parse::<f64>().ok()).next();
            assert!(number.is_some_and(f64::is_finite), "{name} ends with {last:?}");
            let picture = std::fs::read_dir(&out).expect("a folder").flatten().any(|e| {
                let path = e.path();
                path.extension().is_some_and(|e| e == "svg")
                    && std::fs::read_to_string(path).is_ok_and(|text| text.contains("<polyline"))
            });
            assert!(picture, "{name} has drawn no curve");
            let saved = std::fs::read_dir(&out).expect("a folder").flatten();
            let saves = saved.into_iter().any(|e| e.file_name() == "checkpoint.safetensors");
            if saves {
                let more: Vec<&str> =
                    size.iter().map(|s| if size[0] == "--steps" && *s == "2" { "3" } else { s }).collect();
                let resumed = run(&name, &[&more[..], &["--out", folder, "--resume"]].concat());
                assert!(resumed.lines().last().is_some_and(|l| !l.is_empty()), "{name} goes on");
            }
            if size.contains(&"--tensorboard") {
                let files = std::fs::read_dir(&out).expect("a folder").flatten();
                let events = files.filter(|e| e.file_name().to_string_lossy().contains("tfevents"));
                assert_eq!(events.count(), 2, "{name}: one for each run");
            }
            std::fs::remove_dir_all(&out).expect("a folder");
        }
        println!("{name}: {:.1} s", started.elapsed().as_secs_f64());
    }
}
