"""Tab-separated tables of results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cryopipe.errors import FileError
from cryopipe.files.tables import read_table, write_table


def test_round_trip_keeps_names_numbers_and_blanks(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "tomogram": ["007", "nan", 'a "b"'],
            "problem": ["", "two\nlines", "a\ttab"],
            "score": [0.1, 1 / 3, float("nan")],
            "particles": [1, 2, 3],
        }
    )
    write_table(tmp_path / "t.tsv", table)
    read = read_table(tmp_path / "t.tsv")
    pd.testing.assert_frame_equal(read, table, check_dtype=False, check_exact=True)
    assert read["particles"].dtype == "int64"


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "t.tsv", pd.DataFrame({"cluster": [], "particles": []}))
    read = read_table(tmp_path / "t.tsv")
    assert list(read.columns) == ["cluster", "particles"]
    assert len(read) == 0


def test_missing_and_broken_tables_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"t\.tsv: no such file; run the rule that writes it"):
        read_table(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_bytes(b"")
    with pytest.raises(FileError, match=r"t\.tsv: is not a tab-separated table"):
        read_table(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=r"t\.tsv: is not a tab-separated table"):
        read_table(tmp_path / "t.tsv")
