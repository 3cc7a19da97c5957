"""Handcrafted image features against values worked out by hand on drawn pictures."""

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from feature_repo.encoders.encoding import EncoderOptions, MediaItem
from feature_repo.encoders.handcrafted_image import IMAGE_COMPONENTS, HandcraftedImage, image_vector
from feature_repo.encoders.registry import ENCODERS

Pixels = npt.NDArray[np.uint8]
NO_FACES = np.zeros((0, 4))


def measured(picture: Pixels) -> dict[str, float]:
    vector = image_vector(picture, NO_FACES)
    assert vector.dtype == np.float32
    return dict(zip(IMAGE_COMPONENTS, vector.tolist(), strict=True))


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Pixels:
    picture = np.empty((40, 60, 3), np.uint8)
    picture[:, :30], picture[:, 30:] = left, right
    return picture


def test_components_have_names_of_their_own() -> None:
    assert len(set(IMAGE_COMPONENTS)) == len(IMAGE_COMPONENTS) == 24


@pytest.mark.parametrize(
    ("colour", "hue", "warm", "cold"),
    [
        ((255, 0, 0), 0, 1, 0),
        ((255, 128, 0), 30.1, 1, 0),
        ((255, 255, 0), 60, 1, 0),
        ((0, 255, 0), 120, 0, 0),
        ((0, 255, 255), 180, 0, 1),
        ((0, 0, 255), 240, 0, 1),
        ((255, 0, 255), 300, 0, 0),
        ((255, 0, 127), 330.1, 1, 0),
    ],
)
def test_one_full_colour(
    picture: Callable[..., Pixels], colour: tuple[int, int, int], hue: float, warm: float, cold: float
) -> None:
    found = measured(picture(*colour))
    assert found["hue_cosine"] == pytest.approx(math.cos(math.radians(hue)), abs=1e-3)
    assert found["hue_sine"] == pytest.approx(math.sin(math.radians(hue)), abs=1e-3)
    assert found["hue_contrast"] == pytest.approx(0, abs=1e-6)
    assert (found["area_warm"], found["area_cold"]) == (warm, cold)
    assert (found["saturation_mean"], found["brightness_mean"]) == (pytest.approx(1), 1)
    assert found["area_saturation_high"] == found["area_brightness_very_light"] == 1
    rest = ("saturation_contrast", "brightness_contrast", "sharpness", "lines_length", "faces", "faces_largest")
    assert [found[name] for name in rest] == [0] * len(rest)


def test_grey_has_no_hue(picture: Callable[..., Pixels]) -> None:
    found = measured(picture(102, 102, 102))
    assert [found[name] for name in ("hue_cosine", "hue_sine", "hue_contrast", "area_warm", "area_cold")] == [0] * 5
    assert found["brightness_mean"] == pytest.approx(0.4)
    assert found["area_brightness_middle"] == found["area_saturation_low"] == 1  # 0.4 begins the third fifth


def test_the_mean_of_hues_is_taken_around_the_circle() -> None:
    found = measured(halves((255, 0, 43), (255, 43, 0)))  # 350 and 10 degrees, to 0.2
    assert math.degrees(math.atan2(found["hue_sine"], found["hue_cosine"])) == pytest.approx(0, abs=0.01)
    assert found["hue_contrast"] == pytest.approx(1 - math.cos(math.radians(10.118)), abs=1e-4)
    assert found["area_warm"] == 1


def test_opposite_hues_cancel_and_pale_pixels_weigh_less() -> None:
    found = measured(halves((255, 0, 0), (0, 255, 255)))
    assert found["hue_contrast"] == pytest.approx(1, abs=1e-6)
    assert (found["area_warm"], found["area_cold"]) == (0.5, 0.5)
    found = measured(halves((255, 0, 0), (204, 255, 255)))  # chroma 1 and 0.2: (1 - 0.2) / 1.2
    assert found["hue_cosine"] == pytest.approx(0.8 / 1.2, abs=1e-6)


def test_halves_have_the_contrast_of_two_values() -> None:
    found = measured(halves((0, 0, 0), (255, 51, 51)))  # brightness 0 and 1, saturation 0 and 0.8
    assert found["brightness_mean"] == pytest.approx(0.5)
    assert found["brightness_contrast"] == pytest.approx(0.5)
    assert found["saturation_mean"] == pytest.approx(0.4, abs=1e-6)
    assert found["saturation_contrast"] == pytest.approx(0.4, abs=1e-6)
    assert found["area_brightness_very_dark"] == found["area_brightness_very_light"] == 0.5
    assert found["area_saturation_low"] == found["area_saturation_high"] == 0.5
    assert found["area_warm"] == 0.5


def test_five_levels_of_brightness_and_three_of_saturation() -> None:
    stripes = np.zeros((10, 50, 3), np.uint8)
    for number, level in enumerate((0, 51, 102, 153, 204)):  # each the lower border of its fifth
        stripes[:, number * 10 : number * 10 + 10] = level
    found = measured(stripes)
    areas = [found[f"area_brightness_{level}"] for level in ("very_dark", "dark", "middle", "light", "very_light")]
    assert areas == pytest.approx([0.2] * 5)
    stripes = np.full((10, 30, 3), 255, np.uint8)
    for number, level in enumerate((171, 170, 85)):  # saturation just below and at 1/3, and at 2/3
        stripes[:, number * 10 : number * 10 + 10, 1:] = level
    found = measured(stripes)
    assert [found[f"area_saturation_{level}"] for level in ("low", "middle", "high")] == pytest.approx([1 / 3] * 3)


def test_tenengrad_of_a_ramp_a_step_and_a_chessboard() -> None:
    ramp = np.repeat(np.arange(0, 200, 5, dtype=np.uint8)[None, :, None], 30, 0).repeat(3, 2)
    # Sobel's kernel gives 8 times the slope, everywhere inside.
    assert measured(ramp)["sharpness"] == pytest.approx((8 * 5 / 255) ** 2, rel=1e-5)
    assert measured(ramp.transpose(1, 0, 2))["sharpness"] == pytest.approx((8 * 5 / 255) ** 2, rel=1e-5)
    step = halves((0, 0, 0), (255, 255, 255))
    # two of the 58 inner columns have a gradient of 4
    assert measured(step)["sharpness"] == pytest.approx(2 * 16 / 58, rel=1e-5)
    # In a chessboard of single pixels both neighbours of a pixel are equal: no gradient at all.
    board = np.where(np.indices((32, 32)).sum(0) % 2, 255, 0).astype(np.uint8)[:, :, None].repeat(3, 2)
    assert measured(board)["sharpness"] == pytest.approx(0, abs=1e-9)
    # Squares of two: across, rows differ in phase, so that the kernel's halves add up to 2, 0 or -2 in each direction.
    coarse = np.where((np.indices((32, 32)) // 2).sum(0) % 2, 1.0, 0.0)
    across = sum(
        weight * (coarse[1 + row : 31 + row, 2:] - coarse[1 + row : 31 + row, :-2])
        for row, weight in ((-1, 1), (0, 2), (1, 1))
    )
    expected = 2 * float(np.mean(np.square(across)))
    assert measured((coarse * 255).astype(np.uint8)[:, :, None].repeat(3, 2))["sharpness"] == pytest.approx(expected)
    assert expected > 1


def test_a_blurred_picture_is_less_sharp(rng: np.random.Generator) -> None:
    sharp = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert measured(np.asarray(cv2.GaussianBlur(sharp, (5, 5), 2)))["sharpness"] < 0.2 * measured(sharp)["sharpness"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def drawn(*ends: tuple[int, int, int, int]) -> Pixels:
    picture = np.zeros((200, 200, 3), np.uint8)
    for left, top, right, bottom in ends:
        cv2.line(picture, (left, top), (right, bottom), (255, 255, 255), 5)
    return picture


@pytest.mark.parametrize(
    ("degrees", "direction"),
    [*[(d, "horizontal") for d in (0, 10, 175)], *[(d, "vertical") for d in (80, 90, 100)]]
    + [(d, "slanted") for d in (25, 45, 65, 120, 150)],
)
def test_a_line_of_known_slope(degrees: float, direction: str) -> None:
    across, down = 70 * math.cos(math.radians(degrees)), 70 * math.sin(math.radians(degrees))
    found = measured(drawn((round(100 - across), round(100 - down), round(100 + across), round(100 + down))))
    assert found[f"lines_{direction}"] > 0.9
    assert sum(found[f"lines_{name}"] for name in ("horizontal", "vertical", "slanted")) == pytest.approx(1, abs=1e-6)
    # Both edges of the stroke are lines of about 140 pixels, in diagonals of 200 pixels.
    assert found["lines_length"] > 0.6 * 2 * 140 / math.hypot(200, 200)


def test_shares_of_lines_go_by_length() -> None:
    found = measured(drawn((20, 30, 180, 30), (20, 60, 20, 140)))  # 160 across, 80 down
    assert found["lines_horizontal"] == pytest.approx(2 / 3, abs=0.06)
    assert found["lines_vertical"] == pytest.approx(1 / 3, abs=0.06)


def test_equal_pictures_have_equal_vectors(rng: np.random.Generator) -> None:
    noise = rng.integers(0, 255, (300, 400, 3), dtype=np.uint8)
    np.testing.assert_array_equal(image_vector(noise, NO_FACES), image_vector(noise, NO_FACES))


def test_faces_are_counted_and_the_largest_is_a_share_of_the_area() -> None:
    picture = np.zeros((600, 1000, 3), np.uint8)  # scaled to 512 for the rest, not for this
    vector = image_vector(picture, np.array([[0.0, 0, 60, 100], [100, 100, 120, 100], [0, 0, 10, 10]]))
    assert vector[-2:].tolist() == [3, pytest.approx(12_000 / 600_000)]


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2, 2), (3, 3), (5000, 3)])
def test_pictures_of_odd_shapes(shape: tuple[int, int]) -> None:
    encoding = HandcraftedImage(EncoderOptions())
    assert encoding.spec("post").width == len(IMAGE_COMPONENTS)
    found = measured(np.full((*shape, 3), 255, np.uint8))
    assert all(math.isfinite(value) for value in found.values())
    assert found["brightness_mean"] == 1


def test_a_post_has_the_mean_of_its_images_and_of_its_clips_frames(
    tmp_path: Path, picture: Callable[..., Pixels], grey_clip: Callable[..., Path]
) -> None:
    red, black = tmp_path / "red.png", tmp_path / "black.png"
    Image.fromarray(picture(255, 0, 0)).save(red)
    Image.fromarray(picture(0, 0, 0)).save(black)
    encoding = ENCODERS["handcrafted-image"].build(EncoderOptions())
    clip = grey_clip(frames=3)  # brightness of about 10, 18 and 26
    items = [
        MediaItem("post", "images", images=(red, black)),
        MediaItem("post", "all", images=(red, black), clip=clip),
        MediaItem("video", "clip", clip=clip),
    ]
    vectors, faults = encoding.encode(items)
    assert faults == [None] * 3
    at = IMAGE_COMPONENTS.index("brightness_mean")
    assert vectors[0, at] == pytest.approx(0.5)
    assert vectors[2, at] == pytest.approx(18 / 255, abs=0.01)
    np.testing.assert_allclose(vectors[1], (2 * vectors[0] + 3 * vectors[2]) / 5, atol=1e-6)
    for row, item in enumerate(items):
        np.testing.assert_array_equal(encoding.encode([item])[0][0], vectors[row])


def test_a_damaged_image_is_a_fault_and_the_others_stay(tmp_path: Path, picture: Callable[..., Pixels]) -> None:
    whole, cut = tmp_path / "whole.png", tmp_path / "cut.png"
    Image.fromarray(picture(255, 0, 0)).save(whole)
    cut.write_bytes(whole.read_bytes()[:60])
    items = [MediaItem("post", "1", images=(cut,)), MediaItem("post", "2", images=(whole,)), MediaItem("post", "3")]
    vectors, faults = HandcraftedImage(EncoderOptions(threads=2)).encode(items)
    assert [fault is None for fault in faults] == [False, True, False]
    assert faults[0] is not None
    assert faults[0].path == str(cut)
    assert faults[2] is not None
    assert faults[2].absent
    assert not vectors[[0, 2]].any()
    assert vectors[1].any()
