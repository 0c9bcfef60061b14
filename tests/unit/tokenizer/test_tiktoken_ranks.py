"""Tables of ranks: read from the model's own file, broken ones refused."""

import pytest

from services.tokenizer.families import tiktoken as family

CONFIG = {"pattern": r"\S+|\s+", "special_tokens": {}}


def load(folder, *lines):
    (folder / family.RANKS_FILE).write_text("".join(f"{line}\n" for line in lines))
    return family.load(CONFIG, folder, None)


def test_no_copy_of_the_table_elsewhere_is_read_or_left(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    load(tmp_path, "YQ== 0")
    assert load(tmp_path, "Yg== 0").piece(0) == b"b"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ((), "a rank of its own"),
        (("YQ== 0", "Yg=="), "line 2"),
        (("YQ== 0", "Yg== one"), "line 2"),
        (("?? 0",), "line 1"),
        (("YQ== 0", "Yg== 0"), "a rank of its own"),
        (("YQ== 0", "YQ== 1"), "a rank of its own"),
        (("YQ== -1",), "a rank of its own"),
    ],
)
def test_a_broken_table_is_refused(tmp_path, lines, problem):
    with pytest.raises(ValueError, match=problem):
        load(tmp_path, *lines)
