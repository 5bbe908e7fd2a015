"""The distillation engine: one step for every method, driven by the one loop.

A step draws the encoder, looks at real and synthetic images through it, differentiates the
objective with respect to the stored parameters and lets optax move them. Methods and regularizers
are values in it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdd.engine import loop
from jaxdd.engine.loop import Callback as Callback
from jaxdd.engine.loop import NonFiniteError as NonFiniteError
from jaxdd.engine.loop import run as run
from jaxdd.engine.observing import observe as observe
from jaxdd.parametrizations import subset
from jaxdd.types import (
    Array,
    DistillState,
    Inputs,
    Method,
    Metrics,
    Parametrization,
    PRNGKey,
    PyTree,
    SyntheticSet,
    Variables,
)

_LOOK = 0x100C  # separates the draw of what a step looks at from the terms' own

StepFn = Callable[[DistillState, Inputs], tuple[DistillState, Metrics]]


def init_state(
    key: PRNGKey, method: Method, optimizer: optax.GradientTransformation, initial: SyntheticSet
) -> DistillState:
    """The state of a run before its first step.

    Args:
        key: a typed key; the whole run follows from it.
        method: what to run.
        optimizer: moves the stored parameters.
        initial: images `[K, n, H, W, C]` normalised float32 and labels `[K, n, Y]`.

    Raises:
        ValueError: images or labels of a wrong rank, dtype or size, or values that are not finite.
    """
    _check_initial(initial)
    k_params, k_networks, k_run = jax.random.split(key, 3)
    params, fixed = method.parametrization.init(k_params, initial)
    return DistillState(
        jnp.zeros((), jnp.int32),
        k_run,
        params,
        fixed,
        optimizer.init(params),
        method.networks.init(k_networks),
    )


def make_step(method: Method, optimizer: optax.GradientTransformation) -> StepFn:
    """Builds the pure step `(state, inputs) -> (state, metrics)` of a method.

    Returns:
        A function to be compiled by the caller (`run` does). Metrics: `loss/total`, what the terms
        report (sums over the class steps when `classes='sequential'`), `images/max_abs`, the
        largest absolute stored value of an image, `learning_rate` where it is learned, and
        `accepted`, 1 or 0, where the method may refuse a step.

    Raises:
        ValueError: at trace time, when a term reads something that is not supplied; says what to
            add.
    """
    gradient = _gradient(method)

    def step(state: DistillState, inputs: Inputs) -> tuple[DistillState, Metrics]:
        keys = _keys(state)
        networks, inputs = _sampled(method, state, inputs, keys)

        def update(carry, only):
            params, opt_state = carry
            grads, metrics = gradient(state._replace(params=params), networks, inputs, only)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            params = optax.apply_updates(params, updates)
            if method.project_every == 1:
                params = method.parametrization.project(params, state.fixed)
            return _accepted(method, carry, (params, opt_state), metrics)

        carry = state.params, state.opt_state
        if method.classes == 'joint':
            carry, metrics = update(carry, None)
        else:
            carry, metrics = jax.lax.scan(update, carry, jnp.arange(num_classes(method, state)))
            metrics = jax.tree.map(lambda m: m.sum(0), metrics)
        params, opt_state = carry
        if method.project_every > 1:
            params = _returned(method, params, state)
        synthetic = method.parametrization.decode(params, state.fixed)
        trained = method.networks.update(state.networks, keys.networks, inputs, synthetic)
        seen = _seen(params, synthetic)
        state = state._replace(
            step=state.step + 1, params=params, opt_state=opt_state, networks=trained
        )
        return state, {**metrics, **seen}

    return step


def make_gradient(
    method: Method,
) -> Callable[[DistillState, Inputs, Array | None], tuple[PyTree, Metrics]]:
    """Builds the gradient of a method's objective with respect to the stored parameters.

    Returns:
        Pure `(state, inputs, only) -> (gradient, metrics)`; `only` is one class index, or None for
        all classes. The draws follow from the state's key and step.
    """
    inner = _gradient(method)

    def gradient(
        state: DistillState, inputs: Inputs, only: Array | None = None
    ) -> tuple[PyTree, Metrics]:
        networks, inputs = _sampled(method, state, inputs, _keys(state))
        return inner(state, networks, inputs, only)

    return gradient


def _accepted(method: Method, old: PyTree, new: PyTree, metrics: Metrics) -> tuple[PyTree, Metrics]:
    """What an update leaves, and what it reports:
    as it was where the method refuses the step."""
    if method.accepts is None:
        return new, metrics
    accepted = method.accepts(metrics)
    kept = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), new, old)
    return kept, {**metrics, 'accepted': accepted.astype(jnp.float32)}


def _returned(method: Method, params: PyTree, state: DistillState) -> PyTree:
    """The stored parameters back in their box, at the steps where they return to it."""
    return jax.lax.cond(
        (state.step + 1) % method.project_every == 0,
        lambda: method.parametrization.project(params, state.fixed),
        lambda: params,
    )


def _seen(params: PyTree, synthetic: SyntheticSet) -> Metrics:
    """Numbers that show whether a set stays sane."""
    images = params['images'] if isinstance(params, dict) and 'images' in params else params
    largest = jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(images)]).max()
    rate = synthetic.learning_rate
    return {'images/max_abs': largest, **({} if rate is None else {loop.RATE: rate})}


def _sampled(
    method: Method, state: DistillState, inputs: Inputs, keys: '_Keys'
) -> tuple[dict[str, Variables], Inputs]:
    """This step's networks by role, and what they look at."""
    encoder, inputs = method.networks.sample(state.networks, keys.encoder, inputs)
    return {**inputs.pretrained, **({} if encoder is None else {'encoder': encoder})}, inputs


def _gradient(method: Method):
    def gradient(
        state: DistillState, networks: Mapping[str, Variables], inputs: Inputs, only: Array | None
    ) -> tuple[PyTree, Metrics]:
        keys = _keys(state)

        def loss(params: PyTree) -> tuple[Array, Metrics]:
            synthetic, given, classes = _decoded(
                method.parametrization, params, state.fixed, inputs, only
            )
            if method.looks_at is not None:
                own = jax.random.fold_in(keys.terms, _LOOK)
                synthetic = subset.of_each_class(own, classes, synthetic, method.looks_at)
            seen = observe(
                method, networks, synthetic, given, keys.augment, classes=classes, step=state.step
            )
            value, metrics = method.objective.loss(seen, keys.terms)
            return value, {**metrics, 'loss/total': value}

        return jax.grad(loss, has_aux=True)(state.params)

    return gradient


class _Keys(NamedTuple):
    encoder: PRNGKey
    augment: PRNGKey
    terms: PRNGKey
    networks: PRNGKey


def _keys(state: DistillState) -> _Keys:
    return _Keys(*jax.random.split(jax.random.fold_in(state.key, state.step), 4))


def _decoded(
    parametrization: Parametrization,
    params: PyTree,
    fixed: PyTree,
    inputs: Inputs,
    only: Array | None,
) -> tuple[SyntheticSet, Inputs, Array]:
    """One class (a step of its own), or all of them."""
    if only is None:
        synthetic = parametrization.decode(params, fixed)
        return synthetic, inputs, jnp.arange(synthetic.images.shape[0])

    def take(x):
        return None if x is None else jax.lax.dynamic_slice_in_dim(x, only, 1)

    if parametrization.by_class:
        # else each of K steps would decode K classes, and send a gradient through all of them
        synthetic = parametrization.decode(*jax.tree.map(take, (params, fixed)))
    else:
        whole = parametrization.decode(params, fixed)
        synthetic = whole._replace(images=take(whole.images), labels=take(whole.labels))
    given = inputs._replace(real=take(inputs.real), real_weights=take(inputs.real_weights))
    return synthetic, given, only[None]


def num_classes(method: Method, state: DistillState) -> int:
    """K: the classes of the decoded set."""
    return jax.eval_shape(method.parametrization.decode, state.params, state.fixed).images.shape[0]


def _check_initial(initial: SyntheticSet) -> None:
    images, labels = initial.images, initial.labels
    if images.ndim != 5:
        raise ValueError(
            'initial images must be [classes, per class, height, width, channels], '
            f'got shape {images.shape}'
        )
    if labels.ndim != 3 or labels.shape[:2] != images.shape[:2]:
        raise ValueError(
            f'initial labels must be [{images.shape[0]}, {images.shape[1]}, classes], '
            f'got shape {labels.shape}'
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f'initial images must be normalised floats, got {images.dtype}; see data.normalise'
        )
    if not bool(jnp.isfinite(images).all()):
        raise ValueError('initial images hold NaN or infinite values')
