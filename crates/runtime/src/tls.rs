//! TLS: the one cryptography provider of the process.

/// Installs aws-lc-rs for every rustls configuration made afterwards. Calling it again changes nothing.
pub fn install_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
