#!/usr/bin/env python3
"""Makes the seeds of the fuzz target `sound`: a tenth of a second of a tone in every format that danlu reads.

    pip install av numpy soundfile
    python scripts/seeds_sound.py fuzz/seeds/sound

They were made once and are kept in the repository.
"""
import pathlib
import sys

import av
import numpy
import soundfile

# Name, container, codec, samples a second, layout, sample format.
FORMATS = [
    ("wav", "wav", "pcm_s16le", 8000, "stereo", "s16"),
    ("wav_float", "wav", "pcm_f32le", 8000, "mono", "flt"),
    ("wav_24", "wav", "pcm_s24le", 8000, "mono", "s32"),
    ("mp3", "mp3", "libmp3lame", 16000, "mono", "s16p"),
    ("mp3_stereo", "mp3", "libmp3lame", 44100, "stereo", "s16p"),
    ("aac", "mp4", "aac", 16000, "mono", "fltp"),
    ("aac_stereo", "mp4", "aac", 44100, "stereo", "fltp"),
]
# Name, format and coding of libsndfile, samples a second, channels.
OTHERS = [("flac", "FLAC", "PCM_16", 16000, 2), ("flac_24", "FLAC", "PCM_24", 8000, 1), ("vorbis", "OGG", "VORBIS", 16000, 1),
          ("vorbis_stereo", "OGG", "VORBIS", 44100, 2)]


def tone(rate):
    return (0.3 * numpy.sin(2 * numpy.pi * 440 * numpy.arange(rate // 10) / rate)).astype(numpy.float32)


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    for name, form, coding, rate, channels in OTHERS:
        soundfile.write(out / name, numpy.tile(tone(rate)[:, None], (1, channels)), rate, coding, format=form)
        print(name, (out / name).stat().st_size)
    for name, container, codec, rate, layout, form in FORMATS:
        path = out / name
        with av.open(str(path), "w", format=container) as file:
            stream = file.add_stream(codec, rate=rate)
            stream.codec_context.layout = layout
            stream.codec_context.format = form
            if codec in ("libmp3lame", "aac"):
                stream.codec_context.bit_rate = 24000
            channels = numpy.tile(tone(rate), (1 if layout == "mono" else 2, 1))
            frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
            frame.sample_rate = rate
            for frame in [*av.AudioResampler(format=form, layout=layout, rate=rate).resample(frame), None]:
                for packet in stream.encode(frame):
                    file.mux(packet)
        print(name, path.stat().st_size)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
