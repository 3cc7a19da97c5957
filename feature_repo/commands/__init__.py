"""The commands of this room, one module for each group; ``backbeat`` mounts them."""

from feature_repo.commands.encode import encode, use
from feature_repo.commands.features import features
from feature_repo.commands.ingest import ingest
from feature_repo.commands.stream import consume, merge, push
from feature_repo.commands.words import train_words

__all__ = ["features", "ingest"]

features.command("encode")(encode)
features.command("use")(use)
features.command("train-words")(train_words)
features.command("push")(push)
features.command("consume")(consume)
features.command("merge")(merge)
