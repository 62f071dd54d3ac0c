from pathlib import Path

import pytest

from pipelines import files
from pipelines.runtime import routing

POSITIONS = [number / 2000 for number in range(2000)]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.25, 0.5, 1.0])
def test_the_share_of_a_release_is_the_share_of_requests(share: float) -> None:
    routes = [("old", 1 - share), ("new", share)]
    releases = [routing.pick(routes, position) for position in POSITIONS]
    assert releases.count("new") / len(releases) == pytest.approx(share, abs=0.01)


def test_a_position_that_the_new_release_has_answered_stays_with_it_as_its_share_grows() -> None:
    quarter = [("old", 0.75), ("new", 0.25)]
    half = [("old", 0.5), ("new", 0.5)]
    before = {position for position in POSITIONS if routing.pick(quarter, position) == "new"}
    after = {position for position in POSITIONS if routing.pick(half, position) == "new"}
    assert before < after


@pytest.mark.parametrize(
    "text",
    [
        '{"routes": []}',
        '{"routes": [{"release_id": "a", "share": 0.5}]}',
        '{"routes": [{"release_id": "a", "share": -1}, {"release_id": "b", "share": 2}]}',
        "{",
    ],
)
def test_routes_that_do_not_sum_to_one_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        routing.parse(text)


def test_the_router_obeys_a_replaced_file_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    router = routing.Router(path)
    with pytest.raises(FileNotFoundError):
        router.route(0.5)
    files.write_json(path, {"routes": [{"release_id": "a", "share": 1.0}]})
    assert router.route(0.5) == "a"
    files.write_json(path, {"routes": [{"release_id": "b", "share": 1.0}]})
    assert router.route(0.5) == "b"
    path.write_text("{")
    assert router.route(0.5) == "b"
