from pathlib import Path

from pipelines import files
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import Interval, Scores, System
from pipelines.runs import approval_brief, overrides

ROOT = Path(__file__).parents[2]
RECORD = ReleaseRecord(
    release_id="r-1",
    version=1,
    documents="d",
    num_documents=3,
    chunks="c",
    collection="Chunks_1",
    index="i",
    encoder="e",
    prompt="faq-v1",
    prompt_digest="p",
    base="b",
    adapter="a",
    scores="s",
    verdict="v",
    model="m",
    repository="r",
    exact_match=0.8,
    code_commit="1",
    code_modified=False,
)


def test_a_model_that_was_only_measured_again_is_nothing_to_release(tmp_path: Path) -> None:
    files.write_json(tmp_path / "release.json", RECORD)

    record = RECORD.model_copy(
        update={
            "release_id": "r-2",
            "scores": "s2",
            "verdict": "v2",
            "exact_match": 0.81,
            "code_commit": "2",
        }
    )

    assert not approval_brief.is_new(record, tmp_path)


def test_a_different_adapter_index_or_repository_is_a_new_candidate(tmp_path: Path) -> None:
    files.write_json(tmp_path / "release.json", RECORD)

    for field in ("adapter", "index", "repository", "prompt_digest"):
        record = RECORD.model_copy(update={field: "different"})
        assert approval_brief.is_new(record, tmp_path), field


def test_what_a_document_holds_cannot_become_markup_in_the_question_to_a_person() -> None:
    text = "[click](http://x) <b>now</b>\n| x"

    assert approval_brief.escape(text) == "\\[click\\]\\(http://x\\) \\<b\\>now\\</b\\> \\| x"


def test_the_worst_answers_come_first_and_right_refusals_of_unanswerable_questions_last() -> None:
    metrics = {"exact_match": None, "token_f1": None, "refusal_recall": None}
    rows = [
        metrics | {"id": "right", "exact_match": 1.0, "token_f1": 1.0},
        metrics | {"id": "refused", "refusal_recall": 1.0},
        metrics | {"id": "near", "exact_match": 0.0, "token_f1": 0.5},
        metrics | {"id": "not refused", "refusal_recall": 0.0},
    ]
    rows.sort(key=approval_brief._answer_rank)
    assert [row["id"] for row in rows] == ["not refused", "near", "refused", "right"]


def test_the_scores_of_a_model_that_reads_are_shown_and_metrics_without_a_value_are_not() -> None:
    unmeasured = Interval(value=None, low=None, high=None, num=0)
    f1 = Interval(value=0.31, low=0.25, high=0.37, num=168)
    candidate = System(metrics={"unseen_f1": f1, "refusal_recall": unmeasured}, slices={})
    base = System(metrics={"unseen_f1": unmeasured}, slices={})
    scores = Scores(
        candidate="d",
        champion=None,
        num_questions=300,
        golden_digest="g",
        systems={"candidate": candidate, "base": base},
        differences={},
    )
    rows = approval_brief._table_of_scores(scores)[2:]
    assert rows == ["| unseen_f1 | 0.310 [0.250, 0.370] | - |"]


def test_what_is_declared_of_a_release_is_shown_to_the_person_who_approves(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text)
    assert approval_brief._describe_declaration(tmp_path) == []
    overrides.apply(tmp_path / "params.yaml", {"release.expected.latency_ratio": 40})
    [line, _] = approval_brief._describe_declaration(tmp_path)
    assert line == "**Declared** (`release.expected`): the new release may take 40 times as long."
