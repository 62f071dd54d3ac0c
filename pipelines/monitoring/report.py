"""Knows the pages that people look at: one a window, and one with the trend over windows. One file each, readable without a network."""

import math
from collections.abc import Sequence
from typing import Any

from pipelines.contracts.drift import Decision, Verdict
from pipelines.monitoring.signals import GROUPS, MEANING

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 } th, td { border-bottom: 1px solid #d8dee4; padding: .35rem .6rem; text-align: left; vertical-align: top }
th { background: #f6f8fa } .drift td { background: #fff1f0 } .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
small, .quiet { color: #59636e } h2 { margin-top: 2.2rem } .lead { font-size: 1.15rem; border-left: .35rem solid #8c959f; padding-left: .8rem }
.lead.drift { border-color: #c6281c } .lead.no_drift { border-color: #1a7f37 } .lead.cannot_tell { border-color: #9a6700 } .more { color: #b42318 }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: .6rem 1.4rem } figure { margin: 0 } figcaption { font-size: .85rem }
svg { width: 100%; height: auto; display: block } svg text { font: 11px system-ui, sans-serif; fill: #59636e }
"""
OUTCOMES = {"drift": "drift", "no_drift": "no drift", "cannot_tell": "cannot tell"}
COLOURS = {"drift": "#c6281c", "no_drift": "#1a7f37", "cannot_tell": "#9a6700"}
HIGHEST = 5.0  # times its threshold, where the plots' scale ends
SHOWN = 60  # windows of the trend

WINDOW_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Window {{ v.window }}</title><style>{{ style }}</style></head><body>
<p><a href="../index.html">All windows</a></p><h1>{{ outcomes[v.outcome] | capitalize }}: window {{ v.window }}</h1>
<p class="lead {{ v.outcome }}">{{ v.sentence }}</p>
<p class="quiet">{{ v.num_requests }} requests ({{ v.num_tested }} drawn for the test) to release {{ v.release_id or 'none' }}, {{ v.first or '?' }} to {{ v.last or '?' }};
compared with {{ v.baseline or 'nothing' }} ({{ kinds[v.baseline_kind] }}).</p>
{% if v.signals %}<h2>Signals</h2>
<p>Statistic and threshold count in units of what each signal shows in one of a hundred windows without a change; the threshold holds for all signals together.
p is the chance that any signal would come this far without a change.</p>
<table><tr><th>signal</th><th class="number">statistic</th><th class="number">threshold</th><th class="number">p</th><th>direction</th><th class="number">baseline</th><th class="number">window</th><th class="number">effect</th><th>questions</th></tr>
{% for s in ordered %}<tr class="{{ 'drift' if s.drifted else '' }}"><td>{{ s.name }}<br><small>{{ s.group }}: {{ meaning[s.name] }}</small></td><td class="number">{{ '%.2f' | format(s.statistic) }}</td>
<td class="number">{{ '%.2f' | format(s.threshold) }}</td><td class="number">{{ '%.4f' | format(s.p_value) }}</td><td>{{ s.direction }}</td><td class="number">{{ number(s.baseline) }}</td><td class="number">{{ number(s.window) }}</td>
<td class="number">{{ '%+.2f' | format(s.effect) }}</td><td>{% if s.drifted %}{% for q in s.examples %}{{ q }}<br>{% endfor %}{% endif %}</td></tr>
{% endfor %}</table>{% endif %}
{% if v.unmeasured %}<p class="quiet">Not measured (no values, or all alike): {{ v.unmeasured | join(', ') }}.</p>{% endif %}
<h2>What Evidently's preset says as it comes</h2>
{% if v.presets %}<p>All together: {{ {true: 'drift', false: 'no drift', none: 'no verdict'}[v.presets_say] }}. It decides nothing here. <a href="{{ v.window }}.evidently.html">Evidently's own report</a></p>
<table><tr><th>column</th><th>method</th><th class="number">score</th><th>verdict</th></tr>
{% for p in v.presets %}<tr class="{{ 'drift' if p.drifted else '' }}"><td>{{ p.column }}</td><td>{{ p.method }}</td><td class="number">{{ number(p.score) }}</td><td>{{ {true: 'drift', false: 'no drift', none: 'no verdict'}[p.drifted] }}</td></tr>
{% endfor %}</table>{% else %}<p>Nothing to compare.</p>{% endif %}
<h2>Checks of the log</h2><table><tr><th>check</th><th>seen</th><th>expected</th><th>e.g.</th></tr>
{% for c in v.checks.checks %}<tr class="{{ '' if c.passed else 'drift' }}"><td>{{ c.name }}</td><td>{{ c.observed }}</td><td>{{ c.expected }}</td><td>{{ c.examples | join(', ') }}</td></tr>
{% endfor %}</table></body></html>
"""

TREND_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Traffic and drift</title><style>{{ style }}</style></head><body>
<h1>Traffic and drift</h1>
{% if decisions %}<p class="lead {{ decisions[0].outcome }}">{{ decisions[0].reason }}</p>{% endif %}
<h2>Every window against its threshold</h2><p>The highest signal of each window in units of its threshold (the dashed line): above it is drift. A vertical line is a start; a gap is a window that could not be judged.</p>
<figure>{{ overall | safe }}</figure>
<h2>Signals</h2><div class="plots">{% for name, plot in plots %}<figure><figcaption><b>{{ name }}</b> <span class="quiet">{{ meaning[name] }}</span></figcaption>{{ plot | safe }}</figure>{% endfor %}</div>
<h2>Decisions</h2><table><tr><th>when</th><th>window</th><th>release</th><th>outcome</th><th>reaction</th><th>why</th></tr>
{% for d in decisions %}<tr class="{{ 'drift' if d.outcome == 'drift' else '' }}"><td>{{ d.when[:19] | replace('T', ' ') }}</td><td><a href="windows/{{ d.window }}.html">{{ d.window }}</a></td><td>{{ d.release_id or '-' }}</td>
<td>{{ outcomes[d.outcome] }}</td><td>{{ d.reaction }}{% if d.blocked_by %}<br><small>wanted {{ d.wanted }}; {{ d.blocked_by | join(', ') | replace('_', ' ') }}</small>{% endif %}</td><td>{{ d.reason }}</td></tr>
{% endfor %}</table></body></html>
"""
KINDS = {"live": "accepted traffic of this release", "predecessor": "the last window of the release before", "golden": "the golden set, for want of live traffic", "none": "no baseline"}


def window(verdict: Verdict) -> str:
    """The page of one window: its sentence, every signal with its numbers, Evidently's verdicts beside, the log's checks."""
    ordered = sorted(verdict.signals, key=lambda signal: (not signal.drifted, signal.p_value, signal.name))
    return _rendered(WINDOW_PAGE, v=verdict, ordered=ordered, meaning=MEANING, outcomes=OUTCOMES, kinds=KINDS, number=_number)


def trend(decisions: Sequence[Decision], verdicts: dict[str, Verdict]) -> str:
    """The page over the last windows. `verdicts` by window; a window whose verdict is gone is drawn as a gap."""
    last = list(decisions)[-SHOWN:]
    levels = {name: [_level(verdicts.get(decision.window), name) for decision in last] for name in GROUPS}
    highest = [max((level for level in (levels[name][place] for name in GROUPS) if level is not None), default=None) for place in range(len(last))]
    plots = [(name, _plot(last, values, 340, 96)) for name, values in levels.items() if any(value is not None for value in values)]
    return _rendered(TREND_PAGE, decisions=list(reversed(last)), overall=_plot(last, highest, 1100, 220), plots=plots, meaning=MEANING, outcomes=OUTCOMES)


def _rendered(template: str, **values: Any) -> str:
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(template).render(style=STYLE, **values)


def _level(verdict: Verdict | None, name: str) -> float | None:
    found = next((signal for signal in verdict.signals if signal.name == name), None) if verdict else None
    return None if found is None or found.threshold <= 0 else max(0.0, found.statistic / found.threshold)


def _plot(decisions: Sequence[Decision], levels: Sequence[float | None], width: int, height: int) -> str:
    """An SVG line over windows; 1 is the threshold. Everything in it is a number or a fixed text, but the titles, which are escaped."""
    from markupsafe import escape

    left, right, top, bottom = 28, 8, 8, 16
    across, down = (width - left - right) / max(1, len(levels) - 1), height - top - bottom

    def x(place: int) -> float:
        return left + across * place if len(levels) > 1 else left + (width - left - right) / 2

    def y(level: float) -> float:
        return top + down * (1 - math.sqrt(min(level, HIGHEST) / HIGHEST))

    starts = "".join(
        f'<line x1="{x(place):.1f}" x2="{x(place):.1f}" y1="{top}" y2="{top + down}" stroke="#0969da"/>' for place, decision in enumerate(decisions) if decision.reaction in ("train", "refresh")
    )
    scale = "".join(f'<text x="{left - 5}" y="{y(level) + 4:.1f}" text-anchor="end">{level:g}</text>' for level in (0, 1, HIGHEST))
    limit = f'<line x1="{left}" x2="{width - right}" y1="{y(1):.1f}" y2="{y(1):.1f}" stroke="#8c959f" stroke-dasharray="4 3"/>'
    parts = [
        f'<circle cx="{x(place):.1f}" cy="{y(level):.1f}" r="3" fill="{COLOURS["drift"] if level > 1 else COLOURS["no_drift"]}"><title>{escape(decisions[place].window)}: {level:.2f}</title></circle>'
        for place, level in enumerate(levels)
        if level is not None
    ]
    unknown = [f'<text x="{x(place):.1f}" y="{top + down + 12:.1f}" text-anchor="middle">?</text>' for place, level in enumerate(levels) if level is None]
    runs = [f'<polyline points="{points}" fill="none" stroke="#59636e" stroke-width="1.2"/>' for points in _runs(levels, x, y)]
    return f'<svg viewBox="0 0 {width} {height}" role="img">{scale}{limit}{starts}{"".join(runs)}{"".join(parts)}{"".join(unknown)}</svg>'


def _runs(levels: Sequence[float | None], x: Any, y: Any) -> list[str]:
    """Points of each unbroken run of levels."""
    runs: list[list[str]] = [[]]
    for place, level in enumerate(levels):
        if level is None:
            runs.append([])
        else:
            runs[-1].append(f"{x(place):.1f},{y(level):.1f}")
    return [" ".join(run) for run in runs if len(run) > 1]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
