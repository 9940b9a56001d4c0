//! Checkpoints of PyTorch (`pytorch_model.bin`, `.pt`), as torch.save has written them since version 1.6: a zip archive,
//! stored without compression.
//!
//! ```text
//! NAME/data.pkl          a pickle: the dictionary of tensors
//! NAME/data/KEY          the elements of a storage, which several tensors may share
//! NAME/byteorder         "little" or "big"; older files have none
//! ```
//!
//! A pickle is a program that can call any function of Python. The one here is not run: `pickle.rs` knows the
//! instructions of which a dictionary of tensors is made, and the few names that torch.save writes into it; any other
//! instruction or name is an error that says which. See `serialization.py` and `_utils.py` of torch, `pickletools.py` of
//! Python.

mod pickle;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::stored::width;
use crate::{Stored, WeightsError};
use pickle::{Fault, Tensor};

/// Descriptions of models are a few megabytes at most; more would only cost memory.
const LONGEST_PICKLE: u64 = 16 << 20;
/// How often tensors may use the same bytes on average: heads tied to embeddings do, files that would fill a disk do more.
const MOST_SHARED: u64 = 4;

/// The tensors of a checkpoint in the order of its dictionary, checked against the file.
///
/// # Errors
/// [`WeightsError::Code`] for a pickle that asks for anything but tensors, [`WeightsError::OldPyTorch`], and what is
/// broken by its place.
pub fn open(path: &Path) -> Result<Vec<Stored>, WeightsError> {
    let mut file = File::open(path).map_err(|e| WeightsError::io("open", path, e))?;
    let mut magic = [0; 4];
    let read = file.read_exact(&mut magic).map_err(|e| (e.kind(), e));
    match read {
        Ok(()) if magic == *b"PK\x03\x04" => {}
        // A pickle of a large number, protocol 2.
        Ok(()) if magic[0] == 0x80 && magic[2] == 0x8a => return Err(WeightsError::OldPyTorch { path: path.into() }),
        Err((kind, e)) if kind != std::io::ErrorKind::UnexpectedEof => return Err(WeightsError::io("read", path, e)),
        _ => return Err(WeightsError::malformed(path, "not a checkpoint of PyTorch: it is no zip archive")),
    }
    let zip = |e: zip::result::ZipError| match e {
        zip::result::ZipError::Io(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
            WeightsError::io("read", path, e)
        }
        e => WeightsError::NotWhole { path: path.into(), what: format!("a zip archive that cannot be read ({e})") },
    };
    let mut archive = ZipArchive::new(file).map_err(zip)?;
    let (prefix, pickle) = description(path, &mut archive)?;
    let tensors = pickle::tensors(&pickle).map_err(|fault| match fault {
        Fault::Malformed(what) => WeightsError::malformed(path, format!("data.pkl: {what}")),
        Fault::Unsupported(what) => WeightsError::unsupported(path, format!("data.pkl: {what}")),
        Fault::Code(name) => WeightsError::Code { path: path.into(), name },
    })?;
    let mut places = HashMap::new();
    let (mut used, mut there) = (0u64, 0u64);
    let mut all = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let (offset, length) = match places.get(&tensor.storage.key) {
            Some(place) => *place,
            None => {
                let place = place(path, &mut archive, &prefix, &tensor)?;
                there = there.saturating_add(place.1);
                places.insert(tensor.storage.key.clone(), place);
                place
            }
        };
        let stored = stored(path, tensor, offset, length)?;
        used = used.saturating_add(stored.len());
        all.push(stored);
    }
    if used > there.saturating_mul(MOST_SHARED) {
        let what = format!("its tensors have {used} bytes, all within {there} bytes of the file");
        return Err(WeightsError::malformed(path, what));
    }
    Ok(all)
}

/// The names' beginning, and the pickle.
fn description(path: &Path, archive: &mut ZipArchive<File>) -> Result<(String, Vec<u8>), WeightsError> {
    let ends = |name: &str| name == "data.pkl" || name.ends_with("/data.pkl");
    let name = archive.file_names().filter_map(Result::ok).find(|name| ends(name)).map(|name| name.into_owned());
    let name = name.ok_or_else(|| WeightsError::malformed(path, "not a checkpoint of PyTorch: it has no data.pkl"))?;
    let prefix = name.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    let pickle = entry(path, archive, &name, LONGEST_PICKLE)?;
    let order = format!("{prefix}byteorder");
    if archive.index_for_name(&order).is_some() && entry(path, archive, &order, 16)? != b"little" {
        return Err(WeightsError::unsupported(path, "its numbers are big-endian; danlu reads little-endian ones"));
    }
    Ok((prefix, pickle))
}

/// A whole entry of at most so many bytes.
fn entry(path: &Path, archive: &mut ZipArchive<File>, name: &str, most: u64) -> Result<Vec<u8>, WeightsError> {
    let broken = |what: String| WeightsError::malformed(path, format!("{name}: {what}"));
    let entry = archive.by_name(name).map_err(|e| broken(e.to_string()))?;
    if entry.compression() != CompressionMethod::Stored || entry.size() > most {
        return Err(broken(format!("{} bytes, compressed or more than {most}", entry.size())));
    }
    let mut bytes = Vec::new();
    entry.take(most).read_to_end(&mut bytes).map_err(|e| broken(e.to_string()))?;
    Ok(bytes)
}

/// Where a tensor's storage lies in the file: from byte to length.
fn place(
    path: &Path,
    archive: &mut ZipArchive<File>,
    prefix: &str,
    tensor: &Tensor,
) -> Result<(u64, u64), WeightsError> {
    let name = format!("{prefix}data/{}", tensor.storage.key);
    let broken = |what: String| WeightsError::malformed(path, format!("{name} (of {:?}): {what}", tensor.name));
    let entry = archive.by_name(&name).map_err(|e| broken(e.to_string()))?;
    if entry.compression() != CompressionMethod::Stored || entry.compressed_size() != entry.size() {
        return Err(broken("it is compressed, which torch.save does not do".into()));
    }
    let start = entry.data_start().ok_or_else(|| broken("it has no data".into()))?;
    let length = entry.size();
    drop(entry);
    let size = path.metadata().map_err(|e| WeightsError::io("read", path, e))?.len();
    if start.checked_add(length).is_none_or(|end| end > size) {
        let what = format!("{name} should have {length} bytes, and the file ends before");
        return Err(WeightsError::NotWhole { path: path.into(), what });
    }
    Ok((start, length))
}

/// A tensor in its storage of `length` bytes at `start`.
fn stored(path: &Path, tensor: Tensor, start: u64, length: u64) -> Result<Stored, WeightsError> {
    let Tensor { name, storage, first, shape, strides } = tensor;
    let width = width(storage.dtype).unwrap_or(1);
    let elements = shape.iter().try_fold(1u64, |product, n| product.checked_mul(*n));
    // One more than the largest index that it reaches.
    let reach = match elements {
        Some(0) => Some(0),
        _ => shape
            .iter()
            .zip(&strides)
            .try_fold(1u64, |reach, (n, stride)| reach.checked_add(n.saturating_sub(1).checked_mul(*stride)?)),
    };
    let end = reach.and_then(|reach| first.checked_add(reach)?.checked_mul(width));
    let (Some(elements), Some(reach), Some(_)) = (elements, reach, end.filter(|end| *end <= length)) else {
        let what =
            format!("the tensor {name:?} of {shape:?} by {strides:?} does not lie in its storage of {length} bytes");
        return Err(WeightsError::malformed(path, what));
    };
    if elements > reach {
        let what = format!("the tensor {name:?} of {shape:?} is expanded from {reach} elements");
        return Err(WeightsError::unsupported(path, what));
    }
    let mut dense = 1u64;
    let rows = shape.iter().zip(&strides).rev().all(|(n, stride)| {
        let fits = *n == 1 || *stride == dense;
        dense = dense.saturating_mul(*n);
        fits
    });
    let plain = rows || elements == 0;
    Ok(Stored {
        name,
        shape,
        dtype: storage.dtype.into(),
        path: path.into(),
        offset: start + first * width,
        length: reach * width,
        strides: (!plain).then_some(strides),
    })
}
