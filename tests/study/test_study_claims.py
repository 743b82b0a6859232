"""What a study's numbers say to the paper's claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from report_samples import VOC
from study_samples import sample_results, sample_study, write_sample

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.results import ALL, CLEAN, Delta
from yolo_qreg.findings import paper
from yolo_qreg.findings.claims import EIGHT_BITS, Claim, Part, judge
from yolo_qreg.findings.gather import Findings, gather
from yolo_qreg.findings.spread import SeedMean, of_deltas, over_seeds
from yolo_qreg.quant.registry import METHODS
from yolo_qreg.report.study_tables import claim_numbers, claim_paper

BETTER = SeedMean(values=((0, 1.0), (1, 1.0)), value=1.0, low=0.5, high=1.5)
WORSE = SeedMean(values=((0, -1.0), (1, -1.0)), value=-1.0, low=-1.5, high=-0.5)
OPEN = SeedMean(values=((0, 0.2), (1, 0.2)), value=0.2, low=-0.3, high=0.7)
UNTESTED = None


def verdict(*found: SeedMean | None, sign: int = 1, most: bool = False) -> str:
    """Return the verdict on a claim about these numbers."""
    parts = tuple(Part(estimate=estimate, sign=sign) for estimate in found)
    return Claim(key="k", group=EIGHT_BITS, text="t", source="s", parts=parts, most=most).verdict


@pytest.mark.parametrize(
    ("found", "sign", "expected"),
    [
        ((BETTER,), 1, "supported"),
        ((WORSE,), 1, "not supported"),
        ((WORSE,), -1, "supported"),
        ((BETTER,), -1, "not supported"),
        ((OPEN,), 1, "undecided"),
        ((UNTESTED,), 1, "not tested"),
        ((BETTER, BETTER), 1, "supported"),
        ((BETTER, OPEN), 1, "undecided"),
        ((BETTER, UNTESTED), 1, "undecided"),
        ((BETTER, WORSE), 1, "not supported"),
        ((UNTESTED, WORSE), 1, "not supported"),
    ],
)
def test_verdicts_follow_intervals(found: tuple[SeedMean | None, ...], sign: int, expected: str) -> None:
    """Every number has to decide for a claim; one that decides against it is enough."""
    assert verdict(*found, sign=sign) == expected


def test_the_many_of_a_claim_about_most_are_decided_together() -> None:
    """One interval of nineteen that clears 0 by a hair is what chance gives; heat maps do not colour it either."""
    hair = SeedMean(values=((0, 1.0), (1, 1.0)), value=1.0, low=0.01, high=1.99)
    parts = tuple(Part(estimate=estimate, sign=1) for estimate in (hair, *[OPEN] * 18))
    for most, expected in ((False, True), (True, None)):
        claim = Claim(key="k", group=EIGHT_BITS, text="t", source="s", parts=parts, most=most)
        assert claim.votes == [expected, *[None] * 18]


@pytest.mark.parametrize(
    ("better", "worse", "expected"),
    [(10, 9, "supported"), (9, 9, "undecided"), (9, 10, "not supported"), (0, 9, "undecided"), (10, 0, "supported")],
)
def test_most_is_more_than_half_of_all(better: int, worse: int, expected: str) -> None:
    """Of the 19, those that are undecided among them."""
    found = [BETTER] * better + [WORSE] * worse
    assert verdict(*found, *[OPEN] * (19 - len(found)), most=True) == expected


def test_losses_of_one_seed_decide_nothing() -> None:
    """They have no interval."""
    assert verdict(over_seeds({0: -0.5}), sign=-1) == "undecided"
    assert verdict(over_seeds({0: -0.5, 1: -0.51, 2: -0.49}), sign=-1) == "supported"


def test_the_paper_supports_its_own_claims() -> None:
    """Table 1's gains, and those of Fig. 6 as far as our copy has them; what it says of losses has no numbers."""
    assert paper.gain("dorefa", 8) == pytest.approx(1.56)
    assert paper.gain("dorefa", 4) == pytest.approx(-3.88)
    assert paper.gain("dorefa", 2) == pytest.approx(-14.12)
    assert paper.gain("dorefa", 8, CLEAN) == 3.3
    cells = list(paper.printed("lsq", 8).cells.values())
    assert paper.gain("lsq", 8) == pytest.approx(sum(value or 0 for value in cells[1:]) / 19, abs=0.005)
    assert paper.gain("lsq", 5) is None


def test_claims_are_told_apart() -> None:
    """Each has a key of its own, and says where the paper makes it."""
    claims = judge(Findings(study=replace(sample_study(), methods=tuple(METHODS), bits=(8, 4, 2, 1)), trainings=()))
    assert len({claim.key for claim in claims}) == len({claim.text for claim in claims}) == len(claims)
    assert all(claim.source for claim in claims)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Claim]:
    """The claims against the full sample."""
    out = tmp_path_factory.mktemp("claims")
    return {entry.key: entry for entry in judge(gather(sample_study(), out, write_sample(out, sample_study())))}


def test_a_study_is_held_against_all_claims(judged: Mapping[str, Claim]) -> None:
    """By numbers that follow from its evaluations."""
    study = sample_study()
    by_seed = {seed: sample_results(study, seed) for seed in study.seeds}
    entry = judged["dorefa-8bit-all"]
    (part,) = entry.parts
    assert part.estimate is not None and part.paper == pytest.approx(1.56)
    expected = [results.delta(f"dorefa-8bit-seed{seed}", ALL).points for seed, results in by_seed.items()]
    assert [value for _, value in part.estimate.values] == expected
    assert entry.verdict == "supported" and judged["dorefa-2bit-all"].verdict == "supported"
    order = judged["dorefa-order"]
    assert [p.label for p in order.parts] == ["8 against 4 bits", "4 against 2 bits"]
    assert [p.paper for p in order.parts] == pytest.approx([30.34 - 24.90, 24.90 - 14.66])
    assert order.verdict == "supported"
    assert len(judged["lsq-8bit-most"].parts) == len(CORRUPTIONS)
    assert claim_paper(judged["dorefa-8bit-most"]) == "15 of 19 better"


def test_losses_are_held_against_the_twin_of_the_seed(judged: Mapping[str, Claim]) -> None:
    """FP32 overfits in the sample; less is better."""
    for key in ("dorefa-8bit-validation", "dorefa-8bit-gap", "dorefa-8bit-rise", "dorefa-4bit-rise"):
        (part,) = judged[key].parts
        assert part.estimate is not None and part.estimate.value < 0 and part.estimate.seeds == 3
        assert judged[key].verdict == "supported" and claim_paper(judged[key]) == ""


def test_what_was_not_run_is_not_tested(tmp_path: Path) -> None:
    """No claim about LSQ or two bits in a study without them; an order needs all widths to be supported."""
    study = sample_study(seeds=(0,))
    small = type(study)(data=study.data, methods=("dorefa",), bits=(8, 4), evaluation=study.evaluation)
    found = {e.key: e for e in judge(gather(small, tmp_path, {0: sample_results(small, 0)}))}
    assert all(entry.verdict == "not tested" for key, entry in found.items() if key.startswith("lsq"))
    assert found["dorefa-2bit-all"].verdict == "not tested" and claim_numbers(found["dorefa-2bit-all"]) == ""
    assert found["dorefa-order"].verdict == "undecided"
    assert "4 against 2 bits: not tested" in claim_numbers(found["dorefa-order"])
    assert claim_numbers(found["dorefa-8bit-all"]).endswith("points, for these trainings (one seed)")
    assert found["dorefa-8bit-gap"].verdict == "not tested"  # no run folder


def test_an_undecided_claim_says_what_would_decide_it(judged: Mapping[str, Claim]) -> None:
    """In its sentence: how narrow, how many seeds; claims that are decided, or about several numbers, say nothing."""
    entry = judged["dorefa-8bit-gap"]
    for other in judged.values():
        undecided = other.verdict == "undecided" and len(other.parts) == 1
        assert ("times as narrow would decide" in claim_numbers(other)) == undecided, other.key
    wavering = replace(entry.parts[0], estimate=over_seeds({0: -0.36, 1: -0.06, 2: 0.02}))
    said = claim_numbers(replace(entry, parts=(wavering,)))
    assert said.endswith(
        "of loss, 3 seeds; an interval 3.7 times as narrow would decide: 12 seeds that scatter as these"
    )
    scattered = replace(wavering, estimate=over_seeds({0: 1.0, 1: -0.99}))
    assert "more than 100 seeds" in claim_numbers(replace(entry, parts=(scattered,)))
    few = of_deltas(
        {seed: Delta(model="m", corruption="fog", severity=0, value=1.0, low=-0.5, high=2.5) for seed in (0, 1)}
    )
    assert claim_numbers(replace(entry, parts=(replace(wavering, estimate=few),))).endswith(
        "an interval 1.5 times as narrow would decide, which takes more pictures"
    )


def test_the_paper_stands_beside_the_same_data_only(tmp_path: Path) -> None:
    """Other classes are judged without the paper's numbers, and fewer corruptions without their means."""
    study = sample_study(seeds=(0,))
    other = judge(gather(study, tmp_path, {0: sample_results(study, 0, classes=("circle", "square"))}))
    assert {claim_paper(entry) for entry in other} == {""}
    assert any(entry.verdict == "supported" for entry in other)
    plan = type(study.evaluation)(corruptions=("fog",), severities=(3,))
    few = type(study)(data=study.data, evaluation=plan)
    found = {e.key: e for e in judge(gather(few, tmp_path, {0: sample_results(few, 0, classes=VOC)}))}
    assert claim_paper(found["dorefa-8bit-all"]) == "" and claim_paper(found["dorefa-8bit-clean"]) == "+3.3"
    assert claim_numbers(found["dorefa-8bit-most"]).startswith("of 1, ")


def test_decided_means_that_the_interval_excludes_zero() -> None:
    """On either side, and not where an end touches it."""
    touching = SeedMean(values=((0, 0.5),), value=0.5, low=0.0, high=1.0)
    assert not touching.decided and verdict(touching) == "undecided"


def test_widths_are_compared_over_cells_that_both_maps_have() -> None:
    """Our copy of the paper lost three cells of 2-bit LSQ; 4 bits' ones do not count against it."""
    four, two = (paper.printed("lsq", bits).cells for bits in (4, 2))
    known = [four[name] - two[name] for name in CORRUPTIONS if two[name] is not None]
    assert len(known) == 16
    assert paper.lead("lsq", 4, 2) == round(sum(known) / 16, 2) == 3.16
    assert paper.lead("dorefa", 8, 4) == 5.44  # Table 1: 30.34 - 24.90
