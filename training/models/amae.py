"""AMAE (Shen et al.): music for a user and what they posted, by attentive multimodal autoencoders on MF or DMF.

Equation numbers are the paper's. What it leaves open and what is done here:

- Sums over samples (eqs. 4, 8, 9) are means over the records of a batch, so that weights do not hang on its size.
- A rectified decoder (eq. 3) says nothing negative, so features are brought to 0..1 first. With ``scaling`` at
  ``standard`` they have mean 0, and the decoder's last layer is not rectified.
- The first stage ends after a number of epochs: no ranking tells how good an autoencoder is.
- The bias of the attention's second layer (eq. 10) is the same for both levels and cancels in eq. 11; it is left out.
- An item has a bias if wanted, as in the other models of factors, and keeps what negative draws taught it.
- A modality that a user never posted adds nothing to the score. Without any post, what is left is MF or DMF on the
  first d components; an unknown user who posted is scored by the posts alone.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.autoencoders import Autoencoder, cross_modal_loss, draw_layers, reconstruction_loss
from training.batches import Samples, UserBatch
from training.learned import LearnedRecommender
from training.loop import fit_learned
from training.losses import logistic, squared_norm
from training.models.amae_config import AmaeConfig, DmfAmaeConfig, MfAmaeConfig
from training.models.dmf import InteractionTowers
from training.post_features import PostFeatures
from training.protocols import FULL_20, Protocol
from training.recommender import Catalogue, FitReport, OnEpoch

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Amae", "DmfAmae", "IdTables", "LevelAttention", "MfAmae"]

_CHUNK = 512
"""Items scored at once; bounds memory at users x chunk x attention_width floats."""


class IdTables(nn.Module):
    """The base of MF: a vector for each user and item.

    Args:
        users: Number of users.
        items: Number of items.
        user_width: Width of a user's vector.
        item_width: Width of an item's vector.
        deviation: Standard deviation of the normal that they start from.
    """

    def __init__(self, users: int, items: int, *, user_width: int, item_width: int, deviation: float) -> None:
        super().__init__()
        self._deviation = deviation
        self.users = nn.Parameter(torch.zeros(users, user_width))
        self.items = nn.Parameter(torch.zeros(items, item_width))

    def begin(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        """Draw the vectors."""
        with torch.no_grad():
            for table in (self.users, self.items):
                table.copy_(torch.empty(table.shape).normal_(0, self._deviation, generator=generator))

    def user_vectors(self, rows: Tensor, partners: Tensor | None = None) -> Tensor:
        """Vectors of users ``[B]``."""
        return embedding(rows, self.users)

    def item_vectors(self, rows: Tensor, partners: Tensor | None = None) -> Tensor:
        """Vectors of items ``[B]``."""
        return embedding(rows, self.items)

    def refresh(self) -> None:
        """The vectors are what is scored with: nothing to do."""


class LevelAttention(nn.Module):
    """How much the global code counts beside the recent one, for a user and an item (eqs. 10-11).

    Args:
        code: Width of a code and of a user's vector.
        item: Width of an item's vector.
        inner: Width of the first layer.
    """

    def __init__(self, code: int, item: int, inner: int) -> None:
        super().__init__()
        self.code = nn.Parameter(torch.zeros(code, inner))
        self.user = nn.Parameter(torch.zeros(code, inner))
        self.item = nn.Parameter(torch.zeros(item, inner))
        self.bias = nn.Parameter(torch.zeros(inner))
        self.out = nn.Parameter(torch.zeros(inner, 1))

    def forward(self, codes: Tensor, users: Tensor, items: Tensor) -> Tensor:
        """Weight alpha of the global code; the recent one has what is left of 1.

        Args:
            codes: Global and recent, ``[B, 2, d]``.
            users: ``[B, d]``.
            items: ``[B, C, D]``, or ``[C, D]`` for all users.

        Returns:
            ``[B, C]``.
        """
        common = (users @ self.user + self.bias).unsqueeze(1) + items @ self.item
        own = (codes @ self.code).unsqueeze(2)
        overall, recent = (torch.relu(common + own[:, level]) @ self.out for level in (0, 1))
        return torch.sigmoid(overall - recent).squeeze(2)


class Amae(LearnedRecommender):
    """score(u, m, t) = [p_u, z_ut^A, z_ut^B, ...] . q_m (eq. 13), where z_ut^A depends on u and m too (eq. 12)."""

    config: AmaeConfig

    def __init__(self, config: AmaeConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d = config.dimension
        self.posts = PostFeatures(catalogue.contexts, config.features, config.scaling)
        widths, levels = self.posts.widths, len(self.posts.levels)
        self._weighs = config.attention and levels > 1
        width = d * (1 + len(widths) * (1 if self._weighs else levels))
        self.base = self.base_of(width)
        self.bias = nn.Parameter(torch.zeros(catalogue.items))
        self.autoencoders = nn.ModuleDict(
            {
                modality: Autoencoder(
                    inputs,
                    config.inner,
                    d,
                    decodes=config.reconstruction,
                    rectified_output=config.scaling == "range",
                )
                for modality, inputs in widths.items()
            }
        )
        self.attention = nn.ModuleDict(
            {modality: LevelAttention(d, width, config.attention_width) for modality in widths if self._weighs}
        )

    @abstractmethod
    def base_of(self, item_width: int) -> IdTables | InteractionTowers:
        """What gives p_u, of ``dimension`` components, and q_m."""

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        self.posts.measure(frame)
        self.base.begin(frame, generator)
        with torch.no_grad():
            self.bias.zero_()
        draw_layers(self.autoencoders, generator)
        draw_layers(self.attention, generator)

    def fit(
        self,
        frame: "TrainingFrame",
        *,
        seed: int,
        on_epoch: OnEpoch | None = None,
        protocol: Protocol = FULL_20,
        checkpoint: Path | None = None,
    ) -> FitReport:
        """Train the autoencoders, then all together; the report and ``on_epoch`` are of the second stage.

        Loss terms of the first stage's last epoch stand beside those of the second's best.
        """
        config, encoders = self.config, list(self.autoencoders.parameters())
        has_objective = config.reconstruction or (config.cross_modal and len(self.autoencoders) > 1)
        first: FitReport | None = None
        if has_objective and config.autoencoder_epochs and encoders:
            first = fit_learned(
                self,
                frame,
                seed=seed,
                objective=self.autoencoder_terms,
                parameters=encoders,
                epochs=config.autoencoder_epochs,
                checkpoint=checkpoint and checkpoint.with_suffix(".first"),
            )
        fixed = {id(parameter) for parameter in encoders if not config.fine_tuning}
        if not config.item_bias:
            fixed.add(id(self.bias))
        trained = [parameter for parameter in self.parameters() if id(parameter) not in fixed]
        report = fit_learned(
            self,
            frame,
            seed=seed,
            on_epoch=on_epoch,
            parameters=trained,
            fresh=first is None,
            protocol=protocol,
            checkpoint=checkpoint,
        )
        if first is None:
            return report
        return replace(report, losses=first.losses | report.losses, seconds=first.seconds + report.seconds)

    def autoencoder_terms(self, samples: Samples) -> dict[str, Tensor]:
        """Objective of the first stage (eq. 9)."""
        posts = self.posts(samples.context, len(samples))
        codes = self._codes(posts)
        terms = {}
        if self.config.reconstruction:
            terms["reconstruction"] = torch.stack(
                [
                    reconstruction_loss(
                        values[:, level], self.autoencoder(modality).decode(codes[modality][:, level]), there
                    )
                    for modality, (values, there) in posts.items()
                    for level in range(len(self.posts.levels))
                ]
            ).sum()
        if self.config.cross_modal and len(posts) > 1:
            terms["cross_modal"] = torch.stack(
                [
                    cross_modal_loss(codes[a][:, level], codes[b][:, level], posts[a][1] & posts[b][1])
                    for a in posts
                    for b in posts
                    if a != b
                    for level in range(len(self.posts.levels))
                ]
            ).sum()
        norm = squared_norm(*self.autoencoders.parameters(), count=1)
        return terms | {"l2_autoencoders": self.config.autoencoder_regularisation * norm}

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        """Objective of the second stage (eq. 14)."""
        users = self.base.user_vectors(samples.users, samples.positives)
        seen = self.base.item_vectors(samples.positives, samples.users).unsqueeze(1)
        unseen = self.base.item_vectors(samples.negatives.flatten()).view(*samples.negatives.shape, -1)
        with torch.set_grad_enabled(self.config.fine_tuning and torch.is_grad_enabled()):
            codes = self._codes(self.posts(samples.context, len(samples)))
        rows = torch.cat([samples.positives.unsqueeze(1), samples.negatives], dim=1)
        scores = self._scores(users, torch.cat([seen, unseen], dim=1), codes) + self.bias[rows]
        return {
            "cross_entropy": logistic(scores[:, 0], scores[:, 1:]),
            "l2": self.config.regularisation * squared_norm(users, seen, unseen, count=len(samples)),
        }

    def refresh(self) -> None:
        self.base.refresh()

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        users = self.trained_users_of(self.base.users, batch)
        codes = self._codes(self.posts(batch.context, len(batch)))
        table = self.trained_items_of(self.base.items)
        if items is not None:
            return self._scores(users, table[items], codes) + self.bias[items]
        scores = torch.cat([self._scores(users, chunk, codes) for chunk in torch.split(table, _CHUNK)], dim=1)
        return scores + self.bias

    def can_score(self, batch: UserBatch) -> Tensor:
        """Whether each user has a training pair or a post, bool ``[B]``."""
        posted = [there for _, there in self.posts(batch.context, len(batch)).values()]
        return torch.stack([self.is_trained(batch), *posted]).any(0)

    def _codes(self, posts: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Modality → codes of its levels ``[B, L, d]``, zeros where the user posted nothing of the kind."""
        return {
            modality: self.autoencoder(modality).encode(values) * there[:, None, None]
            for modality, (values, there) in posts.items()
        }

    def autoencoder(self, modality: str) -> Autoencoder:
        """The autoencoder of a modality."""
        found = self.autoencoders[modality]
        assert isinstance(found, Autoencoder)
        return found

    def level_attention(self, modality: str) -> LevelAttention:
        """What weighs a modality's global code against the recent one."""
        found = self.attention[modality]
        assert isinstance(found, LevelAttention)
        return found

    def _scores(self, users: Tensor, items: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        """Eqs. 12-13 for users ``[B, d]`` and items ``[B, C, D]`` or ``[C, D]``, ``[B, C]``."""
        own, *parts = torch.split(items, self.config.dimension, dim=-1)
        total, rest = _products(users, own), iter(parts)
        for modality, code in codes.items():
            levels = code.unbind(1)
            if not self._weighs:
                for level in levels:
                    total = total + _products(level, next(rest))
                continue
            part = next(rest)
            overall, recent = (_products(level, part) for level in levels)
            weight = self.level_attention(modality)(code, users, items)
            total = total + recent + weight * (overall - recent)
        return total


class MfAmae(Amae):
    """AMAE on matrix factorisation."""

    config: MfAmaeConfig

    def base_of(self, item_width: int) -> IdTables:
        return IdTables(
            self.catalogue.users,
            self.catalogue.items,
            user_width=self.config.dimension,
            item_width=item_width,
            deviation=self.config.initial_deviation,
        )


class DmfAmae(Amae):
    """AMAE on deep matrix factorisation, whose item network has an output for every code."""

    config: DmfAmaeConfig

    def base_of(self, item_width: int) -> InteractionTowers:
        return InteractionTowers(
            self.catalogue.users,
            self.catalogue.items,
            inner=self.config.tower_width,
            user_width=self.config.dimension,
            item_width=item_width,
            exponent=self.config.row_exponent,
            leaves_out=self.config.leave_target_out,
            rectified=False,
        )


def _products(users: Tensor, items: Tensor) -> Tensor:
    """Inner products of ``[B, d]`` with ``[C, d]`` or ``[B, C, d]``, ``[B, C]``."""
    return users @ items.T if items.dim() == 2 else (items @ users.unsqueeze(2)).squeeze(2)
