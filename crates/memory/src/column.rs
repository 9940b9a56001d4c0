//! Columns of plain values that go to disk when they are long.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use memmap2::{MmapMut, MmapOptions};

/// Values that may lie in a mapped file.
///
/// # Safety
/// Bytes of zero must be a value of the type, and its alignment must divide the size of a page.
#[allow(unsafe_code)]
pub unsafe trait Plain: Copy + Default + Send + Sync + 'static {}

macro_rules! plain {
    ($($of:ty),*) => {$(
        // SAFETY: numbers and truth values, of which zeros are a value; none is aligned to more than 16 bytes.
        #[allow(unsafe_code)]
        unsafe impl Plain for $of {}
    )*};
}

plain!(bool, u16, u32, u64, u128, f64);

/// A vector that is held in memory up to a length, and beyond it lies in a mapped file, which the operating system may
/// write out when it needs the memory. Dereferences to a slice in either case.
///
/// The file has no name: it disappears with the column or the process. Its blocks are there before they are mapped, so
/// that a full disk is an error of [`push`](Self::push) or [`zeros`](Self::zeros) and not the end of the process.
pub struct Column<T> {
    values: Values<T>,
    /// Values that may be held in memory.
    most: usize,
    path: PathBuf,
}

enum Values<T> {
    Memory(Vec<T>),
    Disk(Mapped<T>),
}

/// Never goes to disk.
impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { values: Values::Memory(Vec::new()), most: usize::MAX, path: PathBuf::new() }
    }
}

impl<T: Plain> Column<T> {
    /// An empty column, which holds `most` values in memory and goes to a file at `path` with more.
    pub fn new(path: PathBuf, most: usize) -> Self {
        Self { values: Values::Memory(Vec::new()), most, path }
    }

    /// A column of `len` zeros.
    ///
    /// # Errors
    /// Those of the disk, among them that it is full.
    pub fn zeros(path: PathBuf, most: usize, len: usize) -> io::Result<Self> {
        let values = if len <= most {
            Values::Memory(vec![T::default(); len])
        } else {
            let mut mapped = Mapped::<T>::create(&path, len)?;
            mapped.len = len;
            Values::Disk(mapped)
        };
        Ok(Self { values, most, path })
    }

    /// Where the file was made, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_on_disk(&self) -> bool {
        matches!(self.values, Values::Disk(_))
    }

    /// # Errors
    /// Those of the disk, among them that it is full; the column stays as it was.
    pub fn push(&mut self, value: T) -> io::Result<()> {
        match &mut self.values {
            Values::Memory(values) if values.len() < self.most => {
                if values.len() == values.capacity() {
                    // Doubling would overshoot the limit.
                    values.reserve_exact(values.len().max(1024).min(self.most - values.len()));
                }
                values.push(value);
                Ok(())
            }
            Values::Memory(values) => {
                let mut mapped = Mapped::<T>::create(&self.path, (2 * values.len()).max(LEAST_CAPACITY))?;
                mapped.all_mut()[..values.len()].copy_from_slice(values);
                mapped.len = values.len();
                mapped.push(value)?;
                self.values = Values::Disk(mapped);
                Ok(())
            }
            Values::Disk(mapped) => mapped.push(value),
        }
    }
}

impl<T: Plain> Deref for Column<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.values {
            Values::Memory(values) => values,
            Values::Disk(mapped) => &mapped.all()[..mapped.len],
        }
    }
}

impl<T: Plain> DerefMut for Column<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.values {
            Values::Memory(values) => values,
            Values::Disk(mapped) => {
                let len = mapped.len;
                &mut mapped.all_mut()[..len]
            }
        }
    }
}

/// Values for which a file is made at first.
const LEAST_CAPACITY: usize = 4096;

/// A file without a name, mapped whole: room for values, of which the first `len` are taken.
struct Mapped<T> {
    file: File,
    map: MmapMut,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Mapped<T> {
    fn create(path: &Path, capacity: usize) -> io::Result<Self> {
        let _ = std::fs::remove_file(path); // of a process that was killed between the next two lines
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        std::fs::remove_file(path)?;
        let map = map(&file, 0, bytes::<T>(capacity)?)?;
        Ok(Self { file, map, len: 0, of: PhantomData })
    }

    fn push(&mut self, value: T) -> io::Result<()> {
        let (len, capacity) = (self.len, self.all().len());
        if len == capacity {
            let grown = bytes::<T>(capacity + capacity / 2 + 1)?;
            self.map = map(&self.file, self.map.len() as u64, grown)?;
        }
        self.all_mut()[len] = value;
        self.len = len + 1;
        Ok(())
    }

    /// The values and the zeros that follow them.
    #[allow(unsafe_code)]
    fn all(&self) -> &[T] {
        let capacity = self.map.len() / size_of::<T>();
        // SAFETY: the map begins at a page and has room for `capacity` values. All its bytes are zeros, which are values
        // (`Plain`), or were written as values through `all_mut`: the file was made empty by this process and has had no
        // name since, so that nobody else writes to it.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), capacity) }
    }

    #[allow(unsafe_code)]
    fn all_mut(&mut self) -> &mut [T] {
        let capacity = self.map.len() / size_of::<T>();
        // SAFETY: as in `all`; the map is borrowed for as long as the slice, and is the only one of the file.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), capacity) }
    }
}

fn bytes<T>(values: usize) -> io::Result<u64> {
    let bytes = values.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= isize::MAX as usize);
    bytes.map(|bytes| bytes as u64).ok_or_else(|| io::Error::new(io::ErrorKind::OutOfMemory, "a column is too long"))
}

/// Maps the first `to` bytes of a file that has `from` of them.
#[allow(unsafe_code)]
fn map(file: &File, from: u64, to: u64) -> io::Result<MmapMut> {
    allocate(file, from, to)?;
    // SAFETY: the file is this process's own and has no name (`Mapped::create`), so that nobody changes or truncates it
    // behind the map; and its blocks are there, so that writing to the map needs no space that a disk may not have. Of
    // the map that it replaces nothing is borrowed: `push` has the column to itself.
    unsafe { MmapOptions::new().len(to as usize).map_mut(file) }
}

/// Gives a file that has `from` bytes the blocks of `to`, all zeros.
#[cfg(target_os = "linux")]
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), from, to - from)) {
        // As on NFS before its version 4.2.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, from, to),
        done => done.map_err(io::Error::from),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    write_zeros(file, from, to)
}

fn write_zeros(mut file: &File, from: u64, to: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    io::copy(&mut io::repeat(0).take(to - from), &mut file)?;
    file.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_the_same_in_memory_and_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        for most in [0, 1, 1000, 5000, 100_000] {
            let mut column = Column::<u128>::new(dir.path().join("column"), most);
            let value = |n: usize| (n as u128) << 100 | n as u128;
            for n in 0..30_000 {
                column.push(value(n)).unwrap();
            }
            assert_eq!(column.is_on_disk(), most < 30_000);
            assert!(column.iter().enumerate().all(|(n, found)| *found == value(n)) && column.len() == 30_000);
            column.reverse();
            column.sort_unstable();
            column[7] += 1;
            assert_eq!((column[6], column[7], column.last()), (value(6), value(7) + 1, Some(&value(29_999))));
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
        }
    }

    #[test]
    fn a_column_of_zeros_can_be_marked_and_grown() {
        let dir = tempfile::tempdir().unwrap();
        for most in [10, 10_000] {
            let mut column = Column::<bool>::zeros(dir.path().join("column"), most, 3000).unwrap();
            assert_eq!((column.is_on_disk(), column.len(), column.contains(&true)), (most == 10, 3000, false));
            column[2999] = true;
            (0..9000).for_each(|n| column.push(n % 2 == 0).unwrap());
            assert_eq!((column.len(), column.iter().filter(|value| **value).count()), (12_000, 4501));
        }
        assert!(Column::<f64>::default().is_empty());
    }

    #[test]
    fn a_place_that_takes_no_file_and_a_length_beyond_all_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let mut column = Column::<u64>::new(dir.path().join("none/column"), 2);
        column.push(1).and_then(|()| column.push(2)).unwrap();
        assert_eq!(column.push(3).err().unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(column[..], [1, 2]);
        assert!(Column::<u64>::zeros(dir.path().join("column"), 0, usize::MAX / 8).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        assert_eq!(write_zeros(&full, 0, 4096).err().unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(allocate(&full, 0, 4096).is_err());
    }
}
