"""Split files in every encoding, and names that lead nowhere or are written another way than the disk has them."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainers.common.errors import DataError
from trainers.data.layout import Item, Layout, plain_columns
from trainers.data.lists import read_split, write_split

NAMES = ("Größe.png", "naïve café.png", "日本語.png", "Приве́т.png", "plain.png")


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    root = tmp_path_factory.mktemp("names")
    for folder in ("images", "masks"):
        (root / folder).mkdir()
        for name in NAMES:
            (root / folder / name).touch()
    (root / "images" / "folder.png").mkdir()
    return Layout(root=root, classes=("a", "b"), resolve=plain_columns)


def read(layout, data, *, labelled=True, encoding="utf-8"):
    path = layout.root / f"list-{os.getpid()}.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_split(path, layout, labelled=labelled, encoding=encoding)


def assert_items_or_a_named_error(layout, data, *, labelled):
    try:
        said = [item.where for item in read(layout, data, labelled=labelled)]
    except DataError as error:
        said = [str(error)]
    assert all(f"list-{os.getpid()}.txt" in one for one in said)


def lines(names=NAMES, end="\n"):
    return "".join(f"images/{name}\tmasks/{name}{end}" for name in names)


def found(items):
    return [item.image.name for item in items]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_says_the_encoding(layout, encoding, end):
    assert found(read(layout, ("\ufeff" + lines(end=end)).encode(encoding))) == list(NAMES)


@pytest.mark.parametrize("name", ["utf-8", "UTF16", "utf-32", "cp1252", "gb18030", "shift_jis", "latin-1"])
def test_an_encoding_that_python_knows_is_taken(data_config, name):
    assert data_config(name="folder", root="/", num_classes=2, list_encoding=name).list_encoding == name


@pytest.mark.parametrize("name", ["klingon", "hex", "", "utf-8\0"])
def test_an_encoding_that_python_does_not_know_is_refused_by_name(data_config, name):
    with pytest.raises(ValidationError, match="Python knows no encoding of texts"):
        data_config(name="folder", root="/", num_classes=2, list_encoding=name)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_without_a_mark_are_guessed_right(layout, encoding):
    with pytest.raises(DataError, match=rf"data\.list_encoding: {encoding}$"):
        read(layout, lines([NAMES[0]]).encode(encoding))


def test_the_byte_order_mark_goes_before_the_declared_encoding(layout):
    assert found(read(layout, lines().encode("utf-16"), encoding="cp1252")) == list(NAMES)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("cp1252", NAMES[0]),
        ("latin-1", NAMES[1]),
        ("gb18030", NAMES[2]),
        ("shift_jis", NAMES[2]),
        ("utf-16-le", NAMES[3]),
    ],
)
def test_a_declared_encoding_is_read(layout, encoding, name):
    assert found(read(layout, lines([NAMES[4], name]).encode(encoding), encoding=encoding)) == [NAMES[4], name]


def test_marks_in_the_middle_of_joined_lists_are_no_part_of_a_name(layout):
    once = "\ufeff" + lines([NAMES[4]])
    assert len(read(layout, once + once)) == 2


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "mac-roman"])
def test_another_encoding_is_an_error_with_its_line_and_the_remedy(layout, encoding):
    data = lines([NAMES[4], NAMES[4], NAMES[0]], end="\r\n").encode(encoding)
    with pytest.raises(DataError, match=r"list-\d+\.txt:3: 0x.. at byte \d+ .*not UTF-8.*save the list as UTF-8"):
        read(layout, data)


def test_windows_letters_are_shown_as_they_would_read(layout):
    with pytest.raises(DataError, match=r"as cp1252 there is a line .*Größe\.png.*data\.list_encoding: cp1252"):
        read(layout, lines([NAMES[0]]).encode("cp1252"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_guessed(layout, encoding):
    with pytest.raises(DataError, match=rf":1: .*UTF-16-..? without a byte order mark.*list_encoding: {encoding}"):
        read(layout, lines([NAMES[4]]).encode(encoding))


@given(data=st.binary(max_size=200), mark=st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"]))
def test_no_bytes_whatever_give_anything_but_items_or_an_error_that_names_the_list(layout, data, mark):
    assert_items_or_a_named_error(layout, mark + data, labelled=False)


@given(
    text=st.text(
        alphabet=st.sampled_from("images/masks.png \\\t\",;'#~.\r\nÄ\u0308\u00a0\ufeff\u200b\u2028C:"), max_size=60
    )
)
def test_no_text_whatever_gives_anything_but_items_or_an_error_that_names_the_list(layout, text):
    for labelled in (False, True):
        assert_items_or_a_named_error(layout, text, labelled=labelled)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_in_another_unicode_form_is_the_file_that_the_disk_has(layout, form):
    assert found(read(layout, unicodedata.normalize(form, lines()))) == list(NAMES)


def test_two_files_that_differ_in_the_unicode_form_are_told_apart(layout, tmp_path):
    forms = [unicodedata.normalize(form, "Größe.png") for form in ("NFC", "NFD")]
    for form in forms:
        (tmp_path / form).touch()
    here = Layout(root=tmp_path, classes=("a",), resolve=plain_columns)
    assert found(read(here, "\n".join(forms), labelled=False)) == forms


def test_a_folder_in_another_unicode_form_is_found(tmp_path):
    (tmp_path / unicodedata.normalize("NFD", "Größe")).mkdir()
    (tmp_path / unicodedata.normalize("NFD", "Größe") / "a.png").touch()
    here = Layout(root=tmp_path, classes=("a",), resolve=plain_columns)
    assert found(read(here, unicodedata.normalize("NFC", "Größe/a.png"), labelled=False)) == ["a.png"]


@pytest.mark.parametrize(
    "line",
    [
        "images/naïve café.png",
        "images/naïve café.png masks/plain.png",
        "images/naïve café.png masks/naïve café.png",
        "images/naïve café.png\tmasks/naïve café.png",
        "  images/naïve café.png   masks/naïve café.png  ",
        "images\\naïve café.png masks\\naïve café.png",
    ],
)
def test_blanks_inside_paths_need_no_tab_where_one_reading_alone_exists(layout, line):
    assert found(read(layout, line, labelled=False)) == ["naïve café.png"]


def test_backslashes_of_windows_are_read(layout):
    (item,) = read(layout, "images\\plain.png masks\\plain.png\r\n")
    assert (item.name, item.mask_name) == ("images/plain.png", "masks/plain.png")


def test_comments_are_left_out(layout):
    assert found(read(layout, f"# what was drawn\n#\n{lines([NAMES[4]])}#\tand more\n")) == [NAMES[4]]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("images/plane.png", r'did you mean "plain\.png"\?'),
        ("images/Plain.PNG", r'there is "plain\.png": upper and lower case differ'),
        ("images/plain.jpg", r'there is "plain\.png": the ending differs'),
        ("image/plain.png", r'holds no folder image; did you mean "images"\?'),
        ("images/folder.png", r"that is a folder"),
        ("images/plain.png,masks/plain.png", r"not by a comma"),
        ('"images/plain.png"', r"take the quotes away"),
        (r"C:\data\plain.png", r"a path of Windows"),
        ("images/link.png", r"a link to nowhere\.png, where nothing is"),
        ("images/pla\u0007n.png", r"images/pla\\x07n\.png"),
    ],
)
def test_a_name_that_leads_nowhere_is_said_with_its_cause(layout, line, hint):
    link = layout.root / "images" / "link.png"
    if not link.is_symlink():
        link.symlink_to("nowhere.png")
    with pytest.raises(DataError, match=rf"list-\d+\.txt:2: no image at .*{hint}"):
        read(layout, f"images/plain.png\n{line}\n", labelled=False)


def test_a_pipe_is_no_image(layout):
    if not (layout.root / "images" / "pipe.png").exists():
        os.mkfifo(layout.root / "images" / "pipe.png")
    with pytest.raises(DataError, match=r":1: no image at .*pipe\.png"):
        read(layout, "images/pipe.png", labelled=False)


def test_a_list_that_is_a_folder_is_an_error_with_its_name(layout):
    with pytest.raises(DataError, match="the split file cannot be read"):
        read_split(layout.root / "images", layout, labelled=False)


@given(
    name=st.text(
        st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
    )
    | st.binary(min_size=1, max_size=20).filter(lambda name: not {*b"/\0"} & {*name}).map(os.fsdecode)
)
def test_a_written_list_leads_to_the_same_file_whatever_its_name(tmp_path_factory, name):
    root = tmp_path_factory.mktemp("written")
    if name in (".", ".."):
        return
    (root / name).touch()
    here = Layout(root=root, classes=("a",), resolve=plain_columns)
    item = Item(image=root / name, root=root)
    if any(ord(one) < 32 or 0xD800 <= ord(one) < 0xE000 for one in name) or name != name.strip().strip("\ufeff"):
        with pytest.raises(DataError, match="rename the file"):
            write_split(root / "the list", [item])
        return
    write_split(root / "the list", [item])
    assert [one.image for one in read_split(root / "the list", here, labelled=False)] == [item.image]
