//! Every shader is valid WGSL as it stands, and every library function in every type and width it is used at.

use calor::gpu::AdapterChoice;
use calor::graph::library::{Instances, library};
use calor::{Approximate, DType, Device, Tensor};
use std::path::Path;

/// What stands before a kernel with cooperative matrices.
const MATRICES: &str = "enable wgpu_cooperative_matrix;";
/// And before one that computes with native halves.
const HALVES: &str = "enable f16;";

/// Parses and validates; where there is an entry point, also translates to what the other backends run.
fn validate(what: &str, source: &str) {
    // on Mesa 25's CPU driver it costs half as much as a kernel that copies
    assert!(
        !source.contains("local_invocation_index"),
        "{what}: groups have one dimension, local_invocation_id.x does"
    );
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string_with_path(source, what)));
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
    let info = match validator.validate(&module) {
        Ok(info) => info,
        Err(e) => panic!("{what}: {}", e.emit_to_string_with_path(source, what)),
    };
    if module.entry_points.is_empty() {
        return;
    }
    // cooperative matrices are for Vulkan and Metal
    let matrices = source.contains(MATRICES);
    let wide = source.contains("f64") || source.contains("i64") || source.contains("u64");
    let spirv = naga::back::spv::write_vec(&module, &info, &naga::back::spv::Options::default(), None);
    assert!(spirv.is_ok(), "{what}: SPIR-V: {:?}", spirv.err());
    if !matrices {
        let mut hlsl = String::new();
        let options = naga::back::hlsl::Options {
            shader_model: naga::back::hlsl::ShaderModel::V6_0,
            fake_missing_bindings: true,
            ..Default::default()
        };
        let pipeline = naga::back::hlsl::PipelineOptions::default();
        let result = naga::back::hlsl::Writer::new(&mut hlsl, &options, &pipeline).write(&module, &info, None);
        assert!(result.is_ok(), "{what}: HLSL: {:?}", result.err());
    }
    // Metal has no doubles, GLSL neither 64-bit numbers nor halves
    if !source.contains("f64") {
        let options =
            naga::back::msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        let msl = naga::back::msl::write_string(&module, &info, &options, &Default::default());
        assert!(msl.is_ok(), "{what}: MSL: {:?}", msl.err());
    }
    if !wide && !matrices && !source.contains(HALVES) {
        let mut glsl = String::new();
        let options = naga::back::glsl::Options {
            version: naga::back::glsl::Version::Embedded { version: 310, is_webgl: false },
            ..Default::default()
        };
        let pipeline = naga::back::glsl::PipelineOptions {
            shader_stage: naga::ShaderStage::Compute,
            entry_point: "main".into(),
            multiview: None,
        };
        let policies = naga::proc::BoundsCheckPolicies::default();
        let written = naga::back::glsl::Writer::new(&mut glsl, &module, &info, &options, &pipeline, policies)
            .and_then(|mut writer| writer.write());
        assert!(written.is_ok(), "{what}: GLSL: {:?}", written.err());
        // a second `gl` would become `gl_1`
        let known = ["gl_WorkGroupID", "gl_NumWorkGroups", "gl_LocalInvocationIndex", "gl_LocalInvocationID"];
        let taken = glsl
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .find(|w| (*w == "gl" || w.starts_with("gl_")) && !known.contains(w));
        assert_eq!(taken, None, "{what}: a name that GLSL reserves");
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

/// An entry point that calls a function, so that every translation contains it.
fn calling(text: &str, function: &str) -> String {
    let start = text.find(&format!("fn {function}(")).expect("its text") + function.len() + 4;
    let end = start + text[start..].find(") ->").expect("a result");
    let zeros: Vec<String> = text[start..end]
        .split(", ")
        .filter_map(|a| a.split_once(": "))
        .map(|(_, ty)| format!("{}()", ty.trim()))
        .collect();
    format!("@compute @workgroup_size(1) fn main() {{ _ = {function}({}); }}", zeros.join(", "))
}

#[test]
fn functions_are_valid_in_every_type_and_width() {
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64, DType::U32, DType::Bool] {
        let mut names: Vec<&str> = library(dtype).functions().filter(|n| n.starts_with("op_")).collect();
        names.sort_unstable();
        for four in [false, true] {
            for name in &names {
                let mut instances = Instances::default();
                let instance = instances.call(None, name, dtype, four).expect("an own function");
                let source = format!(
                    "var<private> zero_bits: u32 = 0u;\n{}{}",
                    instances.text,
                    calling(&instances.text, &instance)
                );
                validate(&format!("{name} at {dtype}{}", if four { " x 4" } else { "" }), &source);
            }
        }
    }
}

/// What was checked: kernels, those with doubles (not for Metal), those with any 64-bit type (not for GL and browsers), those
/// with native halves alone (not for GL), and those with cooperative matrices (for Vulkan and Metal alone).
#[derive(Default)]
struct Checked {
    all: usize,
    doubles: usize,
    wide: usize,
    halves: usize,
    matrices: usize,
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Checked { all, doubles, wide, halves, matrices } = self;
        let (hlsl, msl, glsl) = (all - matrices, all - doubles, all - wide - halves - matrices);
        write!(
            f,
            "{all} kernels are valid in SPIR-V, {hlsl} in HLSL, {msl} in MSL, {glsl} in GLSL: {doubles} have f64, "
        )?;
        write!(f, "{wide} a 64-bit type, {halves} native halves, {matrices} cooperative matrices")
    }
}

/// Checks every kernel of a folder.
fn check_folder(dir: &Path) -> Checked {
    let mut checked = Checked::default();
    for entry in std::fs::read_dir(dir).expect("a folder of kernels") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|e| e == "wgsl") {
            let source = std::fs::read_to_string(&path).expect("text");
            validate(&path.display().to_string(), &source);
            checked.all += 1;
            checked.doubles += usize::from(source.contains("f64"));
            let wide = ["f64", "i64", "u64"].iter().any(|ty| source.contains(ty));
            checked.wide += usize::from(wide);
            let matrices = source.contains(MATRICES);
            checked.halves += usize::from(source.contains(HALVES) && !matrices && !wide);
            checked.matrices += usize::from(matrices);
        }
    }
    checked
}

/// A little of each kind of kernel; what a device that computes nothing gives back is not looked at.
fn programs(device: &Device) -> calor::Result<()> {
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64, DType::I32, DType::I64, DType::U8] {
        if !device.supports(dtype) {
            continue;
        }
        let x = Tensor::ones([33, 70], (dtype, device))?;
        x.cumsum(1)?.eval()?;
        x.sort(1, false)?.0.eval()?;
        x.sum()?.eval()?;
        x.t()?.contiguous()?.eval()?;
        calor::cat(&[&x, &x], 0)?.eval()?;
        if dtype.is_float() {
            let w = Tensor::ones([70, 33], (dtype, device))?.requires_grad_(true)?;
            let y = x.matmul(&w)?.gelu(Approximate::None)?.softmax(1)?;
            y.sum()?.backward()?;
            Tensor::eval_all(&[y, w.grad().expect("a gradient")])?;
        }
    }
    Ok(())
}

#[test]
fn kernels_of_programs_are_valid_on_every_backend() {
    let base = std::env::temp_dir().join(format!("calor-kernels-{}", std::process::id()));
    let off: &[&str] = &["shader-f16", "shader-f64", "shader-int64", "subgroups"];
    // with subgroups and without words of 64 bits, as many GPUs are
    let words: &[&str] = &["shader-f64", "shader-int64"];
    let low: &[(&str, u64)] = &[("bindings", 8), ("invocations", 64), ("workgroup_bytes", 16 << 10), ("groups", 1024)];
    for (i, (disable, limits)) in
        [(&[][..], &[][..]), (off, &[][..]), (words, &[][..]), (&[][..], low), (off, low)].into_iter().enumerate()
    {
        let dir = base.join(i.to_string());
        let choice = AdapterChoice {
            disable: disable.iter().map(|s| (*s).to_owned()).collect(),
            limits: limits.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect(),
            record: Some(dir.clone()),
            ..AdapterChoice::from_env().expect("a choice")
        };
        programs(&Device::open(&choice).expect("these tests need an adapter")).expect("programs");
        let checked = check_folder(&dir);
        assert!(checked.all > 20, "only {} kernels were recorded", checked.all);
        assert!(disable.is_empty() || checked.wide == 0, "{checked}");
    }
    std::fs::remove_dir_all(&base).expect("its own folder");
}

#[test]
#[ignore = "scripts/kernels runs it: CALOR_KERNELS names a folder of recorded kernels"]
fn recorded_kernels_are_valid_on_every_backend() {
    let dir = std::env::var_os("CALOR_KERNELS").expect("CALOR_KERNELS");
    let checked = check_folder(Path::new(&dir));
    assert!(checked.all > 0, "no kernels in {}", dir.display());
    println!("{checked}");
}
