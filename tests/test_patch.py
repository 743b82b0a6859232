"""The model swap and the way back."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.patch import QuantConv2d, bake, quantize_convs, quantized_layers
from yolo_qreg.quant import layout
from yolo_qreg.quant.base import FloatQuantizer
from yolo_qreg.quant.dorefa import DoReFaQuantizer
from yolo_qreg.quant.lsq import LSQQuantizer
from yolo_qreg.quant.registry import quantizer_class
from yolo_qreg.together import quantize_at_once, quantize_one_by_one

GEOMETRIES: dict[str, dict[str, Any]] = {
    "plain": {"kernel_size": 3},
    "stride": {"kernel_size": 3, "stride": (2, 1), "padding": (0, 2)},
    "groups": {"kernel_size": 3, "groups": 2, "padding": 1},
    "depthwise dilated": {"kernel_size": (3, 1), "groups": 4, "dilation": 2},
    "same": {"kernel_size": 5, "padding": "same"},
    "reflect": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
}
CONFIGS = {
    "dorefa-8": QuantConfig(bits=8),
    "dorefa-1": QuantConfig(bits=1),
    "lsq-4": QuantConfig(method="lsq", bits=4),
    "lsq-3-channel": QuantConfig(method="lsq", bits=3, per_channel=True, init="mse"),
    "fixed-5": QuantConfig(method="fixed", bits=5),
    "dorefa-4-channel": QuantConfig(bits=4, per_channel=True),
    "ternary": QuantConfig(method="ternary", bits=2),
    "ternary-channel": QuantConfig(method="ternary", bits=2, per_channel=True),
    "float": QuantConfig(bits=32),
}
TOGETHER = [name for name in CONFIGS if name not in {"dorefa-1", "float"}]
"""Those that quantize all layers at once."""


class Net(nn.Module):
    """Two nested convolutions with BatchNorm and a biased output convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.body = nn.ModuleDict({"conv": nn.Conv2d(8, 4, 3, stride=2, groups=2, bias=False)})
        self.norm = nn.BatchNorm2d(4)
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.norm(self.body["conv"](self.stem(x))))
        return y


NAMES = ("stem.0", "body.conv", "out")


@pytest.fixture
def net() -> Net:
    """A small network with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net()


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> QuantConfig:
    """Every configuration of `CONFIGS` in turn."""
    return CONFIGS[request.param]


def patch(net: Net, config: QuantConfig, names: tuple[str, ...] = NAMES[:2]) -> Net:
    """Quantize at the configuration's width."""
    quantize_convs(net, dict.fromkeys(names, config.bits), config)
    return net


def images() -> Tensor:
    """Return a batch of two."""
    return torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_parameters_stay_the_same_objects(net: Net, config: QuantConfig) -> None:
    """Patching keeps each weight and bias under its old key and identity; only steps are added."""
    before = dict(net.named_parameters())
    order = [name for name, _ in net.named_modules() if "quantizer" not in name]
    patch(net, config, NAMES)
    after = dict(net.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    added = set(after) - set(before)
    assert added == ({f"{name}.quantizer.step" for name in NAMES} if config.method == "lsq" else set())
    assert [name for name, _ in net.named_modules() if "quantizer" not in name] == order
    assert list(quantized_layers(net)) == list(NAMES)


def test_output_is_that_of_the_quantized_weight(net: Net, config: QuantConfig) -> None:
    """A patched layer convolves with what its quantizer makes of the latent weight, and adds the bias."""
    conv = patch(net, config, NAMES).out
    assert isinstance(conv, QuantConv2d)
    x = torch.rand(1, 4, 5, 5)
    expected = nn.functional.conv2d(x, conv.quantizer(conv.weight), conv.bias)
    assert torch.equal(conv(x), expected)
    if config.bits != 32:
        assert not torch.allclose(conv(x), nn.functional.conv2d(x, conv.weight, conv.bias))


def test_a_copy_is_independent(net: Net, config: QuantConfig) -> None:
    """`deepcopy` gives equal outputs and shares no tensor."""
    patch(net, config).eval()
    copy = deepcopy(net)
    assert torch.equal(copy(images()), net(images()))
    before = net(images())
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(0.5)
    assert torch.equal(net(images()), before)
    assert not torch.equal(copy(images()), before)


def test_a_plain_state_dict_loads(net: Net, config: QuantConfig) -> None:
    """Pretrained weights of an unpatched model load strictly; the quantizers keep their state."""
    other = Net()
    pretrained = {k: v.clone() for k, v in other.state_dict().items()}
    keys = set(pretrained)
    patch(net, config)
    steps = {k: v.clone() for k, v in net.state_dict().items() if "quantizer" in k}
    net.load_state_dict(pretrained)
    assert set(pretrained) == keys  # the caller's dictionary is not added to
    state = net.state_dict()
    assert all(torch.equal(state[k], v) for k, v in pretrained.items())
    assert all(torch.equal(state[k], v) for k, v in steps.items())


def test_own_state_dict_loads(net: Net) -> None:
    """State of a patched model, steps included, loads into another patched one."""
    config = CONFIGS["lsq-3-channel"]
    patch(net, config)
    other = patch(Net(), config)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.eval()(images()), net.eval()(images()))
    net.stem[0].quantizer.step.data.mul_(2)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.stem[0].quantizer.step, net.stem[0].quantizer.step)


def test_a_missing_weight_is_still_an_error(net: Net) -> None:
    """Leniency towards quantizer state does not hide that a weight is missing."""
    state = net.state_dict()
    patch(net, CONFIGS["lsq-4"])
    del state["stem.0.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*stem\.0\.weight"):
        net.load_state_dict(state)


def test_baked_weights_are_the_quantized_ones(net: Net, config: QuantConfig) -> None:
    """`bake` leaves plain convolutions whose weights equal the quantized ones bit for bit, and returns the model."""
    patch(net, config, NAMES)
    expected = {name: layer.quantized_weight().detach() for name, layer in quantized_layers(net).items()}
    net.eval()
    y = net(images())
    assert bake(net) is net
    assert not quantized_layers(net)
    for name, weight in expected.items():
        conv = net.get_submodule(name)
        assert type(conv) is nn.Conv2d
        assert torch.equal(conv.weight.view(torch.int32), weight.view(torch.int32))
    assert torch.equal(net(images()), y)
    assert set(net.state_dict()) == set(Net().state_dict())


def test_baking_shares_no_memory_with_the_latent_weight(net: Net) -> None:
    """A baked float twin does not write through to the latent weight."""
    patch(net, CONFIGS["float"])
    latent = net.stem[0].weight
    before = latent.detach().clone()
    bake(net)
    with torch.no_grad():
        net.stem[0].weight.zero_()
    assert torch.equal(latent, before)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_geometry_survives_both_ways(geometry: str, bias: bool) -> None:
    """Stride, padding and its mode, dilation, groups and bias are kept by patching and by baking."""
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 8, bias=bias, **GEOMETRIES[geometry])
    net = nn.Sequential(plain)
    described = repr(plain)
    quantize_convs(net, {"0": 8}, QuantConfig(method="lsq"))
    patched = net[0]
    assert described[len("Conv2d(") : -1] in repr(patched)
    x = torch.rand(1, 4, 9, 9)
    expected = patched(x)
    assert expected.shape == plain(x).shape
    torch.testing.assert_close(expected, plain(x), atol=0.05, rtol=0)
    bake(net)
    assert repr(net[0]) == described
    assert net[0].bias is plain.bias
    assert torch.equal(net[0](x), expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_mode_and_dtype_survive_both_ways(dtype: torch.dtype, requires_grad: bool, training: bool) -> None:
    """Training mode, requires_grad and dtype of a layer are kept; quantizing is float32 whatever the dtype."""
    net = nn.Sequential(nn.Conv2d(2, 3, 1)).to(dtype).train(training).requires_grad_(requires_grad)
    quantize_convs(net, {"0": 4}, QuantConfig(method="lsq"))
    weight = net[0].quantized_weight()
    assert weight.dtype == net[0].quantizer.step.dtype == torch.float32
    assert net(torch.ones(1, 2, 4, 4, dtype=dtype)).dtype == dtype  # as the host casts a model to validate it
    bake(net)
    assert torch.equal(net[0].weight, weight.to(dtype))
    assert net[0].weight.dtype == dtype
    assert net[0].training is training
    assert net[0].weight.requires_grad is requires_grad


ERRORS: dict[str, tuple[dict[str, int], str]] = {
    "nothing": ({}, "no convolution to quantize: loosen skip, or use a model with Conv blocks"),
    "missing": ({"stem.0": 8, "stem.9": 8}, "layer 'stem.9' is missing, not a plain Conv2d; quantize an unmodified"),
    "other kind": ({"stem.0": 8, "norm": 8}, "layer 'norm' is BatchNorm2d, not a plain Conv2d; quantize an unmodified"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_wrong_name_changes_nothing(net: Net, case: str) -> None:
    """Names are checked before the model is touched."""
    names, message = ERRORS[case]
    types = [type(m) for m in net.modules()]
    state = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(InputError, match=message):
        quantize_convs(net, names, QuantConfig(method="lsq"))
    assert [type(m) for m in net.modules()] == types
    assert list(net.state_dict()) == list(state)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


def test_a_width_the_quantizer_rejects_changes_nothing(net: Net) -> None:
    """Quantizers are all made before the first layer is replaced."""
    types = [type(m) for m in net.modules()]
    config = QuantConfig(method="lsq")
    object.__setattr__(config, "init", "nothing")  # a failure inside the second step
    with pytest.raises(KeyError):
        quantize_convs(net, {"stem.0": 8}, config)
    assert [type(m) for m in net.modules()] == types


def test_quantizing_twice_is_refused(net: Net) -> None:
    """A quantized layer is not quantized again."""
    patch(net, CONFIGS["dorefa-8"])
    with pytest.raises(InputError, match=r"layer 'stem\.0' is QuantConv2d, not a plain Conv2d"):
        patch(net, CONFIGS["dorefa-8"])


def test_each_layer_has_its_own_width(net: Net) -> None:
    """Widths come from the mapping, and 32 means the identity whatever the method."""
    quantize_convs(net, {"stem.0": 2, "body.conv": 8, "out": 32}, CONFIGS["lsq-4"])
    layers = quantized_layers(net)
    assert [layer.quantizer.bits for layer in layers.values()] == [2, 8, 32]
    assert len(layers["stem.0"].quantized_weight().unique()) <= 4
    assert torch.equal(layers["out"].quantized_weight(), layers["out"].weight)


def test_gradients_reach_latent_weights_and_steps(net: Net, config: QuantConfig) -> None:
    """One backward pass gives every latent weight and every step a finite gradient that is not zero."""
    patch(net, config, NAMES)
    net(images()).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for layer in quantized_layers(net).values():
        for parameter in (layer.weight, *layer.quantizer.steps()):
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["dorefa-8", "dorefa-1", "lsq-4", "lsq-3-channel"])
def test_compiled_and_eager_agree(net: Net, name: str) -> None:
    """`torch.compile` traces a patched model as one graph, with the same outputs and gradients as eager."""
    patch(net, CONFIGS[name], NAMES)
    other = deepcopy(net)
    compiled = torch.compile(other, backend="aot_eager", fullgraph=True)
    outputs = []
    for model in (net, compiled):
        y = model(images())
        y.square().sum().backward()
        outputs.append(y.detach())
    assert torch.equal(*outputs)
    for (key, ours), theirs in zip(net.named_parameters(), other.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        rounding = 1e-5 * float(ours.grad.abs().max())
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=rounding, msg=key)


def trained(net: Net, steps: int = 3) -> dict[str, Tensor]:
    """Return what a few steps of training make of a net, with gradients added up over two passes each."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    numbers = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for _ in range(2):
            net(torch.randn(2, 3, 9, 9, generator=numbers)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net.state_dict()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_quantizing_all_layers_at_once_changes_no_bit(net: Net, config: QuantConfig) -> None:
    """Weights and steps after training are those of layers that are quantized one by one; so are a copy's."""
    quantize_convs(net, dict.fromkeys(NAMES, config.bits), config)
    net.out.weight.requires_grad_(False)  # as `freeze` does
    alone, copied = deepcopy(net), deepcopy(net)
    quantize_one_by_one(alone)
    calls = counted(net, copied)
    expected = trained(alone)
    assert calls() == 0
    for other in (net, copied):
        found = trained(other)
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert calls() == (2 * 6 if config in map(CONFIGS.get, TOGETHER) else 0)


def one_by_one_and_at_once(name: str) -> tuple[list[Tensor], list[Tensor]]:
    """Return values of odd layers, gradients of weights, and of steps, by themselves and together."""
    config, draws = CONFIGS[name], torch.Generator().manual_seed(3)
    shapes = ((5, 4, 3, 3), (7, 36, 1, 1), (2, 4, 3, 3), (3, 1, 1, 1), (1, 9, 3, 3))
    weights = [torch.randn(shape, generator=draws) for shape in shapes]
    weights[0][1].clamp_(-0.5, 0.5)  # ties at the maximum
    weights[1][2], weights[3][:] = 0, 0
    kind = quantizer_class(config.method)
    given: dict[str, Any] = {"per_channel": config.per_channel, "init": config.init, **config.options}
    quantizers = [kind.for_weight(weight, config.bits, **given) for weight in weights]
    grads = [torch.randn(weight.shape, generator=draws) for weight in weights]
    found = []
    for together in (False, True):
        leaves = [weight.clone().requires_grad_() for weight in weights]
        learned = [*leaves, *(step for quantizer in quantizers for step in quantizer.steps())]
        pairs = zip(quantizers, leaves, strict=True)
        values = kind.together(quantizers, leaves) if together else [quantizer(leaf) for quantizer, leaf in pairs]
        found.append([*values, *torch.autograd.grad(values, learned, grads)])
    return found[0], found[1]


@pytest.mark.parametrize("name", TOGETHER)
def test_layers_with_channels_of_one_length_are_those_by_themselves(name: str) -> None:
    """Weights, and gradients with ties at the maximum and with a dead channel and layer, to the bit."""
    assert all(torch.equal(*pair) for pair in zip(*one_by_one_and_at_once(name), strict=True))


@pytest.mark.parametrize("name", TOGETHER)
def test_weights_in_one_tensor_as_on_a_gpu_change_no_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients differ by rounding alone, as sums are made in another order."""
    monkeypatch.setattr(layout, "is_host_bound", lambda _: True)
    alone, together = one_by_one_and_at_once(name)
    for number, (one, other) in enumerate(zip(alone, together, strict=True)):
        if number < 5:
            assert torch.equal(one, other)
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TOGETHER)
def test_a_model_trains_with_its_weights_in_one_tensor(net: Net, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients added up over passes, a frozen layer and its copy, too: the weights are those of layers one by one."""
    config = CONFIGS[name]
    quantize_convs(net, dict.fromkeys(NAMES, config.bits), config)
    net.out.weight.requires_grad_(False)
    alone, start = deepcopy(net), {key: value.clone() for key, value in net.state_dict().items()}
    quantize_one_by_one(alone)
    expected = trained(alone, steps=1)
    monkeypatch.setattr(layout, "is_host_bound", lambda _: True)
    for other in (deepcopy(net), net):
        for key, value in trained(other, steps=1).items():
            torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-4, msg=key)
        assert not torch.equal(other.state_dict()["stem.0.weight"], start["stem.0.weight"])
        assert torch.equal(other.state_dict()["out.weight"], start["out.weight"])


@pytest.mark.parametrize("options", [{"integer": 7}, {"integer": 3, "variant": "unet"}])
def test_a_range_that_makes_all_weights_zero_is_refused(net: Net, options: dict[str, Any]) -> None:
    """Of a layer, by name; a layer of zeros is nobody's fault. The model is left as it was."""
    config = QuantConfig(method="fixed", bits=4, options=options)
    with pytest.raises(
        InputError, match=r"fixed-4bit-integer\d\S* makes all weights of 'stem.0' zero at 4 bits, the larg"
    ):
        quantize_convs(net, dict.fromkeys(NAMES, 4), config)
    assert not quantized_layers(net)
    for name in NAMES:
        net.get_submodule(name).weight.data.zero_()
    quantize_convs(net, dict.fromkeys(NAMES, 4), config)


def counted(*nets: Net) -> Callable[[], int]:
    """Return what tells how often the forward passes of nets found all weights quantized."""
    seen: list[bool] = []
    for net in nets:
        layers = quantized_layers(net).values()
        net.norm.register_forward_pre_hook(
            lambda *_, layers=layers: seen.append(all(layer.ready is not None for layer in layers))  # type: ignore[misc]
        )
    return lambda: sum(seen)


@pytest.mark.parametrize("config", [CONFIGS["dorefa-8"], CONFIGS["lsq-4"]], ids=["dorefa", "lsq"])
def test_quantized_weights_are_kept_during_a_forward_pass_alone(net: Net, config: QuantConfig) -> None:
    """A layer that is called by itself, after a pass that failed too, uses the weight that it has now."""
    quantize_convs(net, dict.fromkeys(NAMES, config.bits), config)
    with pytest.raises(RuntimeError):
        net(torch.randn(1, 5, 9, 9))
    layer = quantized_layers(net)["stem.0"]
    with torch.no_grad():
        layer.weight.mul_(0.3)
    assert torch.equal(layer.quantized_weight(), layer.quantizer(layer.weight))
    bake(net)
    assert not net._forward_pre_hooks and not net._forward_hooks
    assert net(torch.randn(1, 3, 9, 9)).isfinite().all()


def test_an_exchanged_quantizer_is_used_at_once(net: Net) -> None:
    """One of another width, or of another method, whatever the model was prepared for."""
    quantize_convs(net, dict.fromkeys(NAMES, 4), QuantConfig(method="lsq", bits=4))
    first, second, _ = quantized_layers(net).values()
    first.quantizer, second.quantizer = LSQQuantizer(2, torch.tensor(0.2)), FloatQuantizer(32)
    pictures = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = net(pictures)
        quantize_one_by_one(net)
        assert torch.equal(found, net(pictures))


@pytest.mark.parametrize("name", TOGETHER)
def test_gradients_of_layers_at_once_can_be_differentiated(net: Net, name: str) -> None:
    """A penalty on gradients has the gradient that it has layer by layer."""
    config = CONFIGS[name]
    quantize_convs(net, dict.fromkeys(NAMES, config.bits), config)
    alone = deepcopy(net)
    quantize_one_by_one(alone)
    found = []
    for each in (net, alone):
        loss = each(torch.ones(2, 3, 9, 9)).square().sum()
        weights = [layer.weight for layer in quantized_layers(each).values()]
        size = sum(g.square().sum() for g in torch.autograd.grad(loss, weights, create_graph=True))
        found.append(torch.autograd.grad(size, weights))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))
    assert any(grad.any() for grad in found[0])


def test_a_dead_layer_is_nobodys_fault(net: Net) -> None:
    """Of pretrained weights so small that no method's steps reach them."""
    net.stem[0].weight.data.mul_(1e-20)
    quantize_convs(net, dict.fromkeys(NAMES, 4), CONFIGS["lsq-4"])
    assert not quantized_layers(net)["stem.0"].quantized_weight().any()


def test_a_method_that_quantizes_differently_is_not_taken_for_its_base(net: Net) -> None:
    """A class of elsewhere that inherits from ours and has a `forward` of its own is called, layer by layer."""
    quantize_convs(net, dict.fromkeys(NAMES, 8), CONFIGS["dorefa-8"])

    class Halved(DoReFaQuantizer):
        def forward(self, weight: Tensor) -> Tensor:
            return super().forward(weight) / 2

    layers = quantized_layers(net).values()
    for layer in layers:
        layer.quantizer = Halved(8)
    quantize_one_by_one(net)
    quantize_at_once(net, layers)
    calls = counted(net)
    net(torch.randn(1, 3, 9, 9))
    assert calls() == 0
