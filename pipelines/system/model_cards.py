"""Model cards: the README.md beside a model's weights, whose head states the licence."""

from pathlib import Path

CARD = "README.md"


def licence(folder: Path) -> str | None:
    """As the model's card says in its head; None if there is none, or if it does not say."""
    card = folder / CARD
    if not card.is_file():
        return None
    from huggingface_hub import ModelCard

    try:
        data = ModelCard.load(card, ignore_metadata_errors=True).data
    except (ValueError, OSError) as error:
        print(f"{card} does not tell the licence: {error}")
        return None
    name = data.get("license_name") or data.get("license")
    return None if name is None else str(name)
