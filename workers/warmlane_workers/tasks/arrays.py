"""The arrays of a raw row, checked against their model before a device sees them. Runs no model.

An index that no table has ends the process of a GPU, and arrays that do not fit each other end in an error that says
nothing of the row. So kinds, dimensions, lengths and indices are compared with each other, with the model's own tables
and with what its configuration says; what none of them knows is left to the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from warmlane.errors import InputTooLong, SchemaError
from warmlane_workers.tasks import limits

Tensors = Mapping[str, torch.Tensor]

#: Dimensions of an input with that of the batch, in the order in which they tell whether a row has one.
_RANKS = {
    "input_ids": 2,
    "input_values": 2,
    "input_features": 3,
    "inputs_embeds": 3,
    "pixel_values": 4,
    "decoder_input_ids": 2,
    "decoder_inputs_embeds": 3,
    "attention_mask": 2,
    "decoder_attention_mask": 2,
    "token_type_ids": 2,
    "position_ids": 2,
    "bbox": 3,
}
#: Inputs that say something of each token, and the tokens, by whichever of their names are there.
_BESIDE = {
    **dict.fromkeys(("attention_mask", "token_type_ids", "position_ids", "bbox"), ("input_ids", "inputs_embeds")),
    "decoder_attention_mask": ("decoder_input_ids", "decoder_inputs_embeds"),
}
_INDICES = ("_ids", "bbox")
_MEASURES = ("_values", "_features", "_embeds")


def wrong(name: str, says: str) -> SchemaError:
    return SchemaError(f"inputs.{name}: {says}", field=f"inputs.{name}")


class Arrays:
    """What a model takes.

    Attributes:
        names: the arrays that a row may have.
    """

    def __init__(self, model: Any, closed: frozenset[str]) -> None:
        known = inspect.signature(model.forward).parameters
        kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
        named = {name: spec for name, spec in known.items() if spec.kind in kinds and name not in closed}
        self.names = frozenset(named)
        self._required = [name for name, spec in named.items() if spec.default is spec.empty]
        self._model = model
        self._ranks = {**_RANKS, **_own_ranks(model.config)}

    def batched(self, tensors: Tensors) -> tuple[dict[str, torch.Tensor], bool]:
        """The arrays with a batch dimension, checked, and whether they came without one.

        Raises:
            SchemaError: names the array that the model cannot read.
            InputTooLong: more tokens than the model has positions.
        """
        self._check_kinds(tensors)
        lone = self._is_lone(tensors)
        found = {name: tensor[None] if lone else tensor for name, tensor in tensors.items()}
        self._check_shapes(found)
        self._check_indices(found)
        return found, lone

    def _check_kinds(self, tensors: Tensors) -> None:
        for name, tensor in tensors.items():
            if not tensor.numel():
                raise wrong(name, "an array without elements")
            if name.endswith(_INDICES) and tensor.dtype is not torch.int64:
                raise wrong(name, "whole numbers")
            if name.endswith(_MEASURES) and not tensor.is_floating_point():
                raise wrong(name, "floats, as the model's processor makes them")
        main = self._model.main_input_name
        missing = [name for name in self._required if name not in tensors]
        if main in self.names and main not in tensors and "inputs_embeds" not in tensors:
            missing.append(main)
        if missing:
            raise wrong(missing[0], "missing; the model needs it")

    def _is_lone(self, tensors: Tensors) -> bool:
        """Whether the arrays have no batch dimension."""
        ranked = [name for name in self._ranks if name in tensors]
        if not ranked:
            return False
        first = ranked[0]
        lone = tensors[first].dim() == self._ranks[first] - 1
        for name in ranked:
            rank = self._ranks[name] - lone
            if tensors[name].dim() != rank and not (name == "pixel_values" and tensors[name].dim() > rank):
                beside = f"; {first} has them all" if name != first else f"; a row alone has {rank - 1}"
                raise wrong(name, f"it has {tensors[name].dim()} of {rank} dimensions{beside}")
        return lone

    def _check_shapes(self, tensors: Tensors) -> None:
        first = next(iter(tensors))
        for name, tensor in tensors.items():
            if tensor.dim() == 0 or len(tensor) != len(tensors[first]):
                raise wrong(name, f"as many rows as {first}; the first dimension is the batch's")
            for tokens in _BESIDE.get(name, ()):
                if tokens in tensors and tensor.shape[1] != tensors[tokens].shape[1]:
                    raise wrong(name, f"{tensor.shape[1]} long; {tokens} is {tensors[tokens].shape[1]} long")
        self._check_length(tensors, ("input_ids", "inputs_embeds"), limits.positions(self._model))
        decoder = ("decoder_input_ids", "decoder_inputs_embeds")
        if any(name in tensors for name in decoder):
            self._check_length(tensors, decoder, limits.answer_positions(self._model))

    def _check_length(self, tensors: Tensors, names: tuple[str, ...], most: int | None) -> None:
        for name in names:
            if name in tensors and most is not None and tensors[name].shape[1] > most:
                raise InputTooLong(
                    f"inputs.{name}: {tensors[name].shape[1]} tokens, the model reads {most}; send fewer",
                    field=f"inputs.{name}",
                    tokens=tensors[name].shape[1],
                    limit=most,
                )

    def _check_indices(self, tensors: Tensors) -> None:
        config = self._model.config
        if "input_ids" in tensors:
            _within("input_ids", tensors["input_ids"], _rows_of(self._model), "the model's vocabulary")
        if "decoder_input_ids" in tensors:
            _within(
                "decoder_input_ids", tensors["decoder_input_ids"], _rows_of(_decoder(self._model)), "its vocabulary"
            )
        if "position_ids" in tensors:
            _within("position_ids", tensors["position_ids"], limits.positions(self._model), "the model's positions")
        if "bbox" in tensors:
            _within("bbox", tensors["bbox"], getattr(config, "max_2d_position_embeddings", None), "the page's sides")
            box = tensors["bbox"]
            if box.shape[-1] != 4 or bool((box[..., 2:] < box[..., :2]).any()):
                raise wrong("bbox", "boxes are left, top, right, bottom, each side before the one across")
        if "token_type_ids" in tensors:
            self._check_types(tensors["token_type_ids"])

    def _check_types(self, types: torch.Tensor) -> None:
        """Each kind of type of TAPAS by itself; a model without a table of types looks them up in its vocabulary."""
        config = self._model.config
        several = getattr(config, "type_vocab_sizes", None)
        if several is not None:
            if types.shape[-1] != len(several):
                raise wrong("token_type_ids", f"{len(several)} kinds of types a token")
            for kind, count in enumerate(several):
                _within("token_type_ids", types[..., kind], count, f"its types of kind {kind}")
            return
        count = getattr(config, "type_vocab_size", None) or _rows_of(self._model)
        _within("token_type_ids", types, count, "the model's types")


def _own_ranks(config: Any) -> dict[str, int]:
    """Where a family's inputs have other dimensions than most."""
    own = {}
    if hasattr(config, "num_mel_bins"):
        own["input_values"] = 3  # spectrograms (batch, time, mel)
    if hasattr(config, "num_frames"):
        own["pixel_values"] = 5  # films (batch, frames, channels, height, width)
    if hasattr(config, "type_vocab_sizes"):
        own["token_type_ids"] = 3  # TAPAS (batch, tokens, kinds)
    return own


def _within(name: str, indices: torch.Tensor, count: int | None, what: str) -> None:
    if count is not None and not 0 <= int(indices.min()) <= int(indices.max()) < count:
        raise wrong(name, f"from 0 to {count - 1}, {what}")


def _decoder(model: Any) -> Any:
    return model.get_decoder() if model.config.is_encoder_decoder else model


def _rows_of(model: Any) -> int | None:
    """How many ids a model has embeddings for; None where neither its table nor its configuration says."""
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:  # a model of sounds, or of two kinds of inputs
        table = None
    if isinstance(table, torch.nn.Embedding):
        return table.num_embeddings
    count = getattr(model.config.get_text_config(), "vocab_size", None)
    return count if isinstance(count, int) else None
