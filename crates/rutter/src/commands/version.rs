//! `rutter version`: what this is.

pub fn run() -> anyhow::Result<()> {
    println!("rutter {}", env!("CARGO_PKG_VERSION"));
    Ok(())
}
