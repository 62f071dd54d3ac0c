import pytest

from pipelines.runtime import readers


def test_groups_are_sorted_named_once_and_nobody_need_say_that_he_belongs_to_everyone() -> None:
    assert readers.to_groups(["hr", "board", "hr", readers.EVERYONE]) == ("board", "hr")
    assert readers.memberships(("board", "hr")) == ["everyone", "board", "hr"]


@pytest.mark.parametrize("name", ["", " hr", "hr board", "-hr", "h" * 65, 'hr"', "hr\n", "*"])
def test_a_name_that_is_no_groups_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a group, which begins with"):
        readers.to_groups([name])


def test_groups_arrive_as_they_were_sent() -> None:
    assert readers.read(readers.write(("board", "hr"))) == ("board", "hr")
    assert readers.read("") == ()


@pytest.mark.parametrize("text", ['"hr"', "[1]", '{"hr": 1}', '["h r"]', "hr", "null"])
def test_a_list_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="groups must be|is not the name|Expecting value"):
        readers.read(text)
