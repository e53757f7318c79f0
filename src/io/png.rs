//! Pictures as PNG files (W3C recommendation, third edition).

use crate::error::Result;
use flate2::{Compression, Crc, write::ZlibEncoder};
use std::io::Write;

/// Encodes rows of pixels that have 1, 3 or 4 bytes each.
pub(super) fn encode(width: u32, height: u32, channels: usize, pixels: &[u8]) -> Result<Vec<u8>> {
    let color = match channels {
        1 => 0,
        3 => 2,
        _ => 6,
    };
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    // eight bits, one method of compression and of filtering, not interlaced
    header.extend([8, color, 0, 0, 0]);
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks(width as usize * channels) {
        packed.write_all(&[0])?;
        packed.write_all(row)?;
    }
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in [(b"IHDR", header), (b"IDAT", packed.finish()?), (b"IEND", Vec::new())] {
        let body = [&name[..], &data].concat();
        let mut crc = Crc::new();
        crc.update(&body);
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(body);
        out.extend(crc.sum().to_be_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn another_program_reads_it() {
        for (channels, n) in [(1, 1), (1, 3), (3, 5), (4, 2)] {
            let pixels: Vec<u8> = (0..n * 2 * channels).map(|i| (i * 37) as u8).collect();
            let png = super::encode(n as u32, 2, channels, &pixels).expect("a picture");
            let read = image::load_from_memory(&png).expect("a picture");
            assert_eq!((read.width(), read.height(), read.as_bytes()), (n as u32, 2, &pixels[..]));
        }
    }
}
