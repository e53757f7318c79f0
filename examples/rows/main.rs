//! The workloads on which this library is compared with its peers: one row per run, one line of JSON.
//!
//! ```text
//! cargo run --release --example rows -- list
//! cargo run --release --example rows -- chain_4m
//! ```

mod ops;
mod protocol;
mod train;

use calor::{Device, Result};

fn main() -> Result<()> {
    env_logger::init_from_env(env_logger::Env::new().filter("CALOR_LOG"));
    let row = std::env::args().nth(1).unwrap_or_default();
    if row.is_empty() || row == "list" {
        protocol::ROWS.iter().for_each(|row| println!("{row}"));
        return Ok(());
    }
    if !protocol::ROWS.contains(&row.as_str()) {
        eprintln!("unknown row {row:?}: `list` lists them");
        std::process::exit(2);
    }
    let device = Device::best()?;
    match row.strip_prefix("train_") {
        Some(model) => train::run(&row, model, &device),
        None => ops::run(&row, &device),
    }
}
