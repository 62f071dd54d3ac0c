"""Knows how a prompt template becomes text. The export copies this file into the Triton models: it imports nothing of ours."""


def render(prompt: str, passage: str, question: str, passages: list[str]) -> str:
    """The text that the model reads; braces inside question and passages stay as they are."""
    shown = "".join(passage.format(number=number, text=text) for number, text in enumerate(passages, start=1))
    return prompt.format(question=question.strip(), passages=shown)
