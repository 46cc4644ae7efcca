"""The rules beside an independent implementation (byzfl), on five seeded cases with attackers in them.

The un-gridded path agrees to 1e-9. The exact path has a gate in front, so it is held against the un-gridded one on what the
gate lets through. Not compared: rules that we do not have, and byzfl's geometric median of three steps, whose absolute
smoothing of 0.1 makes it nearly the plain mean.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from boltz_core.aggregation.decision import Decision
from boltz_core.aggregation.in_memory import aggregate, aggregate_plain, plain_rows
from boltz_core.aggregation.rules.registry import step_named
from boltz_core.aggregation.rules.rule import Setting

VECTORS = Path(__file__).resolve().parents[3] / "shared/vectors/robust/oracle_small.npz"

pytestmark = pytest.mark.skipif(not VECTORS.exists(), reason="vectors not present")

CASES = (
    "c00_outlier_n10_d17_f2",
    "c02_signflip_n11_d64_f3",
    "c04_alie_n12_d128_f3",
    "c06_heavy_n9_d33_f2",
    "c08_scale_n15_d200_f3",
)

# their Krum sums n - f - 1 neighbours
OUTPUTS = {
    "agg/Average": {"rule": "weighted_mean"},
    "agg/Median": {"rule": "median"},
    "agg/TrMean": {"rule": "trimmed_mean"},
    "agg/GeometricMedian_T200_nu1e-6": {
        "rule": "geometric_median",
        "parameters": {"steps": 200, "tolerance": 0.0, "smoothing": 1e-12},
    },
    "agg/Krum": {"rule": "krum"},
    "agg/MultiKrum": {"rule": "multi_krum"},
    "agg/CenteredClipping_L1_tau100": {"rule": "centered_clipping", "parameters": {"steps": 1, "radius": 100}},
    "agg/CenteredClipping_L3_tau1": {"rule": "centered_clipping", "parameters": {"steps": 3, "radius": 1}},
    "agg/CenteredClipping_L10_tau10": {"rule": "centered_clipping", "parameters": {"steps": 10, "radius": 10}},
    "pipe/NNM>TrMean": {"rule": "trimmed_mean", "before": ("nnm",)},
    "pipe/NNM>Median": {"rule": "median", "before": ("nnm",)},
    "pipe/NNM>Krum": {"rule": "krum", "before": ("nnm",)},
}


@pytest.fixture(scope="module")
def vectors():
    with np.load(VECTORS) as file:
        return dict(file)


def asked(case, output):
    """What to ask for, to get what they have."""
    n, f = (int(re.search(rf"_{letter}(\d+)", case)[1]) for letter in "nf")
    wanted = {"byzantine": f, **OUTPUTS[output]}
    if wanted["rule"] in {"krum", "multi_krum"}:
        wanted["parameters"] = {"neighbours": n - f - 1}
    return wanted


def distance(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("case", CASES)
def test_the_ungridded_rule_gives_what_they_give(vectors, case, output):
    result = aggregate_plain(vectors[f"{case}/X"], **asked(case, output))
    assert distance(result.vector, vectors[f"{case}/{output}"]) < 1e-9


@pytest.mark.parametrize("case", CASES)
def test_the_geometric_median_of_its_own_accord_ends_where_theirs_does(vectors, case):
    result = aggregate_plain(vectors[f"{case}/X"], rule="geometric_median", byzantine=2)
    assert distance(result.vector, vectors[f"{case}/agg/GeometricMedian_T200_nu1e-6"]) < 1e-7


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("case", CASES)
def test_the_exact_rule_is_the_ungridded_one_of_what_passes_the_gate(vectors, case, output):
    rows, wanted = vectors[f"{case}/X"], asked(case, output)
    exact = aggregate(rows, **(wanted | {"byzantine": 1, "parameters": {}}))
    gated = {float(out.norm) for out in Decision.from_record(exact.record).planned.gated}
    passed = [row for row in rows if not any(np.isclose(np.linalg.norm(row), norm) for norm in gated)]
    assert len(passed) == len(rows) - len(gated)
    plain = aggregate_plain(passed, **(wanted | {"byzantine": 1, "parameters": {}}))
    assert distance(exact.vector, plain.vector) < 1e-6


@pytest.mark.parametrize("case", ["c02_signflip_n11_d64_f3", "c04_alie_n12_d128_f3"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_the_exact_rule_gives_what_they_give_where_nothing_is_gated(vectors, case, output):
    result = aggregate(vectors[f"{case}/X"], **asked(case, output))
    assert result.record["gated"] == []
    assert distance(result.vector, vectors[f"{case}/{output}"]) < 1e-6


@pytest.mark.parametrize(
    ("output", "step", "parameters"), [("pre/NNM", "nnm", {}), ("pre/Clipping_c2", "norm_clip", {"clip_norm": 2.0})]
)
@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_front_makes_their_rows(vectors, case, output, step, parameters):
    rows = vectors[f"{case}/X"]
    made = step_named(step).mix(plain_rows(rows), Setting(asked(case, "agg/Krum")["byzantine"], parameters))
    assert distance(made.coefficients @ rows, vectors[f"{case}/{output}"]) < 1e-9
