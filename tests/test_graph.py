from pathlib import Path

import pytest

from pipelines import graph
from pipelines.errors import UserError


def test_stages_come_in_the_order_of_the_file_with_deps_outs_metrics_plots_and_params(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("""
stages:
  train:
    cmd: python -m pipelines train
    deps: [data/rows.parquet, pipelines/stages/train.py]
    params: [train]
    outs: [models/adapter: {persist: true}]
    metrics: [reports/score.json: {cache: false}]
    plots: [reports/loss.csv]
  audit:
    cmd: python -m pipelines audit
""")
    stages = graph.read(tmp_path / "dvc.yaml")
    assert list(stages.values()) == [
        graph.Stage(
            "train",
            deps=("data/rows.parquet", "pipelines/stages/train.py"),
            outs=("models/adapter", "reports/score.json", "reports/loss.csv"),
            params=("train",),
        ),
        graph.Stage("audit", deps=(), outs=(), params=()),
    ]


def test_a_key_without_a_value_is_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages:\n  audit:\n    cmd: audit\n    deps:\n    outs:\n    params:\n")
    assert graph.read(tmp_path / "dvc.yaml")["audit"] == graph.Stage("audit", (), (), ())


def test_artifacts_are_named_by_file_stem_and_code_is_none(tmp_path: Path) -> None:
    stage = graph.Stage("chunk", deps=("pipelines/chunking.py", "data/raw", "data/documents.parquet"), outs=("data/chunks.parquet",), params=())
    assert stage.artifacts() == {"raw": Path("data/raw"), "documents": Path("data/documents.parquet"), "chunks": Path("data/chunks.parquet")}


def test_two_artifacts_with_one_stem_are_refused_with_both_paths() -> None:
    stage = graph.Stage("chunk", deps=("data/chunks.json",), outs=("data/chunks.parquet",), params=())
    with pytest.raises(UserError) as caught:
        stage.artifacts()
    assert str(caught.value) == "dvc.yaml: stage chunk has two artifacts named `chunks` (data/chunks.json and data/chunks.parquet): rename one"


def test_edges_join_the_stage_that_writes_with_the_stages_that_read() -> None:
    stages = {
        "ingest": graph.Stage("ingest", deps=("data/raw",), outs=("data/documents.parquet",), params=()),
        "chunk": graph.Stage("chunk", deps=("data/documents.parquet",), outs=("data/chunks.parquet",), params=()),
        "report": graph.Stage("report", deps=("data/documents.parquet", "data/chunks.parquet"), outs=(), params=()),
    }
    assert graph.edges(stages) == {("ingest", "chunk"), ("ingest", "report"), ("chunk", "report")}


def test_a_file_in_an_output_folder_is_an_edge_and_a_longer_name_is_none() -> None:
    stages = {
        "base": graph.Stage("base", deps=(), outs=("models/base",), params=()),
        "chunk": graph.Stage("chunk", deps=("models/base/tokenizer.json",), outs=(), params=()),
        "other": graph.Stage("other", deps=("models/base2",), outs=(), params=()),
        "backup": graph.Stage("backup", deps=("models",), outs=(), params=()),
    }
    assert graph.edges(stages) == {("base", "chunk"), ("base", "backup")}


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dvc\.yaml is not here: run this from the repository's root"):
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
def test_a_file_without_readable_stages_is_named_with_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_bytes(content)
    with pytest.raises(UserError) as caught:
        graph.read()
    assert str(caught.value).startswith(message)


def test_every_stage_of_this_repository_stands_after_those_it_reads_from() -> None:
    stages = graph.read(Path(__file__).parents[1] / "dvc.yaml")
    order = {name: number for number, name in enumerate(stages)}
    assert "ingest" in order
    assert [edge for edge in graph.edges(stages) if order[edge[0]] >= order[edge[1]]] == []


def test_a_stage_is_led_to_by_all_that_it_needs_in_order() -> None:
    stages = {name: graph.Stage(name, deps, outs, ()) for name, deps, outs in (("a", (), ("1",)), ("b", ("1",), ("2",)), ("c", ("1",), ("3",)), ("d", ("2",), ("4",)))}

    assert graph.leading_to(stages, "d") == ["a", "b", "d"]
