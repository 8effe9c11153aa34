"""Compiled networks compute the same; networks that cannot be compiled run uncompiled."""

from __future__ import annotations

import logging

import pytest
import torch

from cryopipe.features.networks.yopo import Yopo
from cryopipe.features.training.compilation import WORTHWHILE_BOXES, compile_network, worth_compiling

CPU = torch.device("cpu")
SHAPE = (3, 1, 8, 8, 8)


def network() -> Yopo:
    torch.manual_seed(0)
    return Yopo((4, 4), 8)


@pytest.mark.filterwarnings("ignore")
def test_compiled_network_computes_the_same_and_is_left_as_it_was() -> None:
    plain, other = network(), network()
    fast = compile_network(other, SHAPE, CPU, backend="aot_eager")
    assert fast is not other
    for name, value in plain.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    assert all(parameter.grad is None for parameter in other.parameters())
    boxes = torch.randn(SHAPE)
    expected, found = plain.train()(boxes), fast(boxes)
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-5)


def test_failure_to_compile_is_logged_and_not_fatal(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **named: object) -> None:
        raise RuntimeError("no\ncompiler")

    monkeypatch.setattr(torch, "compile", fails)
    plain = network()
    with caplog.at_level(logging.WARNING):
        assert compile_network(plain, SHAPE, CPU) is plain
    assert (
        r"the network could not be compiled (no\ncompiler); it runs uncompiled, which is slower"
        in caplog.text
    )


def test_compiling_is_for_long_trainings_on_gpus() -> None:
    assert worth_compiling(torch.device("cuda"), WORTHWHILE_BOXES)
    assert not worth_compiling(torch.device("cuda"), WORTHWHILE_BOXES - 1)
    assert not worth_compiling(CPU, 10 * WORTHWHILE_BOXES)
