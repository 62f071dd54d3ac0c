"""guard: attacks and harmless texts -> the weights by which the assistant tells them apart."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines import files
from pipelines.config.embed import EmbedConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.guard import GuardConfig
from pipelines.contracts.guard import Guard
from pipelines.questions import guard_texts
from pipelines.runtime.injection import Weights
from pipelines.training import injection_classifier
from pipelines.vectorstore import Encoder, load_encoder, locate_encoder


@dataclass(frozen=True)
class Config:
    """Sections of params.yaml."""

    guard: GuardConfig
    encoder: EncoderConfig
    embed: EmbedConfig


@dataclass(frozen=True)
class Inputs:
    """The folder of texts that people write."""

    guards: Path


@dataclass(frozen=True)
class Outputs:
    """The weights, and what they reach."""

    guard: Path
    guarding: Path


def run(config: Config, inputs: Inputs, outputs: Outputs) -> None:
    """Train the classifier with the encoder of the index."""
    texts = guard_texts.load(inputs.guards)
    folder = locate_encoder(config.encoder.model, config.encoder.revision)
    encoder = load_encoder(folder, config.embed.engine, config.embed.precision)
    vectors = encoder.encode([item.text for item in [*texts.attacks, *texts.harmless]])
    examples = injection_classifier.arrange(config.guard, texts, vectors)
    weights, scores = injection_classifier.train(config.guard, examples)
    report = injection_classifier.judge(texts, examples, scores, weights.threshold)
    files.write_json(outputs.guard, _describe(config.encoder, encoder, weights))
    files.write_json(outputs.guarding, report)
    print(
        f"of {report.num_attacks} attacks of kinds left out {report.recall:.1%} are flagged "
        f"(by expressions alone {report.expressions_recall:.1%}), of {report.num_harmless} "
        f"harmless texts {report.false_alarms:.1%}"
    )


def _describe(config: EncoderConfig, encoder: Encoder, weights: Weights) -> Guard:
    """Six digits tell scores apart, and are the same on machines whose last bits differ."""
    columns = np.round(weights.columns.astype(float), 6).tolist()
    return Guard(
        encoder=config.model,
        encoder_digest=encoder.digest,
        precision=encoder.precision,
        vector_weights=columns[: encoder.dimensions],
        letter_weights=columns[encoder.dimensions : -1],
        expression_weight=columns[-1],
        bias=round(weights.bias, 6),
        threshold=round(weights.threshold, 6),
    )
