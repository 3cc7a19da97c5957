"""The face detectors, on a photograph that a library ships and on pictures without faces."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from contracts.errors import BadInput, NotFound
from feature_repo.encoders.encoding import EncoderOptions
from feature_repo.encoders.faces import FaceDetector, distinct_boxes
from feature_repo.encoders.handcrafted_image import HandcraftedImage, image_vector
from tests.feature_repo.encoders.onnx_files import yunet_of_bright_cells


@pytest.fixture(scope="module")
def cascade() -> FaceDetector:
    return FaceDetector()


def test_the_face_of_a_photograph_is_found_where_it_is(cascade: FaceDetector) -> None:
    photograph = skimage.data.astronaut()  # NASA, public domain: one face around (225, 115)
    (box,) = cascade(photograph)
    left, top, width, height = box
    assert abs(left + width / 2 - 225) < 15
    assert abs(top + height / 2 - 115) < 15
    assert 80 < width < 130
    *_, faces, largest = image_vector(photograph, cascade(photograph))
    assert faces == 1
    assert largest == pytest.approx(width * height / 512**2)


def test_boxes_are_in_the_pixels_of_the_picture_itself(cascade: FaceDetector) -> None:
    small = skimage.data.astronaut()
    ((left, top, width, _),) = cascade(small)
    ((large_left, large_top, large_width, _),) = cascade(np.repeat(np.repeat(small, 3, 0), 3, 1))
    assert abs(large_left / 3 - left) < 20
    assert abs(large_top / 3 - top) < 20
    assert abs(large_width / 3 - width) < 25


def test_two_faces_side_by_side(cascade: FaceDetector) -> None:
    head = skimage.data.astronaut()[:250, 100:350]
    boxes = cascade(np.concatenate([head, head[:, ::-1]], axis=1))
    assert len(boxes) == 2
    assert sorted(int(left) // 250 for left in boxes[:, 0]) == [0, 1]


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "brick", "text", "coins"])
def test_no_face_in_pictures_without_one(cascade: FaceDetector, name: str) -> None:
    picture = getattr(skimage.data, name)()
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, 2)
    assert cascade(picture).shape == (0, 4)


@pytest.mark.parametrize("shape", [(1, 1), (10, 3000), (23, 23), (24, 24)])
def test_a_picture_smaller_than_a_face_has_none(cascade: FaceDetector, shape: tuple[int, int]) -> None:
    assert cascade(np.full((*shape, 3), 128, np.uint8)).shape == (0, 4)


def test_boxes_that_overlap_a_better_one_are_left_out() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [1, 1, 10, 10], [30, 0, 10, 10], [36.9, 0, 10, 10], [2, 2, 2, 2]])
    scores = np.array([0.5, 0.9, 0.8, 0.7, 0.99])
    # the small box beats the two around it; the fourth overlaps the third by 0.31
    assert distinct_boxes(boxes, scores).tolist() == [[2, 2, 2, 2], [30, 0, 10, 10]]
    assert len(distinct_boxes(boxes[[2, 3]] + np.array([[0, 0, 0, 0], [0.2, 0, 0, 0]]), np.ones(2))) == 2
    assert distinct_boxes(np.zeros((0, 4)), np.zeros(0)).shape == (0, 4)


def test_a_network_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.onnx: found no such file; expected YuNet as ONNX"):
        FaceDetector(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(BadInput, match=r"bad\.onnx: found a network that OpenCV cannot run as YuNet"):
        FaceDetector(tmp_path / "bad.onnx")


def test_the_spec_names_the_detector() -> None:
    assert "faces by lbp-cascade " in HandcraftedImage(EncoderOptions()).spec("post").preprocessing


def test_yunet_finds_what_its_network_says(tmp_path: Path) -> None:
    (tmp_path / "yunet.onnx").write_bytes(yunet_of_bright_cells(size=40))
    detector = FaceDetector(tmp_path / "yunet.onnx")
    picture = np.zeros((250, 310, 3), np.uint8)  # not a multiple of the network's 32
    picture[64:72, 80:88] = picture[160:168, 240:248] = 255
    # boxes of 40 pixels around the middles of the white cells, (84, 68) and (244, 164)
    np.testing.assert_allclose(np.sort(detector(picture), axis=0), [[64, 48, 40, 40], [224, 144, 40, 40]], atol=0.01)
    assert detector(np.zeros((50, 70, 3), np.uint8)).shape == (0, 4)
    # four times as large it is scaled to half of that for the network: boxes of 80 pixels, near the same places
    boxes = detector(np.repeat(np.repeat(picture, 4, 0), 4, 1))
    assert len(boxes) == 2
    np.testing.assert_allclose(boxes[:, 2:], 80, rtol=0.05)
    np.testing.assert_allclose(np.sort(boxes[:, :2] + 40, axis=0), [[336, 272], [976, 656]], atol=20)


def test_yunet_sees_red_as_red(tmp_path: Path) -> None:
    """OpenCV's networks read blue, green, red; ours are red, green, blue."""
    (tmp_path / "red.onnx").write_bytes(yunet_of_bright_cells(size=40, channels=(0, 0, 3)))
    detector = FaceDetector(tmp_path / "red.onnx")
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[32:40, 32:40, 2] = 255
    assert len(detector(picture)) == 0
    picture[32:40, 32:40] = 255, 0, 0
    assert len(detector(picture)) == 1


def test_the_spec_names_the_users_network(tmp_path: Path) -> None:
    for size in (40, 48):
        (tmp_path / f"{size}.onnx").write_bytes(yunet_of_bright_cells(size))
    specs = [HandcraftedImage(EncoderOptions(weights=str(tmp_path / f"{size}.onnx"))).spec("post") for size in (40, 48)]
    assert all("faces by yunet " in spec.preprocessing for spec in specs)
    assert specs[0].digest != specs[1].digest
