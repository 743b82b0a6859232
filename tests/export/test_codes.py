from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from yolo_qreg.config import QuantConfig
from yolo_qreg.export.codes import Coded, pack, packed_bytes, unpack
from yolo_qreg.quant.registry import METHODS, quantizer_class

GRIDS = [
    pytest.param(method, bits, per_channel, id=f"{method}-{bits}{'-channel' if per_channel else ''}")
    for method, spec in METHODS.items()
    for bits in spec.bits
    for per_channel in ([False, True] if spec.per_channel else [False])
    if QuantConfig(method=method, bits=bits).has_codes
]


@given(st.data(), st.integers(1, 8), st.integers(0, 300))
def test_packing_is_undone_at_any_width_and_length(data: st.DataObject, bits: int, n: int) -> None:
    """Codes come back unchanged, from exactly as many bytes as their bits fill."""
    codes = data.draw(hnp.arrays(np.uint8, n, elements=st.integers(0, 2**bits - 1)))
    stream = pack(codes, bits)
    assert stream.dtype == np.uint8
    assert stream.shape == (packed_bytes(n, bits),)
    np.testing.assert_array_equal(unpack(stream, bits, n), codes)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_whole_codes_share_a_byte(bits: int) -> None:
    """At widths that divide 8, the first code of a byte is its highest bits."""
    codes = np.zeros(8 // bits, np.uint8)
    codes[0] = 2**bits - 1
    assert pack(codes, bits).tolist() == [(2**bits - 1) << (8 - bits)]


def test_a_code_too_large_for_its_width_is_refused() -> None:
    """It would be cut silently."""
    with pytest.raises(ValueError, match="code 4 does not fit 2 bits"):
        pack(np.array([4], np.uint8), bits=2)


def test_a_stream_of_the_wrong_length_is_refused() -> None:
    """A truncated stream is told apart from a short layer."""
    with pytest.raises(ValueError, match="9 codes of 3 bits take 4 bytes, not \\[3\\]"):
        unpack(np.zeros(3, np.uint8), bits=3, n=9)


@pytest.mark.parametrize(("method", "bits", "per_channel"), GRIDS)
@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
def test_codes_are_recovered_from_values_in_half_precision(
    method: str, bits: int, per_channel: bool, size: float
) -> None:
    """Every code of a layer follows from its values rounded to fp16 and its float32 scale."""
    generator = torch.Generator().manual_seed(bits)
    weight = size * torch.randn(8, 4, 5, 5, generator=generator) * torch.logspace(-2, 0, 8)[:, None, None, None]
    options = QuantConfig(method=method, bits=bits).options
    quantizer = quantizer_class(method).for_weight(weight, bits, per_channel=per_channel, init="mse", **options).eval()
    codes, scale = quantizer.codes(weight), quantizer.scale(weight)
    values = quantizer.values(codes, scale, bits)
    for stored in (values, values.half().float()):
        found = Coded.from_values(stored, scale, bits, method)
        assert torch.equal(found.codes, codes)
        assert torch.equal(found.values(method), quantizer(weight))


def test_an_all_zero_layer_keeps_its_values() -> None:
    """A dead layer of one bit has scale 0, where both codes stand for the same value."""
    quantizer = quantizer_class("dorefa").for_weight(torch.zeros(2, 1, 1, 1), 1, per_channel=False, init="")
    weight = torch.zeros(2, 1, 1, 1)
    found = Coded.from_values(quantizer(weight), quantizer.scale(weight), 1, "dorefa")
    assert torch.equal(found.codes, quantizer.codes(weight))
