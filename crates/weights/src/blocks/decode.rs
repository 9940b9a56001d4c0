use half::bf16;

use super::half_at;
use crate::Kind;

/// Elements of a kind to f32, whole blocks of them; `None` when `bytes` are not whole blocks.
pub fn decode(kind: Kind, bytes: &[u8]) -> Option<Vec<f32>> {
    if !bytes.len().is_multiple_of(kind.block_bytes()) {
        return None;
    }
    let blocks = bytes.chunks_exact(kind.block_bytes());
    let mut out = vec![0.0; blocks.len() * kind.block_len()];
    let write: fn(&[u8], &mut [f32]) = match kind {
        Kind::F32 => |b, y| y[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        Kind::F16 => |b, y| y[0] = half_at(b, 0),
        Kind::Bf16 => |b, y| y[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        Kind::Q4_0 => |b, y| nibbles(half_at(b, 0), -8.0 * half_at(b, 0), None, &b[2..], y),
        Kind::Q4_1 => |b, y| nibbles(half_at(b, 0), half_at(b, 2), None, &b[4..], y),
        Kind::Q5_0 => |b, y| nibbles(half_at(b, 0), -16.0 * half_at(b, 0), Some(&b[2..6]), &b[6..], y),
        Kind::Q5_1 => |b, y| nibbles(half_at(b, 0), half_at(b, 2), Some(&b[4..8]), &b[8..], y),
        Kind::Q8_0 => |b, y| {
            let scale = half_at(b, 0);
            y.iter_mut().zip(&b[2..]).for_each(|(y, q)| *y = scale * f32::from(q.cast_signed()));
        },
        Kind::Q4K => |b, y| super_block(b, None, &b[16..], y),
        Kind::Q5K => |b, y| super_block(b, Some(&b[16..48]), &b[48..], y),
        Kind::Q6K => six_bits,
    };
    for (block, values) in blocks.zip(out.chunks_exact_mut(kind.block_len())) {
        write(block, values);
    }
    Some(out)
}

/// A block of 32: the low halves of 16 bytes, then the high ones, each with a fifth bit from `fifth` if there is one.
fn nibbles(scale: f32, minimum: f32, fifth: Option<&[u8]>, quants: &[u8], out: &mut [f32]) {
    let bit = |index: usize| fifth.map_or(0, |bits| (bits[index / 8] >> (index % 8) & 1) << 4);
    for (index, &byte) in quants.iter().enumerate() {
        out[index] = scale * f32::from(byte & 15 | bit(index)) + minimum;
        out[index + 16] = scale * f32::from(byte >> 4 | bit(index + 16)) + minimum;
    }
}

/// A super-block of 8 groups of 32: scale and minimum of all, twelve bytes of 6-bit scales and minima, then two groups
/// in each 32 bytes. The fifth bits of group g are the bits g of 32 bytes.
fn super_block(block: &[u8], fifth: Option<&[u8]>, quants: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let packed = &block[4..16];
    for (group, values) in out.chunks_exact_mut(32).enumerate() {
        let (s, m) = six_bit_pair(packed, group);
        let (s, m) = (scale * f32::from(s), minimum * f32::from(m));
        let bytes = &quants[group / 2 * 32..][..32];
        for (index, value) in values.iter_mut().enumerate() {
            let low = if group % 2 == 0 { bytes[index] & 15 } else { bytes[index] >> 4 };
            let high = fifth.map_or(0, |bits| (bits[index] >> group & 1) << 4);
            *value = s * f32::from(low | high) - m;
        }
    }
}

/// Scale and minimum of a group: the first four in the low six bits of bytes, the others in four bits and the two bits
/// that those left over.
fn six_bit_pair(packed: &[u8], group: usize) -> (u8, u8) {
    match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => (packed[group + 4] & 15 | packed[group - 4] >> 6 << 4, packed[group + 4] >> 4 | packed[group] >> 6 << 4),
    }
}

/// 256 elements: low four bits (128 bytes), high two (64), 16 scales of 8 bits, the scale of all. Each half of 128 is
/// four groups of 32 which share bytes.
fn six_bits(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208);
    for (index, value) in out.iter_mut().enumerate() {
        let (half, inside) = (index / 128, index % 128);
        let (group, place) = (inside / 32, inside % 32);
        let byte = low[half * 64 + inside % 64];
        let four = if group < 2 { byte & 15 } else { byte >> 4 };
        let two = high[half * 32 + place] >> (2 * group) & 3;
        let quant = i16::from(four | two << 4) - 32;
        *value = scale * f32::from(scales[index / 16].cast_signed()) * f32::from(quant);
    }
}
