"""Let a model propose questions about your documents, and decide on them.

python -m pipelines draft                      propose, check, and show what waits for a person
python -m pipelines draft --review --who YOU   accept, edit or reject, one draft after the other

The teacher is the local model, or the OpenAI-compatible endpoint of params.yaml: draft.url. Only
what passes a round trip is kept (handbook: adopting). Interrupted, the same command goes on with
passages that it has not asked about.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipelines import files
from pipelines.config import params
from pipelines.config.draft import DraftConfig
from pipelines.config.examples import ExamplesConfig
from pipelines.config.generation import GenerationConfig
from pipelines.config.monitor import MonitorConfig
from pipelines.config.params import Params
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.drafting import acceptance, drafts, drafts_page, proposals, teachers
from pipelines.drafting.acceptance import Ruling
from pipelines.drafting.drafts import Attempt, Draft
from pipelines.drafting.round_trip import Drop, Passage, RoundTrip
from pipelines.drafting.teachers import Endpoint, Teacher
from pipelines.errors import UserError
from pipelines.questions import consistency, prompts
from pipelines.questions.prompts import Prompt
from pipelines.questions.reading_examples import Source
from pipelines.runtime import readers, rendering
from pipelines.training import answer_engine
from pipelines.vectorstore import Retriever, open_retriever

RECEIPT = Path("data/index.json")
CHUNKS_FILE = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")
BASE = Path("models/base")
ADAPTER = Path("models/adapter")
PROMPTS = Path("data/prompts")
PAGE = Path("data/reports/drafts.html")
PASSAGES_AT_ONCE = 8  # of which drafts are kept together: a kill loses at most these
MIN_PASSAGE_WORDS = 25  # a shorter passage says too little to ask about
KEYS = {"a": "accept", "e": "edit", "r": "reject", "s": "skip", "q": "quit"}


class Pair(NamedTuple):
    """Who proposes and who answers: the same endpoint, or the local base and tuned models."""

    proposer: Teacher
    answerer: Teacher


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--num", type=int, default=40, help="drafts to add (default: 40)")
    parser.add_argument("--page", help="uri of the one document to ask about")
    parser.add_argument("--review", action="store_true", help="decide on the drafts that wait")
    parser.add_argument("--who", help="who reviews")
    parser.add_argument(
        "--decision",
        choices=list(acceptance.OUTCOMES),
        help="with --review: decide on --id without being asked",
    )
    parser.add_argument(
        "--id", action="append", default=[], help="a draft's id, or `all`; may be given repeatedly"
    )
    parser.add_argument("--question", help="the question that --decision edit gives")
    parser.add_argument("--answer", help="the answer that --decision edit gives")
    parser.add_argument("--why", default="", help="why, in a sentence")


def run(arguments: argparse.Namespace) -> None:
    """Propose drafts, or decide on them."""
    values = params.load()
    if arguments.review:
        _review(arguments, values)
        return
    if arguments.num < 1:
        raise UserError(f"--num {arguments.num}: ask for at least one draft")
    _draft(arguments.num, arguments.page, values)


def _draft(target: int, page: str | None, values: Params) -> None:
    from tqdm import tqdm

    config = values.section(DraftConfig)
    template = _load_template(values)
    pair = _load_teachers(config, values.section(GenerationConfig))
    questions = consistency.read(Path("data/faq"), Path("data/golden"), Path("data/qa"))
    existing = [*questions.golden_texts(), *questions.training_texts()]
    existing += [draft.question for draft in drafts.read()]
    num_drafts = 0
    drops: Counter[Drop] = Counter()
    with (
        _open_retrieval() as (retriever, passages),
        tqdm(total=target, desc="drafts", unit="", mininterval=1) as bar,
    ):
        queue = _queue(passages, page, pair.proposer.name, config.seed)
        trip = _round_trip(values, template, pair, retriever)
        for start in range(0, len(queue), PASSAGES_AT_ONCE):
            group = queue[start : start + PASSAGES_AT_ONCE]
            pairs, num_unreadable = _propose(group, start, pair.proposer, config)
            outcome = trip.pass_through(pairs, existing)
            drops.update([*outcome.drops, *[Drop.UNREADABLE] * num_unreadable])
            drafts.append(outcome.drafts, _attempts(group, outcome.drafts, pair.proposer.name))
            existing += [draft.question for draft in outcome.drafts]
            num_drafts += len(outcome.drafts)
            bar.update(len(outcome.drafts))
            bar.set_postfix_str(f"{start + len(group)} passages, {drops.total()} dropped")
            if num_drafts >= target:
                break
    _write_page()
    _print_result(num_drafts, target, drops, is_exhausted=num_drafts < target)


def _load_template(values: Params) -> Prompt:
    name = values.section(ExamplesConfig).template
    template = prompts.load(PROMPTS / f"{name}.yaml")
    if template.refusal is None:
        raise UserError(
            f"params.yaml: examples.template: {name} shows no passages, so questions about "
            "documents would teach nothing: `python -m pipelines preset reading` sets one that does"
        )
    return template


def _load_teachers(config: DraftConfig, generation: GenerationConfig) -> Pair:
    """The endpoint, or the base model to propose and, if there is one, the tuned to answer."""
    if config.url is not None:
        endpoint = Endpoint(config)
        return Pair(endpoint, endpoint)
    engine = answer_engine.choose(generation).engine
    batch_size = config.requests_at_once
    proposer = teachers.load_local("the base model", engine, BASE, None, batch_size)
    if not (ADAPTER / prompts.FILE).exists():
        return Pair(proposer, proposer)
    answerer = teachers.load_local("the tuned model", engine, BASE, ADAPTER, batch_size)
    return Pair(proposer, answerer)


@contextmanager
def _open_retrieval() -> Iterator[tuple[Retriever, list[Passage]]]:
    """The index, and all its passages. Raises UserError if there is no index yet."""
    receipt = files.read_json(RECEIPT, Receipt)
    passages: list[Passage] = []
    for row in files.read(CHUNKS_FILE, CHUNKS):
        # A model is trained on what is drafted, and answers everybody.
        if not readers.is_public(row["readers"]):
            continue
        prompt_text = rendering.shown_text(row["title"], row["text"])
        passages.append(Passage(row["chunk_id"], Source(row["uri"], row["text"], prompt_text)))
    with open_retriever(receipt, CHUNKS_FILE, VECTORS) as retriever:
        yield retriever, passages


def _queue(passages: Sequence[Passage], page: str | None, teacher: str, seed: int) -> list[Passage]:
    """Passages that this teacher has not been asked about: of each document one in turn."""
    if page is not None and page not in {passage.source.uri for passage in passages}:
        raise UserError(f"--page {page}: is no document of the index: `search` shows their uris")
    attempts = {attempt.passage for attempt in drafts.read_attempts() if attempt.teacher == teacher}
    by_page: dict[str, list[Passage]] = {}
    for passage in passages:
        source = passage.source
        is_long = len(source.text.split()) >= MIN_PASSAGE_WORDS
        is_new = files.text_digest(source.text) not in attempts
        if is_long and is_new and page in (None, source.uri):
            by_page.setdefault(source.uri, []).append(passage)
    dice = random.Random(seed)
    ranked: list[tuple[int, float, Passage]] = []
    for group in by_page.values():
        dice.shuffle(group)
        for turn, passage in enumerate(group):
            ranked.append((turn, dice.random(), passage))
    ranked.sort(key=lambda item: item[:2])
    return [passage for _, _, passage in ranked]


def _round_trip(values: Params, template: Prompt, pair: Pair, retriever: Retriever) -> RoundTrip:
    examples = values.section(ExamplesConfig)

    def retrieve(question: str) -> list[Source]:
        sources: list[Source] = []
        for hit in retriever.find(question, examples.num_passages + PASSAGES_AT_ONCE):
            prompt_text = rendering.shown_text(hit.title, hit.text)
            sources.append(Source(hit.uri, hit.text, prompt_text))
        return sources

    return RoundTrip(
        config=values.section(DraftConfig),
        near_duplicate=examples.near_duplicate_similarity,
        max_question_characters=examples.max_question_characters,
        template=template,
        retrieve=retrieve,
        answer=pair.answerer.ask,
        teacher=pair.proposer.name,
    )


def _propose(
    group: Sequence[Passage], start: int, teacher: Teacher, config: DraftConfig
) -> tuple[list[tuple[Passage, proposals.Proposal]], int]:
    """What the teacher proposes, and how many of its answers hold no question."""
    kinds: list[bool] = []
    for number in range(start, start + len(group)):
        dice = random.Random(config.seed + number)
        kinds.append(dice.random() >= config.unanswerable_share)
    count = config.drafts_a_passage
    messages = []
    for passage, is_answerable in zip(group, kinds, strict=True):
        prompt_text = passage.source.prompt_text
        messages.append(proposals.prompt(prompt_text, count, is_answerable=is_answerable))
    texts = teacher.ask(messages, proposals.MAX_NEW_TOKENS * count)
    pairs: list[tuple[Passage, proposals.Proposal]] = []
    num_unreadable = 0
    for passage, is_answerable, text in zip(group, kinds, texts, strict=True):
        ideas = proposals.parse(text, count, is_answerable=is_answerable)
        num_unreadable += not ideas
        pairs += [(passage, proposal) for proposal in ideas]
    return pairs, num_unreadable


def _attempts(group: Sequence[Passage], new_drafts: Sequence[Draft], teacher: str) -> list[Attempt]:
    counts = Counter(draft.chunk_id for draft in new_drafts)
    attempts: list[Attempt] = []
    for passage in group:
        digest = files.text_digest(passage.source.text)
        num = counts[passage.chunk_id]
        attempts.append(Attempt(passage=digest, teacher=teacher, num_drafts=num))
    return attempts


def _write_page() -> None:
    page = drafts_page.render_drafts(drafts.read(), drafts.read_decisions())
    files.write_text(PAGE, page)


def _print_result(
    num_drafts: int, target: int, drops: Counter[Drop], *, is_exhausted: bool
) -> None:
    print(f"{num_drafts} drafts passed the round trip, {drops.total()} proposals were dropped:")
    for drop, count in drops.most_common():
        print(f"  {count:5} {drop}")
    if is_exhausted:
        print(
            f"that is fewer than --num {target}: every passage has been asked about. A larger "
            "model passes more often (params.yaml: draft.url)"
        )
    print(
        f"{len(drafts.waiting())} drafts wait: look at {PAGE}, then "
        "`python -m pipelines draft --review --who YOU`"
    )


def _review(arguments: argparse.Namespace, values: Params) -> None:
    waiting = drafts.waiting()
    who = (arguments.who or "").strip()
    if not who:
        raise UserError("--who is missing: a review names its reviewer")
    if arguments.decision:
        ruling = Ruling(
            arguments.decision, who, arguments.why, arguments.question, arguments.answer
        )
        for draft in _choose(waiting, arguments.id):
            drafts.decide(acceptance.decide(draft, ruling))
    elif not sys.stdin.isatty():
        raise UserError(f"there is no terminal to ask at: give --id and --decision, or see {PAGE}")
    else:
        _ask(waiting, who)
    counts = acceptance.write(values.section(MonitorConfig).golden_share)
    _write_page()
    print(
        f"accepted so far: {counts['training']} training and {counts['golden']} golden questions "
        "(whole documents on one side, by monitor.golden_share); "
        f"{len(drafts.waiting())} drafts wait\n"
        "keep them: git add data/drafts data/qa && git commit; `make run` trains and judges by them"
    )


def _choose(waiting: Sequence[Draft], ids: list[str]) -> list[Draft]:
    """The drafts that --id names. Raises UserError if it names none, or an unknown one."""
    if not ids:
        raise UserError("--decision needs --id ID, or --id all")
    by_id = {draft.id: draft for draft in waiting}
    if "all" in ids:
        return list(waiting)
    for name in ids:
        if name not in by_id:
            raise UserError(f"--id {name}: no draft with this id waits; {PAGE} lists what does")
    return [by_id[name] for name in dict.fromkeys(ids)]


def _ask(waiting: Sequence[Draft], who: str) -> None:
    """Go through the drafts at the terminal, until the reviewer quits; each is kept at once."""
    for number, draft in enumerate(waiting, start=1):
        _print_draft(draft, f"{number} of {len(waiting)}")
        key = input("  [a]ccept, [e]dit, [r]eject, [s]kip, [q]uit? ")
        choice = KEYS.get(key.strip().lower()[:1], "skip")
        if choice == "quit":
            return
        if choice == "skip":
            continue
        question = answer = None
        if choice == "edit":
            question = input(f"  question [{draft.question}]: ").strip() or None
            if draft.answer is not None:
                answer = input(f"  answer [{draft.answer}]: ").strip() or None
        try:
            ruling = Ruling(choice, who, question=question, answer=answer)
            drafts.decide(acceptance.decide(draft, ruling))
        except UserError as error:
            print(f"  not recorded: {error}")


def _print_draft(draft: Draft, position: str) -> None:
    passage = drafts_page.mark(draft.passage, draft.evidence)
    print(f"\n{draft.id}  {position}  {draft.page}")
    if passage.evidence:
        text = f"{passage.before}>>> {passage.evidence} <<<{passage.after}"
    else:
        text = passage.before
    print(f"  passage   {_printable(text)}")
    print(f"  question  {_printable(draft.question)}")
    answer = "none: no document should answer it" if draft.answer is None else draft.answer
    print(f"  answer    {_printable(answer)}")


def _printable(text: str) -> str:
    """Without control characters: what documents hold must not control the reviewer's terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
