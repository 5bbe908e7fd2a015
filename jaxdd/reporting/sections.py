"""What every page of results ends with: how to run it again, what to cite, every setting."""

from collections.abc import Mapping
from html import escape
from typing import Any

from jaxdd.reporting import markup, report

Results = Mapping[str, Any]


def origin(results: Results) -> str:
    """The command, and what it was run with; a part that nobody knows is left out."""
    made = [
        [key, str(results[key])] for key in ('hardware', 'precision', 'commit') if results.get(key)
    ]
    made += [
        [package, str(version)]
        for package, version in (results.get('versions') or {}).items()
        if version is not None
    ]
    command = results.get('command')
    return markup.section(
        'How to run it again',
        f'<pre>{escape(command)}</pre>' if command else '',
        markup.table(['made with', 'which'], made, kind='narrow'),
    )


def citations(results: Results) -> str:
    """The entries of `results['bibtex']`."""
    entries = results.get('bibtex') or ()
    return markup.section(
        'What to cite',
        markup.paragraph('The papers whose techniques this run used.', 'soft') if entries else '',
        f'<pre>{escape(chr(10).join(f"{entry}{chr(10)}" for entry in entries).strip())}</pre>'
        if entries
        else '',
    )


def configuration(results: Results) -> str:
    """The protocol and the settings, folded away."""
    return markup.section(
        'Configuration',
        _settings('Protocol of the students', results.get('protocol')),
        _settings('Every setting of the run', results.get('config')),
    )


def footer(over: str) -> str:
    """Who wrote the page, and what its accuracies are.

    Args:
        over: what the means and deviations are taken over.
    """
    return (
        '<footer>Written by jaxdd. Accuracies are those of the last step, mean ± population '
        f'standard deviation over {over}.</footer>'
    )


def _settings(title: str, settings: Mapping[str, Any] | None) -> str:
    """Settings that say something, folded away."""
    rows = [
        [path, report.short(value)]
        for path, value in report.flat(settings or {})
        if value is not None and value != [] and value != ()
    ]
    return markup.folded(title, markup.table(['setting', 'value'], rows))
