"""Pools of networks that are trained on the real set once and shared by runs."""

from typing import Any, NamedTuple

from experiments.stages import jobs
from experiments.stages.progress import bar
from experiments.stages.scores import Stop
from jaxdd.engine import loop
from jaxdd.networks import pools
from jaxdd.storage import locks
from jaxdd.storage.fingerprint import Store, fingerprint
from jaxdd.types import Feed, Model, PRNGKey, Recipe, Variables


class Pool(NamedTuple):
    """Networks of one architecture and recipe that differ by their seed."""

    name: str  # of their folder in the cache, and of the bar
    # networks; hides a method of tuples that nobody calls here
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    key: PRNGKey
    model: Model  # in batch-statistics mode
    batches: Feed[Any]
    recipe: Recipe
    who: dict[str, Any]  # what determines their weights


def pool(job: jobs.Job, stop: Stop, wanted: Pool) -> list[Variables]:
    """The networks of a pool, from the cache, trained where missing; fewer where stopped."""
    cache = jobs.cache(job.config) / wanted.name
    folder = cache / fingerprint(wanted.who)
    with jobs.turn(folder, stop) as mine:
        if not mine:
            return []
        locks.sweep(folder)
        shown, move = bar(wanted.name, wanted.count * wanted.recipe.num_steps)
        with shown:
            return pools.proxies(
                wanted.key,
                wanted.model,
                wanted.batches,
                wanted.recipe,
                count=wanted.count,
                store=Store(cache, wanted.who),
                control=loop.Control(job.steps_per_call, [move], stop, log=shown.write),
            )
