//! Event files for TensorBoard: records and their checksums, and what cannot be written. `tests/torch/events.py`
//! reads the same files with TensorBoard.

use calor::io::SummaryWriter;
use calor::{DType, ErrorKind, Result, Tensor};
use std::path::{Path, PathBuf};

/// Where files are written: `CALOR_KEEP`, for `tests/torch/events.py` to read them, else a folder that is removed.
struct Folder(PathBuf, bool);

impl Folder {
    fn new(name: &str) -> Self {
        let kept = std::env::var_os("CALOR_KEEP").map(PathBuf::from);
        let temporary = || std::env::temp_dir().join(format!("calor-{name}-{}", std::process::id()));
        let is_kept = kept.is_some();
        Folder(kept.map_or_else(temporary, |k| k.join(name)), is_kept)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.1 {
            std::fs::remove_dir_all(&self.0).expect("the folder goes");
        }
    }
}

/// CRC-32C by its definition, masked.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for b in bytes {
        crc ^= u32::from(*b);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The messages of the event files of a folder, whose checksums are right.
fn records(folder: &Path) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("one").path()).collect();
    files.sort();
    for path in files.iter().filter(|p| p.is_file()) {
        assert!(path.display().to_string().contains("tfevents"), "{path:?}");
        let bytes = std::fs::read(path).expect("a file");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("eight")) as usize;
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four"));
            assert_eq!(word(8), checksum(&rest[..8]));
            let message = rest[12..12 + length].to_vec();
            assert_eq!(word(12 + length), checksum(&message));
            out.push(message);
            rest = &rest[16 + length..];
        }
    }
    out
}

fn holds(message: &[u8], part: &[u8]) -> bool {
    message.windows(part.len()).any(|w| w == part)
}

#[test]
fn each_call_writes_a_record() -> Result<()> {
    let folder = Folder::new("runs");
    let mut writer = SummaryWriter::new(&folder.0, None)?;
    for step in 0..5 {
        writer.add_scalar("loss/train", 1.0 / (step + 1) as f64, step)?;
    }
    writer.add_scalar("not a number", f64::NAN, 300)?;
    writer.add_scalars("both", &[("train", 0.25), ("te/st", 0.5)], 3)?;
    writer.add_scalars("both", &[("train", 0.125)], 4)?;
    let spread = ((Tensor::arange(0, 1000, 1, ())?.to_dtype(DType::F32)? - 300.0)? / 64.0)?;
    writer.add_histogram("spread", &spread, 1)?;
    writer.add_histogram("halves", &spread.to_dtype(DType::BF16)?, 1)?;
    writer.add_histogram("whole", &Tensor::new(vec![3i32, 3, 3], ())?, 2)?;
    writer.add_histogram("truths", &Tensor::new(vec![true, false], ())?, 2)?;
    writer.add_text("note", "**Små** steps", 1)?;
    let image =
        Tensor::from_slice(&(0..60).map(|i| i as u8 * 4).collect::<Vec<u8>>(), [3, 4, 5], &calor::Device::best()?)?;
    writer.add_image("color", &image, 1)?;
    writer.add_image("gray", &(Tensor::arange(0, 6, 1, ())?.to_dtype(DType::F32)? / 4.0)?.reshape([2, 3])?, 1)?;
    writer.flush()?;
    let found = records(&folder.0);
    if !folder.1 {
        assert_eq!(found.len(), 1 + 5 + 1 + 4 + 1 + 2);
    }
    assert!(holds(&found[0], b"brain.Event:2"));
    // step 4, then the summary: its value's name and number
    assert!(holds(&found[5], &[0x10, 4]) && holds(&found[5], b"\x0a\x0aloss/train\x15\xcd\xcc\x4c\x3e"));
    assert!(holds(&found[6], &[0x10, 0xac, 0x02]), "step 300 takes two bytes");
    let curves = records(&folder.0.join("both_train"));
    assert!(curves.len() >= 3 && holds(&curves[2], b"\x0a\x04both\x15"));
    assert!(folder.0.join("both_te_st").is_dir());
    // a run that goes on writes a file of its own, which begins a session
    let mut more = SummaryWriter::new(&folder.0, 3)?;
    more.add_scalar("loss/train", 0.75, 3)?;
    let found = records(&folder.0);
    assert!(found.iter().any(|m| holds(m, &[0x10, 3, 0x3a, 2, 8, 1])), "a session starts at step 3");
    Ok(())
}

#[test]
fn what_cannot_be_written_leaves_the_file_as_it_was() -> Result<()> {
    let folder = Folder::new(&format!("refused-{}", std::process::id()));
    let mut writer = SummaryWriter::new(&folder.0, None)?;
    writer.add_scalar("loss", 1.0, 0)?;
    let before = records(&folder.0);
    let ones = |shape: &[usize]| Tensor::ones(shape, ());
    let cases = [
        (ErrorKind::Value, writer.add_histogram("h", &ones(&[0])?, 0)),
        (ErrorKind::Value, writer.add_histogram("h", &Tensor::new(vec![1.0f32, f32::NAN, f32::INFINITY], ())?, 0)),
        (ErrorKind::Shape, writer.add_image("i", &ones(&[2, 3, 3])?, 0)),
        (ErrorKind::Shape, writer.add_image("i", &ones(&[3])?, 0)),
        (ErrorKind::Shape, writer.add_image("i", &ones(&[3, 0, 2])?, 0)),
    ];
    for (kind, result) in cases {
        assert_eq!(result.expect_err("refused").kind(), kind);
    }
    assert_eq!(records(&folder.0), before);
    let name = std::fs::read_dir(&folder.0)?.next().expect("a file")?.path();
    let inside = SummaryWriter::new(&name, None).expect_err("a file is no folder");
    assert_eq!(inside.kind(), ErrorKind::Io);
    assert!(inside.to_string().contains("tfevents"), "{inside}");
    Ok(())
}
