"""Which questions a shadow asks."""

import datetime
import random
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config.shadow import ShadowConfig
from pipelines.contracts.traffic import REQUESTS
from pipelines.serving.shadow_questions import LoggedQuestion, ShadowQuestions
from tests.serving.pairs import ANSWER

CONFIG = ShadowConfig(replay=3, share=1.0, min_pairs=10, max_seconds=60.0, false_refusal_rate=0.01)


def log(folder: Path, texts: list[str], seconds: float = -60.0, **changes: Any) -> None:
    """Write questions that came one a second, the first so many seconds from now."""
    now = datetime.datetime.now(datetime.UTC)
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        moment = now + datetime.timedelta(seconds=seconds + number)
        row = {**ANSWER, "request_id": f"{text} {seconds}", "time": moment, "question": text}
        row |= {"release_id": "r-old", "position": 0.5, "retrieved": [], "error": None}
        row |= {"num_prompt_tokens": 1, "cost": 0.0, **changes}
        row |= {f"{step}_ms": 1.0 for step in ("guard", "embed", "search", "generate")}
        rows.append(row)
    files.write(folder / f"requests/{len(list(folder.glob('*/*')))}.parquet", REQUESTS, rows)


def questions(folder: Path, config: ShadowConfig = CONFIG) -> ShadowQuestions:
    return ShadowQuestions(config, folder, random.Random(7))


def take_all(source: ShadowQuestions) -> list[LoggedQuestion]:
    taken: list[LoggedQuestion] = []
    while question := source.take():
        taken.append(question)
    return taken


def test_the_last_different_questions_are_replayed_each_once(tmp_path: Path) -> None:
    log(tmp_path, ["one?", "two?", "three?", "four?", "Four", "four!"], tenant="shop")
    taken = take_all(questions(tmp_path))
    assert sorted(taken) == [("four!", "shop"), ("three?", "shop"), ("two?", "shop")]


def test_questions_that_were_cut_off_refused_at_the_door_or_cancelled_are_left_out(
    tmp_path: Path,
) -> None:
    log(tmp_path, ["x" * 2000, "?"])
    log(tmp_path, ["rejected?"], status="rejected", answer=None)
    log(tmp_path, ["cancelled?"], status="cancelled", answer=None)
    log(tmp_path, ["failed?"], status="failed", answer=None)
    assert [question.text for question in take_all(questions(tmp_path))] == ["failed?"]


def test_a_question_that_was_put_back_comes_again_after_the_others(tmp_path: Path) -> None:
    log(tmp_path, ["one?", "two?", "three?"])
    source = questions(tmp_path)
    first = source.take()
    assert first is not None
    source.put_back(first)
    assert take_all(source)[-1] == first


def test_only_questions_that_come_after_the_start_are_followed_and_none_twice(
    tmp_path: Path,
) -> None:
    log(tmp_path, ["before?"])
    source = questions(tmp_path, CONFIG.model_copy(update={"replay": 0}))
    source.follow()
    assert source.take() is None
    log(tmp_path, ["after?", "before?"], seconds=60.0)
    source.follow()
    source.follow()
    assert [question.text for question in take_all(source)] == ["after?", "before?"]


def test_so_large_a_share_is_followed(tmp_path: Path) -> None:
    source = questions(tmp_path, CONFIG.model_copy(update={"share": 0.3}))
    log(tmp_path, [f"number {number}?" for number in range(400)], seconds=60.0)
    source.follow()
    assert 80 < len(take_all(source)) < 160
