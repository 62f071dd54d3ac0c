import time

from pipelines.corpus.reading_order import Box, sort_boxes


def test_columns_are_read_before_rows_if_the_gap_between_them_is_wider() -> None:
    boxes = [Box(0, 0, 40, 10), Box(50, 0, 90, 10), Box(0, 11, 40, 20), Box(50, 11, 90, 20)]
    assert sort_boxes(boxes) == [0, 2, 1, 3]


def test_rows_of_cards_are_read_row_by_row() -> None:
    boxes = [Box(0, 0, 40, 10), Box(42, 0, 82, 10), Box(0, 30, 40, 40), Box(42, 30, 82, 40)]
    assert sort_boxes(boxes) == [0, 1, 2, 3]


def test_boxes_that_overlap_are_read_from_top_to_bottom_and_unplaced_ones_last() -> None:
    assert sort_boxes([None, Box(5, 5, 20, 20), Box(0, 0, 15, 15)]) == [2, 1, 0]


def test_a_thousand_boxes_take_less_than_ten_seconds() -> None:
    start = time.process_time()
    boxes = [Box(0, 20 * number, 10, 20 * number + 10) for number in range(1000)]
    assert sort_boxes(list(boxes)) == list(range(1000))
    assert time.process_time() - start < 10
