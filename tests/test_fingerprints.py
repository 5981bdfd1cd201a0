"""Fingerprints tell what does the same from what does not, in every process."""

import copy
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from skncvqvae._fingerprints import fingerprint


def power(p, q, exponent=2):
    return (p - q).abs().pow(exponent).mean()


def scaled(scale):
    return lambda p, q: scale * power(p, q)


class Loss:
    def __init__(self, weight):
        self.weight, self.itself = weight, self
        self.rng = np.random.default_rng()

    def __call__(self, p, q):
        return power(p, q)

    def method(self, p, q):
        return power(p, q)


class Unpicklable(Loss):
    def __reduce_ex__(self, protocol):
        raise TypeError


KINDS = {
    "number": float,
    "list": lambda x: [x, {"of": x}],
    "set": lambda x: {x, "other"},
    "array": lambda x: np.full(3, x),
    "tensor": lambda x: torch.full((2, 2), float(x)).T,
    "bfloat16": lambda x: torch.full((2,), float(x), dtype=torch.bfloat16),
    "sparse": lambda x: torch.full((2, 2), float(x)).to_sparse(),
    "closure": scaled,
    "partial": lambda x: functools.partial(power, exponent=x),
    "object": Loss,
    "method": lambda x: Loss(x).method,
    "unpicklable": Unpicklable,
    "module": lambda x: (
        torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout(x / 10))
        .requires_grad_(False)
        .apply(lambda part: [torch.nn.init.ones_(p) for p in part.parameters()])
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_alike_has_one_fingerprint_and_what_differs_another(kind):
    make = KINDS[kind]
    assert fingerprint(make(1)) == fingerprint(make(1)) != fingerprint(make(2))
    if kind != "unpicklable":
        assert fingerprint(copy.deepcopy(make(1))) == fingerprint(make(1))


def test_fingerprints_are_the_same_in_another_process():
    code = (
        "from test_fingerprints import KINDS, fingerprint\n"
        "print(*[fingerprint(make(1)) for make in KINDS.values()])"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == [fingerprint(make(1)) for make in KINDS.values()]
