"""A frozen encoder that several networks have in common: held once, and run once on the same images.

An averaged teacher has the encoder of its student, and so has a second network whose encoder was loaded from the same
file. Where both see the same images in a step, the second one takes the maps of the first.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

Maps = TypeVar("Maps", bound=tuple[Any, ...])
"""What an encoder makes: tensors, and tuples of them."""
KEPT = 2
"""Batches of images whose maps an encoder keeps, at most. A batch's maps go with the batch."""

_OF: "WeakKeyDictionary[nn.Module, MapCache]" = WeakKeyDictionary()


def held_encoder(network: nn.Module) -> nn.Module | None:
    """A network's encoder where it is frozen."""
    encoder: nn.Module | None = network.backbone if getattr(network, "frozen", False) else None  # type: ignore[assignment]
    return encoder


def own_encoder(network: nn.Module) -> nn.Module:
    """A network's encoder; where it is frozen, and others may have it too, a copy."""
    encoder = held_encoder(network)
    return network.backbone if encoder is None else copy.deepcopy(encoder)  # type: ignore[return-value]


def copied(network: nn.Module) -> nn.Module:
    """A copy of a network, with its own encoder in common where that is frozen."""
    encoder = held_encoder(network)
    if encoder is None:
        return copy.deepcopy(network)
    _OF.setdefault(encoder, MapCache(encoder))
    return copy.deepcopy(network, {id(encoder): encoder})


def share(network: nn.Module, other: nn.Module) -> None:
    """Give a network the encoder of another one, if both are frozen and equal to the last bit."""
    own, theirs = held_encoder(network), held_encoder(other)
    if own is None or theirs is None or own is theirs:
        return
    mine, yours = own.state_dict(), theirs.state_dict()
    if mine.keys() == yours.keys() and all(torch.equal(value, yours[name]) for name, value in mine.items()):
        network.backbone = theirs
        _OF.setdefault(theirs, MapCache(theirs))


def encoded(encoder: nn.Module, images: Tensor, encode: Callable[[Tensor], Maps]) -> Maps:
    """The maps of images (B, bands, H, W): those of another network's pass, where there was one on these very images.

    Args:
        encoder: a frozen one.
        encode: makes the maps.
    """
    if torch.compiler.is_compiling() or images.requires_grad or images.is_inference():
        return encode(images)
    kept = _OF.get(encoder)
    return encode(images) if kept is None else kept.maps(images, encode)


class MapCache:
    """The maps of the last images, by the tensor that holds them. They are not taken where anything that they are made
    of has been written to since, or they themselves have, or where autocast is another."""

    def __init__(self, encoder: nn.Module) -> None:
        self._weights = [*encoder.parameters(), *encoder.buffers()]
        self._of = WeakIdKeyDictionary()

    def maps(self, images: Tensor, encode: Callable[[Tensor], Maps]) -> Maps:
        """Those that are kept, or new ones, which are kept."""
        now = self._state(images)
        before, found, versions = self._of.get(images, (None, (), []))
        if before == now and versions == _versions(found):
            return found  # type: ignore[no-any-return]
        made = encode(images)
        while len(self._of) >= KEPT:
            del self._of[next(iter(self._of.keys()))]
        self._of[images] = now, made, _versions(made)
        return made

    def _state(self, images: Tensor) -> tuple[Any, ...]:
        kind = images.device.type
        autocast = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        return images._version, autocast, tuple(one._version for one in self._weights)


def _versions(made: tuple[Any, ...]) -> list[int]:
    return [one._version for one in _tensors(made)]


def _tensors(made: tuple[Any, ...]) -> Iterator[Tensor]:
    for one in made:
        if isinstance(one, Tensor):
            yield one
        else:
            yield from _tensors(one)
