//! `rutter cleanup`: removes what any mode left in the kernel of this network namespace.

pub fn run() -> anyhow::Result<()> {
    proxy::cleanup()?;
    Ok(())
}
