"""Knows the HTML pages that people look at: plain, one file each, readable without a network."""

from typing import Any

from pipelines.contracts.scores import CANDIDATE, Scores

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { border-bottom: 1px solid #d8dee4; padding: .4rem .6rem; text-align: left; vertical-align: top }
th { background: #f6f8fa } .bad { background: #fff1f0 } .good { background: #f2fbf4 } .number { text-align: right; white-space: nowrap }
small { color: #59636e } .different { color: #b42318 }
"""

ANSWERS = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Answers, worst first</title><style>{{ style }}</style></head><body>
<h1>Answers of the candidate, worst first</h1>
<p>Candidate {{ scores.candidate[:12] }} on {{ scores.num_questions }} golden questions.{% if scores.champion %} Champion: {{ scores.champion }}.{% endif %}
Each number is a mean with its bootstrap 95 % interval.</p>
<table><tr><th>metric</th>{% for system in scores.systems %}<th class="number">{{ system }}</th>{% endfor %}</tr>
{% for metric in metrics %}<tr><td>{{ metric }}</td>{% for system in scores.systems.values() %}<td class="number">{{ shown(system.metrics[metric]) }}</td>{% endfor %}</tr>
{% endfor %}</table>
<h2>Slices (exact match of the candidate, lowest first)</h2>
<table><tr><th>slice</th><th class="number">exact match</th><th class="number">questions</th></tr>
{% for name, met in slices %}<tr><td>{{ name }}</td><td class="number">{{ shown(met) }}</td><td class="number">{{ met.num }}</td></tr>
{% endfor %}</table>
<h2>Answers</h2>
<table><tr><th>question</th><th>answer</th><th>expected</th><th class="number">F1</th><th>retrieved pages</th></tr>
{% for row in rows %}<tr class="{{ 'good' if row.exact_match else 'bad' }}"><td>{{ row.question }}<br><small>{{ row.id }}, {{ row.kind }}, {{ row.style }}</small></td>
<td class="{{ '' if row.exact_match else 'different' }}">{{ row.answer or '(empty)' }}</td><td>{{ row.expected }}</td><td class="number">{{ '%.2f' | format(row.token_f1) }}</td>
<td>{% for page in row.pages %}{% if page == row.page %}<b>{{ page }}</b>{% else %}{{ page }}{% endif %}<br>{% endfor %}</td></tr>
{% endfor %}</table></body></html>
"""


def answers(rows: list[dict[str, Any]], scores: Scores) -> str:
    """The candidate's answers beside the expected ones, worst first, under the table of all metrics."""
    from jinja2 import Environment

    own = [row | {"pages": list(dict.fromkeys(row["retrieved"]))[:3]} for row in rows if row["system"] == CANDIDATE]
    own.sort(key=lambda row: (row["exact_match"], row["token_f1"], row["id"]))
    slices = sorted(scores.systems[CANDIDATE].slices.items(), key=lambda item: (item[1].value or 0.0, item[0]))
    template = Environment(autoescape=True).from_string(ANSWERS)
    return template.render(style=STYLE, rows=own, scores=scores, metrics=list(scores.systems[CANDIDATE].metrics), slices=slices, shown=_shown)


def _shown(met: Any) -> str:
    return "-" if met.value is None else f"{met.value:.3f} [{met.low:.3f}, {met.high:.3f}]"
