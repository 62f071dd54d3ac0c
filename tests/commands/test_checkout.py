import argparse

import pytest

from pipelines import commands
from pipelines.commands import checkout

RUN = ["--dag", "train", "--run-id", "manual__1"]


def parse(*words: str) -> argparse.Namespace:
    return commands.parser("pipelines", "checkout", checkout).parse_args(words)


def test_each_action_takes_its_own_options() -> None:
    start = parse("start", *RUN, "--overrides", '{"finetune.seed": 8}', "--triggered-by", "ada")

    assert (start.dag, start.run_id, start.revision) == ("train", "manual__1", "HEAD")
    assert parse("stage", *RUN, "--name", "chunk").name == "chunk"
    assert parse("decide", *RUN, "--decision", "refused").decision == "refused"
    for action in ("fetch", "brief", "release", "refresh", "end"):
        parse(action, *RUN)


@pytest.mark.parametrize(
    "words",
    [
        ["stage", *RUN],
        ["decide", *RUN],
        ["decide", *RUN, "--decision", "maybe"],
        ["brief", *RUN, "--name", "chunk"],
        ["start", "--dag", "train"],
    ],
)
def test_a_missing_option_or_one_of_another_action_is_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(*words)

    assert end.value.code == 2
