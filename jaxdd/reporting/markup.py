"""Pieces of a page: a whole document with its style, tables, figures; every text escaped."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1d2025; --soft: #676d76; --rule: #e2e4e8;
  --ground: #ffffff; --raised: #f6f7f8; --accent: #1f5fa8; --warm: #a4520f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --soft: #979da7; --rule: #31353b;
  --ground: #16181b; --raised: #1f2226; --accent: #77aee6; --warm: #e5a06a; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 ui-sans-serif, system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 58rem; margin: 0 auto; padding: 3.5rem 1.5rem 5rem; }
main.broad { max-width: 88rem; }
h1, h2 { font-family: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia,
  serif; font-weight: 600; line-height: 1.2; text-wrap: balance; }
h1 { font-size: 2.3rem; margin: .3rem 0 .8rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; margin: 3.2rem 0 .9rem; }
h3 { font-size: .95rem; margin: 0 0 .6rem; font-weight: 600; }
p { margin: .6rem 0; max-width: 44rem; }
.over { color: var(--soft); font-size: .8rem; letter-spacing: .09em; text-transform: uppercase;
  margin: 0; }
.lead { font-size: 1.08rem; }
.soft, figcaption { color: var(--soft); font-size: .88rem; }
.note { border-left: 3px solid var(--rule); padding-left: .8rem; color: var(--soft);
  font-size: .92rem; }
.warning { border-color: var(--warm); color: var(--warm); }
.facts { display: flex; flex-wrap: wrap; gap: 1.2rem 2.6rem; margin: 2rem 0 0; padding: 1.2rem 0;
  border: solid var(--rule); border-width: 1px 0; }
.facts div { min-width: 6.5rem; }
.facts dt { color: var(--soft); font-size: .82rem; }
.facts dd { margin: 0; font-size: 1.55rem; line-height: 1.3; white-space: nowrap; }
.facts small { font-size: .88rem; color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; width: 100%; }
th, td { padding: .42rem .9rem .42rem 0; text-align: left; vertical-align: baseline; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: .82rem; vertical-align: bottom;
  border-bottom: 1px solid var(--ink); }
tbody td, tbody th { border-bottom: 1px solid var(--rule); font-weight: 400; }
.num { text-align: right; white-space: nowrap; }
tr.own td:first-child { font-weight: 650; color: var(--accent); }
.scores tr.own td:nth-child(3), .memories tr.own td:last-child { font-weight: 650; }
.scores td:not(:first-child), .scores th { white-space: nowrap; }
.scores td:first-child { min-width: 9.5rem; }
figure { margin: 1rem 0 1.4rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .5rem; max-width: 44rem; }
.paper img { background: #fff; padding: .4rem; border-radius: 6px; border: 1px solid var(--rule); }
.drawn img { mix-blend-mode: multiply; }
@media (prefers-color-scheme: dark) {
  .drawn img { filter: invert(1) hue-rotate(180deg); mix-blend-mode: screen; } }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr));
  gap: 1.5rem 3rem; align-items: start; }
.pair.uneven { grid-template-columns: minmax(15rem, 2fr) minmax(20rem, 3fr); }
@media (max-width: 48rem) { .pair.uneven { grid-template-columns: 1fr; } }
.chart { display: block; width: 100%; height: auto; }
.chart text { fill: var(--soft); font-size: 11px; }
.chart .grid { stroke: var(--rule); stroke-width: 1; }
.chart .line { fill: none; stroke: var(--accent); stroke-width: 1.7; stroke-linejoin: round; }
.chart .dot { fill: var(--accent); }
.bars td, .bars th { border: 0; padding: .16rem .7rem .16rem 0; }
.bars th { white-space: nowrap; max-width: 11rem; overflow: hidden; text-overflow: ellipsis; }
.bars .track { width: 100%; }
.narrow { width: auto; min-width: 22rem; }
.narrow th, .narrow td { padding-right: 2.2rem; }
.bars .track div { background: var(--raised); border-radius: 1px 3px 3px 1px; }
.bars .track span { display: block; height: .72rem; border-radius: 1px 3px 3px 1px;
  background: var(--accent); opacity: .85; }
.matrix { width: auto; font-size: .78rem; border-spacing: 2px; border-collapse: separate; }
.matrix th, .matrix td { border: 0; padding: 0; height: 1.85rem; text-align: center;
  vertical-align: middle; }
.matrix td { min-width: 1.85rem; border-radius: 3px; background: var(--raised);
  background: color-mix(in oklab, var(--accent) var(--v), var(--raised)); }
.matrix td.deep { color: var(--ground); }
.matrix th { color: var(--soft); font-weight: 400; font-size: .78rem; border: 0; }
.matrix tbody th { text-align: right; padding-right: .5rem; white-space: nowrap; max-width: 8rem;
  overflow: hidden; text-overflow: ellipsis; }
.matrix thead th div { max-height: 6rem; overflow: hidden; white-space: nowrap; }
.matrix.long thead th div { writing-mode: vertical-rl; transform: rotate(180deg);
  margin: 0 auto .3rem; text-align: left; }
pre { background: var(--raised); border-radius: 6px; padding: .9rem 1rem; overflow-x: auto;
  font: .82rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; margin: .8rem 0; }
code { font: .86em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
details { border-bottom: 1px solid var(--rule); }
details:first-of-type { border-top: 1px solid var(--rule); }
summary { cursor: pointer; padding: .6rem 0; }
details[open] { padding-bottom: 1rem; }
footer { margin-top: 3.5rem; color: var(--soft); font-size: .85rem; }
@media print {
  :root { --ink: #000; --soft: #555; --rule: #ccc; --ground: #fff; --raised: #f4f4f4;
    --accent: #1f5fa8; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; } .facts dd { font-size: 1.2rem; }
  h2 { break-after: avoid; margin-top: 1.6rem; } figure, table, .pair > * { break-inside: avoid; }
  .drawn img { filter: none; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .wide { overflow: visible; }
}
"""


def document(title: str, body: str, *, kind: str = '') -> str:
    """A whole page that needs nothing beside itself.

    Args:
        title: text of its window.
        body: markup.
        kind: 'broad' for tables of many columns.
    """
    named = f' class="{kind}"' if kind else ''
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n'
        f'<body>\n<main{named}>\n{body}\n</main>\n</body>\n</html>\n'
    )


def header(title: str, lead: str, facts: Iterable[tuple[str, str, str]] = ()) -> str:
    """What a page begins with.

    Args:
        lead: a sentence or two that say what this is.
        facts: (what, value, unit) of the numbers that a reader looks for first.
    """
    shown = ''.join(
        f'<div><dt>{escape(what)}</dt><dd>{escape(value)} <small>{escape(unit)}</small></dd></div>'
        for what, value, unit in facts
    )
    return (
        '<header>\n<p class="over">Dataset distillation</p>\n'
        f'<h1>{escape(title)}</h1>\n{paragraph(lead, "lead")}\n'
        + (f'<dl class="facts">{shown}</dl>\n' if shown else '')
        + '</header>'
    )


def section(title: str, *parts: str) -> str:
    """Parts under their title; nothing where no part says anything."""
    inner = '\n'.join(part for part in parts if part)
    return f'<section>\n<h2>{escape(title)}</h2>\n{inner}\n</section>' if inner else ''


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Iterable[int] = (),
    own: Iterable[int] = (),
    kind: str = '',
) -> str:
    """A table; nothing where it has no rows.

    Args:
        header: names of the columns; none leaves the line out.
        rows: cells of text, as many as names.
        numbers: columns that are set to the right.
        own: rows that stand out.
        kind: 'narrow' is as wide as its words.
    """
    right, mine = set(numbers), set(own)

    def line(cells: Sequence[str], tag: str) -> str:
        return ''.join(
            f'<{tag}{" class=num" if column in right else ""}>{escape(str(cell))}</{tag}>'
            for column, cell in enumerate(cells)
        )

    body = [
        f'<tr{" class=own" if number in mine else ""}>{line(row, "td")}</tr>'
        for number, row in enumerate(rows)
    ]
    if not body:
        return ''
    head = f'<thead><tr>{line(header, "th")}</tr></thead>' if header else ''
    named = f' class="{kind}"' if kind else ''
    return f'<div class="wide"><table{named}>{head}<tbody>{"".join(body)}</tbody></table></div>'


def picture(content: bytes, caption: str, *, kind: str = 'paper', shown: bool = True) -> str:
    """A png or jpeg picture within the page, with its caption.

    Args:
        kind: 'paper' keeps white ground, 'drawn' lets a dark page turn it, 'clear' has none.
        shown: whether the caption stands below; who cannot see the picture has it anyway.
    """
    source = base64.b64encode(content).decode()
    below = f'<figcaption>{escape(caption)}</figcaption>' if shown else ''
    form = 'jpeg' if content.startswith(b'\xff\xd8') else 'png'
    return (
        f'<figure class="{kind}"><img alt="{escape(caption)}" '
        f'src="data:image/{form};base64,{source}">{below}</figure>'
    )


def folded(title: str, inner: str) -> str:
    """What is shown when asked for; nothing where there is nothing."""
    return f'<details><summary>{escape(title)}</summary>\n{inner}\n</details>' if inner else ''


def paragraph(text: str, kind: str = '') -> str:
    """A paragraph of text; nothing where there is none."""
    named = f' class="{kind}"' if kind else ''
    return f'<p{named}>{escape(text)}</p>' if text else ''
