"""What a run says before each of its stages."""

from experiments.stages import jobs, students
from experiments.stages.jobs import Job
from jaxdd import parallel
from jaxdd.reporting import report


def prepare(job: Job) -> str:
    """What the second stage will do."""
    p, t = job.config.proxies, job.config.teachers
    parts, images = [], len(job.dataset.train.labels)
    if jobs.trains_proxies(job.config):
        count = p.count if job.models else 1
        parts.append(
            f'{count} prox{"y" if count == 1 else "ies"} ({p.network.name}), '
            f'{p.epochs:g} epochs of {images} images each'
        )
    if t.networks:
        how = 'loaded' if t.weights else f'squeezed for {t.epochs:g} epochs of {images} images'
        parts.append(
            f'{len(t.networks)} teacher{"s" if len(t.networks) > 1 else ""} '
            f'({", ".join(t.networks)}), {how}'
        )
    parts += job.config.entry.stage.about(job.config)
    if not parts:
        return 'nothing reads a proxy: nothing to prepare'
    return f'{"; ".join(parts)}; cached in {job.config.cache_dir}'


def distil(job: Job) -> str:
    """What the third stage will do."""
    c, real = job.config, jobs.real_per_class(job)
    how = [f'{c.num_steps} steps']
    how += [] if real is None else [f'{report.real_per_class(real)} real images per class and step']
    how += ['in independent chunks'] if c.recovers else []
    return (
        f'distilling {job.spec.num_classes * c.ipc} images with '
        f'{" + ".join((c.method, *c.plugins))}: {", ".join(how)}, on {parallel.hardware()}'
    )


def evaluate(job: Job) -> str:
    """What the fourth stage will do."""
    e = job.config.evaluation
    real = [report.of_real(kind) for kind in jobs.real_rows(job.config)]
    labels = '' if e.labels == 'hard' else f' with {e.labels} labels'
    return (
        f'training {e.num_seeds} students x {", ".join(e.networks)} for {students.num_epochs(e)} '
        f'epochs on the distilled set{labels}, and '
        f'{"none" if jobs.no_baseline(job) else "as many"} on {", ".join(real)}'
    )
