"""A small part of benchmarks/reproducibility.py: the same bytes under other threads and kernels."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from places import ROOT
from tiny_models import FAMILIES, quick

sys.path.insert(0, str(ROOT))

from benchmarks.reproducing import ours
from benchmarks.reproducing.running import Result, differing, prepare, run
from benchmarks.reproducing.settings import AVX2, BASE, OLDEST, Setting
from benchmarks.reproducing.work import Work

pytestmark = pytest.mark.heavy  # tests/e2e/test_same_bytes.py is what make test has of it


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Iterator[Work]:
    assert smollm2.is_dir()
    folder = tmp_path_factory.mktemp("matrix")
    made = prepare(folder, prompts=2, plain=False, words=40)
    yield dataclasses.replace(made, layers=(2, 5), tiny_types=("float32",))
    shutil.rmtree(folder)  # it holds a whole unembedding


@pytest.fixture(scope="module")
def base(work: Work) -> Result:
    return run(work, BASE)


def test_the_base_setting_computes_everything(base: Result) -> None:
    sizes = {thing: len(digests) for thing, digests in base["ours"].items()}
    assert sizes == {
        "prompts": 2, "tiny": len(FAMILIES), "phi": 2, "probe": 1, "attestation": 1, "files": 2,
    }  # fmt: skip


def test_one_differing_digest_is_named(base: Result) -> None:
    other = {"ours": {**base["ours"], "phi": {**base["ours"]["phi"], "random": "0"}}}
    assert differing(base, other) == ["phi: random"]


def test_one_thread_of_this_process(work: Work, base: Result, tmp_path: Path) -> None:
    """The base setting has two, in a process of its own."""
    with quick():
        assert ours.tiny(dataclasses.replace(work, output=tmp_path)) == base["ours"]["tiny"]


@pytest.mark.parametrize("setting", [OLDEST, AVX2], ids=["oldest", "AVX2"])
def test_no_byte_differs(work: Work, base: Result, setting: Setting) -> None:
    result = run(work, setting)
    if missing := setting.missing(result["in effect"]):
        pytest.skip(f"has no effect here: {missing}")
    assert differing(base, result) == []
