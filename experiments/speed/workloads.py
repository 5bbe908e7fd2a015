"""What the benchmark compares: our side of every workload, and what both sides start from."""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.configs import Config
from experiments.configs.base import Network
from experiments.methods import METHODS
from experiments.stages import build, students
from jaxdd import augment, data, networks, parallel
from jaxdd.engine import distill, fit, loop
from jaxdd.engine.evaluate import student_batches
from jaxdd.networks import pools, segments
from jaxdd.terms import regularize
from jaxdd.types import Batch, Inputs, Method, Source, SyntheticSet, Variables

# real batches that plain steps alternate between, so that nothing is computed once for all steps
BATCHES = 2
ACCURACY = 0.5  # of every network; IDM weighs with it


class Sizes(NamedTuple):
    """How large a workload is; the defaults are CIFAR-10's at 10 images per class."""

    per_class: int = 0  # real images per class and step
    ipc: int = 10
    num_classes: int = 10
    side: int = 32  # of the images, pixels
    width: int = 128  # of the ConvNet
    resnet_width: int = 64  # of ResNet-18's first stage
    pool: int = 1000  # real images per class in all
    inner_steps: int = 0  # of a student that follows an expert


class Given(NamedTuple):
    """What both sides start from; numpy arrays."""

    images: np.ndarray  # [K, n, H, W, C]
    labels: np.ndarray  # [K, n, K]
    real: np.ndarray | None  # [BATCHES, K, B, H, W, C]: what plain steps see
    pool: np.ndarray | None  # [K, M, H, W, C] uint8: what the others draw from
    networks: Mapping[str, Variables]  # by role


class Ours(NamedTuple):
    """Our side: a step of the engine, the states that it takes one after the other,
    and its feed."""

    step: loop.Step
    states: tuple[Any, ...]
    feed: loop.DeviceFeed


class Workload(NamedTuple):
    """What is compared."""

    method: str  # whose preset it is
    theirs: str  # builder of `eager.made`
    sizes: Sizes
    plugins: tuple[str, ...] = ()
    students: int = 0  # students of an evaluation; 0: a distillation step
    fresh: bool = False  # a new network at every step, drawn within it

    def config(self, sizes: Sizes) -> Config:
        """The method's preset, at these sizes; of several teachers the first."""
        made, replace = (
            METHODS[self.method].published('cifar10', 10, self.plugins),
            dataclasses.replace,
        )
        matched = {} if made.recovers else {'encoder': replace(made.encoder, width=sizes.width)}
        if sizes.inner_steps:
            matched['matching'] = replace(made.matching, num_steps=sizes.inner_steps)
        return replace(
            made,
            **matched,
            teachers=replace(
                made.teachers, width=sizes.resnet_width, networks=made.teachers.networks[:1]
            ),
            proxies=replace(
                made.proxies, network=replace(made.proxies.network, width=sizes.resnet_width)
            ),
            optimizer=replace(made.optimizer, schedule='constant'),
        )

    def networks(self, sizes: Sizes) -> dict[str, Network]:
        """The networks that are given, by role."""
        config = self.config(sizes)
        if self.students:
            return {f'student{i}': config.encoder for i in range(self.students)}
        if config.teachers.networks:
            return {'encoder': Network(name=config.teachers.networks[0], width=sizes.resnet_width)}
        return {
            'encoder': config.encoder,
            **({'proxy': config.proxies.network} if self.plugins else {}),
            **({'target': config.encoder} if sizes.inner_steps else {}),
        }


WORKLOADS = {
    'dm': Workload('dm', 'dm', Sizes(per_class=256), fresh=True),
    'dm-cc-cm': Workload('dm', 'dm', Sizes(per_class=256), ('cc', 'cm'), fresh=True),
    'dm-cmi': Workload('dm', 'dm', Sizes(per_class=256), ('cmi',), fresh=True),
    'dsa': Workload('dsa', 'dsa', Sizes(per_class=64)),
    'idm': Workload('idm', 'idm', Sizes(per_class=256)),
    'idc': Workload('idc', 'idc', Sizes(per_class=64)),
    'mtt': Workload('mtt', 'mtt', Sizes(inner_steps=5)),
    'sre2l': Workload('sre2l', 'recovery', Sizes()),
    'infer': Workload('infer', 'recovery', Sizes(ipc=1, num_classes=100)),
    'evaluation': Workload('dm', 'evaluation', Sizes(), students=1),
    'evaluation-5': Workload('dm', 'evaluation', Sizes(), students=5),
}


def size(name: str, reduced: bool) -> Sizes:
    """The full size, or a quarter of the real images;
    of the synthetic ones where there are no real ones."""
    sizes = WORKLOADS[name].sizes
    for field in ('per_class', 'ipc', 'num_classes') if reduced else ():
        if (value := getattr(sizes, field)) > 1:
            return sizes._replace(**{field: value // 4})
    return sizes


def draw(workload: Workload, sizes: Sizes, *, plain: bool, seed: int = 0) -> Given:
    """Images, real ones and weights of a workload: noise and fresh networks."""
    generator, spec, config = np.random.default_rng(seed), _spec(sizes), workload.config(sizes)
    shape = sizes.side, sizes.side, 3
    per_class = config.entry.real_per_class(dataclasses.replace(config, ipc=sizes.ipc))
    count = sizes.ipc if workload.students else per_class
    images = generator.normal(size=(sizes.num_classes, count, *shape)).astype(np.float32)
    labels = np.repeat(np.eye(sizes.num_classes, dtype=np.float32)[:, None], count, axis=1)
    real, pool = None, None
    if sizes.per_class and plain:
        real = generator.normal(size=(BATCHES, sizes.num_classes, sizes.per_class, *shape)).astype(
            np.float32
        )
    elif sizes.per_class:
        pool = generator.integers(0, 256, (sizes.num_classes, sizes.pool, *shape), np.uint8)
    made = {}
    for i, (role, network) in enumerate(workload.networks(sizes).items()):
        init = jax.jit(build.model(network, spec).init)
        made[role] = jax.device_get(init(jax.random.key(seed + i)))._replace(
            accuracy=np.float32(ACCURACY)
        )
    return Given(images, labels, real, pool, made)


def ours(workload: Workload, sizes: Sizes, given: Given, *, plain: bool) -> Ours:
    """Our side, as the product runs it.

    Args:
        plain: nothing is drawn within a step: given networks and real images, no augmentation.
    """
    return (_training if workload.students else _distilling)(workload, sizes, given, plain)


def _distilling(workload: Workload, sizes: Sizes, given: Given, plain: bool) -> Ours:
    """A step of a method; its networks are given, but DM's,
    which are new at every step unless it is plain."""
    config = workload.config(sizes)
    method, fresh = _method(workload, sizes, plain), workload.fresh and not plain
    optimizer = config.entry.stage.optimizer(config)
    initial = SyntheticSet(jnp.array(given.images), jnp.array(given.labels))
    state = distill.init_state(jax.random.key(0), method, optimizer, initial)
    feed = _feed(sizes, given, plain)
    if sizes.inner_steps:
        feed = segments.attach(feed, [_expert(given)], segments.Starts(0, 1, 1), 1)
    for role, variables in given.networks.items():
        if (role != 'encoder' or not fresh) and not sizes.inner_steps:
            feed = pools.attach(feed, role, [variables])
    return Ours(distill.make_step(method, optimizer), (state,), feed)


def _expert(given: Given) -> Any:
    """Two epochs of an expert."""
    ends = (given.networks[role].params for role in ('encoder', 'target'))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *ends)


def _method(workload: Workload, sizes: Sizes, plain: bool) -> Method:
    config, spec = workload.config(sizes), _spec(sizes)
    if plain and sizes.inner_steps:  # drawn within the objective
        unseen = dataclasses.replace(config.augmentation, strategy='none')
        config = dataclasses.replace(config, augmentation=unseen)
    [method] = config.entry.build(config, data.Dataset(spec, None, None))
    method = regularize(
        method,
        {
            term: (getattr(config.regularizers, term).weight, made)
            for term, made in build.terms(config).items()
        },
        models={'proxy': build.model(config.proxies.network, spec)} if config.plugins else None,
    )
    if sizes.inner_steps:
        return method
    if plain:
        return method._replace(networks=networks.pretrained(), augment=augment.identity())
    return method if workload.fresh else method._replace(networks=networks.pretrained())


def _feed(sizes: Sizes, given: Given, plain: bool) -> loop.DeviceFeed:
    """The real images: two batches in turn, or drawn from the set; none where there are none."""
    if plain or given.pool is None:
        return jax.tree_util.Partial(_in_turn, given.real)
    labels = np.repeat(np.arange(sizes.num_classes, dtype=np.int32), sizes.pool)
    source = Source(given.pool.reshape(-1, *given.pool.shape[2:]), labels)
    return data.stratified(source, _spec(sizes), per_class=sizes.per_class)


def _in_turn(real: np.ndarray | None, key: jax.Array, step: jax.Array) -> Inputs:
    del key
    if real is None:
        return Inputs()
    return Inputs(
        real=jax.lax.dynamic_index_in_dim(jnp.asarray(real), step % BATCHES, keepdims=False)
    )


def _training(workload: Workload, sizes: Sizes, given: Given, plain: bool) -> Ours:
    """Students: one after the other with one program, on accelerators all of them as one
    program."""
    config, spec = workload.config(sizes), _spec(sizes)
    synthetic = SyntheticSet(jnp.asarray(given.images), jnp.asarray(given.labels))
    recipe = students.recipe(config.evaluation, sizes.num_classes * sizes.ipc)
    step = loop.vmap_step(
        fit.make_fit_step(build.model(config.encoder, spec, batch_statistics=True), recipe)
    )
    sample = (
        jax.tree_util.Partial(_always, synthetic)
        if plain
        else student_batches(
            synthetic,
            students.student_supervision(config.evaluation, spec),
            batch_size=recipe.batch_size,
        )
    )

    def begun(i: int, variables: Variables) -> fit.FitState:
        variables = jax.tree.map(jnp.array, variables)
        return fit.FitState(
            jnp.zeros((), jnp.int32),
            jax.random.key(i),
            variables,
            recipe.optimizer.init(variables.params),
        )

    every = [begun(i, variables) for i, variables in enumerate(given.networks.values())]
    groups = [[state] for state in every] if parallel.on_cpu() else [every]
    states = tuple(
        loop.stack_states(jax.tree.map(lambda *leaves: jnp.stack(leaves), *group))
        for group in groups
    )
    return Ours(step, states, loop.broadcast_feed(sample))


def _always(synthetic: SyntheticSet, key: jax.Array, step: jax.Array) -> Batch:
    """The whole set, as it is."""
    del key, step
    images, labels = (x.reshape(-1, *x.shape[2:]) for x in synthetic[:2])
    return Batch(images, labels, jnp.ones(len(images), images.dtype))


def _spec(sizes: Sizes) -> data.Spec:
    return data.spec('cifar10')._replace(
        image_shape=(sizes.side, sizes.side, 3), num_classes=sizes.num_classes
    )


def theirs(workload: Workload, sizes: Sizes, given: Given, device: str, *, plain: bool) -> Any:
    """The eager side, an `eager.made.Theirs`.

    Args:
        device: torch's.
        plain: as for `ours`.
    """
    return getattr(eager('made'), workload.theirs)(
        sizes, given, workload.config(sizes), device, plain
    )


def eager(module: str) -> Any:
    """A module of `experiments.speed.eager`.

    Raises:
        ValueError: torch is missing.
    """
    try:
        return importlib.import_module(f'experiments.speed.eager.{module}')
    except ModuleNotFoundError as error:
        if error.name != 'torch':
            raise
        raise ValueError(
            "the benchmark compares with PyTorch, which is missing: pip install -e '.[torch]'"
        ) from error
