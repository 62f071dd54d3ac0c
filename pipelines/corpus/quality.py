"""Runs Great Expectations over rows and gives a report that stages obey, with HTML data docs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipelines.contracts.report import Check, Report
from pipelines.corpus.docs_assets import bring_assets
from pipelines.files import replacing
from pipelines.system import paths

MAX_EXAMPLES = 3


class Promise(NamedTuple):
    """One statistical promise: a Great Expectations expectation by class name, with its arguments.

    `share` is the part of the rows that must keep it (1: all of them). `code` is a CheckCode if
    code looks for the check.
    """

    name: str
    expectation: str
    arguments: dict[str, Any]
    share: float = 1.0
    code: str = ""


class Table(NamedTuple):
    """Rows and what they must be like.

    The column `uri` names examples; `label` names the table in the data docs.
    """

    rows: pd.DataFrame
    promises: list[Promise]
    label: str


def examine(
    rows: pd.DataFrame, promises: list[Promise], label: str, docs: Path | None = None
) -> Report:
    """Validate one table; see examine_tables."""
    return examine_tables([Table(rows, promises, label)], docs)


def examine_tables(tables: list[Table], docs: Path | None = None) -> Report:
    """One report about all tables. HTML data docs are written to `docs`.

    An expectation that cannot be evaluated is a failed check with the text of the exception.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    checks: list[Check] = []
    with _temporary_project(docs) as folder:
        if folder:
            context = gx.get_context(mode="file", project_root_dir=str(folder))
        else:
            context = gx.get_context(mode="ephemeral")
        # Progress bars count metrics, which tells a reader nothing.
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        for table in tables:
            checks += _examine_table(gx, context, table)
        if folder:
            context.build_data_docs()
    return Report.of(checks)


def _examine_table(gx: Any, context: Any, table: Table) -> Iterator[Check]:
    suite = context.suites.add(gx.ExpectationSuite(name=table.label))
    problems: dict[str, str] = {}
    for promise in table.promises:
        try:
            suite.add_expectation(_build_expectation(gx, promise))
        # Its arguments contradict one another, such as bounds that nothing can keep.
        except ValueError as error:
            problems[promise.name] = str(error)
    results = _run_suite(gx, context, table, suite)
    for promise in table.promises:
        result = results.get(promise.name)
        problem = problems.get(promise.name) or _find_problem(result)
        yield _failed_check(promise, problem) if problem else _check(promise, result)


def _build_expectation(gx: Any, promise: Promise) -> Any:
    expectation_class = getattr(gx.expectations, promise.expectation)
    arguments = dict(promise.arguments)
    if promise.share < 1:
        arguments["mostly"] = promise.share
    return expectation_class(**arguments, meta={"name": promise.name})


def _run_suite(gx: Any, context: Any, table: Table, suite: Any) -> dict[str, Any]:
    """The result of each expectation by the name of its promise."""
    label = table.label
    asset = context.data_sources.add_pandas(label).add_dataframe_asset(label)
    batch = asset.add_batch_definition_whole_dataframe("all")
    definition = gx.ValidationDefinition(name=label, data=batch, suite=suite)
    context.validation_definitions.add(definition)
    checkpoint = gx.Checkpoint(
        name=label,
        validation_definitions=[definition],
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["uri"]},
    )
    outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table.rows})
    (validation,) = outcome.run_results.values()
    return {result.expectation_config.meta["name"]: result for result in validation.results}


def _find_problem(result: Any) -> str:
    """What an expectation raised; the empty string if it was evaluated.

    Great Expectations stores it flat, or one level deeper under the name of each metric.
    """
    if result is None:
        return "no result"
    info = result.exception_info
    exceptions = [info] if "raised_exception" in info else list(info.values())
    messages: set[str] = set()
    for exception in exceptions:
        if exception["raised_exception"]:
            messages.add(str(exception["exception_message"]))
    return "; ".join(sorted(messages))


def _failed_check(promise: Promise, problem: str) -> Check:
    return Check(
        name=promise.name,
        passed=False,
        observed=f"could not be evaluated: {' '.join(problem.split())}",
        expected=_format_promise(promise),
        code=promise.code,
    )


def _check(promise: Promise, result: Any) -> Check:
    details = result.result
    failed_rows = details.get("unexpected_index_list") or []
    num_failed = int(details.get("unexpected_count", len(failed_rows)))
    uris = {str(row["uri"]) for row in failed_rows}
    return Check(
        name=promise.name,
        passed=bool(result.success),
        observed=_format_observation(details, num_failed),
        expected=_format_promise(promise),
        num_rows=num_failed,
        examples=sorted(uris)[:MAX_EXAMPLES],
        code=promise.code,
    )


def _format_observation(details: dict[str, Any], num_failed: int) -> str:
    if "observed_value" in details:
        return str(details["observed_value"])
    return f"{num_failed} of {details.get('element_count', '?')} rows break it"


def _format_promise(promise: Promise) -> str:
    """What a check expects, such as `min_value 1, max_value 9`."""
    if promise.share < 1:
        return f"at least {promise.share:.1%} of rows"
    limits = []
    for name, value in promise.arguments.items():
        if name != "column" and value is not None:
            limits.append(f"{name} {value}")
    return ", ".join(limits) or "every row"


@contextmanager
def _temporary_project(docs: Path | None) -> Iterator[Path | None]:
    """The folder of a Great Expectations project whose data docs replace `docs` at the end.

    None if no docs are to be written.
    """
    if docs is None:
        yield None
        return
    with replacing(docs) as target:
        project = (target.parent / "project").absolute()
        project.mkdir()
        yield project
        site = project / "gx/uncommitted/data_docs/local_site"
        _make_readable_offline(site)
        site.rename(target)


def _make_readable_offline(site: Path) -> None:
    """Let the pages name files beside them, if the set-up brought these."""
    assets = paths.state_folder() / "data_docs"
    if assets.is_dir():
        bring_assets(site, assets)
    else:
        print(f"the data docs need a network to be read: {assets} is missing; run `make setup`")
