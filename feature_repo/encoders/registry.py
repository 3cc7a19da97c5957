"""All encoders by name. ``backbeat features encode NAME`` runs one."""

from feature_repo.encoders.encoding import Encoder, EncoderOptions, Encoding

__all__ = ["ENCODERS"]


def _resnet50(options: EncoderOptions) -> Encoding:
    from feature_repo.encoders.visual import VisualEncoding

    return VisualEncoding("resnet50", options)


def _vgg16(options: EncoderOptions) -> Encoding:
    from feature_repo.encoders.visual import VisualEncoding

    return VisualEncoding("vgg16", options)


def _vggish(options: EncoderOptions) -> Encoding:
    from feature_repo.encoders.vggish import VggishEncoding

    return VggishEncoding(options)


def _music_content(options: EncoderOptions) -> Encoding:
    from feature_repo.encoders.music import MusicContent

    return MusicContent(options)


def _handcrafted_text(options: EncoderOptions) -> Encoding:
    from feature_repo.encoders.handcrafted_text import HandcraftedText

    return HandcraftedText(options)


def _handcrafted_image(options: EncoderOptions) -> Encoding:
    from feature_repo.encoders.handcrafted_image import HandcraftedImage

    return HandcraftedImage(options)


def _sentence_bert(options: EncoderOptions) -> Encoding:
    from feature_repo.encoders.sentence import SentenceEncoding

    return SentenceEncoding(options)


def _word2vec(options: EncoderOptions) -> Encoding:
    from feature_repo.encoders.word2vec import Word2VecEncoding

    return Word2VecEncoding(options)


ENCODERS: dict[str, Encoder] = {
    "resnet50": Encoder("resnet50", ("video", "post"), "visual", _resnet50, "images"),
    "vgg16": Encoder("vgg16", ("video", "post"), "visual", _vgg16, "images"),
    "vggish": Encoder("vggish", ("music", "video"), "acoustic", _vggish, "audio"),
    "music-content": Encoder(
        "music-content", ("music",), "acoustic", _music_content, "audio", fills=("mood", "pitch", "tempo")
    ),
    "handcrafted-text": Encoder(
        "handcrafted-text", ("post", "video"), "textual_handcrafted", _handcrafted_text, "text"
    ),
    "handcrafted-image": Encoder(
        "handcrafted-image", ("post", "video"), "visual_handcrafted", _handcrafted_image, "images"
    ),
    "sentence-bert": Encoder("sentence-bert", ("video", "post"), "textual", _sentence_bert, "text"),
    "word2vec": Encoder("word2vec", ("post", "video"), "textual", _word2vec, "text"),
}
"""Name → encoder."""
