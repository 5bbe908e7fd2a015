"""The stages of methods whose networks may begin from ones that were trained a little before."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from experiments.configs.entry import Stage
from experiments.stages import build, identity, jobs, matching, pooling
from experiments.stages.jobs import Distilled, Prepared
from experiments.stages.scores import Stop
from jaxdd import data
from jaxdd.networks import pools
from jaxdd.types import Variables

ROLE = 'start'  # of the network that a new one begins from

# (configuration, data set) -> the mini-batches that such networks are trained on
Batches = Callable[[Any, data.Dataset], Any]


def stage(batches: Batches) -> Stage:
    """The matching stage, after networks were trained that others begin from, where asked for."""

    def train(job: jobs.Job, stop: Stop) -> list[Variables]:
        return _train(job, batches, stop)

    return matching.STAGE._replace(distil=_distil, experts=train)


def _distil(job: jobs.Job, prepared: Prepared, workdir: pathlib.Path, stop: Stop) -> Distilled:
    feed = job.config.entry.feed(job.config, job.dataset)
    if prepared.experts:
        feed = pools.attach(feed, ROLE, prepared.experts)
    return matching.move(job, prepared, feed, workdir, stop)


def _train(job: jobs.Job, batches: Batches, stop: Stop) -> list[Variables]:
    config, spec = job.config, job.spec
    early, training = config.early, config.training
    if not early.count:
        return []
    per_epoch = data.steps_per_epoch(len(job.dataset.train.labels), training.batch_size)
    who = {
        'network': dataclasses.asdict(config.encoder),
        'training': dataclasses.asdict(training),
        'mode': config.augmentation.mode,
        'epochs': early.epochs,
        'seed': early.seed,
        **identity.of_data(job),
    }
    return pooling.pool(
        job,
        stop,
        pooling.Pool(
            'starts',
            early.count,
            jax.random.key(early.seed),
            build.model(config.encoder, spec, batch_statistics=True),
            batches(config, job.dataset),
            build.encoder_recipe(training, max(1, round(early.epochs * per_epoch))),
            who,
        ),
    )
