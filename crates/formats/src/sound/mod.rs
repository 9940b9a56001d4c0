//! Sound files (WAV, MP3, FLAC, Ogg Vorbis, AAC in MP4) to samples of one channel at one rate.

mod claims;
mod resample;
mod vorbis;

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::audio::SampleBuffer;
use symphonia::core::codecs::{CODEC_TYPE_NULL, Decoder, DecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::probe::{Hint, Probe};
use symphonia::default::formats::{AdtsReader, FlacReader, IsoMp4Reader, MpaReader, OggReader, WavReader};

use crate::guard::guarded;
use crate::{At, Fault, FormatError};
use claims::{Container, File};
use resample::Resampler;

/// Far beyond 1, which decoders pass by a little: floats in a broken file may be anything, and must not sum to infinity.
const LOUDEST: f32 = 16.0;

/// What a file sounds like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sound {
    /// The mean of all channels, from -1 to 1.
    pub samples: Vec<f32>,
    /// Samples a second in the file.
    pub file_rate: u32,
    /// Packets that could not be decoded and were left out.
    pub broken_packets: u64,
    /// Whether the file goes on after the longest that was asked for.
    pub cut: bool,
}

/// Reads a sound file, of which the bytes tell the format.
///
/// * `rate`: samples a second of what is returned
/// * `max_seconds`: what comes later is left out
///
/// # Errors
/// [`Fault::Unsupported`] for a format or codec that is not read, [`Fault::Malformed`] for a file that holds no sound or is
/// broken from its start, [`Fault::Io`].
pub fn read_sound<R>(input: R, rate: u32, max_seconds: f64) -> Result<Sound, FormatError>
where
    R: Read + Seek + Send + Sync + 'static,
{
    guarded(|| decoded(input, rate, max_seconds)).unwrap_or_else(|message| Err(malformed(&message)))
}

fn decoded<R>(input: R, rate: u32, max_seconds: f64) -> Result<Sound, FormatError>
where
    R: Read + Seek + Send + Sync + 'static,
{
    let (mut reader, mut decoder, track) = open(input)?;
    let mut sound = Sound::default();
    let mut mixed: Option<Mixer> = None;
    let most = (max_seconds * f64::from(rate)).max(0.0) as usize;
    while let Some(packet) = next_packet(reader.as_mut())? {
        if packet.track_id() != track {
            continue;
        }
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) if decoded.frames() == 0 => continue,
            Ok(decoded) => decoded,
            Err(Error::DecodeError(_)) => {
                sound.broken_packets += 1;
                continue;
            }
            Err(error) => return Err(fault(error)),
        };
        let (spec, frames) = (*decoded.spec(), decoded.capacity() as u64);
        let mixer = match &mut mixed {
            Some(mixer) if mixer.file_rate == spec.rate => mixer,
            Some(_) => return Err(unsupported("a file whose sample rate changes")),
            none => none.insert(Mixer::new(spec.rate, rate)?),
        };
        let mut samples = SampleBuffer::<f32>::new(frames, spec);
        samples.copy_interleaved_ref(decoded);
        mixer.take(samples.samples(), spec.channels.count().max(1));
        if mixer.out.len() >= most {
            sound.cut = true;
            break;
        }
    }
    let Some(mixer) = mixed else {
        let broken = if sound.broken_packets > 0 { "no packet of it can be decoded" } else { "it holds no sound" };
        return Err(malformed(broken));
    };
    sound.file_rate = mixer.file_rate;
    sound.samples = mixer.finish();
    sound.samples.truncate(most);
    Ok(sound)
}

/// A file as symphonia wants it, without the tags before its container.
struct Input<R> {
    inner: R,
    begin: u64,
    /// From there on.
    length: u64,
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl<R: Seek> Seek for Input<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(self.begin.saturating_add(at)),
            other => other,
        };
        self.inner.seek(to).map(|at| at.saturating_sub(self.begin))
    }
}

impl<R: Read + Seek + Send + Sync> MediaSource for Input<R> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length)
    }
}

/// The container's reader, the decoder of its first track with sound, and the track's number.
fn open<R>(mut input: R) -> Result<(Box<dyn FormatReader>, Box<dyn Decoder>, u32), FormatError>
where
    R: Read + Seek + Send + Sync + 'static,
{
    let io = |error| FormatError::io(At::Whole, error);
    let length = input.seek(SeekFrom::End(0)).map_err(io)?;
    let mut file = File { input: &mut input, length };
    let (container, begin) = file.container()?;
    file.check(container, begin)?;
    input.seek(SeekFrom::Start(begin)).map_err(io)?;
    let input = Input { inner: input, begin, length: length.saturating_sub(begin) };
    let stream = MediaSourceStream::new(Box::new(input), Default::default());
    let options = FormatOptions { enable_gapless: true, ..FormatOptions::default() };
    let probed = probe(container).format(&Hint::new(), stream, &options, &MetadataOptions::default());
    let reader = match probed {
        Ok(probed) => probed.format,
        // Told of what is no sound file at all, and of files that end within their head.
        Err(Error::Unsupported(_)) => {
            return Err(unsupported("this file (known: WAV, MP3, FLAC, Ogg Vorbis, MP4 with AAC)"));
        }
        Err(error) => return Err(fault(error)),
    };
    let track = reader.tracks().iter().find(|track| track.codec_params.codec != CODEC_TYPE_NULL);
    let track = track.ok_or_else(|| malformed("it has no track with sound"))?;
    let id = track.id;
    let decoder = symphonia::default::get_codecs().make(&track.codec_params, &DecoderOptions::default());
    let decoder = decoder.map_err(fault)?;
    Ok((reader, decoder, id))
}

/// What reads the container that was looked through, and no other that might begin further on.
fn probe(container: Container) -> Probe {
    let mut probe = Probe::default();
    match container {
        Container::Wav => probe.register_all::<WavReader>(),
        Container::Flac => probe.register_all::<FlacReader>(),
        Container::Ogg => probe.register_all::<OggReader>(),
        Container::Mp4 => probe.register_all::<IsoMp4Reader>(),
        Container::Frames => {
            probe.register_all::<MpaReader>();
            probe.register_all::<AdtsReader>();
        }
    }
    probe
}

/// `None` at the end, also of a file that is cut off.
fn next_packet(reader: &mut dyn FormatReader) -> Result<Option<symphonia::core::formats::Packet>, FormatError> {
    match reader.next_packet() {
        Ok(packet) => Ok(Some(packet)),
        Err(Error::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(Error::ResetRequired) => Ok(None),
        Err(error) => Err(fault(error)),
    }
}

/// Channels to one, and the file's rate to that which is wanted.
struct Mixer {
    file_rate: u32,
    resampler: Option<Resampler>,
    out: Vec<f32>,
}

impl Mixer {
    fn new(file_rate: u32, rate: u32) -> Result<Self, FormatError> {
        if file_rate == 0 {
            return Err(malformed("its sample rate is 0"));
        }
        let resampler = (file_rate != rate).then(|| Resampler::new(file_rate, rate));
        let resampler = match resampler {
            Some(None) => return Err(unsupported(&format!("a sample rate of {file_rate} Hz"))),
            Some(some) => some,
            None => None,
        };
        Ok(Mixer { file_rate, resampler, out: Vec::new() })
    }

    fn take(&mut self, interleaved: &[f32], channels: usize) {
        let mean = |frame: &[f32]| {
            let sum: f32 = frame.iter().map(|x| if x.is_nan() { 0.0 } else { x.clamp(-LOUDEST, LOUDEST) }).sum();
            sum / channels as f32
        };
        let frames = interleaved.chunks_exact(channels).map(mean);
        match &mut self.resampler {
            None => self.out.extend(frames),
            Some(resampler) => resampler.take(frames, &mut self.out),
        }
    }

    /// All samples; as many as the file is long.
    fn finish(mut self) -> Vec<f32> {
        if let Some(resampler) = self.resampler {
            resampler.finish(&mut self.out);
        }
        self.out
    }
}

fn fault(error: Error) -> FormatError {
    match error {
        Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            FormatError::last(At::Whole, Fault::Truncated(error.to_string()))
        }
        Error::IoError(error) => FormatError::io(At::Whole, error),
        Error::Unsupported(what) => unsupported(what),
        error => malformed(&error.to_string()),
    }
}

fn malformed(message: &str) -> FormatError {
    FormatError::last(At::Whole, Fault::Malformed { format: "sound file", message: message.to_owned() })
}

fn unsupported(what: &str) -> FormatError {
    FormatError::last(At::Whole, Fault::Unsupported(what.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;
    use std::io::Cursor;

    /// A WAV file of 16-bit samples.
    fn wav(rate: u32, channels: u16, frames: &[f32]) -> Vec<u8> {
        let data: Vec<u8> = frames
            .iter()
            .flat_map(|x| std::iter::repeat_n((x * 32767.0) as i16, usize::from(channels)))
            .flat_map(i16::to_le_bytes)
            .collect();
        let mut file = b"RIFF".to_vec();
        file.extend((36 + data.len() as u32).to_le_bytes());
        file.extend(b"WAVEfmt ");
        file.extend(16u32.to_le_bytes());
        file.extend(1u16.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate.to_le_bytes());
        file.extend((rate * u32::from(channels) * 2).to_le_bytes());
        file.extend((channels * 2).to_le_bytes());
        file.extend(16u16.to_le_bytes());
        file.extend(b"data");
        file.extend((data.len() as u32).to_le_bytes());
        file.extend(data);
        file
    }

    fn tone(rate: u32, seconds: f64) -> Vec<f32> {
        let frames = (f64::from(rate) * seconds) as usize;
        (0..frames).map(|i| (0.5 * (TAU * 440.0 * i as f64 / f64::from(rate)).sin()) as f32).collect()
    }

    #[test]
    fn what_has_the_rate_is_left_as_it_is() {
        let tone = tone(16_000, 0.3);
        let sound = read_sound(Cursor::new(wav(16_000, 2, &tone)), 16_000, 60.0).unwrap();
        assert_eq!((sound.samples.len(), sound.file_rate, sound.broken_packets, sound.cut), (4800, 16_000, 0, false));
        assert!(sound.samples.iter().zip(&tone).all(|(a, b)| (a - b).abs() < 1e-4));
    }

    #[test]
    fn other_rates_become_the_same_tone_at_the_same_time() {
        let want = tone(16_000, 1.0);
        for rate in [8_000, 11_025, 22_050, 44_100, 48_000] {
            let sound = read_sound(Cursor::new(wav(rate, 1, &tone(rate, 1.0))), 16_000, 60.0).unwrap();
            assert_eq!(sound.samples.len(), 16_000, "{rate}");
            // Both ends are turned on and off, which no filter follows.
            let worst = (100..15_900).map(|i| (sound.samples[i] - want[i]).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-3, "{rate}: {worst}");
        }
    }

    /// 10 kHz is no tone at 16,000 samples a second: it must not come back as one of 6 kHz.
    #[test]
    fn what_is_too_high_is_gone() {
        let high: Vec<f32> = (0..48_000).map(|i| (TAU * 10_000.0 * f64::from(i) / 48_000.0).sin() as f32).collect();
        let sound = read_sound(Cursor::new(wav(48_000, 1, &high)), 16_000, 60.0).unwrap();
        let loudest = sound.samples[100..15_900].iter().fold(0.0, |m: f32, x| m.max(x.abs()));
        assert!(loudest < 1e-3, "{loudest}");
    }

    #[test]
    fn long_files_are_cut_and_say_so() {
        let sound = read_sound(Cursor::new(wav(8_000, 1, &tone(8_000, 2.0))), 16_000, 0.5).unwrap();
        assert_eq!((sound.samples.len(), sound.cut), (8_000, true));
    }

    /// Numbers in a file of floats may be anything.
    #[test]
    fn samples_stay_finite() {
        let mut file = wav(8_000, 2, &[0.0; 2000]);
        let data = file.len() - 8000;
        file[20] = 3; // floats
        file[32] = 8;
        file[34] = 32;
        for (at, value) in [(0, f32::MAX), (4, f32::MAX), (8, f32::INFINITY), (16, f32::NAN), (24, f32::NEG_INFINITY)] {
            file[data + at..data + at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let sound = read_sound(Cursor::new(file), 16_000, 60.0).unwrap();
        assert!(sound.samples.len() > 1900 && sound.samples.iter().all(|x| x.abs() <= 2.0 * LOUDEST));
    }

    #[test]
    fn what_is_no_sound_is_named() {
        let whole = wav(16_000, 1, &tone(16_000, 0.1));
        let read = |bytes: &[u8]| read_sound(Cursor::new(bytes.to_vec()), 16_000, 60.0);
        for bytes in [&b""[..], b"RIFF", b"no sound at all", &[0; 5000]] {
            assert!(read(bytes).is_err());
        }
        assert!(read(b"<html></html>").unwrap_err().to_string().contains("known: WAV"));
        for cut in [10, 20, 40, 44] {
            assert!(read(&whole[..cut]).is_err(), "{cut}");
        }
        // What was there is heard.
        let half = read(&whole[..1000]).unwrap();
        assert!(half.samples.len() > 300 && half.samples.len() <= 480, "{}", half.samples.len());
    }
}
