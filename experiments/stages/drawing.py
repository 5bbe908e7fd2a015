"""The pictures and pages of a finished run; what of them fails is named, and the run ends well."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.configs import Config
from experiments.stages import build, students
from experiments.stages.jobs import Distilled, Job, Prepared, Scores
from jaxdd import data, hosts, parallel
from jaxdd.reporting import curves, embedding, html, pictures, report
from jaxdd.reporting.charts import Part
from jaxdd.storage.atomic import write_whole
from jaxdd.types import Array, Model, Variables

SHOWN = 20  # classes of the picture
GRID, CURVES, EMBEDDING = 'grid.png', 'curves.png', 'embedding.png'
TITLES = {
    GRID: 'The distilled set beside its initialisation',
    CURVES: 'Losses and accuracy',
    EMBEDDING: 'Features of distilled and real images (t-SNE)',
}


class Eye(NamedTuple):
    """A network whose features the report shows."""

    called: str
    model: Model  # in test mode
    variables: Variables


class LeftOut(ValueError):
    """Why a picture is not drawn."""


def draw(
    job: Job, prepared: Prepared, distilled: Distilled, scored: Scores, workdir: pathlib.Path
) -> dict[str, Any]:
    """Draws the pictures of a run into its workdir.

    Returns:
        Of a run's results: 'pictures' {title: file}, 'left_out' {title: why it is not there}, and
        'embedding', whose features were looked at, where they were.
    """
    found: dict[str, Any] = {'pictures': {}, 'left_out': {}}
    for file, how in ((GRID, _grid), (CURVES, _curves), (EMBEDDING, _embedding)):
        try:
            more = how(job, prepared, distilled, scored, workdir / file)
            found |= more or {}
            found['pictures'][TITLES[file]] = file
        except Exception as error:  # whatever it is, the numbers are there
            found['left_out'][TITLES[file]] = _reason(error)
    return found


def write_reports(
    results: Mapping[str, Any], workdir: pathlib.Path, series: Mapping[str, Sequence[Part]] = {}
) -> str:
    """Writes report.md and report.html; returns the terminal's line that names them.

    Args:
        series: as in `html.page`.
    """
    pages = [workdir / 'report.md']
    write_whole(pages[0], report.report(results).encode())
    try:
        if hosts.first():
            files = {path: workdir / path for path in (results.get('pictures') or {}).values()}
            shown = {
                path: pictures.small_enough(file.read_bytes())
                for path, file in files.items()
                if file.exists()
            }
            write_whole(workdir / 'report.html', html.page(results, shown, series).encode())
        pages.append(workdir / 'report.html')
    except Exception as error:  # the other page holds the same numbers
        print(f'report.html was not written, because {_reason(error)}')
    return f'report: {", ".join(map(str, pages))}'


def series(
    config: Config, histories: Sequence[Sequence[Mapping]], marks: Mapping[int, str]
) -> dict[str, list[Part]]:
    """What CMI and CM measured on the way: name -> points (step, value), a list per part.

    A plug-in that is not there at every step has no such series: most rows would show nothing.

    Args:
        histories: the rows of every set.
        marks: {step: what begins there}, where a set is made in parts.
    """
    found = {}
    for name in html.MEASURES:
        if name not in config.plugins or getattr(config.regularizers, name).every > 1:
            continue
        loss = f'loss/{name}'
        every = ([(row['step'], row[loss]) for row in rows if loss in row] for rows in histories)
        if parts := [part for points in every for part in curves.parts(points, marks) if part]:
            found[name] = parts
    return found


def eye(job: Job, prepared: Prepared, scored: Scores) -> Eye:
    """The network whose features are shown: one trained on the real set if the run has one, else
    the first student of the distilled set.

    Raises:
        LeftOut: there is none.
    """
    e = job.config.evaluation
    if prepared.proxies and 'proxy' in job.models:
        name, count = job.config.proxies.network.name, len(prepared.proxies)
        called = f'a {name} trained on the real images, the first of {count} proxies'
        return Eye(called, job.models['proxy'], prepared.proxies[0])
    if prepared.teachers:
        first = prepared.teachers[0]
        called = f'the teacher {first.name}, trained on the real images'
        return Eye(called, first.model, first.variables)
    if prepared.chooser is not None:
        return Eye(
            'the network that chose the core-sets, trained on the real images', *prepared.chooser
        )
    if scored.student is None:
        raise LeftOut('the weights of the first student were not kept')
    name = e.networks[0]
    shown = students.labels(e, job.spec.image_shape)[name]
    tested = students.architectures(e, job.spec)[1][name]
    return Eye(
        f'the first student ({shown}), trained on the distilled images', tested, scored.student
    )


def features(job: Job, who: Eye, images: Array) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Features of some real images and of some distilled ones, `[m, D]` and `[n, D]` per class.

    Args:
        who: looks at them.
        images: `[K, n, H, W, C]`, the distilled ones, normalised.
    """
    source, count = job.dataset.train, min(job.spec.num_classes, embedding.CLASSES)
    members = data.class_members(source, job.spec.num_classes, 1)[0]
    real, synthetic = [], []
    for row, own in zip(members[:count], np.asarray(images)[:count]):
        chosen = np.asarray(source.images[_some(row[row >= 0])])
        real.append(_seen(who, build.preprocess(job.spec)(jnp.asarray(chosen))))
        synthetic.append(_seen(who, own[_some(np.arange(len(own)))]))
    return real, synthetic


def _grid(job, prepared, distilled, scored, path) -> None:
    del prepared, scored

    def pixels(images):
        return data.pixels(job.dataset, images)

    pictures.save_grid_png(
        path,
        pixels(distilled.before)[:SHOWN],
        pixels(distilled.after)[:SHOWN],
        class_names=class_names(job)[:SHOWN],
        titles=distilled.titles,
    )


def _curves(job, prepared, distilled, scored, path) -> None:
    del prepared
    ends = {**distilled.accuracies, job.config.num_steps: scored.distilled}
    curves.curves_png(
        path,
        distilled.history,
        ends,
        random=scored.real.get('random'),
        marks=distilled.marks,
    )


def _embedding(job, prepared, distilled, scored, path) -> dict:
    if job.config.smoke:
        raise LeftOut('a smoke run draws none')
    who = eye(job, prepared, scored)
    real, synthetic = features(job, who, distilled.synthetic.images)
    if hosts.first():
        names = class_names(job)[: len(real)]
        embedding.embedding_png(path, *embedding.embed(real, synthetic), class_names=names)
    counts = {'real': sum(map(len, real)), 'distilled': sum(map(len, synthetic))}
    return {'embedding': {'network': who.called, **counts}}


def class_names(job: Job) -> tuple[str, ...]:
    """The classes' names, or their numbers where nobody named them."""
    return job.spec.class_names or tuple(str(c) for c in range(job.spec.num_classes))


def _some(row: np.ndarray) -> np.ndarray:
    """At most as many of a row as the figure shows, evenly from all of it."""
    return row[np.linspace(0, len(row) - 1, min(len(row), embedding.REAL)).round().astype(int)]


def _seen(who: Eye, images: Array | np.ndarray) -> np.ndarray:
    """`[m, D]`; rows are filled up, so that all classes share one program."""
    filled = jnp.asarray(images)[np.resize(np.arange(len(images)), embedding.REAL)]
    return parallel.fetched(_forward(who.model, who.variables, filled))[: len(images)]


@functools.partial(jax.jit, static_argnums=0)
def _forward(model: Model, variables: Variables, images: Array) -> Array:
    return model.apply(variables, images).features


def _reason(error: Exception) -> str:
    """An error in words that fit within a sentence."""
    said = str(error).strip().rstrip('.')
    return said if isinstance(error, ValueError) and said else f'{type(error).__name__}: {said}'
