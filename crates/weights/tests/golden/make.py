#!/usr/bin/env python3
"""Makes blocks.json and small.gguf with llama.cpp's own Python package: pip install gguf==0.19.0 numpy.

blocks.json: for each kind, bytes of a few blocks and the values that gguf.quants says they are; and values with the
bytes that it makes of them, for the kinds that danlu writes. small.gguf: a file with every type of value.
"""

import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize

HERE = Path(__file__).parent
RANDOM = np.random.default_rng(7)
# Where half-precision scales stand in a block: random bytes there would be infinite or NaN.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208], "F16": [], "BF16": [], "F32": []}


def floats(values):
    return [float(x) for x in np.asarray(values, dtype=np.float32).ravel()]


def decoded(name):
    kind = Kind[name]
    length, size = gguf.GGML_QUANT_SIZES[kind]
    if length == 1:
        values = RANDOM.standard_normal(16).astype(np.float32)
        data = quantize(values, kind).view(np.uint8) if name != "F32" else values.view(np.uint8)
    else:
        data = RANDOM.integers(0, 256, (3, size), dtype=np.uint8)
        for block in data:
            for at in SCALES[name]:
                scale = np.float16(RANDOM.uniform(-0.1, 0.1))
                block[at : at + 2] = np.frombuffer(scale.tobytes(), dtype=np.uint8)
    plain = data.view(np.float32) if name == "F32" else dequantize(data, kind)
    return {"kind": name, "bytes": data.tobytes().hex(), "values": floats(plain)}


def encoded(name):
    values = (RANDOM.standard_normal((3, 64)) * [[1.0], [1e-3], [0.0]]).astype(np.float32)
    values[0, :5] = [0.5, -0.5, 1.5, 2.5, -7.0]
    return {"kind": name, "bytes": quantize(values, Kind[name]).tobytes().hex(), "values": floats(values)}


def small():
    writer = gguf.GGUFWriter(HERE / "small.gguf", "llama")
    writer.add_uint8("a.u8", 200)
    writer.add_int8("a.i8", -2)
    writer.add_uint16("a.u16", 60000)
    writer.add_int16("a.i16", -300)
    writer.add_uint32("a.u32", 4_000_000_000)
    writer.add_int32("a.i32", -5)
    writer.add_uint64("a.u64", 1 << 40)
    writer.add_int64("a.i64", -(1 << 40))
    writer.add_float32("a.f32", 0.25)
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.flag", True)
    writer.add_string("a.text", "丹炉")
    writer.add_array("a.texts", ["水", "", "fire"])
    writer.add_array("a.ints", [1, -2])
    writer.add_array("a.floats", [0.5, -1.5])
    writer.add_tensor("plain.weight", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("half.weight", np.arange(5, dtype=np.float16))
    blocks = quantize(np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64), Kind.Q8_0)
    writer.add_tensor("eight.weight", blocks, raw_dtype=Kind.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    blocks = {"decoded": [decoded(name) for name in SCALES], "encoded": [encoded(n) for n in ["F16", "BF16", "Q8_0", "Q4_0"]]}
    (HERE / "blocks.json").write_text(json.dumps(blocks, separators=(",", ":")) + "\n")
    small()
