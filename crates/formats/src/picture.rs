//! Pictures in PNG and JPEG.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::error::ImageError;
use image::{DynamicImage, ImageDecoder, ImageFormat};

use crate::{At, Fault, FormatError};

/// How large a picture may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureLimits {
    /// Pixels of the longer side.
    pub max_side: u32,
    /// Pixels in all.
    pub max_pixels: u64,
    /// Bytes of the file.
    pub max_bytes: usize,
}

impl Default for PictureLimits {
    /// 16384 on a side, 64 million pixels in all, files of 64 MiB.
    fn default() -> Self {
        Self { max_side: 1 << 14, max_pixels: 1 << 26, max_bytes: 64 << 20 }
    }
}

/// A picture in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    pub height: usize,
    pub width: usize,
    /// Red, green and blue, (height, width, 3).
    pub rgb: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Picture({} x {})", self.width, self.height)
    }
}

impl Picture {
    /// Reads a file's bytes. What is seen through a transparent picture is white, as in `transformers`; grey becomes three
    /// equal colours, 16 bits become 8, of an animation the first frame is read. Rotations that cameras note are left undone.
    ///
    /// # Errors
    /// Another format than PNG and JPEG, a broken file, and sizes beyond the limits, which are found before anything is
    /// unpacked.
    pub fn decode(bytes: &[u8], limits: PictureLimits) -> Result<Self, FormatError> {
        let failed = |fault| FormatError::last(At::Whole, fault);
        if bytes.len() > limits.max_bytes {
            return Err(failed(Fault::TooLarge { limit: limits.max_bytes }));
        }
        let input = Cursor::new(bytes);
        let image = match image::guess_format(bytes) {
            Ok(ImageFormat::Png) => read("PNG", PngDecoder::new(input), limits),
            Ok(ImageFormat::Jpeg) => read("JPEG", JpegDecoder::new(input), limits),
            Ok(other) => Err(Fault::Unsupported(format!("a picture in {other:?}; PNG and JPEG are read, and others"))),
            Err(_) => Err(Fault::Malformed { format: "picture", message: "neither PNG nor JPEG".into() }),
        };
        Ok(flat(image.map_err(failed)?))
    }
}

fn read<D: ImageDecoder>(
    format: &'static str,
    decoder: Result<D, ImageError>,
    limits: PictureLimits,
) -> Result<DynamicImage, Fault> {
    let malformed = |error: ImageError| Fault::Malformed { format, message: error.to_string() };
    let mut decoder = decoder.map_err(malformed)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > limits.max_side || pixels > limits.max_pixels {
        let (side, most) = (limits.max_side, limits.max_pixels);
        let message = format!("a picture of {width} x {height} pixels (at most {side} on a side and {most} in all)");
        return Err(Fault::Unsupported(message));
    }
    if pixels == 0 {
        return Err(Fault::Malformed { format, message: "a picture without pixels".into() });
    }
    // Of 4 colours in 16 bits, and as much again for the decoder.
    let mut own = image::Limits::no_limits();
    own.max_alloc = Some(16 * pixels + (1 << 20));
    decoder.set_limits(own).map_err(malformed)?;
    DynamicImage::from_decoder(decoder).map_err(malformed)
}

/// The picture over white, where it lets something through.
fn flat(image: DynamicImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let rgb = match image.color().has_alpha() {
        false => image.into_rgb8().into_raw(),
        true => {
            let rgba = image.into_rgba8().into_raw();
            rgba.chunks_exact(4).flat_map(|pixel| [0, 1, 2].map(|c| over_white(pixel[c], pixel[3]))).collect()
        }
    };
    Picture { height, width, rgb }
}

/// In the numbers of Pillow's `alpha_composite`, which have 7 bits after the point.
fn over_white(colour: u8, alpha: u8) -> u8 {
    let share = u32::from(alpha) << 7;
    let sum = u32::from(colour) * share + 255 * ((255 << 7) - share) + (0x80 << 7);
    ((((sum >> 8) + sum) >> 8) >> 7) as u8
}
