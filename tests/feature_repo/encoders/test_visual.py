"""The networks compute what independent implementations compute, from weights under their published names."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from contracts.errors import BadInput, NotFound, ServiceUnavailable
from feature_repo.encoders.encoding import EncoderOptions, MediaItem
from feature_repo.encoders.media import write_image
from feature_repo.encoders.resnet import ResNet
from feature_repo.encoders.vgg import Vgg
from feature_repo.encoders.visual import VisualEncoding, prepare_pictures
from feature_repo.encoders.weights import load_network, locate_weights, weights_revision
from tests.feature_repo.encoders.seeded_weights import seeded

PLAN = ((4, 2), (6, 2), (8, 3), (8, 3), (8, 3))


def tiny_resnet() -> ResNet:
    return ResNet(width=4)


def tiny_vgg() -> Vgg:
    return Vgg(PLAN, width=32)


@pytest.fixture
def weights(tmp_path: Path) -> Callable[..., Path]:
    """``weights("resnet50" or "vgg16", seed=0)``: a file of tiny weights."""

    def make(encoder: str, seed: int = 0) -> Path:
        path = tmp_path / f"{encoder}-{seed}.safetensors"
        save_file(seeded(tiny_resnet() if encoder == "resnet50" else tiny_vgg(), seed), path)
        return path

    return make


def make_encoding(encoder: str, path: Path, **options: Any) -> VisualEncoding:
    network = tiny_resnet() if encoder == "resnet50" else tiny_vgg()
    return VisualEncoding(encoder, EncoderOptions(weights=str(path), **options), network)


def test_resnet50_has_the_published_names_and_shapes() -> None:
    """torchvision's state dict, written out by its rule; 25,557,032 parameters less the classifier's 2,049,000."""
    expected: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}

    def norm(name: str, channels: int) -> None:
        expected.update({f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")})
        expected[f"{name}.num_batches_tracked"] = ()

    norm("bn1", 64)
    inputs = 64
    for stage, (count, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], 1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            expected[f"{name}.conv1.weight"] = (width, inputs, 1, 1)
            expected[f"{name}.conv2.weight"] = (width, width, 3, 3)
            expected[f"{name}.conv3.weight"] = (4 * width, width, 1, 1)
            norm(f"{name}.bn1", width), norm(f"{name}.bn2", width), norm(f"{name}.bn3", 4 * width)
            if not block:
                expected[f"{name}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    with torch.device("meta"):
        network = ResNet()
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == expected
    assert sum(parameter.numel() for parameter in network.parameters()) == 25_557_032 - 2_049_000
    assert network.width == 2048


def test_vgg16_has_the_published_names_and_shapes() -> None:
    """torchvision's: 138,357,544 parameters less the last layer's 4,097,000."""
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    expected: dict[str, tuple[int, ...]] = {}
    for number, place in enumerate(places):
        expected[f"features.{place}.weight"] = (channels[number + 1], channels[number], 3, 3)
        expected[f"features.{place}.bias"] = (channels[number + 1],)
    expected |= {"classifier.0.weight": (4096, 25_088), "classifier.0.bias": (4096,)}
    expected |= {"classifier.3.weight": (4096, 4096), "classifier.3.bias": (4096,)}
    with torch.device("meta"):
        network = Vgg()
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == expected
    assert sum(parameter.numel() for parameter in network.parameters()) == 138_357_544 - 4_097_000
    assert network.width == 4096


def test_resnet_equals_the_implementation_of_transformers() -> None:
    from transformers import ResNetConfig, ResNetModel

    network = tiny_resnet()
    state = seeded(network)
    network.load_state_dict(state)
    config = ResNetConfig(
        embedding_size=4, hidden_sizes=[16, 32, 64, 128], depths=[3, 4, 6, 3], layer_type="bottleneck"
    )
    other = ResNetModel(config).eval()
    mapped = {}
    for name, tensor in state.items():
        parts = name.split(".")
        kind = {"conv": "convolution", "bn": "normalization"}
        if parts[0] in ("conv1", "bn1"):
            target = ["embedder.embedder", kind[parts[0][:-1]]]
        else:
            where = f"encoder.stages.{int(parts[0][-1]) - 1}.layers.{parts[1]}"
            if parts[2] == "downsample":
                target = [where, "shortcut", "convolution" if parts[3] == "0" else "normalization"]
            else:
                target = [where, f"layer.{int(parts[2][-1]) - 1}", kind[parts[2][:-1]]]
        mapped[".".join([*target, parts[-1]])] = tensor
    other.load_state_dict(mapped, strict=True)
    pictures = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        mine, theirs = network.eval()(pictures), other(pictures).pooler_output.flatten(1)
    assert mine.shape == (2, 128)
    assert mine.std() > 0.1
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_vgg_equals_its_layers_written_out() -> None:
    network = tiny_vgg()
    state = seeded(network)
    network.load_state_dict(state)
    x = pictures = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    place = 0
    for _, count in PLAN:
        for _ in range(count):
            x = functional.conv2d(x, state[f"features.{place}.weight"], state[f"features.{place}.bias"], padding=1)
            x = x.clamp_min(0)
            place += 2
        x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
        place += 1
    assert x.shape[2:] == (7, 7)
    x = (x.flatten(1) @ state["classifier.0.weight"].T + state["classifier.0.bias"]).clamp_min(0)
    x = (x @ state["classifier.3.weight"].T + state["classifier.3.bias"]).clamp_min(0)
    with torch.inference_mode():
        mine = network.eval()(pictures)
    assert (mine > 0).float().mean() > 0.2
    torch.testing.assert_close(mine, x, rtol=1e-4, atol=1e-5)


def test_pictures_are_scaled_cropped_and_normalised() -> None:
    """A picture of one colour stays it; a crop keeps the middle, scaling keeps the edges."""
    red = np.zeros((300, 500, 3), np.uint8)
    red[..., 0] = 255
    for crop in (True, False):
        prepared = prepare_pictures([red], crop=crop)
        assert prepared.shape == (1, 3, 224, 224)
        for channel, expected in enumerate([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]):
            torch.testing.assert_close(prepared[0, channel], torch.full((224, 224), expected))
    halves = np.zeros((256, 512, 3), np.uint8)
    halves[:, :256] = 255  # the seam is in the middle of both; at 0.25 of the width only of the scaled one
    quarter = np.zeros((256, 512, 3), np.uint8)
    quarter[:, :128] = 255  # outside the centre crop, which is of columns 144 to 368
    white, black = (1 - 0.485) / 0.229, -0.485 / 0.229
    cropped, scaled = (prepare_pictures([halves, quarter], crop=crop)[:, 0] for crop in (True, False))
    assert torch.allclose(cropped[0, :, :110], torch.tensor(white))
    assert torch.allclose(cropped[0, :, 114:], torch.tensor(black))
    assert torch.allclose(cropped[1], torch.tensor(black))
    assert torch.allclose(scaled[1, :, :54], torch.tensor(white))
    assert torch.allclose(scaled[1, :, 58:], torch.tensor(black))


def test_a_strip_does_not_grow_into_a_huge_picture() -> None:
    strip = np.full((2, 40_000, 3), 255, np.uint8)
    assert prepare_pictures([strip, strip.transpose(1, 0, 2)], crop=True).shape == (2, 3, 224, 224)


def test_pictures_are_prepared_as_pillow_does() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR)) / 255
    mine = prepare_pictures([pixels], crop=False)[0].permute(1, 2, 0).numpy()
    assert np.abs(mine * np.array([0.229, 0.224, 0.225]) + np.array([0.485, 0.456, 0.406]) - expected).max() < 1.5 / 255


@pytest.mark.parametrize("encoder", ["resnet50", "vgg16"])
def test_a_vector_is_the_mean_of_its_pictures_and_independent_of_the_batch(
    encoder: str, weights: Callable, tmp_path: Path, grey_clip: Callable
) -> None:
    rng = np.random.default_rng(3)
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        write_image(paths[-1], rng.integers(0, 256, (40 + 16 * number, 70, 3), dtype=np.uint8))
    items = [
        MediaItem("post", "one", images=(paths[0],)),
        MediaItem("post", "broken", images=(tmp_path / "gone.png",)),
        MediaItem("post", "many", images=tuple(paths[1:])),
        MediaItem("post", "clip", clip=grey_clip(9)),
        MediaItem("post", "bare", text="words"),
    ]
    encoding = make_encoding(encoder, weights(encoder), batch=3, threads=2)
    vectors, faults = encoding.encode(items)
    assert [fault is None for fault in faults] == [True, False, True, True, False]
    for row in (0, 2, 3):
        alone, _ = encoding.encode([items[row]])
        assert np.array_equal(alone[0], vectors[row])  # to the last bit
    singles, _ = encoding.encode([MediaItem("post", str(n), images=(path,)) for n, path in enumerate(paths[1:])])
    assert np.allclose(vectors[2], singles.mean(0), atol=1e-5)
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3


def test_frames_of_a_video_are_as_many_as_asked_for(weights: Callable, grey_clip: Callable) -> None:
    path = weights("resnet50")
    item = MediaItem("video", "v", clip=grey_clip(25))
    one, three = (make_encoding("resnet50", path, frames=count) for count in (1, 3))
    assert not np.array_equal(one.encode([item])[0], three.encode([item])[0])
    assert "1 uniform frames" in one.spec("video").preprocessing
    assert one.spec("video").digest != three.spec("video").digest
    assert one.spec("post").digest == three.spec("post").digest  # always three screenshots


def test_the_spec_names_weights_and_preparation(weights: Callable) -> None:
    path = weights("vgg16")
    spec = make_encoding("vgg16", path).spec("video")
    assert (spec.name, spec.encoder, spec.width, spec.revision) == ("visual", "vgg16", 32, weights_revision(path))
    post = make_encoding("vgg16", path).spec("post")
    assert post.name == "post_visual"
    assert "scaled to 224x224" in post.preprocessing
    assert make_encoding("vgg16", weights("vgg16", seed=1)).spec("video").revision != spec.revision


def test_weights_load_from_either_format_and_with_the_classifier(tmp_path: Path) -> None:
    state = seeded(tiny_resnet()) | {"fc.weight": torch.zeros(10, 128), "fc.bias": torch.zeros(10)}
    save_file(state, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "weights.pth")
    assert locate_weights(str(tmp_path), "resnet50") == tmp_path / "model.safetensors"
    safe, pickled = (
        load_network(tiny_resnet(), tmp_path / name, ("fc.",)) for name in ("model.safetensors", "weights.pth")
    )
    for name, tensor in safe.state_dict().items():
        assert torch.equal(tensor, pickled.state_dict()[name])
        assert torch.equal(tensor, state[name])
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    save_file(old, tmp_path / "old.safetensors")
    load_network(tiny_resnet(), tmp_path / "old.safetensors", ("fc.",))


def test_vgg_weights_as_timm_files_them(tmp_path: Path, weights: Callable, picture: Callable) -> None:
    state = seeded(tiny_vgg())
    renamed = {name: tensor for name, tensor in state.items() if name.startswith("features.")}
    for theirs, mine, shape in (("fc1", "0", (32, 8, 7, 7)), ("fc2", "3", (32, 32, 1, 1))):
        renamed[f"pre_logits.{theirs}.weight"] = state[f"classifier.{mine}.weight"].reshape(shape)
        renamed[f"pre_logits.{theirs}.bias"] = state[f"classifier.{mine}.bias"]
    renamed |= {"head.fc.weight": torch.zeros(10, 32), "head.fc.bias": torch.zeros(10)}
    save_file(renamed, tmp_path / "timm.safetensors")
    write_image(tmp_path / "a.png", picture(200, 100, 50))
    item = MediaItem("post", "p", images=(tmp_path / "a.png",))
    theirs, _ = make_encoding("vgg16", tmp_path / "timm.safetensors").encode([item])
    mine, _ = make_encoding("vgg16", weights("vgg16")).encode([item])
    assert np.array_equal(theirs, mine)


def test_wrong_weights_are_refused_by_name(tmp_path: Path) -> None:
    state = seeded(tiny_resnet())

    def refused(changed: dict[str, torch.Tensor], match: str) -> None:
        save_file(changed, tmp_path / "bad.safetensors")
        with pytest.raises(BadInput, match=match):
            load_network(tiny_resnet(), tmp_path / "bad.safetensors", ("fc.",))

    refused(
        {("stem" + name[5:] if name == "conv1.weight" else name): tensor for name, tensor in state.items()},
        r"found 1 names missing \(conv1\.weight\) and 1 unknown \(stem\.weight\); expected the 318 names of ResNet",
    )
    refused(state | {"conv1.weight": torch.zeros(4, 3, 5, 5)}, r"conv1.weight of shape \[4, 3, 5, 5\]; expected shape")
    refused(state | {"bn1.bias": torch.full((4,), torch.nan)}, "bn1.bias with NaN or infinite values")
    refused(seeded(tiny_vgg()), r"found 265 names missing \(conv1\.weight")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(BadInput, match=r"weights .*cut\.pth: found a file that cannot be read"):
        load_network(tiny_resnet(), tmp_path / "cut.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BadInput, match="found a list that is no state dict"):
        load_network(tiny_resnet(), tmp_path / "list.pth")
    torch.save(tiny_resnet(), tmp_path / "object.pth")  # a pickled object: never unpickled
    (tmp_path / "junk.pth").write_bytes(b"no weights at all")
    for name in ("object.pth", "junk.pth"):
        with pytest.raises(BadInput, match=rf"{name}: found a file that cannot be read as tensors alone") as refusal:
            load_network(tiny_resnet(), tmp_path / name)
        assert "weights_only" not in str(refusal.value), "torch's advice to unpickle whatever is there"


def test_absent_weights_name_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match=r"weights of vgg16: found none given.*--weights PATH"):
        locate_weights(None, "vgg16")
    with pytest.raises(NotFound, match="correct --weights"):
        locate_weights(str(tmp_path / "none.pth"), "vgg16")
    import huggingface_hub

    asked = []

    def offline(repository: str, file: str, revision: str | None = None) -> str:
        asked.append((repository, file, revision))
        if revision == "v1":
            (tmp_path / "fetched.safetensors").touch()
            return str(tmp_path / "fetched.safetensors")
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    assert locate_weights("hub:timm/resnet50.tv_in1k@v1", "resnet50") == tmp_path / "fetched.safetensors"
    with pytest.raises(
        ServiceUnavailable, match=r"weights hub:timm/resnet50\.tv_in1k: found OSError: no route to host"
    ):
        locate_weights("hub:timm/resnet50.tv_in1k", "resnet50")
    assert asked == [
        ("timm/resnet50.tv_in1k", "model.safetensors", "v1"),
        ("timm/resnet50.tv_in1k", "model.safetensors", None),
    ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("encoder", ["resnet50", "vgg16"])
def test_cuda_computes_what_the_cpu_computes(encoder: str, weights: Callable, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    items = []
    for number in range(7):
        write_image(tmp_path / f"{number}.png", rng.integers(0, 256, (60, 70, 3), dtype=np.uint8))
        items.append(MediaItem("post", str(number), images=(tmp_path / f"{number}.png",)))
    cpu = make_encoding(encoder, weights(encoder))
    cuda = make_encoding(encoder, weights(encoder), device="cuda", batch=4)
    ours, _ = cuda.encode(items)
    assert np.allclose(ours, cpu.encode(items)[0], rtol=1e-3, atol=1e-4)
    for row, item in enumerate(items):
        assert np.array_equal(cuda.encode([item])[0][0], ours[row])
    assert cuda.spec("post") == cpu.spec("post")


def test_the_published_network_runs_from_its_weights(tmp_path: Path, picture: Callable) -> None:
    """ResNet-50 in full, made on the meta device and filled from a file."""
    with torch.device("meta"):
        network = ResNet()
    save_file(seeded(network), tmp_path / "resnet50.safetensors")
    write_image(tmp_path / "a.png", picture(200, 100, 50))
    options = EncoderOptions(weights=str(tmp_path / "resnet50.safetensors"))
    encoding = VisualEncoding("resnet50", replace(options, frames=2))
    vectors, faults = encoding.encode([MediaItem("post", "p", images=(tmp_path / "a.png",))])
    assert faults == [None]
    assert vectors.shape == (1, 2048)
    assert np.isfinite(vectors).all()
    assert vectors.std() > 0
