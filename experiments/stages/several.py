"""Results of several distilled sets as one: every published ± is over sets and students."""

import pathlib
from collections.abc import Sequence

from experiments.configs import Config
from experiments.stages import comparing, drawing
from experiments.stages.progress import rows_of
from experiments.stages.scores import SCORES
from jaxdd import hosts
from jaxdd.engine import evaluate
from jaxdd.reporting import confusion, report
from jaxdd.reporting.charts import Part
from jaxdd.storage import records

RESULTS = {
    'type': 'object',
    'required': ['accuracy', 'config', 'seconds', 'seed', 'warnings', 'pictures'],
    'properties': {'accuracy': records.mapping(SCORES)},
}
OWN = ('seed', 'on_the_way', 'per_class', 'confusion')  # of a single set


def pooled(found: Sequence[dict]) -> dict:
    """The first set's results with the accuracies of all sets.

    Args:
        found: `results.json` of every set, as read.

    Returns:
        Accuracies of every student of every set, in the order of the sets, with their mean and
        population std; the seconds of all together; warnings of each; otherwise the first's.
    """
    first = found[0]
    accuracy = {
        kind: {
            student: evaluate.summary(
                [one for each in found for one in each['accuracy'][kind][student]['per_seed']]
            )
            for student in students
        }
        for kind, students in first['accuracy'].items()
        if all(each['accuracy'].get(kind, {}).keys() == students.keys() for each in found)
    }
    return {
        **{name: value for name, value in first.items() if name not in OWN},
        'config': {**first['config'], 'num_sets': len(found)},
        'accuracy': accuracy,
        'scores': _compared(first, accuracy),
        **confusion.pooled(found),
        'sets': len(found),
        'seeds': [each['seed'] for each in found],
        'warnings': [
            f'set {i}: {text}' for i, each in enumerate(found) for text in each['warnings']
        ],
        'seconds': {
            stage: sum(each['seconds'].get(stage, 0) for each in found)
            for stage in first['seconds']
        },
        'pictures': {text: f'set-0/{name}' for text, name in first['pictures'].items()},
    }


def _compared(first: dict, accuracy: dict) -> dict:
    """The scores of all sets' students, of what the first set's hold."""
    before = list(first.get('scores', {}).values())
    known = any('hlr' in row for row in before)
    full = first['config']['evaluation']['full_accuracy'] if known else None
    return comparing.compared(accuracy, full, before[0]['protocol']) if before else {}


def write(config: Config, workdir: pathlib.Path, folders: Sequence[pathlib.Path]) -> str:
    """Writes results.json and the reports over those of the sets' folders;
    returns what the terminal shows."""
    results = pooled([records.load(folder / 'results.json', RESULTS) for folder in folders])
    records.save(workdir / 'results.json', results)
    reports = drawing.write_reports(results, workdir, _series(config, folders))
    return f'\n{len(folders)} distilled sets together:\n\n{report.table(results)}\n\n{reports}'


def _series(config: Config, folders: Sequence[pathlib.Path]) -> dict[str, list[Part]]:
    """A line per set; none where each is made in parts, which its own page shows."""
    if config.recovers:
        return {}
    histories = hosts.told(lambda: [rows_of(folder / 'history.jsonl') for folder in folders])
    return drawing.series(config, histories, {})
