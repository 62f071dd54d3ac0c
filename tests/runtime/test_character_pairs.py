import pytest

from pipelines.runtime.character_pairs import pairs_of, with_pairs


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("设置端口", ["设置", "置端", "端口"]),
        ("Port 端口 8080", ["端口"]),
        ("茶。水壶", ["茶", "水壶"]),
        ("サーバー、ｻｰﾊﾞｰ", ["サー", "ーバ", "バー", "サー", "ーバ", "バー"]),
        ("พอร์ต", ["พอ", "อร", "ร์", "์ต"]),
        ("What is a port? Größe, 서버, порт", []),
        ("", []),
    ],
)
def test_pairs_are_of_scripts_without_blanks_alone(text: str, pairs: list[str]) -> None:
    assert pairs_of(text) == pairs


def test_a_question_of_another_script_is_searched_as_it_is() -> None:
    assert with_pairs("Which port?\n") == "Which port?\n"
    assert with_pairs("端口?") == "端口? 端口"
