"""A study's numbers as CSV files: Table 1, the heat maps, the gaps and the claims."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from corruptions import CORRUPTIONS
from yolo_qreg.evaluation.results import CLEAN
from yolo_qreg.files import write_atomic
from yolo_qreg.findings import paper
from yolo_qreg.findings.claims import Judged
from yolo_qreg.findings.gather import Findings
from yolo_qreg.findings.losses import LOSSES, SUM
from yolo_qreg.findings.names import paper_order
from yolo_qreg.findings.spread import SeedMean

Value = str | float | int | bool | None
Row = Mapping[str, Value]


def write_tables(findings: Findings, judged: Sequence[Judged], out: Path) -> None:
    """Write OUT/table1.csv, maps.csv, gaps.csv and claims.csv; mAP and gains in points, unknown numbers empty."""
    for name, rows in (
        ("table1.csv", table1_rows(findings)),
        ("maps.csv", map_rows(findings)),
        ("gaps.csv", gap_rows(findings)),
        ("claims.csv", claim_rows(judged)),
    ):
        text = _to_csv(list(rows))
        write_atomic(out / name, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]


def _to_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow(["" if v is None else repr(v) if isinstance(v, float) else v for v in row.values()])
    return text.getvalue()


def estimate_columns(found: SeedMean | None, prefix: str = "") -> dict[str, Value]:
    """Return the columns of an estimate: its mean, standard deviation over seeds, interval and seeds."""
    return {
        f"{prefix}mean": found.value if found else None,
        f"{prefix}sd": found.sd if found else None,
        f"{prefix}low": found.low if found else None,
        f"{prefix}high": found.high if found else None,
        f"{prefix}decided": found.decided if found else None,
        f"{prefix}seeds": found.seeds if found else 0,
    }


def table1_rows(findings: Findings) -> Iterator[Row]:
    """Yield a row for each unit with results: Table 1 of the paper, over seeds."""
    pool = findings.pool
    if pool is None:
        return
    printed = {(row.method, row.bits): row for row in paper.table1()} if findings.comparable() else {}
    for unit in pool.units:
        entry = printed.get((unit.method, unit.bits))
        corrupted, clean = pool.level(unit.label), pool.level(unit.label, CLEAN)
        yield {
            "method": unit.method,
            "bits": unit.bits,
            "corrupted_mean": corrupted.value,
            "corrupted_sd": corrupted.sd,
            **estimate_columns(pool.gain(unit.label), "gain_"),
            "equation5": pool.equation5(unit.label),
            "clean_mean": clean.value,
            "clean_sd": clean.sd,
            **estimate_columns(pool.gain(unit.label, CLEAN), "clean_gain_"),
            "seeds": corrupted.seeds,
            "paper_map": entry.points if entry else None,
            "paper_equation5": entry.equation5 if entry else None,
        }


def map_rows(findings: Findings) -> Iterator[Row]:
    """Yield a row for each quantized unit with results and each cell of the paper's heat maps."""
    pool = findings.pool
    if pool is None:
        return
    for unit in pool.units[1:]:
        printed = paper.cells(unit.method, unit.bits) if findings.voc else {}
        for cell, corruption in enumerate(paper_order(CORRUPTIONS)):
            yield {
                "method": unit.method,
                "bits": unit.bits,
                "cell": cell,
                "corruption": corruption,
                **estimate_columns(pool.gain(unit.label, corruption)),
                "paper": printed.get(corruption),
            }


def gap_rows(findings: Findings) -> Iterator[Row]:
    """Yield a row for each training that came to its end: its losses there, and their change from its twin's."""
    for training in findings.trainings:
        gap = training.gap
        if gap is None:
            continue
        yield {
            "run": training.run.name,
            "unit": training.run.quant.label,
            "seed": training.run.seed,
            "epoch": gap.epoch,
            **{f"training_{loss}": gap.training.get(loss) for loss in LOSSES},
            **{f"validation_{loss}": gap.validation.get(loss) for loss in LOSSES},
            **{f"gap_{loss}": gap.of(loss) if loss in gap.training else None for loss in LOSSES},
            f"training_{SUM}": gap.training_sum,
            f"validation_{SUM}": gap.validation_sum,
            f"gap_{SUM}": gap.of(),
            "rise": gap.rise,
            "gap_change": findings.gap_change(training),
        }


def claim_rows(judged: Iterable[Judged]) -> Iterator[Row]:
    """Yield a row for each number of each claim."""
    for entry in judged:
        for part in entry.parts:
            yield {
                "claim": entry.claim.key,
                "text": entry.claim.text,
                "verdict": entry.verdict,
                "part": part.label,
                "claimed_sign": part.sign,
                "unit": entry.claim.unit,
                **estimate_columns(part.estimate),
                "paper": part.paper,
                "source": entry.claim.source,
            }
