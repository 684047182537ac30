"""The second tier: what stays in host memory, and what goes first. No tensors."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from warmlane.errors import OutOfMemory
from warmlane_workers.engine.host import HostTier


@dataclass(eq=False)
class Model:
    """Stands for a model, and for what moves it.

    Attributes:
        full: whether there is no memory where it goes.
    """

    name: str
    bytes: int
    place: str = "device"
    copied: bool = False
    full: bool = False

    def park(self) -> None:
        if self.full:
            raise OutOfMemory("the host is full")
        self.place, self.copied = "host", True

    def restore(self) -> None:
        if self.full:
            raise OutOfMemory("the device is full")
        self.place = "device"

    def close(self) -> None:
        self.copied = False


class Tier:
    """A tier of models that move themselves, and those that it let go."""

    def __init__(self, budget: int) -> None:
        self.freed: list[str] = []
        self.host: HostTier[str, Model] = HostTier(
            budget, lambda model: model, lambda model: self.freed.append(model.name)
        )

    def parked(self, name: str, size: int = 1) -> Model:
        model = Model(name, size)
        assert self.host.park(name, model)
        return model


def test_a_parked_model_comes_back_as_the_same_object() -> None:
    """What was made for it, its tasks among them, is not made again."""
    tier = Tier(4)
    model = tier.parked("a", 3)
    assert (model.place, tier.host.size("a"), tier.host.bytes) == ("host", 3, 3)
    assert tier.host.restore("a") is model
    assert model.place == "device"


def test_what_is_not_parked_does_not_come_back() -> None:
    """A model that is unknown, or on the device already, is to be loaded or is there."""
    tier = Tier(4)
    tier.parked("a")
    tier.host.restore("a")
    assert [tier.host.restore(name) for name in ("a", "b")] == [None, None]
    assert [tier.host.size(name) for name in ("a", "b")] == [None, None]


def test_a_copy_stays_while_its_model_is_on_the_device() -> None:
    """Pinned memory is costly to make: it is kept for the next time, and counts."""
    tier = Tier(4)
    model = tier.parked("a", 3)
    tier.host.restore("a")
    assert (model.copied, tier.host.bytes) == (True, 3)
    assert tier.host.park("a", model)
    assert tier.host.bytes == 3


def test_a_copy_of_a_model_on_the_device_goes_before_a_parked_model() -> None:
    """Nothing is lost with it; the model on the device is served on."""
    tier = Tier(2)
    tier.parked("older")
    back = tier.parked("back")
    tier.host.restore("back")
    tier.parked("new")
    assert tier.freed == []
    assert (back.copied, back.place) == (False, "device")
    assert tier.host.size("older") == 1


def test_the_model_that_was_parked_the_longest_ago_goes_first() -> None:
    """Its place is taken, and it has to be read from the store again."""
    tier = Tier(2)
    for name in "abc":
        tier.parked(name)
    assert tier.freed == ["a"]


def test_a_model_larger_than_the_tier_is_not_kept_and_drives_nothing_out() -> None:
    """It is the caller's to free, as without a tier."""
    tier = Tier(2)
    tier.parked("a")
    model = Model("large", 3)
    assert not tier.host.park("large", model)
    assert (model.place, tier.freed, tier.host.bytes) == ("device", [], 1)


def test_a_tier_of_no_bytes_keeps_nothing() -> None:
    """Not even what takes none."""
    assert not Tier(0).host.park("a", Model("a", 0))


def test_a_model_that_the_host_has_no_memory_for_is_not_kept() -> None:
    """The budget allowed it, the machine did not: it is freed as without a tier, and its job goes on."""
    tier = Tier(4)
    assert not tier.host.park("a", Model("a", 1, full=True))
    assert tier.host.bytes == 0


def test_a_model_that_finds_no_room_on_the_device_stays_parked() -> None:
    """It can come back when there is some."""
    tier = Tier(4)
    model = tier.parked("a")
    model.full = True
    with pytest.raises(OutOfMemory):
        tier.host.restore("a")
    model.full = False
    assert tier.host.restore("a") is model


def test_a_later_load_of_the_same_model_takes_the_place_of_the_first() -> None:
    """Two copies of one model would be one too many."""
    tier = Tier(4)
    tier.parked("a")
    again = tier.parked("a")
    assert tier.host.bytes == 1
    assert tier.host.restore("a") is again


def test_dropped_models_are_freed_and_their_bytes_told() -> None:
    """An unload reaches what only the host still has; a model on the device is the cache's to unload."""
    tier = Tier(9)
    tier.parked("a", 2)
    tier.parked("b", 3)
    tier.host.restore("b")
    assert tier.host.drop(lambda key: True) == 2
    assert tier.freed == ["a"]
    assert tier.host.bytes == 3


def test_a_discarded_model_leaves_its_copy_behind() -> None:
    """Whoever frees a model has its copy forgotten."""
    tier = Tier(9)
    model = tier.parked("a", 2)
    tier.host.discard(model)
    assert (tier.host.bytes, tier.freed, model.copied) == (0, [], False)
