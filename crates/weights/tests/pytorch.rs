//! Checkpoints of PyTorch against what torch itself says of them, and files that lie.
#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use danlu_weights::{Stored, WeightsError, pytorch, tensors_of};
use proptest::prelude::*;
use serde_json::Value as Json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Every element as a number, whatever its type.
fn numbers(tensor: &Stored) -> Vec<f64> {
    let bytes = tensor.bytes().unwrap();
    assert_eq!(bytes.len() as u64, tensor.len());
    if tensor.is_float() && tensor.dtype != "F64" {
        return tensor.values().unwrap().into_iter().map(f64::from).collect();
    }
    let width = bytes.len() / tensor.elements().max(1) as usize;
    let whole = |chunk: &[u8]| {
        let signed = tensor.dtype.starts_with('I') && chunk.last().is_some_and(|b| *b >= 0x80);
        let mut wide = [if signed { 0xff } else { 0 }; 8];
        wide[..chunk.len()].copy_from_slice(chunk);
        i64::from_le_bytes(wide)
    };
    let number = |chunk: &[u8]| match tensor.dtype.as_str() {
        "F64" => f64::from_le_bytes(chunk.try_into().unwrap()),
        _ => whole(chunk) as f64,
    };
    bytes.chunks(width.max(1)).map(number).collect()
}

#[test]
fn tensors_are_those_that_torch_saved() {
    let tensors = pytorch::open(&golden("mixed.bin")).unwrap();
    let told: Json = serde_json::from_slice(&std::fs::read(golden("mixed.json")).unwrap()).unwrap();
    let told = told.as_object().unwrap();
    let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names.len(), told.len());
    let types = [
        ("torch.float64", "F64"),
        ("torch.float32", "F32"),
        ("torch.float16", "F16"),
        ("torch.bfloat16", "BF16"),
        ("torch.int64", "I64"),
        ("torch.int32", "I32"),
        ("torch.int16", "I16"),
        ("torch.int8", "I8"),
        ("torch.uint8", "U8"),
        ("torch.bool", "BOOL"),
    ];
    for tensor in &tensors {
        let [shape, dtype, values] = told[&tensor.name].as_array().unwrap().as_slice() else { panic!() };
        let shape: Vec<u64> = shape.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!(tensor.shape, shape, "{}", tensor.name);
        assert!(types.contains(&(dtype.as_str().unwrap(), tensor.dtype.as_str())), "{} {dtype}", tensor.name);
        let values: Vec<f64> = values.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(numbers(tensor), values, "{}", tensor.name);
    }
    let nested = pytorch::open(&golden("nested.bin")).unwrap();
    let four = pytorch::open(&golden("protocol4.bin")).unwrap();
    assert_eq!((numbers(&nested[0]), numbers(&four[0])), (vec![1.0, 2.0], vec![1.0, 2.0]));
}

fn refused(path: &Path) -> (String, Option<String>) {
    let error = pytorch::open(path).unwrap_err();
    assert!(error.to_string().contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
    (error.to_string(), error.hint())
}

#[test]
fn code_is_named_and_not_run() {
    let (said, hint) = refused(&golden("code.bin"));
    // os.system is of the module posix on Linux.
    assert!(said.ends_with("a pickle with code in it: it asks for posix.system"), "{said}");
    assert!(hint.unwrap().contains("torch.save(model.state_dict(), PATH)"));
}

#[test]
fn other_forms_are_named_with_the_remedy() {
    let (said, hint) = refused(&golden("old.bin"));
    assert!(said.contains("old format"), "{said}");
    assert!(hint.unwrap().contains("torch.save(torch.load(PATH, weights_only=True), PATH)"));
    assert!(refused(&golden("expanded.bin")).0.contains("\"a\" of [1000] is expanded from 1 elements"));
    assert!(refused(&golden("note.bin")).0.contains("\"note\" is no tensor"));
    assert!(refused(&golden("mixed.json")).0.contains("it is no zip archive"));
}

/// An archive as torch.save lays it out, with the pickle and the bytes of storage 0.
fn archive(pickle: &[u8], storage: &[u8], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in [("x/data.pkl", pickle), ("x/byteorder", b"little"), ("x/data/0", storage)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn open(bytes: &[u8]) -> Result<Vec<Stored>, WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    std::fs::write(&path, bytes).unwrap();
    pytorch::open(&path)
}

/// A pickle of one f32 tensor "t" with these numbers in place of offset, shape and stride.
fn one_tensor(first: i32, length: i32, stride: i32) -> Vec<u8> {
    let int = |n: i32| [&b"J"[..], &n.to_le_bytes()].concat();
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    [
        &b"\x80\x02}("[..],
        &text("t"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        b"K\x04tQ",
        &int(first),
        &int(length),
        b"\x85",
        &int(stride),
        b"\x85\x89N",
        b"tRu.",
    ]
    .concat()
}

#[test]
fn what_lies_is_refused_by_name() {
    let stored = CompressionMethod::Stored;
    let values: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let said = |pickle: &[u8]| open(&archive(pickle, &values, stored)).unwrap_err().to_string();
    assert_eq!(numbers(&opened_values(&one_tensor(1, 2, 2), &values)), [2.0, 4.0]);
    for (first, length, stride) in [(0, 5, 1), (1, 4, 1), (3, 2, 1), (0, i32::MAX, 1), (i32::MAX, 1, 1), (0, 2, 4)] {
        let said = said(&one_tensor(first, length, stride));
        assert!(said.contains("\"t\" of [") && said.contains("does not lie in its storage of 16 bytes"), "{said}");
    }
    for (first, length, stride) in [(-1, 1, 1), (0, -1, 1), (0, 1, -1)] {
        assert!(said(&one_tensor(first, length, stride)).contains("storage, shape or strides are none"));
    }
    assert!(said(b"\x80\x02cbuiltins\neval\n.").contains("it asks for builtins.eval"));
    assert!(said(b"\x80\x02c__builtin__\ngetattr\n)R.").contains("__builtin__.getattr"));
    assert!(said(b"\x80\x04X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.").contains("os.system"));
    assert!(said(b"\x80\x02(ios\nsystem\n.").contains("INST"));
    assert!(said(b"\x80\x02ccollections\nOrderedDict\n)\x81.").contains("NEWOBJ"));
    assert!(said(b"\x80\x02]N\x62.").contains("BUILD"));
    assert!(said(b"\x80\x02N.").contains("no dictionary of tensors"));
    assert!(said(b"\x80\x02S'x'\n.").contains("instruction 0x53"));
    assert!(said(b"\x80\x02}X\xff\xff\xff\xffa.").contains("the pickle ends here"));
    assert!(said(b"\x80\x02h\x05.").contains("recalls what it never kept"));
    assert!(said(b"\x80\x02u.").contains("no mark"));
    assert!(said(b"\x80\x02").contains("byte 2: the pickle ends here"));
    let deflated = archive(&one_tensor(0, 4, 1), &values, CompressionMethod::Deflated);
    assert!(open(&deflated).unwrap_err().to_string().contains("compressed"));
    let two = [&one_tensor(0, 4, 1)[..one_tensor(0, 4, 1).len() - 2], &one_tensor(0, 4, 1)[4..]].concat();
    assert!(said(&two).contains("two tensors are named \"t\""), "{}", said(&two));
}

fn opened_values(pickle: &[u8], values: &[u8]) -> Stored {
    // The folder stays for the values to be read.
    let folder = tempfile::tempdir().unwrap().keep();
    let path = folder.join("pytorch_model.bin");
    std::fs::write(&path, archive(pickle, values, CompressionMethod::Stored)).unwrap();
    pytorch::open(&path).unwrap().remove(0)
}

#[test]
fn nesting_and_growth_are_bounded() {
    let values = [0u8; 16];
    let said = |pickle: &[u8]| open(&archive(pickle, &values, CompressionMethod::Stored)).unwrap_err().to_string();
    // A million tuples around each other: built and dropped without recursion.
    let deep = [&b"\x80\x02)"[..], &vec![0x85; 1 << 20], b"."].concat();
    assert!(said(&deep).contains("no dictionary of tensors"));
    let many = [&b"\x80\x02"[..], &vec![b']'; 9 << 20], b"."].concat();
    assert!(said(&many).contains("more values than any description"));
    let long = vec![b'N'; 17 << 20];
    assert!(said(&long).contains("more than 16777216"), "{}", said(&long));
    // Names that share one storage a thousand times over would fill a disk.
    let mut shared = one_tensor(0, 4, 1);
    shared.truncate(shared.len() - 2);
    shared.extend(b"q\x00");
    for i in 0..1000u32 {
        shared.extend([&b"X\x04\x00\x00\x00"[..], format!("{i:04}").as_bytes(), b"h\x00"].concat());
    }
    shared.extend(b"u.");
    assert!(
        said(&shared).contains("its tensors have 16016 bytes, all within 16 bytes of the file"),
        "{}",
        said(&shared)
    );
}

#[test]
fn a_folder_of_parts_is_held_to_its_index() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(golden("mixed.bin"), at("pytorch_model-00001-of-00002.bin")).unwrap();
    std::fs::copy(golden("nested.bin"), at("pytorch_model-00002-of-00002.bin")).unwrap();
    let index = |map: Json| {
        std::fs::write(at("pytorch_model.bin.index.json"), serde_json::json!({"weight_map": map}).to_string()).unwrap();
        tensors_of(folder.path())
    };
    let (one, two) = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin");
    let all = index(serde_json::json!({"plain": one, "turned": one, "a": two})).unwrap();
    assert_eq!(all.len(), 19);
    assert!(all.is_sorted_by(|a, b| a.name < b.name));
    let said = |map: Json| index(map).unwrap_err().to_string();
    assert!(said(serde_json::json!({"plain": two})).contains("it puts the tensor \"plain\" into"));
    assert!(said(serde_json::json!({"a": "../x.bin"})).contains("names \"../x.bin\""));
    assert!(said(serde_json::json!({"a": ".."})).contains("names \"..\""));
    assert!(said(serde_json::json!({"a": "gone.bin"})).contains("cannot open"));
    assert!(said(serde_json::json!({})).contains("weight_map is empty"));
    assert!(said(serde_json::json!([1])).contains("pytorch_model.bin.index.json"));
    std::fs::remove_file(at("pytorch_model.bin.index.json")).unwrap();
    assert!(tensors_of(folder.path()).unwrap_err().to_string().contains("it has no weights (model.safetensors"));
}

proptest! {
    /// Whatever is cut off or changed, the answer is tensors that can be read, or an error.
    #[test]
    fn broken_files_do_no_harm(cut in 0usize..5516, places in prop::collection::vec((0usize..5516, any::<u8>()), 0..6)) {
        let whole = std::fs::read(golden("mixed.bin")).unwrap();
        prop_assert!(open(&whole[..cut.min(whole.len() - 1)]).is_err());
        let mut changed = whole;
        for (at, byte) in places {
            let last = changed.len() - 1;
            changed[at.min(last)] = byte;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pytorch_model.bin");
        std::fs::write(&path, changed).unwrap();
        for tensor in pytorch::open(&path).unwrap_or_default() {
            prop_assert!(tensor.len() < 10_000);
            let _ = tensor.bytes();
        }
    }

    #[test]
    fn no_pickle_does_harm(pickle in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = open(&archive(&pickle, &[0; 16], CompressionMethod::Stored));
    }
}
