"""What a study asks a trainer of its keys: which there are, what may be searched, which have no effect."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ipix_tune.trainer.told import Config, Section


class Keys(Protocol):
    """The keys of a trainer."""

    free_keys: bool
    """Whether any key may be searched, also one that the section gives a value for."""
    granted_keys: tuple[str, ...]
    """Keys that :meth:`~ipix_tune.trainer.interface_machine.Machine.granted` sets by the machine, which the final
    training sets anew."""

    def keys(self) -> Collection[str]:
        """All names that there are, of typed keys; those that the section gives, of free ones."""
        ...

    def path_of(self, name: str) -> tuple[str, ...]:
        """Where a key stands in the section and in a config's plain data."""
        ...

    def key_fault(self, name: str) -> str | None:
        """Why this is no key that can be set, with the nearest spelling; None where it is one."""
        ...

    def unsearchable(self, name: str) -> str | None:
        """Why a key must not differ between the trials of a search; None where it may."""
        ...

    def canonical(self, name: str, value: Any) -> Any:
        """The value in the key's own type ("1e-4" becomes 0.0001); as it is where the key refuses it."""
        ...

    def refusal(self, name: str, value: object) -> str | None:
        """Why a key refuses a value; None where it takes it."""
        ...

    def default(self, data: Section, name: str) -> Any:
        """What a key is where nothing sets it, in a config with this plain data; :data:`NO_DEFAULT` where it has no
        default."""
        ...

    def dead_keys(self, config: Config) -> Mapping[str, str]:
        """Keys that can change nothing in this config, and why."""
        ...

    def depends_on(self, config: Config, name: str) -> Iterable[str]:
        """The keys that decide whether a key has an effect, as the config's fields declare it."""
        ...

    def refused_together(self, section: Section) -> Sequence[str]:
        """Keys of a config's plain data that mean something else now than when they were recorded."""
        ...

    def identity(self, config: Config) -> str:
        """Equal for configs that train alike with equal seeds."""
        ...
