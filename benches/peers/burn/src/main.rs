//! burn on wgpu (WGSL), Vulkan (SPIR-V) or its CPU backend: one row per run.
//!
//!     peer-burn list | peer-burn <row>

mod lstm;
mod ops;
mod train;

use burn::tensor::Device;
#[cfg(not(feature = "flex"))]
use burn::tensor::DeviceKind;

#[cfg(feature = "flex")]
pub const PEER: &str = "burn-flex";
#[cfg(all(feature = "vulkan", not(feature = "flex")))]
pub const PEER: &str = "burn-vulkan";
#[cfg(not(any(feature = "vulkan", feature = "flex")))]
pub const PEER: &str = "burn-wgpu";

fn device() -> Device {
    #[cfg(feature = "flex")]
    return Device::flex();
    #[cfg(all(feature = "vulkan", not(feature = "flex")))]
    return Device::vulkan(DeviceKind::DefaultDevice);
    #[cfg(not(any(feature = "vulkan", feature = "flex")))]
    return Device::wgpu(DeviceKind::DefaultDevice);
}

/// Wait for everything queued so far.
pub fn sync(device: &Device) {
    device.sync().expect("sync");
}

fn main() {
    let row = std::env::args().nth(1).unwrap_or_default();
    match row.as_str() {
        "list" | "" => peerbench::ROWS.iter().chain([&"train_lstm"]).for_each(|r| println!("{r}")),
        r @ "train_lstm" => lstm::run(r, &device().autodiff()),
        r if r.starts_with("train_") => train::run(r, &device().autodiff()),
        r => ops::run(r, &device()),
    }
}
