"""Training in two processes: equal to one process, files written once; failures of the launcher."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_disca import CPU

from cryopipe.errors import LearningError
from cryopipe.features.training.distributed import (
    Draws,
    broadcast,
    gather_rows,
    granted_gpus,
    is_first_process,
    own_slice,
    process_count,
    process_group,
    run_in_processes,
)

PROGRAM = """
import sys, torch, numpy as np
sys.path.insert(0, {tests!r})
from dataclasses import replace
from pathlib import Path
from test_disca import TINY, learner, two_classes
from cryopipe.features import learn_features
from cryopipe.features.training import devices
from cryopipe.features.training.distributed import is_first_process, process_count, run_in_processes, process_group
out = Path({out!r})
torch.set_num_threads(1)
# Single precision, so that only the order of summation differs.
devices.has_fast_bfloat16 = lambda device: False
if not run_in_processes({count}, sys.argv[0]):
    with process_group(torch.device("cpu")):
        assert process_count() == {count}
        options = replace(TINY, disca=replace(TINY.disca, batch_size=15, iterations=2))
        disca = learner(options)
        learned = learn_features(disca, two_classes(41)[0], options, out / "checkpoint.safetensors")
        if is_first_process():
            np.savez(out / "features.npz", features=learned.features, shifts=learned.centring.shifts_voxels,
                     history=learned.history.drop(columns="seconds").to_numpy())
            disca.save(out / "model.safetensors")
"""


def learned_by(count: int, directory: Path) -> dict[str, np.ndarray]:
    """Features and history of a training in `count` processes, from a program that launches itself."""
    directory.mkdir()
    script = directory / "learn.py"
    script.write_text(PROGRAM.format(tests=str(Path(__file__).parent), out=str(directory), count=count))
    subprocess.run([sys.executable, str(script)], check=True, timeout=300)
    with np.load(directory / "features.npz") as arrays:
        return dict(arrays)


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path: Path) -> None:
    one, two = learned_by(1, tmp_path / "one"), learned_by(2, tmp_path / "two")
    np.testing.assert_array_equal(two["shifts"], one["shifts"])
    # iteration, clusters, bic, separation, stability, information, agreement (equal labels), loss, bad_steps, rate
    np.testing.assert_allclose(two["history"], one["history"], rtol=1e-3)
    np.testing.assert_array_equal(two["history"][:, [0, 1, 6, 8]], one["history"][:, [0, 1, 6, 8]])
    np.testing.assert_allclose(two["features"], one["features"], atol=1e-3)


def test_a_failed_process_is_an_error(tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text("import os, sys\nsys.exit(int(os.environ['LOCAL_RANK']))\n")
    with pytest.raises(LearningError, match="one of 2 processes failed; see its error message above"):
        run_in_processes(2, str(script))


@pytest.mark.parametrize(
    ("gpu", "gres", "count"),
    [(None, None, 1), (0, None, 1), (1, None, 1), (4, None, 4), (None, "gpu:a100:2", 2), (None, "gpu:3", 3),
     (None, "gpu", 1), (None, "gpu:a100", 1)],
)  # fmt: skip
def test_granted_gpus_are_read_from_either_resource(gpu: int | None, gres: str | None, count: int) -> None:
    assert granted_gpus(gpu, gres) == count


def test_alone_nothing_is_launched_or_shared(tmp_path: Path) -> None:
    assert not run_in_processes(1, str(tmp_path / "none.py"))
    with process_group(CPU) as device:
        assert (device, process_count(), is_first_process(), own_slice(7)) == (CPU, 1, True, slice(0, 7))
    values = torch.arange(3.0)
    assert broadcast(lambda: [values], CPU)[0] is values
    assert gather_rows(values[:, None], 3).shape == (3, 1)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 41])
@pytest.mark.parametrize("number_of_processes", [2, 3, 8])
def test_parts_cover_all_and_draw_the_numbers_of_one_process(
    count: int, number_of_processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Draws(torch.Generator().manual_seed(3), count)
    expected = [whole.normal(2), whole.uniform(4)]
    parts = []
    for rank in range(number_of_processes):
        monkeypatch.setattr(
            "cryopipe.features.training.distributed.process_count", lambda: number_of_processes
        )
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        monkeypatch.setattr("torch.distributed.get_world_size", lambda: number_of_processes)
        draws = Draws(torch.Generator().manual_seed(3), count)
        parts.append([draws.normal(2), draws.uniform(4)])
        monkeypatch.undo()
    for number in (0, 1):
        assert torch.equal(torch.cat([part[number] for part in parts]), expected[number])
    sizes = [len(part[0]) for part in parts]
    assert max(sizes) - min(sizes) <= 1
