"""How this suite itself behaves on machines whose releases are not ours."""

from __future__ import annotations

import warnings

import pytest


@pytest.mark.parametrize("module", ["yolo_qreg", "yolo_qreg.quant.dorefa", "corruptions.frost"])
def test_a_warning_of_our_own_is_an_error(module: str) -> None:
    """What our modules warn of, or cause in a dependency that blames its caller, fails a test."""
    with pytest.raises(RuntimeWarning, match="overflow"):
        warnings.warn_explicit("overflow", RuntimeWarning, "a.py", 1, module=module)


@pytest.mark.parametrize(
    ("module", "category"), [("torch.new", RuntimeWarning), ("numpy", UserWarning), ("yolo_qreg", DeprecationWarning)]
)
def test_a_new_release_of_a_dependency_fails_no_test(module: str, category: type[Warning]) -> None:
    """What a dependency warns of, and what it deprecates, is recorded but no error."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.warn_explicit("new in this release", category, "a.py", 1, module=module)
    assert [entry.category for entry in seen] == [category]
