"""Experts: networks trained on the real set whose parameters are kept epoch by epoch (MTT, DATM).

An expert's folder holds one tree, named by the last epoch in it: the parameters of every epoch so
far, and the state that the training goes on from.
"""

import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import hosts, parallel
from jaxdd.engine import fit, loop
from jaxdd.storage import trees
from jaxdd.storage.fingerprint import Store
from jaxdd.types import Model, PRNGKey, PyTree, Recipe

TOGETHER = 8  # experts that an accelerator trains as one program, by default


class Plan(NamedTuple):
    """How many experts are trained, and how far."""

    count: int
    num_epochs: int  # the last epoch that is kept; epoch 0 is the initialisation
    steps_per_epoch: int


class _Trained(NamedTuple):
    """An expert on its way."""

    params: list[PyTree]  # of epochs 0, 1, ...
    state: fit.FitState


def train(
    key: PRNGKey,
    model: Model,
    sample: fit.Sample,
    recipe: Recipe,
    plan: Plan,
    *,
    store: Store,
    control: loop.Control = loop.Control(),
) -> list[PyTree]:
    """Loads experts from the cache, and trains what is missing of them.

    Args:
        key: expert i uses `fold_in(key, i)`.
        model, sample: as in `fit.fit`; without batch norm.
        recipe: its optimiser and loss; how long is said by `plan`.
        plan: experts and epochs. Those that lie in the cache are extended, by number and by epochs.
        store: the folder of all experts, and the architecture, recipe, data and key of these, whose
            fingerprint names their folder there. An expert is saved after the first epoch that ends
            `control.checkpoint_every` steps after the last save, and when stopped.
        control: as in `loop.run`. Its `together` experts are one program, by default `TOGETHER` on
            accelerators and one on CPUs; its `log` is told what is loaded and what is trained.

    Returns:
        The experts' parameters, NumPy leaves `[num_epochs + 1, ...]`; fewer than `count` when
        stopped early.

    Raises:
        ValueError: a count below 1, or a model with batch norm.
        NonFiniteError: an expert diverged; says which, what it was before is kept.
    """
    _require(plan, model)
    folder = store.named()
    known = {i: _recalled(folder / str(i), key, model, recipe, store) for i in range(plan.count)}
    missing = [i for i, one in known.items() if len(one.params) <= plan.num_epochs]
    control.log(
        f'experts {folder.name}: {plan.count - len(missing)} of {plan.count} cached'
        + (f', training {len(missing)} up to epoch {plan.num_epochs}' if missing else '')
    )
    for group in _groups(missing, known, loop.num_together(control, _together())):
        own = {i: Store(folder / str(i), store.identity) for i in group}
        done = _advanced([known[i] for i in group], model, sample, recipe, plan, own, control)
        known |= dict(zip(group, done))
        if len(done[0].params) <= plan.num_epochs:
            break
    return [
        _stacked(one.params[: plan.num_epochs + 1])
        for one in known.values()
        if len(one.params) > plan.num_epochs
    ]


def load(model: Model, recipe: Recipe, plan: Plan, store: Store) -> list[PyTree]:
    """Reads experts that another run has trained.

    Args:
        model, recipe, plan: as in `train`.
        store: their own folder, and the identity that they must be of.

    Returns:
        As `train`.

    Raises:
        ValueError: experts of another architecture, data set, normalisation or recipe, with the
            difference; fewer experts or epochs than asked for.
    """
    _require(plan, model)
    found, cut = [], plan.num_epochs + 1
    for i in range(plan.count):
        reached = _epochs(store.folder / str(i))
        if not reached or reached[0] < plan.num_epochs:
            raise ValueError(
                f'{store.folder} must hold {plan.count} experts of {plan.num_epochs} epochs; '
                f'expert {i} has {f"only {reached[0]}" if reached else "none"}. Train them there, '
                'or let the run train its own'
            )
        like = _like(model, recipe, reached[0])
        path = store.folder / str(i) / str(reached[0])
        params, _ = trees.load_tree(path, like, dict(store.identity)) or (None, None)
        found.append(jax.tree.map(lambda leaf: np.asarray(leaf[:cut]), params))
    return found


def _require(plan: Plan, model: Model) -> None:
    for name, value in plan._asdict().items():
        if value < 1:
            raise ValueError(f'{name} of experts must be at least 1, got {value}')
    require_no_batch_norm(model)


def require_no_batch_norm(model: Model) -> None:
    """Refuses networks that are more than their parameters.

    Raises:
        ValueError: says what to use instead.
    """
    if jax.eval_shape(model.init, jax.random.key(0)).batch_stats:
        raise ValueError(
            'experts and students must be networks without batch norm, whose running moments are '
            'no parameters that a student could reach; use instance norm, e.g. convnet'
        )


def _together() -> int:
    return 1 if parallel.on_cpu() else TOGETHER


def _groups(missing: Sequence[int], known: Mapping[int, _Trained], size: int) -> list[list[int]]:
    """Experts that are trained as one program: neighbours that stand at the same step."""
    groups: list[list[int]] = []
    for i in missing:
        last = groups[-1] if groups else []
        if last and len(last) < size and known[last[0]].state.step == known[i].state.step:
            last.append(i)
        else:
            groups.append([i])
    return groups


def _advanced(
    group: Sequence[_Trained],
    model: Model,
    sample: fit.Sample,
    recipe: Recipe,
    plan: Plan,
    stores: Mapping[int, Store],
    control: loop.Control,
) -> list[_Trained]:
    """Experts after the epochs that they lack, or as many as there was time for; saved."""
    step, feed = loop.vmap_step(fit.make_fit_step(model, recipe)), loop.broadcast_feed(sample)
    state = loop.stack_states(jax.tree.map(lambda *x: jnp.stack(x), *(one.state for one in group)))
    rows, saved = [list(one.params) for one in group], int(state.step)
    for epoch in range(len(rows[0]), plan.num_epochs + 1):
        goal = epoch * plan.steps_per_epoch
        with loop.naming(_who(list(stores)), "lower the experts' learning rate"):
            state = loop.run(step, state, feed, num_steps=goal, **control.of_run())
        whole, at = int(state.step) == goal, int(state.step)
        states = [jax.tree.map(lambda x, i=i: x[i], state.states) for i in range(len(group))]
        for row, one in zip(rows, states) if whole else ():
            row.append(jax.tree.map(np.asarray, one.variables.params))
        if at > saved and (not whole or epoch == plan.num_epochs or _due(at, saved, control)):
            saved = at
            for i, row, one in zip(stores, rows, states):
                _save(stores[i], _Trained(row, one))
        if not whole:
            break
    return [_Trained(row, one) for row, one in zip(rows, states)]


def _due(at: int, saved: int, control: loop.Control) -> bool:
    return at - saved >= control.checkpoint_every


def _who(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    return f'expert {first}' if first == last else f'one of the experts {first} to {last}'


def _save(store: Store, expert: _Trained) -> None:
    """Keeps an expert under the number of its last epoch, and drops what it replaces."""
    tree = _stacked(expert.params), expert.state
    trees.save_tree(store.folder / str(len(expert.params) - 1), tree, dict(store.identity))
    older = [store.folder / str(epochs) for epochs in _epochs(store.folder)[1:]]
    hosts.told(lambda: [shutil.rmtree(folder, ignore_errors=True) for folder in older])


def _recalled(
    folder: pathlib.Path, key: PRNGKey, model: Model, recipe: Recipe, store: Store
) -> _Trained:
    """An expert as far as the cache has it, or before its first step."""
    for epochs in _epochs(folder):
        like = _like(model, recipe, epochs)
        found = trees.recall_tree(folder / str(epochs), like, dict(store.identity))
        if found is not None:
            params = jax.tree.map(np.asarray, found[0])
            rows = [jax.tree.map(lambda x, e=e: x[e], params) for e in range(epochs + 1)]
            return _Trained(rows, found[1])
    own = jax.random.fold_in(key, int(folder.name))
    state = jax.jit(lambda key: fit.init_fit(key, model, recipe))(own)
    return _Trained([jax.tree.map(np.asarray, state.variables.params)], state)


def _epochs(folder: pathlib.Path) -> list[int]:
    """The last epochs of the trees in an expert's folder, the longest first."""

    def found() -> list[int]:
        children = folder.iterdir() if folder.is_dir() else ()
        return sorted((int(child.name) for child in children if child.name.isdigit()), reverse=True)

    return hosts.told(found)


def _like(model: Model, recipe: Recipe, epochs: int) -> tuple[PyTree, fit.FitState]:
    """The shapes of a stored expert."""
    state = jax.eval_shape(lambda key: fit.init_fit(key, model, recipe), jax.random.key(0))

    def all_epochs(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((epochs + 1, *leaf.shape), leaf.dtype)

    return jax.tree.map(all_epochs, state.variables.params), state


def _stacked(rows: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
