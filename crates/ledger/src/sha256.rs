//! Owns SHA-256 over what is in a buffer already: padded in place, without a hasher's state in between.
//!
//! Never: the compression itself (that is sha2's). Bounds: one pass over the buffer.

use sha2::block_api::compress256;

use crate::Hash;

/// The state before the first block (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

const BLOCK_BYTES: usize = 64;

/// The hash of what is in the buffer, which is left padded.
pub(crate) fn of_buffer(buffer: &mut Vec<u8>) -> Hash {
    let bits = buffer.len() as u64 * 8;
    buffer.push(0x80);
    let padded = (buffer.len() + 8).next_multiple_of(BLOCK_BYTES);
    buffer.resize(padded - 8, 0);
    buffer.extend_from_slice(&bits.to_be_bytes());
    of_blocks(buffer.as_chunks().0)
}

/// The hash of 65 bytes: one, and twice 32.
pub(crate) fn of_two(first: u8, left: &Hash, right: &Hash) -> Hash {
    let mut blocks = [[0; BLOCK_BYTES]; 2];
    let (head, rest) = blocks.as_flattened_mut().split_at_mut(1);
    head.fill(first);
    let (children, padding) = rest.split_at_mut(64);
    let (one, other) = children.split_at_mut(32);
    one.copy_from_slice(left);
    other.copy_from_slice(right);
    let (end, bits) = padding.split_at_mut(1);
    end.fill(0x80);
    if let Some(bits) = bits.last_chunk_mut() {
        *bits = (65_u16 * 8).to_be_bytes();
    }
    of_blocks(&blocks)
}

fn of_blocks(blocks: &[[u8; BLOCK_BYTES]]) -> Hash {
    let mut state = INITIAL;
    compress256(&mut state, blocks);
    let mut hash = Hash::default();
    for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn is_sha_256_whatever_the_length() {
        for length in 0..300 {
            let bytes: Vec<u8> = (0..length).map(|byte: u32| byte as u8 ^ 0x5a).collect();
            let expected: Hash = Sha256::digest(&bytes).into();
            assert_eq!(of_buffer(&mut bytes.clone()), expected, "{length}");
            if let Some((first, [left, right])) = bytes
                .split_first()
                .and_then(|(first, rest)| {
                    Some((first, rest.as_chunks::<32>().0.first_chunk::<2>()?))
                })
                .filter(|_| length == 65)
            {
                assert_eq!(of_two(*first, left, right), expected);
            }
        }
    }
}
