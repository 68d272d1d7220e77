"""Reading and writing split files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.common.errors import DataError
from trainers.data.layout import Layout, plain_columns
from trainers.data.lists import read_split, write_split


@pytest.fixture
def layout(folder_root):
    return Layout(root=folder_root, classes=("a", "b", "c"), resolve=plain_columns)


def read(layout, text, *, labelled=True):
    path = layout.root / "list.txt"
    path.write_bytes(text.encode())
    return read_split(path, layout, labelled=labelled)


def names(items):
    return [(item.name, item.mask_name) for item in items]


LINES = [f"images/{i}.png masks/{i}.png" for i in range(3)]
EXPECTED = [(f"images/{i}.png", f"masks/{i}.png") for i in range(3)]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(LINES),
        "\n".join(LINES) + "\n",
        "\r\n".join(LINES) + "\r\n",
        "\n\n  \n".join(LINES) + "\n\n",
        "\ufeff" + "\n".join(LINES),
        "\n".join(line.replace(" ", "\t") for line in LINES),
        "\n".join(f"  {line}  " for line in LINES),
        "\n".join(f"/{line.replace(' ', ' /')}" for line in LINES),
        "\n".join(f"./{line.replace(' ', ' ./')}" for line in LINES),
    ],
    ids=[
        "no final newline",
        "newline",
        "CRLF",
        "blank lines",
        "BOM",
        "tabs",
        "margins",
        "leading slash",
        "leading dot",
    ],
)
def test_every_way_to_write_a_list_gives_the_same_items(layout, text):
    assert names(read(layout, text)) == EXPECTED


def test_an_absolute_path_outside_the_root_is_taken_as_it_is(layout, tmp_path_factory, write_image):
    image = tmp_path_factory.mktemp("elsewhere") / "x.png"
    write_image(image, np.zeros((4, 4, 3)))
    (item,) = read(layout, f"{image}\n", labelled=False)
    assert item.image == image
    assert not item.name.startswith("/")


def test_an_unlabelled_line_needs_no_mask(layout):
    assert names(read(layout, "images/0.png\nimages/1.png masks/1.png", labelled=False)) == [
        ("images/0.png", None),
        EXPECTED[1],
    ]


def test_an_unlabelled_line_may_name_a_mask_that_is_not_there(layout):
    assert names(read(layout, "images/0.png masks/none.png", labelled=False)) == [("images/0.png", None)]


def test_paths_with_blanks_are_read_from_columns_apart_by_a_tab(layout, write_image):
    write_image(layout.root / "my images" / "a b.png", np.zeros((4, 4, 3)))
    (item,) = read(layout, "my images/a b.png\tmasks/0.png")
    assert names([item]) == [("my images/a b.png", "masks/0.png")]


@pytest.mark.parametrize(
    ("text", "labelled", "complaint"),
    [
        (f"{LINES[0]}\n\nimages/nope.png masks/1.png", True, r"list\.txt:3: no image at .*images/nope\.png"),
        (f"{LINES[0]}\nimages/1.png masks/nope.png", True, r"list\.txt:2: no mask at .*masks/nope\.png"),
        (f"{LINES[0]}\nimages/1.png", True, r'list\.txt:2: no mask is named for "images/1\.png"'),
        ("a b c", False, r"list\.txt:1: 3 columns"),
        ("\n \n", False, r"list\.txt: the split file names no image"),
    ],
)
def test_a_bad_line_is_reported_with_file_and_line(layout, text, labelled, complaint):
    with pytest.raises(DataError, match=complaint):
        read(layout, text, labelled=labelled)


@given(order=st.permutations(range(20)), masks=st.booleans())
def test_a_written_list_reads_back_the_same(tmp_path_factory, order, masks):
    root = tmp_path_factory.getbasetemp() / "round trip"
    layout = Layout(root=root, classes=("a", "b"), resolve=plain_columns)
    for index in range(20):
        for folder in ("images", "masks"):
            path = root / folder / f"{index} x.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    path = root / "first.txt"
    second = "masks/{0} x.png" if masks else ""
    path.write_text("\n".join(f"images/{{0}} x.png\t{second}".format(index) for index in order))
    items = read_split(path, layout, labelled=masks)
    (root / "second.txt").unlink(missing_ok=True)
    write_split(root / "second.txt", items)
    assert names(read_split(root / "second.txt", layout, labelled=masks)) == names(items)


def test_another_list_is_not_overwritten(layout):
    items = read(layout, "\n".join(LINES))
    write_split(layout.root / "out.txt", items)
    write_split(layout.root / "out.txt", items)
    with pytest.raises(DataError, match="another list lies here"):
        write_split(layout.root / "out.txt", items[:1])
