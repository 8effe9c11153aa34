"""What programs' names of volumes say, and which volume of a tilt series is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryopipe.volume_names import (
    HALF,
    NAMED,
    STACK,
    VARIANT,
    WHOLE,
    choose_volumes,
    read_volume_name,
    why_left_out,
)


@pytest.mark.parametrize(
    ("path", "series", "part"),
    [
        ("/r/rec_TS_01.mrc", "TS_01", WHOLE),  # RELION 5
        ("/r/rec_TS_01_half1.mrc", "TS_01", HALF),
        ("/w/TS_01_10.00Apx.mrc", "TS_01", WHOLE),  # Warp
        ("/w/even/TS_01_10.00Apx.mrc", "TS_01", HALF),
        ("/w/deconv/TS_01_10.00Apx.mrc", "TS_01", VARIANT),
        ("/w/L1_G1.2_pos5_10.00Apx.mrc", "L1_G1.2_pos5", WHOLE),
        ("/a/TS_01_Vol.mrc", "TS_01", WHOLE),  # AreTomo
        ("/a/TS_01_EVN_Vol.mrc", "TS_01", HALF),
        ("/a/TS_01_2ND_Vol.mrc", "TS_01", VARIANT),
        ("/a/TS_01_ODD.mrc", "TS_01", HALF),
        ("/a/TS_01_CTF.mrc", "TS_01", VARIANT),
        ("/i/TS_01_rec.mrc", "TS_01", WHOLE),  # IMOD
        ("/i/TS_01.rec", "TS_01", WHOLE),
        ("/i/TS_01_full_rec.mrc", "TS_01", VARIANT),
        ("/i/TS_01_ali.mrc", "TS_01", STACK),
        ("/i/TS_01.st", "TS_01", STACK),
        ("/i/TS_01_rec_bin4.mrc", "TS_01", WHOLE),
        ("/i/TS_01.mrcs", "TS_01", STACK),
        ("/x/TS_01.mrc", "TS_01", NAMED),
        ("/x/sample_b2.mrc", "sample_b2", NAMED),  # a position on a grid as well as a binning
        ("/x/odd.mrc", "odd", NAMED),
        ("/x/_rec.mrc", "_rec", NAMED),
        ("/x/rec_.mrc", "rec_", NAMED),
    ],
)
def test_names_of_programs(path: str, series: str, part: int) -> None:
    name = read_volume_name(path)
    assert (name.series, name.part) == (series, part)
    assert name.folder == Path(path[:2])


def test_one_volume_of_each_tilt_series_is_taken() -> None:
    taken, left_out = Path("/w/TS_01_10.00Apx.mrc"), ["even/TS_01_10.00Apx.mrc", "odd/TS_01_10.00Apx.mrc"]
    others = [Path("/w") / name for name in [*left_out, "TS_01_5.00Apx.mrc", "TS_01_20.00Apx.mrc"]]
    alone = [Path("/w/TS_02_10.00Apx.mrc"), Path("/other/TS_01_10.00Apx.mrc"), Path("/w/TS_03_EVN.mrc")]
    chosen = choose_volumes([*others, taken, *alone], {})
    assert chosen == {**dict.fromkeys([*others, taken], taken), **{path: path for path in alone}}


@pytest.mark.parametrize(
    ("names", "voxel_sizes", "taken"),
    [
        (["a_bin8.mrc", "a_bin4.mrc"], [None, None], "a_bin8.mrc"),
        (["a_bin8.mrc", "a_bin4.mrc"], [25.0, 12.5], "a_bin4.mrc"),
        (["a.mrc", "a_rec.mrc"], [10.0, 10.0], "a_rec.mrc"),  # a.mrc is the tilt series, as IMOD names it
        (["a_rec.mrc", "a_full_rec.mrc"], [5.0, 13.0], "a_rec.mrc"),
        (["a_EVN_Vol.mrc", "a_ODD_Vol.mrc"], [10.0, 10.0], "a_EVN_Vol.mrc"),
        (["a_ali.mrc", "a.mrc"], [10.0, 10.0], "a.mrc"),
    ],
)
def test_which_volume_is_taken(names: list[str], voxel_sizes: list[float | None], taken: str) -> None:
    paths = [Path(name) for name in names]
    chosen = choose_volumes(paths, dict(zip(paths, voxel_sizes, strict=True)))
    assert set(chosen.values()) == {Path(taken)}


def test_what_is_left_out_is_told_with_its_mark() -> None:
    taken = Path("TS_01_Vol.mrc")
    assert why_left_out(Path("TS_01_EVN_Vol.mrc"), taken) == "half of the data (_EVN); TS_01_Vol.mrc is taken"
    assert why_left_out(Path("TS_01_ali.mrc"), taken) == "a stack of images (_ali); TS_01_Vol.mrc is taken"
    assert why_left_out(Path("TS_01_2ND_Vol.mrc"), taken).startswith(
        "another volume of the tilt series (_2ND); "
    )
    assert why_left_out(Path("TS_01_5.00Apx.mrc"), taken).startswith(
        "the same tilt series at another binning"
    )
