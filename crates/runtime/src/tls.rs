//! TLS: the one cryptography provider of the process.

/// Installs aws-lc-rs for every rustls configuration made afterwards. Calling it again changes nothing.
pub fn install_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// SHA-1, for the protocols that still ask for it where nothing depends on its strength (the WebSocket handshake).
pub fn sha1(data: &[u8]) -> [u8; 20] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, data);
    digest.as_ref().try_into().expect("BUG: SHA-1 has 20 bytes")
}
