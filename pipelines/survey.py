"""Knows how to show a corpus on one HTML page that needs no network: counts, lengths, rejections, redactions, and a map of its passages."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.contracts.report import Report

COLORS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#57534e", "#1d4ed8")
MOST_ROWS = 200  # of a table
BINS = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)  # characters
SIZE = (960, 620)  # of the map in pixels

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The corpus</title><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; min-width: 24rem } th, td { border-bottom: 1px solid #d8dee4; padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top }
.number { text-align: right } .bad { color: #b42318 } .good { color: #1a7f37 } .bar { background: #2563eb; height: .8rem; display: inline-block } small { color: #59636e }
.columns { display: flex; flex-wrap: wrap; gap: 0 3rem } svg { border: 1px solid #d8dee4; max-width: 100%; height: auto } circle:hover { stroke: #000; stroke-width: 2 } .dot { display: inline-block; width: .8rem; height: .8rem; border-radius: 50% }
</style></head><body>
<h1>The corpus</h1>
<p>{{ num_documents }} documents, {{ num_chunks }} passages, {{ num_aliases }} near-duplicates left out, {{ rejections | length }} rejected, {{ redacted }} finds of personal data replaced.
Validation: <b class="{{ 'good' if report.passed else 'bad' }}">{{ report.reason }}</b>.</p>
<h2>Map of the passages</h2>
<p>Passages that mean the same lie near each other (t-SNE of their vectors{% if points | length < num_chunks %}; {{ points | length }} of {{ num_chunks }}, drawn by lot{% endif %}). Point at one to read it.
{% for source, color in colors.items() %} <span class="dot" style="background: {{ color }}"></span> {{ source }}{% endfor %}</p>
<svg viewBox="0 0 {{ size[0] }} {{ size[1] }}" width="{{ size[0] }}" height="{{ size[1] }}" role="img" aria-label="map of the passages">{% for point in points %}
<circle cx="{{ point.x }}" cy="{{ point.y }}" r="4" fill="{{ colors[point.source] }}" fill-opacity="0.55"><title>{{ point.label }}</title></circle>{% endfor %}
</svg>
<h2>Documents</h2><div class="columns">
{% for title, rows in tables %}<div><h3>{{ title }}</h3><table>{% for name, count in rows %}<tr><td>{{ name }}</td><td class="number">{{ count }}</td>
<td><span class="bar" style="width: {{ (120 * count / num_documents) | round(1) }}px"></span></td></tr>{% endfor %}</table></div>
{% endfor %}</div>
<h2>Rejected</h2>
{% if rejections %}<table><tr><th>document</th><th>stage</th><th>reason</th></tr>{% for row in rejections[:most] %}<tr><td>{{ row.uri }}</td><td>{{ row.stage }}</td><td>{{ row.reason }}</td></tr>{% endfor %}</table>
{% if rejections | length > most %}<p>{{ rejections | length - most }} more in data/rejections.parquet.</p>{% endif %}{% else %}<p>None.</p>{% endif %}
<h2>Near-duplicates</h2>
{% if duplicates %}<table><tr><th>kept</th><th>left out</th></tr>{% for uri, aliases in duplicates[:most] %}<tr><td>{{ uri }}</td><td>{{ aliases | join(', ') }}</td></tr>{% endfor %}</table>{% else %}<p>None.</p>{% endif %}
<h2>Personal data replaced</h2>
{% if finds %}<table><tr><th>source</th><th>type</th><th class="number">finds</th></tr>{% for source, type, count in finds %}<tr><td>{{ source }}</td><td>{{ type }}</td><td class="number">{{ count }}</td></tr>{% endfor %}</table>{% else %}<p>None.</p>{% endif %}
<h2>Validation</h2>
<table><tr><th>check</th><th>observed</th><th>expected</th><th>examples</th></tr>{% for check in report.checks %}<tr><td class="{{ 'good' if check.passed else 'bad' }}">{{ check.name }}</td><td>{{ check.observed }}</td><td>{{ check.expected }}</td><td>{{ check.examples | join(', ') }}</td></tr>
{% endfor %}</table>
<h2>Longest and shortest documents</h2>
<table><tr><th>document</th><th class="number">characters</th></tr>{% for uri, count in extremes %}<tr><td>{{ uri }}</td><td class="number">{{ '{:,}'.format(count) }}</td></tr>{% endfor %}</table>
</body></html>
"""


class Point(NamedTuple):
    """A passage on the map, in pixels."""

    x: float
    y: float
    source: str
    label: str


def places(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float64]:
    """Pixels, shape (passages, 2), where near means alike: t-SNE (van der Maaten and Hinton 2008), begun from the principal axes."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    distinct, which = np.unique(vectors, axis=0, return_inverse=True)  # t-SNE's library crashes where all points are the same
    if len(distinct) < 10:
        flat = np.stack([np.linspace(0, 1, len(distinct)), np.full(len(distinct), 0.5)], axis=1)
    else:
        narrow = PCA(n_components=min(30, *distinct.shape), random_state=seed).fit_transform(distinct)
        flat = TSNE(perplexity=min(30, (len(distinct) - 1) / 3), init="pca", max_iter=500, random_state=seed).fit_transform(narrow)
    flat = flat[which.ravel()]
    low, high = flat.min(axis=0), flat.max(axis=0)
    found: npt.NDArray[np.float64] = 15 + (flat - low) / np.where(high > low, high - low, 1) * (np.array(SIZE) - 30)
    return found


def page(documents: list[dict[str, Any]], rejections: list[dict[str, Any]], num_chunks: int, points: list[Point], report: Report, redaction: dict[str, Any]) -> str:
    """The page. `documents` are rows without their text: uri, source, media_type, language, characters, aliases."""
    from jinja2 import Environment

    sources = sorted({row["source"] for row in documents})
    lengths = sorted(((row["uri"], row["characters"]) for row in documents), key=lambda item: (-item[1], item[0]))
    tables = [
        ("By source", _counted(row["source"] for row in documents)), ("By format", _counted(row["media_type"] for row in documents)), ("By language", _counted(row["language"] for row in documents)),
        ("By length in characters", _lengths([row["characters"] for row in documents])),
    ]  # fmt: skip
    finds = [(source, kind, count) for source, counts in redaction["by_source"].items() for kind, count in counts.items()]
    return Environment(autoescape=True).from_string(PAGE).render(
        num_documents=len(documents), num_chunks=num_chunks, num_aliases=sum(len(row["aliases"]) for row in documents), rejections=rejections, redacted=sum(count for _, _, count in finds), report=report,
        points=points, colors={source: COLORS[number % len(COLORS)] for number, source in enumerate(sources)}, size=SIZE, tables=tables, most=MOST_ROWS,
        duplicates=[(row["uri"], row["aliases"]) for row in documents if row["aliases"]], finds=finds, extremes=lengths if len(lengths) <= 10 else [*lengths[:5], *lengths[-5:]],
    )  # fmt: skip


def _counted(names: Iterable[str]) -> list[tuple[str, int]]:
    return sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))


def _lengths(characters: list[int]) -> list[tuple[str, int]]:
    edges = [0, *BINS]
    bins = [sum(low <= count < high for count in characters) for low, high in zip(edges, [*BINS, 1 << 62], strict=True)]
    names = [*(f"under {high:,}" for high in BINS), f"{BINS[-1]:,} and more"]
    return [(name, count) for name, count in zip(names, bins, strict=True) if count]
