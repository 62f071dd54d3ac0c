from pathlib import Path

import pytest

from pipelines import graph
from pipelines.errors import UserError
from pipelines.graph import Stage


def test_stages_come_in_the_order_of_the_file_with_deps_outs_metrics_plots_and_params(
    tmp_path: Path,
) -> None:
    (tmp_path / "dvc.yaml").write_text("""
stages:
  train:
    cmd: python -m pipelines train
    meta: {phase: model}
    deps: [data/rows.parquet, pipelines/stages/train.py]
    params: [train]
    outs: [models/adapter: {persist: true, push: false}]
    metrics: [reports/score.json: {cache: false}]
    plots: [reports/loss.csv]
  audit:
    cmd: python -m pipelines audit
""")
    stages = graph.read(tmp_path / "dvc.yaml")
    assert list(stages.values()) == [
        Stage(
            "train",
            deps=("data/rows.parquet", "pipelines/stages/train.py"),
            outs=("models/adapter", "reports/score.json", "reports/loss.csv"),
            params=("train",),
            phase="model",
            in_git=("reports/score.json",),
            unpushed=("models/adapter",),
        ),
        Stage("audit", deps=(), outs=(), params=()),
    ]


def test_a_key_without_a_value_is_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  audit:\n    cmd: audit\n    deps:\n    outs:\n    params:\n"
    )
    assert graph.read(tmp_path / "dvc.yaml")["audit"] == Stage("audit", (), (), ())


def test_artifacts_are_named_by_file_stem_and_code_is_not_an_artifact() -> None:
    stage = Stage(
        "chunk",
        deps=("pipelines/corpus/chunking.py", "data/raw", "data/documents.parquet"),
        outs=("data/chunks.parquet",),
        params=(),
    )
    assert stage.inputs() == {
        "raw": Path("data/raw"),
        "documents": Path("data/documents.parquet"),
    }
    assert stage.outputs() == {"chunks": Path("data/chunks.parquet")}


def test_two_artifacts_with_one_stem_are_refused_with_both_paths() -> None:
    stage = Stage("chunk", deps=("data/chunks.json", "old/chunks.csv"), outs=(), params=())
    with pytest.raises(UserError) as caught:
        stage.inputs()
    assert str(caught.value) == (
        "dvc.yaml: stage chunk has two artifacts named `chunks` "
        "(data/chunks.json and old/chunks.csv): rename one of them"
    )


def test_edges_join_the_stage_that_writes_with_the_stages_that_read() -> None:
    documents = "data/documents.parquet"
    chunks = "data/chunks.parquet"
    stages = {
        "ingest": Stage("ingest", deps=("data/raw",), outs=(documents,), params=()),
        "chunk": Stage("chunk", deps=(documents,), outs=(chunks,), params=()),
        "report": Stage("report", deps=(documents, chunks), outs=(), params=()),
    }
    assert graph.edges(stages) == {("ingest", "chunk"), ("ingest", "report"), ("chunk", "report")}


def test_a_file_in_an_output_folder_is_an_edge_and_a_longer_name_is_not() -> None:
    stages = {
        "base": Stage("base", deps=(), outs=("models/base",), params=()),
        "chunk": Stage("chunk", deps=("models/base/tokenizer.json",), outs=(), params=()),
        "tune": Stage("tune", deps=("models/base2",), outs=(), params=()),
        "backup": Stage("backup", deps=("models",), outs=(), params=()),
    }
    assert graph.edges(stages) == {("base", "chunk"), ("base", "backup")}


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"dvc\.yaml is not here: run this from the repository's root"
    ):
        graph.read(tmp_path / "dvc.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"stages: [", "dvc.yaml:1: is not valid YAML: expected the node content"),
        (b"stages: \xff", "dvc.yaml:1: is not valid YAML: 'utf-8' codec"),
        (b"", "dvc.yaml has no `stages:` section"),
        (b"- stages", "dvc.yaml has no `stages:` section"),
        (b"stages: [ingest]", "dvc.yaml has no `stages:` section"),
        (b"stages:\n  ingest:\n    outs: [a]", "dvc.yaml:2: stage ingest has no `cmd`"),
        (b"stages:\n  ingest:", "dvc.yaml:2: stage ingest has no `cmd`"),
    ],
)
def test_a_file_without_readable_stages_is_named_with_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_bytes(content)
    with pytest.raises(UserError) as caught:
        graph.read()
    assert str(caught.value).startswith(message)


def test_every_stage_of_this_repository_stands_after_those_it_reads_from() -> None:
    stages = graph.read(Path(__file__).parents[1] / "dvc.yaml")
    numbers = {name: number for number, name in enumerate(stages)}
    assert "ingest" in numbers
    for upstream, downstream in graph.edges(stages):
        assert numbers[upstream] < numbers[downstream], (upstream, downstream)


def test_what_leads_to_a_stage_is_all_that_it_needs_in_order() -> None:
    stages = {
        "a": Stage("a", deps=(), outs=("1",), params=()),
        "b": Stage("b", deps=("1",), outs=("2",), params=()),
        "c": Stage("c", deps=("1",), outs=("3",), params=()),
        "d": Stage("d", deps=("2",), outs=("4",), params=()),
    }
    assert graph.leading_to(stages, "d") == ["a", "b", "d"]
