"""What a method is to the commands: one entry in the table `experiments.methods.METHODS`."""

from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.configs.base import Config
from experiments.configs.cells import Cell
from experiments.configs.papers import Paper
from jaxdd import data
from jaxdd.types import Method, Recipe

SMALLER = ('--data.feed stream', '--data.per-class', '--ipc', '--precision bf16', 'more devices')


def _nothing(config: Config) -> None:
    """Refuses nothing."""


def _no_experts(job: Any, stop: Callable[[], bool]) -> list[Any]:
    del job, stop
    return []


def _no_words(config: Config) -> list[str]:
    del config
    return []


def _whole(config: Config) -> dict[str, Any] | None:
    del config
    return None


def _no_needs(config: Config) -> tuple[str, ...]:
    del config
    return ()


class Stage(NamedTuple):
    """How a kind of method distils."""

    distil: Callable[..., Any]  # (job, prepared, workdir, stop) -> Distilled, None when stopped
    require_continuable: Callable[..., None]  # (job, workdir) refuses what another run left
    optimizer: Callable[[Any], Any]  # what moves the stored parameters
    # (job, stop) -> the experts that students follow
    experts: Callable[[Any, Callable[[], bool]], list[Any]] = _no_experts
    about: Callable[[Any], list[str]] = _no_words  # what a run says before they are trained
    needs: Callable[[Any], tuple[str, ...]] = _no_needs  # what cells call them
    # (configuration, training images) -> how one is trained, and how many are; None: none
    trained: Callable[[Any, int], tuple[Recipe, int] | None] = lambda config, size: None


def _ipc(config: Config) -> int:
    return config.ipc


class Entry(NamedTuple):
    """A method with its options, presets, stages and published numbers."""

    config: type[Config]  # its options
    # (data set, ipc, plug-ins) -> the authors'
    published: Callable[[str, int, tuple[str, ...]], Config]
    # base methods: one, or one per teacher
    build: Callable[[Any, data.Dataset], tuple[Method, ...]]
    stage: Stage
    feed: Callable[[Any, data.Dataset], Any]  # where a step's real images come from
    cells: tuple[Cell, ...] = ()  # the papers' numbers
    reduced: Callable[[str], str] = lambda dataset: ''  # data set -> options of a small budget
    require: Callable[[Any], None] = _nothing  # refuses what no field's range shows
    real_per_class: Callable[[Any], int] = _ipc  # that the initial set is made of
    natural: Callable[[Any, data.Spec], int] | None = None  # kept per class beside what is learned
    papers: tuple[Paper, ...] = ()
    # how stored mosaics become images ('factor', 'order', 'space', 'form'); None: they are whole
    decode: Callable[[Any], dict[str, Any] | None] = _whole
    shares: bool = False  # whether sets can share its steps: its networks never see one
    smaller: tuple[str, ...] = SMALLER  # options with which a step takes less memory
