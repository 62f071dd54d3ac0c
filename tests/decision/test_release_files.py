"""What comes back of a past release is what the ledger names."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import files
from pipelines.decision import ledger, release_files
from pipelines.errors import UserError
from tests.decision.test_ledger import CHAMPION, RELEASE, git

FOLDER = Path("models/champion")
AS_SOMEBODY = ("-c", "user.name=t", "-c", "user.email=t@example.org")


def dvc(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], check=True)


def write_champion(code: str) -> None:
    (FOLDER / "assistant/1").mkdir(parents=True, exist_ok=True)
    (FOLDER / "assistant/1/model.py").write_text(code)
    dvc("add", "-q", str(FOLDER))


@pytest.mark.usefixtures("clone")
def test_a_tag_that_was_moved_to_other_code_brings_nothing_back() -> None:
    Path("params.yaml").write_text("a: 1\n")
    git("add", "-A")
    git(*AS_SOMEBODY, "commit", "-qm", "first")
    dvc("init", "-q")
    write_champion("honest = 1\n")
    champion = CHAMPION.model_copy(update={"model_digest": files.digest(FOLDER)})
    ledger.append(RELEASE.model_copy(update={"champion": champion}), whole_release=True)
    shutil.rmtree(FOLDER)
    assert release_files.restore("r-1") == champion
    assert (FOLDER / "assistant/1/model.py").read_text() == "honest = 1\n"

    write_champion("honest = 0\n")
    git("add", "--force", "models/champion.dvc")
    git(*AS_SOMEBODY, "commit", "-qm", "foreign")
    git("tag", "--force", "release/r-1")
    with pytest.raises(UserError, match=r"is not the release r-1 that the ledger names"):
        release_files.restore("r-1")
    assert not FOLDER.exists()
