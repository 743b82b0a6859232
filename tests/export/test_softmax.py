from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from yolo_qreg.export.softmax import write_out_softmax  # noqa: E402

BINS, SIDES, PLACES = 16, 4, 50


def model() -> onnx.ModelProto:
    """Return a softmax that a convolution reads, as DFL's, and one of attention, of which a product is made."""
    helper = onnx.helper
    shape = [1, BINS, SIDES, PLACES]
    weight = onnx.numpy_helper.from_array(np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1), "bins")
    nodes = [
        helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
        helper.make_node("Conv", ["shares", "bins"], ["distances"]),
        helper.make_node("Softmax", ["logits"], ["attention"]),
        helper.make_node("Mul", ["attention", "logits"], ["read"]),
    ]
    sizes = {"logits": shape, "distances": [1, 1, *shape[2:]], "read": shape}
    given, *made = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, size) for name, size in sizes.items()]
    found = helper.make_graph(nodes, "sides", [given], made, [weight])
    return helper.make_model(found, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("largest", [5.0, 500.0])
def test_it_is_the_softmax(largest: float) -> None:
    """Of DFL alone, within float32's rounding of scipy's in float64, also where exponentials would overflow."""
    changed = model()
    write_out_softmax(changed)
    onnx.checker.check_model(changed, full_check=True)
    assert [node.op_type for node in changed.graph.node].count("Softmax") == 1
    logits = np.random.default_rng(0).normal(0, largest, (1, BINS, SIDES, PLACES)).astype(np.float32)
    session = onnxruntime.InferenceSession(changed.SerializeToString(), providers=["CPUExecutionProvider"])
    distances, _ = session.run(None, {"logits": logits})
    shares = softmax(logits.astype(np.float64), axis=1)
    wanted = (shares * np.arange(BINS).reshape(1, BINS, 1, 1)).sum(1, keepdims=True)
    np.testing.assert_allclose(distances, wanted, atol=1e-5)
