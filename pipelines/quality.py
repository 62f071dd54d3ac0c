"""Knows Great Expectations: runs expectations over rows, gives a report that stages obey, and writes HTML data docs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipelines.contracts.report import Check, Report
from pipelines.files import replacing


class Promise(NamedTuple):
    """One statistical promise: a Great Expectations expectation by its class name, with its arguments.

    `share` is the part of rows that must keep it (1: all of them).
    """

    name: str
    expectation: str
    arguments: dict[str, Any]
    share: float = 1.0


class Table(NamedTuple):
    """Rows, whose column `uri` names examples, and what they must be like. `label` names them in the data docs."""

    rows: pd.DataFrame
    promises: list[Promise]
    label: str


def examine(rows: pd.DataFrame, promises: list[Promise], label: str, docs: Path | None = None) -> Report:
    """Validate one table; see examine_tables."""
    return examine_tables([Table(rows, promises, label)], docs)


def examine_tables(tables: list[Table], docs: Path | None = None) -> Report:
    """One report about all tables. With `docs`, HTML data docs are written there.

    An expectation that could not be evaluated is a failed check with the exception's text.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    with _workplace(docs) as folder:
        context = gx.get_context(mode="file", project_root_dir=str(folder)) if folder else gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)  # they count metrics, which tells a reader nothing
        checks = [check for table in tables for check in _checks(gx, context, table)]
        if folder:
            context.build_data_docs()
    return Report.of(checks)


def _checks(gx: Any, context: Any, table: Table) -> list[Check]:
    """Run a table's promises in this context."""
    label = table.label
    suite = context.suites.add(gx.ExpectationSuite(name=label))
    impossible: dict[str, str] = {}
    for promise in table.promises:
        try:
            suite.add_expectation(_expectation(gx, promise))
        except ValueError as error:  # its arguments contradict one another, such as bounds that nothing can keep
            impossible[promise.name] = str(error)
    batch = context.data_sources.add_pandas(label).add_dataframe_asset(label).add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=label, data=batch, suite=suite))
    checkpoint = context.checkpoints.add(gx.Checkpoint(name=label, validation_definitions=[definition], result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["uri"]}))
    outcome = checkpoint.run(batch_parameters={"dataframe": table.rows})
    results = next(iter(outcome.run_results.values())).results
    by_name = {result.expectation_config.meta["name"]: result for result in results}
    return [_check(promise, by_name.get(promise.name), impossible.get(promise.name)) for promise in table.promises]


def _expectation(gx: Any, promise: Promise) -> Any:
    made = getattr(gx.expectations, promise.expectation)
    mostly = {} if promise.share == 1.0 else {"mostly": promise.share}
    return made(**promise.arguments, **mostly, meta={"name": promise.name})


def _check(promise: Promise, result: Any, problem: str | None) -> Check:
    expected = f"at least {promise.share:.1%} of rows" if promise.share < 1 else _wanted(promise.arguments)
    problem = problem or ("no result" if result is None else _exceptions(result.exception_info))
    if problem:
        return Check(name=promise.name, passed=False, observed=f"could not be evaluated: {' '.join(problem.split())}", expected=expected)
    found = result.result
    broken = found.get("unexpected_index_list") or []
    count = int(found.get("unexpected_count", len(broken)))
    observed = str(found["observed_value"]) if "observed_value" in found else f"{count} of {found.get('element_count', '?')} rows break it"
    examples = sorted({str(row["uri"]) for row in broken})[:3]
    return Check(name=promise.name, passed=bool(result.success), observed=observed, expected=expected, num_rows=count, examples=examples)


def _exceptions(info: dict[str, Any]) -> str:
    """What an expectation raised, or nothing. Great Expectations keeps it flat, or one level deeper under each metric's name."""
    raised = [info] if "raised_exception" in info else list(info.values())
    return "; ".join(sorted({str(one["exception_message"]) for one in raised if one["raised_exception"]}))


def _wanted(arguments: dict[str, Any]) -> str:
    limits = {key: value for key, value in arguments.items() if key != "column" and value is not None}
    return ", ".join(f"{key} {value}" for key, value in limits.items()) or "every row"


@contextmanager
def _workplace(docs: Path | None) -> Iterator[Path | None]:
    """A temporary Great Expectations project whose data docs replace `docs` at the end; nothing where `docs` is None."""
    if docs is None:
        yield None
        return
    with replacing(docs) as target:
        project = (target.parent / "project").absolute()
        project.mkdir()
        yield project
        (project / "gx/uncommitted/data_docs/local_site").rename(target)
