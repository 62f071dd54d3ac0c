"""Turns a prompt template into the text that the model reads."""


def render(prompt: str, passage: str, question: str, passages: list[str]) -> str:
    """Fill in the template; braces inside the question and the passages stay as they are."""
    pairs = enumerate(passages, start=1)
    context = "".join(passage.format(number=number, text=text) for number, text in pairs)
    return prompt.format(question=question.strip(), passages=context)
