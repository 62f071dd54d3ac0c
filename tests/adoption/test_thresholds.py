from pathlib import Path

from pipelines.adoption import thresholds
from pipelines.adoption.thresholds import Facts
from pipelines.config import params
from pipelines.config.gate import GateConfig
from pipelines.config.ingest import IngestConfig
from pipelines.config.validate import ValidateConfig

ROOT = Path(__file__).parents[2]


def document(uri: str, characters: int = 500, language: str = "en", **changes: object) -> Facts:
    values = {"is_untitled": False, "num_aliases": 0, "left_out_share": 0.0} | changes
    return Facts(uri, characters, language, **values)  # type: ignore[arg-type]


def changes_for(documents: list[Facts], rejections: dict[str, str]) -> dict[str, object]:
    """Key -> new value, for the thresholds of the shipped params.yaml."""
    values = params.load(ROOT / "params.yaml")
    changes = thresholds.for_documents(
        values.section(IngestConfig), values.section(ValidateConfig), documents, rejections
    )
    assert all(change.why for change in changes)
    return {change.key: change.new for change in changes}


def test_documents_like_the_sample_change_nothing() -> None:
    assert changes_for([document(f"d/{number}") for number in range(20)], {}) == {}


def test_every_threshold_that_the_documents_break_gets_a_value_that_they_keep() -> None:
    documents = [document(f"d/{number}", is_untitled=True) for number in range(6)]
    documents += [document("d/it", 812_345, "it", num_aliases=2)]
    assert changes_for(documents, {"d/scan.pdf": "holds no text"}) == {
        "ingest.max_rejected_share": 0.13,
        "validate.min_documents": 7,
        "validate.languages": ["en", "it"],
        "validate.max_duplicate_share": 0.29,
        "validate.max_untitled_share": 0.86,
    }


def test_another_language_takes_the_place_of_english_if_no_document_is_english() -> None:
    documents = [document(f"d/{number}", language="de") for number in range(12)]
    assert changes_for(documents, {}) == {"validate.languages": ["de"]}


def test_few_documents_in_many_languages_lower_the_share_instead() -> None:
    documents = [document(f"d/{number}") for number in range(40)]
    documents += [document(f"d/{name}", language=name) for name in ("fr", "it", "es", "pt", "nl")]
    assert changes_for(documents, {}) == {"validate.min_language_share": 0.88}


def test_pages_that_are_mostly_navigation_raise_the_share_that_readers_may_leave_out() -> None:
    documents = [document(f"d/{number}", left_out_share=0.3) for number in range(17)]
    documents += [document(f"d/map-{share}", left_out_share=share) for share in (0.91, 0.862)]
    assert changes_for(documents, {}) == {"validate.max_left_out_share": 0.87}
    one_of_twenty = [*documents[:-1], document("d/a"), document("d/b")]
    assert changes_for(one_of_twenty, {}) == {}


def test_a_floor_that_no_question_measures_is_removed_with_its_reason() -> None:
    gate = params.load(ROOT / "params.yaml").section(GateConfig)
    gate = gate.model_copy(
        update={
            "floors": {"exact_match": 0.5, "hit_at_5": 0.6},
            "champion_metrics": ["exact_match", "hit_at_5"],
        }
    )
    removal, metrics = thresholds.for_gate(gate, {"exact_match"})
    assert (removal.key, removal.old, removal.new) == ("gate.floors.hit_at_5", 0.6, None)
    assert metrics.new == ["exact_match"]
    assert thresholds.for_gate(gate, {"exact_match", "hit_at_5"}) == []


def test_a_release_of_the_sample_allows_the_change_of_the_number_of_documents() -> None:
    validate = params.load(ROOT / "params.yaml").section(ValidateConfig)
    (change,) = thresholds.for_release(validate, num_documents=262, num_before=140)
    assert (change.key, change.new) == ("validate.max_volume_change_share", 0.88)
    assert thresholds.for_release(validate, num_documents=150, num_before=140) == []
    assert thresholds.for_release(validate, num_documents=150, num_before=None) == []


def test_a_majority_that_cannot_be_read_is_no_threshold_but_an_obstacle() -> None:
    rejections = {f"d/scan-{number}.pdf": "took more than 60 s" for number in range(5)}
    obstacles = thresholds.obstacles([document("d/a"), document("d/b")], rejections)
    assert obstacles[0].startswith("5 of 7 documents cannot be read")
    assert obstacles[1] == "  - d/scan-0.pdf: took more than 60 s"
    assert thresholds.obstacles([document(f"d/{number}") for number in range(20)], rejections) == []
