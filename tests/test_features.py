"""Rotations, sources of boxes, networks, embeddings, and files of weights and features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import kstest

from cryopipe.errors import ConfigError, FileError
from cryopipe.features import FeatureOptions, create_learner
from cryopipe.features.embedding import MAPS_BYTES, embed_all
from cryopipe.features.learners.disca_model import load_model
from cryopipe.features.learners.transfer import SHIPPED_WEIGHTS, load_encoder, save_encoder
from cryopipe.features.networks.encoder import TransferEncoder, central_weight
from cryopipe.features.networks.yopo import PUBLISHED_WIDTHS, Yopo, noisy_input
from cryopipe.features.training.augment import rotated_copies, uniform_rotations
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.distributed import Draws
from cryopipe.files.features import read_features, write_features
from cryopipe.files.weights import load_weights, save_weights
from cryopipe.mixtures.components import principal_components
from cryopipe.pretraining.training_boxes import ROTATIONS_180, rotate_180
from cryopipe.volume.rotate import rotate_volumes

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def asymmetric(size: int) -> torch.Tensor:
    """A smooth asymmetric body inside the inscribed sphere."""
    axis = torch.arange(size) - size // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    spots = [(0, 0, 0, 2.0, 1.0), (3, 0, 0, 1.5, 1.0), (0, 2, 3, 1.2, 1.5), (-2, -3, 1, 1.0, 2.0)]
    parts = [
        a * torch.exp(-((x - i) ** 2 + (y - j) ** 2 + (z - k) ** 2) / (2 * s**2)) for i, j, k, s, a in spots
    ]
    return torch.stack(parts).sum(dim=0)


def test_rotations_are_uniform() -> None:
    matrices = uniform_rotations(Draws(generator(), 4000)).numpy()
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-5)
    turned = Rotation.from_matrix(matrices)
    # The angle of a uniform rotation has the distribution function (a - sin a) / pi.
    angles = turned.magnitude()
    assert kstest(angles, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-3
    # Every coordinate of a rotated axis is uniform on -1..1.
    for axis in np.eye(3):
        for coordinate in turned.apply(axis).T:
            assert kstest(coordinate, "uniform", args=(-1, 2)).pvalue > 1e-4


def test_rotated_copies_agree_with_rotated_volumes() -> None:
    body = asymmetric(20)[None].repeat(3, 1, 1, 1)
    matrices = uniform_rotations(Draws(generator(1), 3))
    axis = torch.arange(20) - 10
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    inside = x**2 + y**2 + z**2 < 9**2
    copies = rotated_copies(body, matrices, Draws(generator(), 3))
    expected = rotate_volumes(body, matrices)
    torch.testing.assert_close(copies[:, inside], expected[:, inside], atol=1e-4, rtol=0)


def test_corners_are_filled_with_noise() -> None:
    quarter = torch.from_numpy(Rotation.from_euler("z", 45, degrees=True).as_matrix()).float()[None]
    copy = rotated_copies(torch.full((1, 24, 24, 24), 7.0), quarter, Draws(generator(), 1))[0]
    corner = copy[:, :3, :3]
    assert abs(float(corner.mean())) < 0.3
    assert float(corner.std()) == pytest.approx(1, abs=0.2)
    assert float(copy[12, 12, 12]) == 7


def test_noise_layer_drops_half_and_multiplies() -> None:
    noisy = noisy_input(torch.ones(40, 16, 16, 16), Draws(generator(), 40))
    silent = noisy == 0
    assert float(silent.float().mean()) == pytest.approx(0.5, abs=0.01)
    assert float(noisy.mean()) == pytest.approx(1, abs=0.02)
    assert float(noisy[~silent].mean()) == pytest.approx(2, abs=0.02)
    assert float(noisy[~silent].std()) == pytest.approx(2, abs=0.04)


@pytest.mark.parametrize("axes", ROTATIONS_180)
def test_rotations_by_180_degrees_are_about_the_centre(axes: tuple[int, ...]) -> None:
    names = {(): [0, 0, 0], (-1, -2): [0, 0, np.pi], (-1, -3): [0, np.pi, 0], (-2, -3): [np.pi, 0, 0]}
    matrix = torch.from_numpy(Rotation.from_rotvec(names[axes]).as_matrix()).float()[None]
    body = asymmetric(16)[None]
    torch.testing.assert_close(
        rotate_180(body, axes)[:, 1:, 1:, 1:], rotate_volumes(body, matrix)[:, 1:, 1:, 1:], atol=1e-4, rtol=0
    )


def test_resident_and_streamed_boxes_are_the_same() -> None:
    boxes = np.random.default_rng(0).normal(size=(7, 8, 8, 8)).astype(np.float16).astype(np.float32)
    resident, streamed = BoxSource(boxes, CPU, 1.0), BoxSource(boxes, CPU, 1e-6)
    assert resident.resident is not None
    assert streamed.resident is None
    chosen = torch.tensor([5, 0, 6])
    torch.testing.assert_close(resident.batch(chosen), streamed.batch(chosen))


def test_published_network_has_its_published_size() -> None:
    with torch.device("meta"):
        network = Yopo()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert sum(PUBLISHED_WIDTHS) == 1360
    assert parameters == pytest.approx(6.3e6, rel=0.02)


def test_boxes_too_small_for_the_network_are_named() -> None:
    with pytest.raises(ConfigError, match="boxes of 8 voxels are too small for 4 valid convolutions"):
        Yopo((8,) * 4, 8)(torch.zeros(2, 1, 8, 8, 8))


@pytest.mark.parametrize("size", [8, 15, 24])
def test_encoder_takes_boxes_of_any_size(size: int) -> None:
    assert TransferEncoder((8, 8, 8)).eval()(torch.zeros(2, 1, size, size, size)).shape == (2, 32)


def test_central_weight_is_centred() -> None:
    weight = central_weight(9, CPU)
    assert float(weight.sum()) == pytest.approx(1)
    assert int(weight.argmax()) == 4 * 81 + 4 * 9 + 4


@pytest.mark.parametrize("network", [TransferEncoder((8, 8, 16)), Yopo((8, 8), 16)])
def test_embedding_does_not_depend_on_the_batch(
    network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = np.random.default_rng(0).normal(size=(9, 12, 12, 12)).astype(np.float32)
    whole = embed_all(network, BoxSource(boxes, CPU, 1.0), "test")
    monkeypatch.setitem(MAPS_BYTES, "cpu", 2 * 12**3 * 16 * 8)
    torch.testing.assert_close(
        embed_all(network, BoxSource(boxes, CPU, 1.0), "test"), whole, atol=2e-2, rtol=0
    )


def test_principal_components_are_uncorrelated_and_ordered() -> None:
    features = torch.randn(300, 5, generator=generator()) @ torch.randn(5, 5, generator=generator(1))
    points = principal_components(features, 3).apply(features)
    covariance = torch.cov(points.T)
    torch.testing.assert_close(covariance, covariance.diagonal().diag(), atol=1e-4, rtol=0)
    assert covariance.diagonal().tolist() == sorted(covariance.diagonal().tolist(), reverse=True)
    assert float(covariance[0, 0]) == pytest.approx(1, abs=1e-4)


def test_few_particles_have_few_components() -> None:
    assert principal_components(torch.randn(25, 8, generator=generator()), 16).axes.shape == (8, 2)
    assert principal_components(torch.ones(3, 8), 16).apply(torch.ones(3, 8)).abs().max() == 0


def test_encoder_is_restored_from_its_file(tmp_path: Path) -> None:
    encoder = TransferEncoder((8, 8, 8)).half().float().eval()
    save_encoder(tmp_path / "e.safetensors", encoder, {"note": "made for a test"})
    boxes = torch.randn(3, 1, 12, 12, 12, generator=generator())
    again = load_encoder(tmp_path / "e.safetensors").eval()
    torch.testing.assert_close(again(boxes), encoder(boxes))


def test_transfer_learner_embeds_on_the_sphere_and_is_restored_from_its_file(tmp_path: Path) -> None:
    save_encoder(tmp_path / "e.safetensors", TransferEncoder((8, 8, 8)), {})
    options = FeatureOptions(learner="transfer", weights=str(tmp_path / "e.safetensors"))
    learner = create_learner("transfer", options, CPU, 0)
    boxes = np.random.default_rng(0).normal(size=(6, 12, 12, 12)).astype(np.float32)
    assert len(learner.fit(boxes)) == 0
    features = learner.embed(boxes)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    learner.save(tmp_path / "model.safetensors")
    other = create_learner("transfer", FeatureOptions(), CPU, 1)
    other.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(other.embed(boxes), features, atol=1e-2)
    assert learner.embed(boxes[:0]).shape[0] == 0


def test_unknown_learner_is_named() -> None:
    with pytest.raises(
        ConfigError,
        match=r"features\.learner 'dsica' is unknown; choose one of affinity, .*disca, .*transfer",
    ):
        create_learner("dsica", FeatureOptions(), CPU, 0)


def test_weights_of_another_learner_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", {"a": torch.ones(2)}, {"kind": "disca"})
    with pytest.raises(
        FileError, match=r"contains 'disca', not 'transfer encoder'; set features\.weights to null"
    ):
        load_encoder(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (None, "the description of the network is missing or damaged (JSONDecodeError"),
        ("{", "the description of the network is missing or damaged (JSONDecodeError"),
        ("[" * 100_000, "the description of the network is missing or damaged (RecursionError"),
        ("[]", "the description of the network is missing or damaged (TypeError"),
        ("{}", "the network is described by nothing, not by widths, feature_width"),
        ('{"widths": [16, 32, 64]}', "the network is described by 'widths', not by widths, feature_width"),
        ('{"widths": 3, "feature_width": 32}', "the description of the network is damaged ("),
        ('{"widths": [], "feature_width": 32}', "widths of the network is []; expected is a whole number"),
        ('{"widths": [16, 32, true], "feature_width": 32}', "widths of the network is [16, 32, true]; expected"),
        ('{"widths": [16, 32, 1e3], "feature_width": 32}', "widths of the network is [16, 32, 1000.0]; expected"),
        ('{"widths": [16, 32, 64], "feature_width": -32}', "feature_width of the network is -32; expected"),
        ('{"widths": [16, 32, 1000000000], "feature_width": 32}', "widths of the network is [16, 32, 1000000000]; expected"),
        ('{"widths": [65536, 65536, 65536], "feature_width": 65536}', "weights do not fit the network described in the file: blocks.0.0.weight has shape [16, 1, 3, 3, 3], not"),
        ('{"widths": [16, 32, 64], "feature_width": 33}', "weights do not fit the network described in the file: head.4.weight has"),
        ('{"widths": [16, 32], "feature_width": 32}', "weights do not fit the network described in the file: head.0.weight has"),
        ('{"widths": [16, 32, 64], "feature_width": 32, "type": "yopo3"}', "the network type 'yopo3' is unknown (known: "),
        ('{"widths": [16, 32, 64], "feature_width": 32, "type": {}}', "the network type '{}' is unknown (known: "),
    ],
)  # fmt: skip
def test_weights_that_describe_another_network_are_refused_before_memory_is_allocated(
    tmp_path: Path, network: str | None, message: str
) -> None:
    tensors = load_weights(SHIPPED_WEIGHTS)[0]
    path = tmp_path / "w.safetensors"
    for learner, reader in (
        ("transfer encoder", load_encoder),
        ("disca", lambda p: load_model(p, torch.device("cpu"))),
    ):
        own = {f"network.{name}" if learner == "disca" else name: value for name, value in tensors.items()}
        others = {} if network is None else {"network": network}
        save_weights(path, own, {"kind": learner, **others})
        with pytest.raises(FileError) as caught:
            reader(path)
        assert str(caught.value).startswith(f"{path}: {message}")
        assert str(caught.value).endswith("; give an unchanged file that cryopipe wrote, or train again")


def test_disca_weights_with_an_incomplete_projection_are_refused(tmp_path: Path) -> None:
    tensors, metadata = load_weights(SHIPPED_WEIGHTS)
    own = {f"network.{name}": value for name, value in tensors.items()}
    boxes = '{"box_size": 24, "voxel_size": null}'
    shape = {"kind": "disca", "network": metadata["network"], "boxes": boxes}
    for name, axes in ((0, None), (1, torch.ones(31, 2)), (2, torch.ones(32))):
        more = {} if axes is None else {"projection.axes": axes}
        save_weights(tmp_path / f"{name}.st", own | {"projection.mean": torch.zeros(32)} | more, shape)
        with pytest.raises(
            FileError, match="the projection is missing or does not fit the network; train again"
        ):
            load_model(tmp_path / f"{name}.st", torch.device("cpu"))


def test_weights_files_round_trip_and_name_what_is_wrong(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6).reshape(2, 3).T, "b": torch.tensor(1.5, dtype=torch.float64)}
    save_weights(tmp_path / "w.safetensors", tensors, {"note": "α"})
    read, metadata = load_weights(tmp_path / "w.safetensors")
    assert metadata == {"note": "α"}
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    (tmp_path / "bad.safetensors").write_text("no weights")
    with pytest.raises(FileError, match=r"bad\.safetensors: is not a safetensors file"):
        load_weights(tmp_path / "bad.safetensors")
    with pytest.raises(FileError, match="no such file; correct the path, or train the network first"):
        load_weights(tmp_path / "none.safetensors")


def test_equal_weights_make_equal_files(tmp_path: Path) -> None:
    texts = {f"text {number}": "α" * number for number in range(9)}
    for number in range(9):
        save_weights(tmp_path / f"{number}.safetensors", {"b": torch.ones(3), "a": torch.zeros(2, 2)}, texts)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    read, metadata = load_weights(tmp_path / "0.safetensors")
    assert metadata == texts
    assert torch.equal(read["b"], torch.ones(3))


def test_features_files_round_trip_and_name_what_is_wrong(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    write_features(tmp_path / "f.npz", ["a/1", "β/2", "007"], features, labels=np.arange(3))
    names, read, arrays = read_features(tmp_path / "f.npz")
    assert names == ["a/1", "β/2", "007"]
    np.testing.assert_array_equal(read, features)
    np.testing.assert_array_equal(arrays["labels"], np.arange(3))
    (tmp_path / "bad.npz").write_text("nothing")
    with pytest.raises(FileError, match="is not an archive of features"):
        read_features(tmp_path / "bad.npz")
    with pytest.raises(FileError, match="no such file; run learn_features"):
        read_features(tmp_path / "none.npz")
