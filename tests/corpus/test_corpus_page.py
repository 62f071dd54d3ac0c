import numpy as np

from pipelines.corpus.corpus_page import lay_out


def test_passages_that_are_alike_lie_near_each_other_on_the_map() -> None:
    dice = np.random.default_rng(1)
    soups = dice.normal([1, 0, 0], 0.05, (40, 3))
    breads = dice.normal([0, 1, 0], 0.05, (40, 3))
    layout = lay_out(np.vstack([soups, breads]).astype(np.float32), seed=7)
    soup_center = layout[:40].mean(axis=0)
    bread_center = layout[40:].mean(axis=0)
    spread = np.linalg.norm(layout[:40] - soup_center, axis=1).mean()
    assert np.linalg.norm(soup_center - bread_center) > 2 * spread


def test_few_passages_and_equal_ones_have_a_map_as_well() -> None:
    assert lay_out(np.ones((1, 3), dtype=np.float32), seed=7).shape == (1, 2)
    assert lay_out(np.ones((12, 3), dtype=np.float32), seed=7).shape == (12, 2)
