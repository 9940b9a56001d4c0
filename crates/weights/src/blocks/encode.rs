use half::{bf16, f16};

use crate::Kind;

/// f32 values to elements of a kind: F32, F16, BF16, Q8_0 or Q4_0, rounded as ggml's reference rounds
/// (`quantize_row_q8_0_ref`, `quantize_row_q4_0_ref`). `None` for another kind, or when the values are not whole blocks.
pub fn encode(kind: Kind, values: &[f32]) -> Option<Vec<u8>> {
    if !values.len().is_multiple_of(kind.block_len()) {
        return None;
    }
    let mut out = Vec::with_capacity(values.len() / kind.block_len() * kind.block_bytes());
    let write: fn(&[f32], &mut Vec<u8>) = match kind {
        Kind::F32 => |x, out| out.extend(x[0].to_le_bytes()),
        Kind::F16 => |x, out| out.extend(f16::from_f32(x[0]).to_le_bytes()),
        Kind::Bf16 => |x, out| out.extend(bf16::from_f32(x[0]).to_le_bytes()),
        Kind::Q8_0 => eight_bits,
        Kind::Q4_0 => four_bits,
        _ => return None,
    };
    values.chunks_exact(kind.block_len()).for_each(|block| write(block, &mut out));
    Some(out)
}

fn eight_bits(values: &[f32], out: &mut Vec<u8>) {
    let largest = values.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(f16::from_f32(scale).to_le_bytes());
    out.extend(values.iter().map(|x| ((x * inverse).round() as i8).cast_unsigned()));
}

/// The value farthest from zero becomes -8 times the scale, so that the scale has its sign and all sixteen values serve.
fn four_bits(values: &[f32], out: &mut Vec<u8>) {
    let farthest = values.iter().fold(0.0f32, |m, &x| if x.abs() > m.abs() { x } else { m });
    let scale = farthest / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(f16::from_f32(scale).to_le_bytes());
    let quant = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    let (low, high) = values.split_at(values.len() / 2);
    out.extend(low.iter().zip(high).map(|(&l, &h)| quant(l) | quant(h) << 4));
}
