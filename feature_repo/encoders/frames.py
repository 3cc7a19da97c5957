"""Reading media: chosen frames of a clip, images, and sound as mono samples. Nothing holds a whole video in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput
from feature_repo.encoders.encoding import Absent, MediaItem

__all__ = ["POST_FRAMES", "clip_frames", "item_frames", "read_image", "read_sound", "uniform_positions"]

POST_FRAMES = 3
"""A post's video is three screenshots: the first, the middle and the last frame (AMAE, section III-C)."""

_MOST_PIXELS = 50_000_000
_LONGEST_SOUND_S = 3600
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,asf,gif,h264,hevc,wav,w64,aiff,caf,mp3,flac,ogg,aac,amr"
)
"""No playlists: they make FFmpeg open whatever files and addresses they name."""
_SEEKABLE = {"mp4", "mov", "matroska", "webm"}
_IMAGES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""No formats that are programs, such as PostScript."""

Picture = npt.NDArray[np.uint8]
"""RGB, ``[height, width, 3]``."""


def item_frames(item: MediaItem, frames: int) -> list[Picture]:
    """The pictures of an item: its images, then frames of its clip.

    Args:
        item: A video, or a post with images, a video or both.
        frames: Frames of a video; a post's clip has ``POST_FRAMES``.

    Raises:
        Absent: It has neither.
        BadInput: A file is damaged, empty or no medium of that kind.
    """
    pictures = [read_image(path) for path in item.images]
    if item.clip is not None:
        pictures += clip_frames(item.clip, POST_FRAMES if item.entity == "post" else frames)
    if not pictures:
        raise Absent(f"{item.entity} {item.id}", found="no images and no clip", expected="either", next_step="skip it")
    return pictures


def read_image(path: Path) -> Picture:
    """An image file as RGB on white, turned as its orientation tag says.

    Raises:
        BadInput: It is missing, damaged, cut short, too large or no image.
    """
    from PIL import Image, ImageOps

    _require_content(path)
    try:
        with Image.open(path, formats=_IMAGES) as image:
            if image.width * image.height > _MOST_PIXELS:
                _refuse(path, f"{image.width} x {image.height} pixels", f"an image of at most {_MOST_PIXELS:,} pixels")
            upright: Any = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                return np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[..., None], 3, axis=2)
            if upright.has_transparency_data:
                paper = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(paper, upright.convert("RGBA"))
            return np.asarray(upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        _refuse(path, f"an image that cannot be read ({error})", "a whole image file", error)


def uniform_positions(total: int, count: int) -> npt.NDArray[np.int64]:
    """Which of ``total`` frames are ``count`` evenly spread ones, from the first to the last; one is the middle one.

    A clip with fewer frames gives some of them more than once.
    """
    if count == 1:
        return np.array([(total - 1) // 2])
    return np.arange(count) * (total - 1) // (count - 1)


def clip_frames(path: Path, count: int) -> list[Picture]:
    """Evenly spread frames of a video, the first and the last among them, turned as its display matrix says.

    The packets are counted without decoding them. In containers whose index is by presentation time (mp4, mov,
    Matroska) only what is needed to reach the chosen frames is then decoded, from the key frame before each; elsewhere
    everything up to the last of them.

    Raises:
        Absent: The file has no video stream.
        BadInput: It is missing, damaged, cut short or no medium.
    """
    with _opened(path) as container:
        if not container.streams.video:
            raise Absent(path, found="no video stream", expected="a clip with pictures", next_step="skip it")
        stream = container.streams.video[0]
        _require_decoder(path, stream)
        stream.codec_context.options = {"err_detect": "explode"}
        packets = [
            (packet.pts, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size and not packet.is_discard
        ]
        if not packets or len(packets) < stream.frames:
            _refuse(path, f"{len(packets)} frames", f"the {stream.frames or 'one or more'} that its header announces")
        if any(pts is None for pts, _ in packets) or not _SEEKABLE & set(container.format.name.split(",")):
            return _by_number(path, len(packets), count)
        times = np.sort(np.array([pts for pts, _ in packets], np.int64))
        keys = np.sort(np.array([pts for pts, key in packets if key], np.int64))
        pictures: list[Picture] = []
        shown: tuple[int, Picture] | None = None
        frames: Iterator[Any] = iter(())
        for wanted in times[uniform_positions(len(times), count)].tolist():
            key = int(keys[max(np.searchsorted(keys, wanted, "right") - 1, 0)]) if len(keys) else wanted
            if shown is None or shown[0] < key:
                container.seek(key, stream=stream)
                frames = container.decode(stream)
                shown = None
            while shown is None or shown[0] < wanted:
                frame = next(frames, None)
                if frame is None or frame.is_corrupt or frame.pts is None:
                    _refuse(path, f"a damaged or missing frame at {wanted}", "frames that can be decoded")
                if frame.pts >= wanted:
                    shown = frame.pts, _upright(frame)
            pictures.append(shown[1])
        return pictures


def _by_number(path: Path, total: int, count: int) -> list[Picture]:
    """Count the frames while decoding them."""
    positions = uniform_positions(total, count)
    wanted = set(positions.tolist())
    found: dict[int, Picture] = {}
    with _opened(path) as container:
        container.streams.video[0].codec_context.options = {"err_detect": "explode"}
        for number, frame in enumerate(container.decode(video=0)):
            if frame.is_corrupt:
                _refuse(path, f"a damaged frame {number}", "frames that can be decoded")
            if number in wanted:
                found[number] = _upright(frame)
            if number == max(wanted):
                break
    if wanted - set(found):
        _refuse(path, f"frame {min(wanted - set(found))} missing", f"{total} frames that can be decoded")
    return [found[position] for position in positions.tolist()]


def _upright(frame: Any) -> Picture:
    """RGB pixels of a frame, turned by whole quarters as phones ask for."""
    pixels: Picture = np.rot90(frame.to_ndarray(format="rgb24"), round((frame.rotation or 0) / 90))
    return pixels


def _require_decoder(path: Path, stream: Any) -> None:
    if stream.codec_context is None:
        _refuse(path, "a codec that is not known", "a whole video or audio file")


def read_sound(path: Path, rate: int) -> npt.NDArray[np.float32]:
    """The sound of a clip or an audio file as mono samples between -1 and 1, ``[n]``.

    Args:
        path: The file.
        rate: Samples a second of the result.

    Raises:
        Absent: It has no audio stream, or one without samples.
        BadInput: It is missing, damaged, cut short or no medium.
    """
    import av

    _require_whole_riff(path)
    parts: list[npt.NDArray[np.float32]] = []
    samples = 0
    with _opened(path) as container:
        if not container.streams.audio:
            raise Absent(path, found="no audio stream", expected="a clip with sound", next_step="skip it")
        stream = container.streams.audio[0]
        _require_decoder(path, stream)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        for frame in container.decode(stream):
            if frame.is_corrupt:
                _refuse(path, "damaged sound", "sound that can be decoded")
            for piece in resampler.resample(frame):
                parts.append(piece.to_ndarray()[0])
                samples += len(parts[-1])
            if samples > _LONGEST_SOUND_S * rate:
                _refuse(path, f"more than {_LONGEST_SOUND_S:,} s of sound", "a clip or a piece of music")
        parts += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
        announced = float(stream.duration * stream.time_base) if stream.duration else 0.0
    sound = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if len(sound) / rate < 0.9 * announced - 0.1:
        _refuse(path, f"{len(sound) / rate:.2f} s of sound", f"the {announced:.2f} s that its header announces")
    if not len(sound):
        raise Absent(path, found="no samples", expected="a clip with sound", next_step="skip it")
    return sound


def _require_whole_riff(path: Path) -> None:
    """FFmpeg shortens what the header of a cut wav announces without a word."""
    _require_content(path)
    with path.open("rb") as file:
        head = file.read(8)
    announced = int.from_bytes(head[4:8], "little") + 8
    streamed = 2**32 + 7  # written by programs that did not know the length
    if head[:4] == b"RIFF" and announced != streamed and path.stat().st_size < announced:
        _refuse(path, f"{path.stat().st_size:,} bytes", f"the {announced:,} that its header announces")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import av

    _require_content(path)
    try:
        with av.open(str(path), options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}) as container:
            yield container
    except (av.error.FFmpegError, ValueError) as error:
        _refuse(path, f"a medium that cannot be read ({error})", "a whole video or audio file", error)


def _require_content(path: Path) -> None:
    if not path.is_file():
        _refuse(path, "no such file", "the file that the table names")
    if not path.stat().st_size:
        _refuse(path, "an empty file", "a whole media file")


def _refuse(path: Path, found: str, expected: str, cause: BaseException | None = None) -> NoReturn:
    raise BadInput(path, found=found, expected=expected, next_step="replace the file and encode again") from cause
