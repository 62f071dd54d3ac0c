"""Asks a model each prompt once: answers are kept by the digests of model and prompt.

The base model and the champion stay the same while candidates come and go, and a run that was
killed goes on where it was.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipelines import files
from pipelines.runtime import FOLDER, rendering
from pipelines.runtime.generation import Answer, Generator, Precision
from pipelines.runtime.rendering import ModelInput
from pipelines.system import cache, paths
from pipelines.system.cache import Cache
from pipelines.training import answer_engine
from pipelines.training.answer_engine import Engine

PROMPTS_A_COMMIT = 128  # a kill loses so many answers at most
# What decides an answer, beside the model and its prompt.
CODE = ("generation", "openvino_engine", "prompt_tokens", "transformers_engine")
LIBRARIES = {
    "openvino": ("openvino", "openvino-genai", "tokenizers"),
    "transformers": ("torch", "transformers", "tokenizers"),
}


@dataclass(frozen=True)
class Recipe:
    """How answers are made: the model, and what computes it."""

    engine: Engine
    base: Path
    adapter: Path | None
    precision: Precision
    max_new_tokens: int
    batch_size: int

    @cached_property
    def kind(self) -> str:
        """The same for all that gives the same answers; in bf16 the batch belongs to it."""
        parts = [self.engine, self.precision, str(self.max_new_tokens), files.digest(self.base)]
        if self.adapter is not None:
            parts.append(files.digest(self.adapter))
        if self.precision != "fp32":
            parts.append(str(self.batch_size))
        code = [FOLDER / f"{name}.py" for name in CODE]
        return cache.kind_of("answers", code, "\n".join(parts), LIBRARIES[self.engine])

    def load(self) -> Generator:
        return answer_engine.load(
            self.engine, self.base, self.adapter, self.precision, self.batch_size
        )


def answer(recipe: Recipe, prompts: Sequence[ModelInput], name: str) -> list[Answer]:
    """Greedy answers in the order of `prompts`. The model is loaded only if one is missing.

    `name` is that of the progress bar.
    """
    keys = [files.text_digest(rendering.pack(prompt)) for prompt in prompts]
    with cache.open_cache(paths.state_folder() / "work.sqlite", recipe.kind) as store:
        missing = _missing(store, keys, prompts)
        if missing:
            print(f"{name}: {len(missing)} of {len(prompts)} prompts are new", flush=True)
            _fill(store, recipe, missing, name)
        values = store.get_many(keys)
        return [Answer(*values[key]) for key in keys]


def _missing(
    store: Cache[list[object]], keys: list[str], prompts: Sequence[ModelInput]
) -> dict[str, ModelInput]:
    """Key -> prompt of those without an answer, the longest first."""
    present = store.present(keys)
    missing: dict[str, ModelInput] = {}
    for key, prompt in zip(keys, prompts, strict=True):
        if key not in present:
            missing[key] = prompt
    return dict(sorted(missing.items(), key=_length))


def _length(item: tuple[str, ModelInput]) -> int:
    return -len(rendering.plain_text(item[1]))


def _fill(
    store: Cache[list[object]], recipe: Recipe, missing: dict[str, ModelInput], name: str
) -> None:
    model = recipe.load()
    parts = list(_parts(list(missing)))
    for number, keys in enumerate(parts, start=1):
        prompts = [missing[key] for key in keys]
        label = name if len(parts) == 1 else f"{name} {number}/{len(parts)}"
        answers = model.answer(prompts, recipe.max_new_tokens, recipe.batch_size, progress=label)
        store.put(dict(zip(keys, map(list, answers), strict=True)))


def _parts(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), PROMPTS_A_COMMIT):
        yield keys[start : start + PROMPTS_A_COMMIT]
