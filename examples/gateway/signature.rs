//! The CPU part of a request: HMAC-SHA256 over what was asked and by whom.

use std::fmt::Write;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The shared secret of clients and gateway, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Key(Arc<Hmac<Sha256>>);

impl Default for Key {
    /// The one of the demonstration, which is no secret.
    fn default() -> Self {
        Self::new(b"demonstration")
    }
}

impl Key {
    pub(crate) fn new(secret: &[u8]) -> Self {
        let mac = Hmac::new_from_slice(secret).expect("HMAC takes a key of any length");
        Self(Arc::new(mac))
    }

    /// The signature of a request, in lower-case hex.
    pub(crate) fn sign(&self, method: &str, path: &str, client: &str) -> String {
        let mut hex = String::with_capacity(64);
        let mac = self.mac(method, path, client.as_bytes());
        for byte in mac.finalize().into_bytes() {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// Whether `signature` is the request's, compared in constant time.
    pub(crate) fn verify(&self, method: &str, path: &str, client: &[u8], signature: &[u8]) -> bool {
        let Some(raw) = decode(signature) else {
            return false;
        };
        self.mac(method, path, client).verify_slice(&raw).is_ok()
    }

    fn mac(&self, method: &str, path: &str, client: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::clone(&self.0);
        for part in [method, " ", path, " "] {
            mac.update(part.as_bytes());
        }
        mac.update(client);
        mac
    }
}

fn decode(hex: &[u8]) -> Option<[u8; 32]> {
    let mut raw = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in raw.iter_mut().zip(hex.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(raw)
}
