//! Every shader is valid WGSL as it stands, and every library function in every type and width it is used at.

use calor::DType;
use calor::graph::library::{Instances, library};
use std::path::Path;

fn validate(what: &str, source: &str) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string_with_path(source, what)));
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
    if let Err(e) = validator.validate(&module) {
        panic!("{what}: {}", e.emit_to_string_with_path(source, what));
    }
}

#[test]
fn files_are_valid_as_they_stand() {
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders")];
    let mut count = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("shaders") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = |p: &Path| std::fs::read_to_string(p).expect("text");
            let name = path.display().to_string();
            // the special functions stand on the file they add to
            let whole = match name.strip_suffix("_special.wgsl") {
                Some(base) => {
                    let more = text(&path);
                    let more: Vec<&str> =
                        more.lines().filter(|l| !l.starts_with("alias ") && !l.starts_with("var<")).collect();
                    text(Path::new(&format!("{base}.wgsl"))) + &more.join("\n")
                }
                None => text(&path),
            };
            validate(&name, &whole);
            count += 1;
        }
    }
    assert!(count > 8, "found only {count} shaders");
}

#[test]
fn functions_are_valid_in_every_type_and_width() {
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64, DType::U32, DType::Bool] {
        let mut names: Vec<&str> = library(dtype).functions().filter(|n| n.starts_with("op_")).collect();
        names.sort_unstable();
        for four in [false, true] {
            for name in &names {
                let mut instances = Instances::default();
                instances.call(None, name, dtype, four).expect("an own function");
                let source = format!("var<private> zero_bits: u32 = 0u;\n{}", instances.text);
                validate(&format!("{name} at {dtype}{}", if four { " x 4" } else { "" }), &source);
            }
        }
    }
}
