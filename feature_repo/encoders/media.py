"""Writing small media files: clips, images and sound, for the simulator and for tests."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["write_clip", "write_image", "write_wav"]

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]


def write_clip(
    path: Path, frames: Iterable[Pixels], audio: Samples | None = None, rate: int = 16_000, fps: int = 10
) -> None:
    """Write an mp4: MPEG-4 video and, where there is sound, AAC. Equal input gives equal bytes.

    Args:
        path: Where to.
        frames: RGB pictures ``[height, width, 3]`` of one even size, taken one by one.
        audio: Mono samples between -1 and 1, ``[n]``.
        rate: Samples a second.
        fps: Frames a second.
    """
    import av

    with av.open(str(path), "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        pictures = iter(frames)
        first = next(pictures)
        video: Any = container.add_stream("mpeg4", rate=fps, options={"flags": "+bitexact", "qscale": "2"})
        video.height, video.width, video.pix_fmt = first.shape[0], first.shape[1], "yuv420p"
        video.bit_rate = 4_000_000
        video.codec_context.thread_count = 1
        sound: Any = None
        if audio is not None:
            sound = container.add_stream("aac", rate=rate, layout="mono", options={"flags": "+bitexact"})
        for pixels in chain([first], pictures):
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode())
        if sound is not None and audio is not None:
            for start in range(0, len(audio), 1024):
                frame = _audio_frame(audio[start : start + 1024], rate)
                frame.pts, frame.time_base = start, Fraction(1, rate)
                container.mux(sound.encode(frame))
            container.mux(sound.encode())


def write_image(path: Path, pixels: Pixels) -> None:
    """Write an RGB picture ``[height, width, 3]`` as the file's suffix says: ``.png``, ``.jpg`` …"""
    from PIL import Image

    Image.fromarray(pixels, "RGB").save(path)


def write_wav(path: Path, samples: Samples, rate: int = 16_000) -> None:
    """Write mono samples between -1 and 1, ``[n]``, as 16-bit PCM."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def _audio_frame(samples: Samples, rate: int) -> Any:
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None, :], np.float32), "fltp", "mono")
    frame.sample_rate = rate
    return frame
