"""Frames, images and sound come out as they went in, and damage is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import BadInput
from feature_repo.encoders.encoding import Absent, MediaItem, load_items
from feature_repo.encoders.frames import clip_frames, item_frames, read_image, read_sound, uniform_positions
from feature_repo.encoders.media import write_clip, write_image, write_wav


def _levels(pictures: list) -> list[float]:
    return [round((float(picture.mean()) - 10) / 8, 1) for picture in pictures]


@pytest.mark.parametrize(
    ("total", "count", "expected"),
    [(25, 3, [0, 12, 24]), (25, 1, [12]), (10, 4, [0, 3, 6, 9]), (1, 3, [0, 0, 0]), (2, 3, [0, 0, 1])],
)
def test_uniform_positions(total: int, count: int, expected: list[int]) -> None:
    assert uniform_positions(total, count).tolist() == expected


def test_first_middle_and_last_frame_of_a_clip(grey_clip: Callable[..., Path]) -> None:
    pictures = clip_frames(grey_clip(25), 3)
    assert [picture.shape for picture in pictures] == [(64, 96, 3)] * 3
    assert np.allclose(_levels(pictures), [0, 12, 24], atol=0.3)


def test_uniform_frames_cross_key_frames(grey_clip: Callable[..., Path]) -> None:
    assert np.allclose(_levels(clip_frames(grey_clip(30), 30)), np.arange(30), atol=0.3)
    assert np.allclose(_levels(clip_frames(grey_clip(5), 9)), np.arange(9) * 4 // 8, atol=0.3)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "avi", "h264"])
@pytest.mark.parametrize(("gop", "between"), [(1, 0), (5, 1), (12, 3), (250, 2)])
def test_frames_are_those_of_a_full_decode(tmp_path: Path, suffix: str, gop: int, between: int) -> None:
    """In every container, with key frames near and far and with frames that are stored out of order."""
    import av

    path = tmp_path / f"clip.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": str(between), "g": str(gop), "qp": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 10 + 8 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for count in (1, 3, 7):
        assert np.allclose(_levels(clip_frames(path, count)), uniform_positions(30, count), atol=0.3)


def test_a_clip_is_turned_as_phones_ask_for(tmp_path: Path) -> None:
    """A quarter turn clockwise, written into the matrix of the track's header."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32] = 255
    write_clip(tmp_path / "flat.mp4", [pixels] * 3)
    whole = bytearray((tmp_path / "flat.mp4").read_bytes())
    start = whole.index(b"tkhd") + 4 + 40
    turned = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    whole[start : start + 36] = b"".join(number.to_bytes(4, "big", signed=True) for number in turned)
    (tmp_path / "phone.mp4").write_bytes(whole)
    picture = clip_frames(tmp_path / "phone.mp4", 1)[0]
    assert picture.shape == (64, 32, 3)
    assert picture[:30].min() > 200  # what was on the left is on top
    assert picture[34:].max() < 50


def test_pictures_with_more_than_eight_bits_or_with_holes(tmp_path: Path) -> None:
    from PIL import Image

    deep = np.array([[0, 0x8000, 0xFFFF]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0x80, 0xFF]
    hidden = np.array([[[255, 0, 0, 0], [255, 0, 0, 255]]], np.uint8)
    Image.fromarray(hidden, "RGBA").save(tmp_path / "holes.png")
    assert read_image(tmp_path / "holes.png").tolist() == [[[255, 255, 255], [255, 0, 0]]]


def test_an_unknown_codec_is_refused(tmp_path: Path, sine: Callable) -> None:
    import av

    with av.open(str(tmp_path / "clip.mov"), "w") as container:
        video, sound = container.add_stream("libx264", rate=10), container.add_stream("pcm_s16le", rate=16_000)
        video.width, video.height, video.pix_fmt, sound.layout = 64, 64, "yuv420p", "mono"
        for _ in range(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(video.encode())
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), "s16", "mono")
        samples.sample_rate = 16_000
        container.mux(sound.encode(samples))
        container.mux(sound.encode())
    whole = (tmp_path / "clip.mov").read_bytes()
    (tmp_path / "strange.mov").write_bytes(whole.replace(b"avc1", b"zzzz").replace(b"sowt", b"yyyy"))
    with pytest.raises(BadInput, match=r"strange\.mov: found a codec that is not known"):
        clip_frames(tmp_path / "strange.mov", 3)
    with pytest.raises(BadInput, match=r"strange\.mov: found a codec that is not known"):
        read_sound(tmp_path / "strange.mov", 16_000)


def test_equal_clips_have_equal_bytes(tmp_path: Path, picture: Callable, sine: Callable) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name, [picture(1, 2, 3)] * 5, sine(440, 0.5, 16_000))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_an_image_comes_back_exactly_and_upright(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", pixels)
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)
    tag = Image.Exif()
    tag[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=tag)
    assert np.array_equal(read_image(tmp_path / "turned.png"), np.rot90(pixels, -1))


def test_pictures_of_a_post_are_its_images_and_three_screenshots(
    tmp_path: Path, picture: Callable, grey_clip: Callable[..., Path]
) -> None:
    write_image(tmp_path / "a.png", picture(255, 0, 0))
    item = MediaItem("post", "p1", images=(tmp_path / "a.png",), clip=grey_clip(25))
    pictures = item_frames(item, frames=8)
    assert len(pictures) == 4
    assert np.array_equal(pictures[0], picture(255, 0, 0))
    assert np.allclose(_levels(pictures[1:]), [0, 12, 24], atol=0.3)
    video = MediaItem("video", "v1", clip=item.clip)
    assert len(item_frames(video, frames=8)) == 8
    with pytest.raises(Absent, match="post p2: found no images and no clip"):
        item_frames(MediaItem("post", "p2", text="words"), frames=8)


@pytest.mark.parametrize("suffix", [".wav", ".mp4"])
def test_sound_is_resampled_to_mono(tmp_path: Path, sine: Callable, picture: Callable, suffix: str) -> None:
    path = tmp_path / f"tone{suffix}"
    if suffix == ".wav":
        write_wav(path, sine(440, 2, 44_100), 44_100)
    else:
        write_clip(path, [picture(0, 0, 0)] * 20, sine(440, 2, 44_100), 44_100)
    sound = read_sound(path, 16_000)
    assert abs(len(sound) - 32_000) < 2_200
    spectrum = np.abs(np.fft.rfft(sound[4_000:20_000]))
    assert np.argmax(spectrum) == 440  # one second of samples: bins of one hertz
    assert 0.45 < np.abs(sound[4_000:20_000]).max() < 0.55


def test_both_channels_are_heard(tmp_path: Path, sine: Callable) -> None:
    import wave

    stereo = np.stack([sine(300, 1, 16_000), sine(700, 1, 16_000)], 1)
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((stereo * 32767).astype("<i2").tobytes())
    spectrum = np.abs(np.fft.rfft(read_sound(tmp_path / "stereo.wav", 16_000)))
    assert set(np.argsort(spectrum)[-2:].tolist()) == {300, 700}


def _cut(path: Path, share: float) -> Path:
    cut = path.with_name(f"cut-{path.name}")
    whole = path.read_bytes()
    cut.write_bytes(whole[: int(len(whole) * share)])
    return cut


def _overwritten(path: Path) -> Path:
    """The same file with the middle of its data blotted out."""
    blot = path.with_name(f"blot-{path.name}")
    whole = bytearray(path.read_bytes())
    start = whole.index(b"mdat") + 400
    whole[start : start + 3000] = np.random.default_rng(0).bytes(3000)
    blot.write_bytes(whole)
    return blot


def _without_late_sound(directory: Path, sine: Callable) -> Path:
    """A clip with its index in front, cut within the sound."""
    import av

    write_wav(directory / "two.wav", sine(440, 2, 16_000))
    path = directory / "front.mov"
    with (
        av.open(str(directory / "two.wav")) as source,
        av.open(str(path), "w", container_options={"movflags": "+faststart"}) as target,
    ):
        stream = target.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for frame in source.decode(audio=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return _cut(path, 0.7)


def test_damaged_media_are_refused_by_name(tmp_path: Path, sine: Callable, picture: Callable) -> None:
    noise = np.random.default_rng(0)
    write_clip(
        tmp_path / "noise.mp4",
        [noise.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(12)],
        sine(440, 1, 16_000),
    )
    write_wav(tmp_path / "tone.wav", sine(440, 2, 16_000))
    write_image(tmp_path / "noise.png", noise.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    write_image(tmp_path / "noise.jpg", noise.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "words.mp4").write_text("these are words, not pictures " * 20)
    with pytest.raises(BadInput, match=r"empty\.mp4: found an empty file; expected a whole media file"):
        clip_frames(tmp_path / "empty.mp4", 3)
    with pytest.raises(BadInput, match=r"none\.mp4: found no such file; expected the file that the table names"):
        clip_frames(tmp_path / "none.mp4", 3)
    for share in (0.1, 0.5, 0.95):
        with pytest.raises(BadInput, match=r"cut-noise\.mp4: found a medium that cannot be read"):
            clip_frames(_cut(tmp_path / "noise.mp4", share), 3)
        with pytest.raises(BadInput, match=r"cut-noise\.png: found an image that cannot be read"):
            read_image(_cut(tmp_path / "noise.png", share))
        with pytest.raises(BadInput, match=r"cut-noise\.jpg: found an image that cannot be read"):
            read_image(_cut(tmp_path / "noise.jpg", share))
    with pytest.raises(BadInput, match=r"cut-tone\.wav: found 32,022 bytes; expected the 64,044 that"):
        read_sound(_cut(tmp_path / "tone.wav", 0.5), 16_000)
    with pytest.raises(BadInput, match=r"found 1\.\d\d s of sound; expected the 2\.0\d s that its header announces"):
        read_sound(_without_late_sound(tmp_path, sine), 16_000)
    with pytest.raises(BadInput, match=r"words\.mp4: found a medium that cannot be read"):
        clip_frames(tmp_path / "words.mp4", 3)
    with pytest.raises(BadInput, match=r"words\.mp4: found an image that cannot be read"):
        read_image(tmp_path / "words.mp4")
    with pytest.raises(BadInput, match=r"blot-noise\.mp4: found a"):
        clip_frames(_overwritten(tmp_path / "noise.mp4"), 12)


def test_a_header_that_announces_more_frames_than_there_are(
    tmp_path: Path, grey_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    path = tmp_path / "front.mp4"
    with (
        av.open(str(grey_clip(25))) as source,
        av.open(str(path), "w", container_options={"movflags": "+faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert len(clip_frames(path, 3)) == 3
    with pytest.raises(BadInput, match=r"cut-front\.mp4: found \d+ frames; expected the 25 that its header announces"):
        clip_frames(_cut(path, 0.8), 3)


def test_playlists_and_programs_open_no_other_files(tmp_path: Path, grey_clip: Callable[..., Path]) -> None:
    grey_clip(5, name="secret.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    (tmp_path / "stream.mp4").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "page.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    for name in ("list.mp4", "stream.mp4"):
        with pytest.raises(BadInput, match=f"{name}: found a medium that cannot be read"):
            clip_frames(tmp_path / name, 1)
        with pytest.raises(BadInput, match=f"{name}: found a medium that cannot be read"):
            read_sound(tmp_path / name, 16_000)
    with pytest.raises(BadInput, match=r"page\.png: found an image that cannot be read"):
        read_image(tmp_path / "page.png")


def test_too_large_images_and_too_long_sound_are_refused(
    tmp_path: Path, picture: Callable, sine: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feature_repo.encoders import frames

    write_image(tmp_path / "large.png", picture(0, 0, 0))
    write_wav(tmp_path / "long.wav", sine(440, 3, 16_000))
    monkeypatch.setattr(frames, "_MOST_PIXELS", 6_000)
    monkeypatch.setattr(frames, "_LONGEST_SOUND_S", 2)
    with pytest.raises(BadInput, match="found 96 x 64 pixels; expected an image of at most 6,000 pixels"):
        read_image(tmp_path / "large.png")
    with pytest.raises(BadInput, match="found more than 2 s of sound"):
        read_sound(tmp_path / "long.wav", 16_000)


def test_what_is_not_there_is_absent_and_no_error(tmp_path: Path, sine: Callable, grey_clip: Callable) -> None:
    write_wav(tmp_path / "tone.wav", sine(440, 1, 16_000))
    write_wav(tmp_path / "nothing.wav", sine(440, 0, 16_000))
    with pytest.raises(Absent, match="found no video stream"):
        clip_frames(tmp_path / "tone.wav", 3)
    with pytest.raises(Absent, match="found no audio stream"):
        read_sound(grey_clip(5), 16_000)
    with pytest.raises(Absent, match="found no samples"):
        read_sound(tmp_path / "nothing.wav", 16_000)


def test_a_batch_keeps_its_order_and_names_its_faults(grey_clip: Callable[..., Path], tmp_path: Path) -> None:
    good = [MediaItem("video", f"v{n}", clip=grey_clip(n + 1, name=f"{n}.mp4")) for n in range(4)]
    items = [*good[:2], MediaItem("video", "gone", clip=tmp_path / "gone.mp4"), *good[2:], MediaItem("video", "bare")]
    for threads in (1, 3):
        loaded, faults = load_items(lambda item: item_frames(item, 1)[0].mean(), items, threads)
        assert [None if value is None else round((value - 10) / 8) for value in loaded] == [0, 0, None, 1, 1, None]
        assert [fault is None for fault in faults] == [True, True, False, True, True, False]
        assert faults[2] is not None
        assert (faults[2].path, faults[2].reason, faults[2].absent) == (
            str(tmp_path / "gone.mp4"),
            "no such file",
            False,
        )
        assert faults[5] is not None
        assert faults[5].absent
