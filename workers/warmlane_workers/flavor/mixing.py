"""One batch for several adapters of a base: modules that add to each row what its own adapter adds.

PEFT mixes too (`adapter_names`), by hooks that it puts on the model at each call, so never two batches at a time, and
with all adapters in one model. Here a model of its own, over the base's tensors, asks its thread which rows it has; an
adapter comes and goes by an entry in a dict. What is added is computed by PEFT's own modules. LoRA mixes, and modules
that an adapter keeps whole, such as heads; DoRA and the methods that make texts longer do not.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper

from warmlane_workers.flavor import adapters
from warmlane_workers.pipelines.memory import is_exhausted

#: (a module's input, its output without adapter, its other arguments) -> its output with an adapter.
Part = Callable[..., torch.Tensor]
#: What an adapter does to the modules of its base, by their names.
Parts = Mapping[str, Part]

_batch = threading.local()


class CannotMix(RuntimeError):
    """The rows of a batch cannot be told apart inside the model; run those of each adapter by themselves."""


def parts_of(model: Any) -> Parts | None:
    """What an adapter does, module by module; None where its rows cannot share a batch with others.

    Args:
        model: with the adapter, or a base without one.
    """
    if not isinstance(model, PeftModel):
        return {}
    ((name, config),) = model.peft_config.items()
    if config.peft_type != "LORA":
        return None
    found: dict[str, Part] = {}
    for path, module in model.get_base_model().named_modules():
        if isinstance(module, BaseTunerLayer):
            if type(module) is not LoraLinear or module.lora_variant or "expert" in path:
                return None  # an expert's rows are no longer the batch's
            found[path] = _added(module, name)
        elif isinstance(module, AuxiliaryTrainingWrapper):
            if type(module) is not ModulesToSaveWrapper:
                return None
            found[path] = _instead(module.modules_to_save[name])
    return found


def _added(layer: LoraLinear, name: str) -> Part:
    down: Any = layer.lora_A[name]
    up, scaling = layer.lora_B[name], layer.scaling[name]

    def part(inputs: torch.Tensor, output: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        delta: torch.Tensor = up(down(inputs.to(down.weight.dtype))) * scaling
        return (output + delta).to(output.dtype)

    return part


def _instead(module: torch.nn.Module) -> Part:
    def part(inputs: torch.Tensor, output: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        found: torch.Tensor = module(inputs, *args, **kwargs)
        return found

    return part


@contextlib.contextmanager
def rows_of(owners: Sequence[tuple[Hashable, int]]) -> Iterator[None]:
    """Tell this thread's forwards whose rows they have: in order, each adapter and how many."""
    _batch.owners = owners
    try:
        yield
    finally:
        _batch.owners = ()


class MixedModel:
    """A base as a model whose batches may be of several adapters. Thread-safe.

    Attributes:
        model: of the base's class, over its tensors. Rows that are nobody's get the base's own output.
    """

    def __init__(self, base: Any) -> None:
        self.model = adapters.twin(base)
        self._unproven: set[Hashable] = set()

    def add(self, owner: Hashable, parts: Parts) -> None:
        for path, part in parts.items():
            module = self.model.get_submodule(path)
            if not isinstance(module, _Mixed):
                parent, _, child = path.rpartition(".")
                module = _Mixed(module)
                setattr(self.model.get_submodule(parent), child, module)
                self._unproven.add(owner)
            module.parts[owner] = part

    def prove(self) -> None:
        """Whether all modules that adapters change see a batch row by row; models may lay out rows as they like.

        Raises:
            CannotMix: one does not, or the model needs more than tokens.
        """
        ids = torch.arange(6, device=self.model.device).reshape(2, 3)  # three tokens tell rows from columns
        inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if self.model.config.is_encoder_decoder else {})}
        while self._unproven:
            owner = next(iter(self._unproven))
            try:
                with torch.inference_mode(), rows_of([(owner, 1), (None, 1)]):
                    self.model(**inputs)
            except Exception as exc:
                if is_exhausted(exc):
                    raise
                raise CannotMix(f"the model does not run on a trial batch ({type(exc).__name__}: {exc})") from exc
            self._unproven.discard(owner)

    def remove(self, owner: Hashable) -> None:
        self._unproven.discard(owner)
        for module in self.model.modules():
            if isinstance(module, _Mixed):
                module.parts.pop(owner, None)


class _Mixed(torch.nn.Module):
    """A module of the base, and what adapters do to it."""

    def __init__(self, plain: torch.nn.Module) -> None:
        super().__init__()
        self.plain = plain
        self.parts: dict[Hashable, Part] = {}
        self.train(plain.training)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # models look at their layers' weights
            return getattr(super().__getattr__("plain"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.plain(*args, **kwargs)
        shares = self._shares(args, output)
        if not shares:
            return output
        pieces = list(output.split([count for _, count in shares]))
        inputs = args[0].split([count for _, count in shares])
        for place, (part, _) in enumerate(shares):
            if part is not None:
                pieces[place] = part(inputs[place], pieces[place], *args[1:], **kwargs)
        if len({piece.shape[1:] for piece in pieces}) > 1:
            raise CannotMix("the adapters' outputs are of different shapes")
        return torch.cat(pieces)

    def _shares(self, args: tuple[Any, ...], output: Any) -> list[tuple[Part | None, int]]:
        """What is done to how many of the input's rows, in order."""
        owners = [(self.parts.get(owner), count) for owner, count in getattr(_batch, "owners", ())]
        if not any(part for part, _ in owners):
            return []
        rows = sum(count for _, count in owners)
        inputs = args[0] if args else None
        if not isinstance(inputs, torch.Tensor) or not isinstance(output, torch.Tensor):
            raise CannotMix("a module takes or gives no tensor")
        each, rest = divmod(len(inputs), rows)
        # Beams are rows, too; but where more dimensions are gone than that, what comes first may be tokens of any row.
        if rest or not each or len(output) != len(inputs) or (each > 1 and inputs.dim() < 3):  # (rows, tokens, hidden)
            raise CannotMix("a module sees other rows than the batch has")
        return [(part, count * each) for part, count in owners]
