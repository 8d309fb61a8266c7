"""Class names that others wrote, in every form that they come in."""

from __future__ import annotations

import json

import pytest

from scarlet_zoo.data.labels import read_labels
from scarlet_zoo.errors import ScarletError

NAMES = ("tench", "great white shark", "Käfer")


@pytest.mark.parametrize(
    "text",
    [
        "tench\ngreat white shark\nKäfer\n",
        "\ufefftench\r\n great white shark \r\nKäfer\r\n\r\n",
        json.dumps(NAMES),
        json.dumps({"2": NAMES[2], "0": NAMES[0], "1": NAMES[1]}),
        json.dumps({name: index for index, name in enumerate(NAMES)}),
        json.dumps({str(index): [f"n{index}", name] for index, name in enumerate(NAMES)}),
        json.dumps({"architectures": ["Net"], "id2label": dict(enumerate(NAMES))}),
    ],
    ids=["lines", "windows lines", "list", "by index", "by name", "keras", "hugging face"],
)
def test_every_form_gives_the_names_in_the_order_of_the_logits(tmp_path, text):
    (tmp_path / "names").write_bytes(text.encode())
    assert read_labels(tmp_path / "names") == NAMES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("[]", "is empty"),
        ("cat\n\ndog\n", "class 1 has an empty name"),
        ("[1, 2]", "class 0: got 1, wanted a name"),
        ('{"1": "cat", "2": "dog"}', "index 0 is missing among 2"),
        ('{"cat": 0, "dog": 0}', "index 1 is missing among 2"),
        ('{"cat": "dog"}', "got 'cat' as an index"),
        ("{oops", "is not JSON"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
    ],
)
def test_what_are_no_labels_is_said_in_one_line(tmp_path, text, words):
    (tmp_path / "names").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ScarletError) as error:
        read_labels(tmp_path / "names")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_and_a_folder_are_named(tmp_path):
    with pytest.raises(ScarletError, match="no such file"):
        read_labels(tmp_path / "none.txt")
    with pytest.raises(ScarletError, match="cannot be read"):
        read_labels(tmp_path)
