"""Recovered images as they are stored, and as students see them again."""

import io

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from experiments.stages import jobs
from jaxdd import data, methods
from jaxdd.engine import chunks
from jaxdd.types import SyntheticSet

JPEG_QUALITY = 75  # the library's default, which the authors' scripts use


def assembled(job: jobs.Job, parts, natural) -> tuple[SyntheticSet, dict[str, np.ndarray]]:
    """The whole set as students see it, and what of it is stored."""
    config, spec = job.config, job.spec
    box = (spec.mean, spec.std)
    if natural is None:
        rows = chunks.cut(
            spec.num_classes,
            config.ipc,
            classes=config.classes_per_chunk or spec.num_classes,
            images=config.recover.images_per_chunk,
        )
        images = np.zeros(
            (spec.num_classes, config.ipc, *spec.image_shape),
            np.float32 if config.recover.storage == 'exact' else np.uint8,
        )
        for where, params in zip(rows, parts[0]):
            images[where] = as_stored(params['images'], spec, config.recover.storage)
        return _labelled(job, as_seen(images, spec)), {'images': images}
    compensators = np.stack(
        [np.concatenate([np.asarray(p['compensators']) for p in part]) for part in parts]
    )
    if config.recover.storage == 'exact':
        kept = {
            'natural': np.asarray((data.denormalise(spec, natural.images) * 255).round(), np.uint8),
            'compensators': compensators.astype(np.float16),
        }
        made = methods.instances(
            as_seen(kept['natural'], spec), jnp.asarray(kept['compensators'], jnp.float32), box
        )
        return _labelled(job, made), kept
    images = as_stored(
        methods.instances(natural.images, jnp.asarray(compensators), box),
        spec,
        config.recover.storage,
    )
    return _labelled(job, as_seen(images, spec)), {'images': images}


def _labelled(job: jobs.Job, images) -> SyntheticSet:
    labels = jnp.repeat(jnp.eye(job.spec.num_classes)[:, None], images.shape[1], axis=1)
    return SyntheticSet(images, labels)


def as_seen(images: np.ndarray, spec: data.Spec) -> jax.Array:
    """Stored images as a student receives them: normalised float32."""
    return (
        jnp.asarray(images)
        if images.dtype == np.float32
        else data.normalise(spec, jnp.asarray(images))
    )


def as_stored(images, spec: data.Spec, storage: str) -> np.ndarray:
    """Normalised images as they are kept: float32, uint8 rounded down, or uint8 after a JPEG file.

    Args:
        images: `[K, n, H, W, C]`.
        storage: 'exact', 'uint8' or 'jpeg'.
    """
    if storage == 'exact':
        return np.asarray(images, np.float32)
    levels = np.floor(np.clip(np.asarray(data.denormalise(spec, images)), 0, 1) * 255).astype(
        np.uint8
    )
    if storage == 'uint8':
        return levels
    flat = levels.reshape(-1, *levels.shape[2:])
    return np.stack([_through_jpeg(image) for image in flat]).reshape(levels.shape)


def _through_jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, 'jpeg', quality=JPEG_QUALITY)
    return np.asarray(Image.open(file)).reshape(image.shape)
