//! Event files, as TensorBoard reads them: records with checksums, each a protobuf message.

use super::file;
use crate::error::Result;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A protobuf message, written field by field.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Number and wire type of a field.
    fn key(&mut self, field: u64, wire: u64) {
        self.number(field << 3 | wire);
    }

    pub(super) fn int(mut self, field: u64, value: u64) -> Self {
        self.key(field, 0);
        self.number(value);
        self
    }

    pub(super) fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.key(field, 2);
        self.number(value.len() as u64);
        self.0.extend(value);
        self
    }

    pub(super) fn doubles(self, field: u64, values: &[f64]) -> Self {
        self.bytes(field, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    }

    pub(super) fn message(self, field: u64, inner: Message) -> Self {
        self.bytes(field, inner.0)
    }
}

const CASTAGNOLI: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// CRC-32C.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, b| CASTAGNOLI[usize::from(crc as u8 ^ b)] ^ crc >> 8)
}

/// A checksum that may stand among the bytes of another one.
fn masked(bytes: &[u8]) -> u32 {
    crc(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn record(message: &Message) -> Vec<u8> {
    let length = (message.0.len() as u64).to_le_bytes();
    let parts = [&length[..], &masked(&length).to_le_bytes(), &message.0, &masked(&message.0).to_le_bytes()];
    parts.concat()
}

/// A file that can be cut back.
pub(super) trait Place: Write {
    /// Leaves only the first bytes, and writes on behind them.
    fn cut(&mut self, length: u64) -> std::io::Result<()>;
}

impl Place for File {
    fn cut(&mut self, length: u64) -> std::io::Result<()> {
        self.set_len(length).and_then(|()| self.seek(SeekFrom::Start(length))).map(drop)
    }
}

/// An event file that grows.
#[derive(Debug)]
pub(super) struct Events<F = File> {
    file: F,
    path: PathBuf,
    /// Bytes of whole records.
    length: u64,
}

impl Events {
    /// A new file in a folder. What an earlier run put there about `purge_step` and later is not shown any more.
    pub(super) fn new(op: &str, folder: &Path, purge_step: Option<u64>) -> Result<Self> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        std::fs::create_dir_all(folder).map_err(|e| file::failed(op, folder, e))?;
        let (process, number) = (std::process::id(), OPENED.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(format!("events.out.tfevents.{:010}.calor.{process}.{number}", now() as u64));
        let file = File::create_new(&path).map_err(|e| file::failed(op, &path, e))?;
        Self::start(op, file, path, purge_step)
    }

    /// Waits until all is on the disk.
    pub(super) fn flush(&self, op: &str) -> Result<()> {
        self.file.sync_data().map_err(|e| file::failed(op, &self.path, e))
    }
}

impl<F: Place> Events<F> {
    /// An empty file with its first records.
    fn start(op: &str, file: F, path: PathBuf, purge_step: Option<u64>) -> Result<Self> {
        let mut events = Self { file, path, length: 0 };
        events.put(op, purge_step, Message::default().bytes(3, "brain.Event:2"))?;
        if purge_step.is_some() {
            // a session's start
            events.put(op, purge_step, Message::default().message(7, Message::default().int(1, 1)))?;
        }
        Ok(events)
    }

    /// Writes values of a step.
    pub(super) fn summary(&mut self, op: &str, step: u64, value: Message) -> Result<()> {
        self.put(op, Some(step), Message::default().message(5, Message::default().message(1, value)))
    }

    fn put(&mut self, op: &str, step: Option<u64>, rest: Message) -> Result<()> {
        let mut event = Message::default().double(1, now());
        if let Some(step) = step {
            event = event.int(2, step);
        }
        event.0.extend(rest.0);
        let record = record(&event);
        if let Err(e) = self.file.write_all(&record) {
            // behind half a record nothing could be read
            let _ = self.file.cut(self.length);
            return Err(file::failed(op, &self.path, e));
        }
        self.length += record.len() as u64;
        Ok(())
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc(b"123456789"), 0xe306_9283);
        assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc(&[0xff; 32]), 0x62a8_ab43);
    }

    /// A disk with room for so many bytes.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let fits = bytes.len().min(self.room - self.bytes.len());
            if fits == 0 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Place for Disk {
        fn cut(&mut self, length: u64) -> std::io::Result<()> {
            self.bytes.truncate(length as usize);
            Ok(())
        }
    }

    #[test]
    fn a_write_that_fails_midway_leaves_whole_records() {
        let disk = Disk { bytes: Vec::new(), room: 200 };
        let mut events = Events::start("test", disk, PathBuf::from("disk"), None).expect("room");
        let value = |n: usize| Message::default().bytes(1, "x".repeat(n));
        events.summary("test", 1, value(20)).expect("room");
        let before = events.file.bytes.clone();
        let e = events.summary("test", 2, value(150)).expect_err("no room");
        assert!(e.kind() == crate::ErrorKind::Io && e.to_string().contains("disk"), "{e}");
        assert_eq!(events.file.bytes, before);
        // a smaller one still fits, and stands behind the others
        events.summary("test", 3, value(5)).expect("room");
        let (mut rest, mut records) = (&events.file.bytes[..], 0);
        while let Some((length, more)) = rest.split_first_chunk::<8>() {
            let (check, more) = more.split_at(4);
            assert_eq!(check, masked(length).to_le_bytes());
            let (message, more) = more.split_at(u64::from_le_bytes(*length) as usize);
            let (check, more) = more.split_at(4);
            assert_eq!(check, masked(message).to_le_bytes());
            (rest, records) = (more, records + 1);
        }
        assert!(rest.is_empty() && records == 3);
    }

    #[test]
    fn a_file_is_cut_back() -> std::io::Result<()> {
        let path = std::env::temp_dir().join(format!("calor-cut-{}", std::process::id()));
        let mut file = File::create(&path)?;
        file.write_all(b"whole half")?;
        file.cut(5)?;
        file.write_all(b" again")?;
        assert_eq!(std::fs::read(&path)?, b"whole again");
        std::fs::remove_file(path)
    }

    #[test]
    fn records_are_framed() {
        let message = Message::default().int(2, 300).bytes(3, "ab");
        assert_eq!(message.0, [0x10, 0xac, 0x02, 0x1a, 2, b'a', b'b']);
        let bytes = record(&message);
        assert_eq!(bytes.len(), 8 + 4 + 7 + 4);
        assert_eq!(bytes[..8], 7u64.to_le_bytes());
        assert_eq!(bytes[8..12], masked(&7u64.to_le_bytes()).to_le_bytes());
        assert_eq!(bytes[12..19], message.0);
    }
}
