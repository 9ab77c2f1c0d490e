//! Proof of a shared secret by challenge and response: HMAC-SHA-256 (RFC 2104, FIPS 180-4) over both sides' nonces.

use std::io::Read as _;

use sha2::{Digest as _, Sha256};

/// Bytes of a nonce and of a MAC.
pub(super) const MAC_BYTES: usize = 32;
pub(super) type Mac = [u8; MAC_BYTES];
pub(super) type Nonce = [u8; MAC_BYTES];

/// SHA-256's block, as RFC 2104 calls it.
const BLOCK_BYTES: usize = 64;

/// What the processes of one job know. It never travels, and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Least length: shorter ones can be tried out by who has seen one handshake.
    pub const LEAST_BYTES: usize = 16;

    /// A secret; `None` if it is too short to be one.
    #[must_use]
    pub fn new(text: &str) -> Option<Secret> {
        (text.len() >= Self::LEAST_BYTES).then(|| Secret(text.as_bytes().to_vec()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Which side proves. The two never make the same bytes, so neither can be sent back its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Connecting,
    Accepting,
}

/// The MAC of `message` under the secret, for this side and this pair of nonces.
pub(super) fn prove(
    secret: &Secret,
    side: Side,
    connecting: &Nonce,
    accepting: &Nonce,
    message: &[u8],
) -> Mac {
    let label: &[u8] = match side {
        Side::Connecting => b"spanflow cluster, connecting\0",
        Side::Accepting => b"spanflow cluster, accepting\0\0",
    };
    // Every part but the last has a fixed length, so no two lists of parts make the same bytes.
    hmac_sha256(&secret.0, &[label, connecting, accepting, message])
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Mac {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..MAC_BYTES].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36));
    parts.iter().for_each(|part| inner.update(part));
    let mut outer = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// Compares in a time that does not tell where the first difference is.
pub(super) fn equal(one: &Mac, other: &Mac) -> bool {
    let differing = one.iter().zip(other).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(differing) == 0
}

/// Bytes that nobody can foretell.
pub(super) fn nonce() -> std::io::Result<Nonce> {
    let mut nonce = [0; MAC_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut nonce)?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 4231, test cases 1, 2, 3, 6 and 7.
    #[test]
    fn the_mac_is_that_of_rfc_4231() {
        let long = [0xaa_u8; 131];
        let cases: [(&[u8], &[u8], &str); 5] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &long,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &long,
                b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to \
                  be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, data, expected) in cases {
            assert_eq!(hex(&hmac_sha256(key, &[data])), expected);
            let (one, two) = data.split_at(3);
            assert_eq!(hex(&hmac_sha256(key, &[one, two])), expected, "in parts");
        }
    }

    #[test]
    fn a_proof_holds_for_one_side_secret_pair_of_nonces_and_message() {
        let secret = |text| Secret::new(text).unwrap();
        let (ours, theirs) = (nonce().unwrap(), nonce().unwrap());
        assert_ne!(ours, theirs);
        let good = prove(
            &secret("sixteen bytes ok"),
            Side::Connecting,
            &ours,
            &theirs,
            b"hello",
        );
        let others = [
            prove(
                &secret("sixteen bytes no"),
                Side::Connecting,
                &ours,
                &theirs,
                b"hello",
            ),
            prove(
                &secret("sixteen bytes ok"),
                Side::Accepting,
                &ours,
                &theirs,
                b"hello",
            ),
            prove(
                &secret("sixteen bytes ok"),
                Side::Connecting,
                &theirs,
                &ours,
                b"hello",
            ),
            prove(
                &secret("sixteen bytes ok"),
                Side::Connecting,
                &ours,
                &theirs,
                b"hallo",
            ),
        ];
        assert!(equal(&good, &good));
        assert!(others.iter().all(|other| !equal(&good, other)));
    }

    #[test]
    fn a_secret_is_long_enough_and_never_shown() {
        assert!(Secret::new("fifteen bytes..").is_none());
        let shown = format!("{:?}", Secret::new("sixteen bytes ok").unwrap());
        assert_eq!(shown, "Secret(hidden)");
    }
}
