"""Base models from folders and from a hub, which a small server plays."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from transformers import MambaConfig

from pipelines import files
from pipelines.config.base import BaseConfig, MadeModel
from pipelines.errors import UserError
from pipelines.training import base_facts, base_model, base_sources
from pipelines.training.base_sources import FROM_SCRATCH, Origin

TINY = MadeModel(
    vocabulary_size=400,
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    num_tokens=2000,
    sequence_length=16,
    batch_size=2,
    learning_rate=0.001,
)
COMMIT = "0123456789" * 4
CARD = "---\nlicense: apache-2.0\n---\n# A small model\n"
COPY_FROM_HUB = """
import sys
from pathlib import Path
from tests.training.test_base_sources import config
from pipelines.training import base_sources

settings = config("us/small", revision=sys.argv[1])
print(base_sources.check(settings))
origin = base_sources.copy(settings, Path(sys.argv[2]))
print(base_sources.check(settings))
print(*origin)
"""


def config(source: str, revision: str | None = None) -> BaseConfig:
    return BaseConfig(source=source, revision=revision, seed=7, made=TINY)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its tokenizer."""
    folder = tmp_path_factory.mktemp("model") / "small"
    base_model.make(["Documents make a small model. " * 40], TINY, 7, folder)
    return folder


@pytest.fixture
def model(small_model: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(small_model, tmp_path / "small")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_made_model_gets_a_receipt(model: Path) -> None:
    receipt = base_facts.write_receipt(model, FROM_SCRATCH)
    assert json.loads((model / "receipt.json").read_text()) == receipt.model_dump()
    assert receipt.summary() == (
        "made, LlamaForCausalLM of 0.0 M parameters, 2,048 positions, no chat template, "
        "ends with </s>"
    )
    # 283 tokens in and out, 16 wide; four projections, three of the gated layer, three norms
    width, inner, tokens = 16, 44, receipt.vocabulary_size
    num_block = 4 * width**2 + 3 * width * inner + 2 * width
    assert receipt.num_parameters == 2 * tokens * width + num_block + width


def test_a_folder_is_copied_without_what_is_no_model(model: Path, tmp_path: Path) -> None:
    expected = names(model)
    (model / "README.md").write_text(CARD)
    (model / "pytorch_model.bin").write_text("could run code")
    (model / "training_args.bin").write_text("could run code")
    (model / "adapter_config.json").write_text("{}")
    (model / "receipt.json").write_text("{}")
    (model / "other.safetensors").write_text("of another model")
    (model / "onnx.json").mkdir()
    origin = base_sources.copy(config(str(model)), tmp_path / "base")
    assert names(tmp_path / "base") == expected
    assert origin == Origin("folder:small", files.digest(tmp_path / "base"), "apache-2.0")
    receipt = base_facts.write_receipt(tmp_path / "base", origin)
    assert "licence apache-2.0, revision" in receipt.summary()


def test_check_says_that_a_folder_is_good_and_names_it(model: Path) -> None:
    assert base_sources.check(config(str(model))) == f"folder {model}"
    assert base_sources.check(config("made")) == "made on the documents"


def test_a_pinned_folder_must_be_that_one(model: Path, tmp_path: Path) -> None:
    digest = base_sources.copy(config(str(model)), tmp_path / "first").revision
    base_sources.copy(config(str(model), digest), tmp_path / "second")
    (model / "config.json").write_text((model / "config.json").read_text() + "\n")
    with pytest.raises(UserError, match=rf"base\.revision: {digest} is pinned, but"):
        base_sources.copy(config(str(model), digest), tmp_path / "third")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("config.json", r"holds no config\.json"),
        ("tokenizer_config.json", r"holds no tokenizer_config\.json"),
        ("model.safetensors", r"holds no model\.safetensors: weights must be"),
    ],
)
def test_check_and_copy_refuse_a_folder_that_is_not_whole(
    model: Path, tmp_path: Path, name: str, problem: str
) -> None:
    (model / name).unlink()
    with pytest.raises(UserError, match=problem):
        base_sources.check(config(str(model)))
    with pytest.raises(UserError, match=problem):
        base_sources.copy(config(str(model)), tmp_path / "base")


def test_weights_in_parts_are_those_of_the_index(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").rename(model / "part-1.safetensors")
    index = {"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"holds no part-2\.safetensors"):
        base_sources.check(config(str(model)))
    shutil.copy(model / "part-1.safetensors", model / "part-2.safetensors")
    base_sources.copy(config(str(model)), tmp_path / "base")
    assert {"part-1.safetensors", "part-2.safetensors"} < names(tmp_path / "base")


@pytest.mark.parametrize(
    "index", ["[]", "{", '{"weight_map": {"a": "../x.safetensors"}}', '{"weight_map": {"a": 1}}']
)
def test_an_index_that_points_elsewhere_is_refused(model: Path, index: str) -> None:
    (model / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json"):
        base_sources.check(config(str(model)))


def test_check_refuses_an_unfit_folder(model: Path) -> None:
    MambaConfig(architectures=["MambaForCausalLM"]).save_pretrained(model)
    with pytest.raises(UserError, match="mamba is stateful"):
        base_sources.check(config(str(model)))


@pytest.mark.parametrize(
    ("source", "revision", "problem"),
    [
        ("no/such/folder", None, "is not a folder here, and no hub id either"),
        ("/no/such/folder", COMMIT, "is not a folder here, and no hub id either"),
        ("us/small", None, r"a hub id needs base\.revision, the 40 hex digits .*it is None"),
        ("us/small", "ab" * 32, r"a hub id needs base\.revision, the 40 hex digits"),
    ],
)
def test_check_refuses_what_is_neither_a_folder_nor_a_pinned_hub_id(
    source: str, revision: str | None, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        base_sources.check(config(source, revision))


def test_missing_weights_are_not_filled_with_random_numbers(model: Path) -> None:
    values = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(values | {"num_hidden_layers": 2}))
    with pytest.raises(UserError, match="hold .* parameters: weights are missing"):
        base_facts.write_receipt(model, FROM_SCRATCH)


def test_damaged_weights_are_named(model: Path) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[:-10])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        base_facts.write_receipt(model, FROM_SCRATCH)


def test_a_tokenizer_of_another_model_is_refused(model: Path) -> None:
    base_model.train_tokenizer(["other words " * 40] * 3, 300).save_pretrained(model)
    tokenizer = base_model.train_tokenizer(["other words " * 40] * 3, 300)
    tokenizer.add_tokens([f"<extra-{number}>" for number in range(400)])
    tokenizer.save_pretrained(model)
    with pytest.raises(UserError, match="they do not belong together"):
        base_facts.write_receipt(model, FROM_SCRATCH)


def test_all_end_tokens_of_the_generation_configuration_are_in_the_receipt(model: Path) -> None:
    (model / "generation_config.json").write_text('{"eos_token_id": [0, 1]}')
    assert base_facts.write_receipt(model, FROM_SCRATCH).end_tokens == ["<pad>", "<s>", "</s>"]


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as its client needs for the files of one repository."""

    def __init__(self, folder: Path, paths: list[str], *connection: object) -> None:
        self.folder = folder
        self.paths = paths
        super().__init__(*connection)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.paths.append(self.path.split("?")[0])
        if self.path.startswith("/api/models/us/small/"):
            self._list()
        elif self._file().is_file():
            self._send(self._file().read_bytes(), with_body=True)
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self._send(self._file().read_bytes(), with_body=False)

    def _list(self) -> None:
        entries = []
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(self.folder).as_posix()
                entry = {"type": "file", "rfilename": name, "path": name, "oid": name}
                entries.append({**entry, "size": path.stat().st_size})
        info = {"id": "us/small", "sha": COMMIT, "siblings": entries}
        answer = entries if "/tree/" in self.path else info
        self._send(json.dumps(answer).encode(), with_body=True)

    def _file(self) -> Path:
        return self.folder / self.path.split("?")[0].removeprefix(f"/us/small/resolve/{COMMIT}/")

    def _send(self, content: bytes, with_body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{len(content)}-{hash(content)}"')
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub(folder: Path, paths: list[str]) -> Iterator[str]:
    """The address of a hub that holds the folder as us/small; `paths` gets what was read."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder, paths))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def copy_from_hub(address: str, target: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, since the client reads the hub's address when it is imported."""
    environment = {
        "HF_ENDPOINT": address,
        "HF_HOME": str(target.parent / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(Path.cwd()),
    }
    command = [sys.executable, "-c", COPY_FROM_HUB, COMMIT, str(target)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_only_the_top_folders_safetensors_come_from_the_hub(model: Path, tmp_path: Path) -> None:
    expected = names(model)
    (model / "README.md").write_text(CARD)
    (model / "pytorch_model.bin").write_text("could run code")
    shutil.copytree(model, model / "onnx")
    (model / "consolidated.safetensors").write_text("the same weights in another form")
    paths: list[str] = []
    with hub(model, paths) as address:
        result = copy_from_hub(address, tmp_path / "base")
    assert result.stdout.splitlines() == [
        "hub model us/small; not downloaded yet, so `base` will look at it",
        "hub model us/small",
        f"us/small {COMMIT} apache-2.0",
    ], result.stderr
    assert names(tmp_path / "base") == expected
    assert not [path for path in paths if "onnx" in path or "consolidated" in path]


def test_an_unfit_model_of_the_hub_is_refused_before_its_weights_are_fetched(
    model: Path, tmp_path: Path
) -> None:
    MambaConfig(architectures=["MambaForCausalLM"]).save_pretrained(model)
    paths: list[str] = []
    with hub(model, paths) as address:
        result = copy_from_hub(address, tmp_path / "base")
    assert "mamba is stateful" in result.stderr
    assert not [path for path in paths if path.endswith(".safetensors")]
