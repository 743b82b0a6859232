"""Each corruption against an independent account of what it is: closed forms, the standard library, a plain loop."""

from __future__ import annotations

import colorsys
import io
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import scipy.ndimage

from corruptions import CORRUPTIONS, blur, corrupt, digital, weather
from corruptions.draws import FastDraws, ReferenceDraws
from corruptions.pixels import LUMA, Image, by_rows, convolve, gaussian_kernel, line_taps, line_weights, smooth
from corruptions.tables import PARAMETERS, Elastic, ElasticAffine, Glass, Motion, Spatter

ROUNDED_WARPS = int(cv2.__version__.split(".")[0]) < 5
"""OpenCV 4 rounds the positions that warps read to 1/32 pixel."""

GREY = np.full((400, 500, 3), 128, np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    """Return a seeded generator."""
    return np.random.default_rng(seed)


def level(name: str, severity: int) -> Any:
    """Return the published parameters of a corruption."""
    return CORRUPTIONS[name].levels()[severity - 1]


# ------------------------------------------------------------------------------------------------------------- noise


@pytest.mark.parametrize(("severity", "sigma"), [(1, 0.08), (2, 0.12), (3, 0.18)])
def test_gaussian_noise_has_its_sigma_on_every_channel(severity: int, sigma: float) -> None:
    """Around mid-grey nothing clips, so the spread is sigma x 255 and truncation takes half a level."""
    noise = corrupt(GREY, "gaussian_noise", severity, rng()).astype(float) - 128
    assert noise.mean() == pytest.approx(-0.5, abs=5 * sigma * 255 / np.sqrt(noise.size))
    assert noise.std() == pytest.approx(sigma * 255, rel=0.02)
    assert abs(np.corrcoef(noise.reshape(-1, 3).T)[0, 1]) < 0.01


def test_speckle_noise_grows_with_the_value() -> None:
    """Its spread is sigma times the value, and black stays black."""
    for value in (0, 40, 80):
        noise = corrupt(np.full_like(GREY, value), "speckle_noise", 1, rng()).astype(float)
        assert noise.std() == pytest.approx(0.15 * value, rel=0.02, abs=0.01)


@pytest.mark.parametrize(("severity", "photons"), [(1, 60), (3, 12)])
def test_shot_noise_has_the_variance_of_photons(severity: int, photons: int) -> None:
    """Mean x, variance x / photons, in units of 0..1."""
    noise = corrupt(np.full_like(GREY, 85), "shot_noise", severity, rng()).astype(float) / 255
    assert noise.mean() == pytest.approx(1 / 3, abs=0.003)
    assert noise.var() == pytest.approx(1 / 3 / photons, rel=0.02)


def test_impulse_noise_hits_channels_one_by_one() -> None:
    """Pixels of which one channel is white and another untouched exist: coloured dots, not grey ones."""
    noise = corrupt(GREY, "impulse_noise", 3, rng())
    white, kept = (noise == 255), (noise == 128)
    assert np.mean(~kept) == pytest.approx(0.09, abs=0.003)
    assert np.mean(white.any(axis=2) & kept.any(axis=2)) > 0.1


# -------------------------------------------------------------------------------------------------------------- blur


def test_a_gaussian_kernel_is_that_of_the_formula() -> None:
    """Radius int(4 sigma + .5), weights exp(-x^2 / 2 sigma^2) over their sum."""
    kernel = gaussian_kernel(1.5)
    offsets = np.arange(-6, 7)
    expected = np.exp(-(offsets**2) / 4.5)
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-14)


def test_smoothing_repeats_edge_pixels() -> None:
    """A picture that changes along one axis only keeps its first row's pattern next to the border."""
    ramp = np.tile(np.linspace(0, 200, 60).astype(np.float32), (40, 1))
    blurred = smooth(ramp, 3, 3)
    np.testing.assert_allclose(blurred[0], blurred[20], atol=1e-3)
    assert blurred[20, 30] == pytest.approx(ramp[20, 30], abs=1e-3)
    assert blurred[20, 0] > ramp[20, 0]


@pytest.mark.parametrize("angle", [-135.0, -90.0, -45.0, -17.0, 0.0, 30.0, 45.0])
def test_a_line_blur_spreads_a_point_along_its_line(angle: float) -> None:
    """Each tap's weight is found where whole-pixel steps along the line put it, and only there."""
    point = np.zeros((90, 90), np.float32)
    point[45, 45] = 1
    expected = np.zeros_like(point)
    for i, weight in enumerate(line_weights(10, 3)):
        dy = int(np.ceil(i * np.sin(np.deg2rad(angle)) - 0.5))
        dx = int(np.ceil(i * np.cos(np.deg2rad(angle)) - 0.5))
        expected[45 - dy, 45 - dx] += weight
    np.testing.assert_allclose(by_rows(point, convolve(point, line_taps(10, 3, angle, 90, 90))), expected, atol=1e-6)


def test_a_line_that_leaves_the_picture_stops_there() -> None:
    """Taps beyond the picture are dropped, the rest is not scaled up: an even picture gets darker."""
    even = np.full((32, 32), 200, np.float32)
    blurred = by_rows(even, convolve(even, line_taps(20, 15, 0.0, 32, 32)))
    assert blurred.mean() == pytest.approx(200 * line_weights(20, 15)[:32].sum(), rel=1e-5)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_defocus_needs_no_margin(severity: int) -> None:
    """The disc without its margin of zeros blurs as the published one of 17 x 17 or more, mirrored at the border."""
    image = rng().integers(0, 256, (50, 60, 3)).astype(np.uint8)
    radius, alias_sigma = level("defocus_blur", severity)
    side = np.arange(-8, 9) if radius <= 8 else np.arange(-radius, radius + 1)
    disc = (side[:, None] ** 2 + side**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disc / disc.sum(), (3, 3) if radius <= 8 else (5, 5), alias_sigma)
    expected = np.clip(cv2.filter2D(image.astype(float), -1, kernel), 0, 255)
    off = np.abs(corrupt(image, "defocus_blur", severity).astype(float) - expected)
    assert off.max() <= 1.01


def test_defocus_has_no_weights_that_count_for_nothing() -> None:
    """Traces beyond the least disc would make a wall beside something darker a level darker than it is."""
    image = np.full((64, 64), 200, np.uint8)
    image[:, :32] = 40
    blurred = corrupt(image, "defocus_blur", 1)
    assert (blurred[:, 35:] == 200).all()
    assert (blurred[:, 32:35] < 200).all()


@pytest.mark.parametrize(("severity", "layers"), [(1, 12), (2, 16), (3, 11), (4, 13), (5, 11)])
def test_zoom_blur_has_the_published_number_of_layers(severity: int, layers: int) -> None:
    """Floating-point steps give one layer more than the ends suggest, and the last lies beyond the stated end."""
    zoom = level("zoom_blur", severity)
    zooms = np.arange(1, zoom.stop, zoom.step)
    assert len(zooms) == layers
    assert zooms[-1] == pytest.approx({1: 1.11, 2: 1.15, 3: 1.20, 4: 1.24, 5: 1.30}[severity])


@pytest.mark.parametrize("shape", [(40, 57), (33, 32), (64, 48)])
@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_blur_copies_pixels_one_after_another(shape: tuple[int, int], reach: int) -> None:
    """Pointer jumping gives what the loop gives, in which each pixel copies its neighbour's value of the moment."""
    height, width = shape
    source = blur._copy_sources(height, width, reach, ReferenceDraws(3))
    drawn = np.random.RandomState(3)
    pixels = np.arange(height * width).reshape(shape)
    for row in range(height - reach, reach, -1):
        for column in range(width - reach, reach, -1):
            dx, dy = drawn.randint(-reach, reach, size=2)
            pixels[row, column] = pixels[row + dy, column + dx]
    np.testing.assert_array_equal(source.reshape(shape), pixels)


@pytest.mark.parametrize("shape", [(40, 50, 3), (40, 50)], ids=["colour", "grey"])
def test_glass_blur_without_blur_is_the_copies_alone(shape: tuple[int, ...]) -> None:
    """A Gaussian of sigma .05 has one tap, so each pixel has, whole, the value that a loop of copies leaves there."""
    image = rng().integers(0, 256, shape).astype(np.uint8)
    drawn, pixels = np.random.RandomState(3), image.copy()
    for _ in range(2):
        for row in range(40 - 2, 2, -1):
            for column in range(50 - 2, 2, -1):
                dx, dy = drawn.randint(-2, 2, size=2)
                pixels[row, column] = pixels[row + dy, column + dx]
    np.testing.assert_array_equal(blur.glass_blur(image, Glass(0.05, 2, 2), ReferenceDraws(3)), pixels)


def test_glass_blur_is_not_a_swap() -> None:
    """Copies lose values; a swap would keep each pixel exactly once. The published code says swap and copies."""
    source = blur._copy_sources(60, 60, 2, FastDraws(rng()))
    assert len(np.unique(source)) < 0.8 * source.size


def test_glass_blur_goes_further_with_more_passes() -> None:
    """Passes are composed: three move pixels further than one can."""
    dot = np.zeros((64, 64, 3), np.uint8)
    dot[::8, ::8] = 255
    one, three = (blur.glass_blur(dot, Glass(0.05, 1, passes), FastDraws(rng(1))) for passes in (1, 3))
    reached = [cv2.dilate(dot, np.ones((3, 3))) > 0, cv2.dilate(dot, np.ones((15, 15))) > 0]
    assert not np.any(three[~reached[1]])
    assert np.count_nonzero(three[~reached[0]]) > np.count_nonzero(one[~reached[0]])


# ----------------------------------------------------------------------------------------------------------- weather


def test_snow_falls_twice_the_second_time_upside_down() -> None:
    """On black, what is above the whitening is symmetric under a turn by 180 degrees, and grey."""
    snow = corrupt(np.zeros((120, 90, 3), np.uint8), "snow", 2, rng())
    np.testing.assert_array_equal(snow, snow[::-1, ::-1])
    assert np.all(snow == snow[..., :1])
    assert snow.min() == int((1 - level("snow", 2).keep) * 127.5)
    assert snow.max() > snow.min()


@pytest.mark.parametrize("shape", [(40, 50, 3), (40, 50)], ids=["colour", "grey"])
def test_the_whitening_of_snow_is_the_published_mix(shape: tuple[int, ...]) -> None:
    """Without flakes, keep x + (1 - keep) max(x, 1.5 grey + .5) in units of 0..1; a grey picture is its own grey."""
    none = SimpleNamespace(
        normal=lambda mean, sigma, shape, window: np.zeros([part.stop - part.start for part in window], np.float32),
        angle=lambda low, high: -90.0,
    )
    image = rng().integers(0, 256, shape).astype(np.uint8)
    keep = level("snow", 1).keep
    unit = image / 255
    white = ((unit @ [0.299, 0.587, 0.114])[..., None] if image.ndim == 3 else unit) * 1.5 + 0.5
    expected = np.clip(keep * unit + (1 - keep) * np.maximum(unit, white), 0, 1) * 255
    off = weather.snow(image, level("snow", 1), none) - expected
    assert off.max() < 0.01
    assert off.min() > -1.01


class CountingDraws:
    """Zeros for everything, and a record of the bounds asked for."""

    def __init__(self) -> None:
        self.bounds: list[tuple[float, tuple[int, ...]]] = []

    def uniform(self, bound: float, shape: tuple[int, ...], part: tuple[range, range]) -> np.ndarray:
        self.bounds.append((bound, shape))
        return np.full((len(part[0]), len(part[1])), len(self.bounds), np.float32)


def test_the_amplitude_of_fog_falls_with_the_square_of_the_decay() -> None:
    """It enters twice in the published code: 100^2 at the coarsest scale, divided by decay^2 per octave."""
    counting = CountingDraws()
    weather._plasma(64, 40, 2.0, counting)  # type: ignore[arg-type]
    assert counting.bounds == [((100 / 2**k) ** 2, (2**k, 2**k)) for k in range(6) for _ in range(3)]


@pytest.mark.parametrize(("longest", "side"), [(512, 512), (513, 1024), (33, 64), (32, 32)])
def test_the_map_of_fog_is_a_power_of_two(longest: int, side: int) -> None:
    """Which makes clouds of a 513 px picture half as large, relative to it, as those of a 512 px one."""
    counting = CountingDraws()
    weather._plasma(32, longest, 2.0, counting)  # type: ignore[arg-type]
    assert counting.bounds[-1][1] == (side // 2, side // 2)


def test_fog_is_normalized_over_the_whole_map() -> None:
    """Minimum and maximum are those of the square map, of which a wide picture shows a part: to a tenth of a level."""
    part, low, high = weather._plasma(32, 256, 1.4, ReferenceDraws(0))
    whole, low_again, high_again = weather._plasma(256, 256, 1.4, ReferenceDraws(0))
    np.testing.assert_array_equal(part, whole[:32])
    assert (low_again, high_again) == (whole.min(), whole.max())
    assert (low, high) == pytest.approx((low_again, high_again), abs=(high - low) / 2550)
    assert part.max() - part.min() < 0.9 * (high - low)


def test_fog_has_no_seam_where_the_picture_ends_on_the_finest_scale() -> None:
    """A part of the map is cut from the map, also where what is drawn for it is less."""
    sides = [weather._plasma(side, side, 1.4, ReferenceDraws(1))[0] for side in (129, 200, 255, 256)]
    for part in sides[:-1]:
        np.testing.assert_array_equal(part, sides[-1][: len(part), : len(part)])


def test_fog_keeps_the_brightest_value() -> None:
    """(x + density m) max / (max + density) with m from 0 to 1 stays at or below the brightest value."""
    image = np.full((64, 64, 3), 90, np.uint8)
    foggy = corrupt(image, "fog", 1, rng())
    assert foggy.max() in {89, 90}
    assert foggy.min() >= int(90 * (90 / 255) / (90 / 255 + 1.5))


def test_water_and_mud_have_their_colours() -> None:
    """Water is pale turquoise and brightens; mud is brown and covers. Both in RGB order."""
    black, white = np.zeros((200, 200, 3), np.uint8), np.full((200, 200, 3), 255, np.uint8)
    water = corrupt(black, "spatter", 1, rng())
    thick = water[water[..., 1] > 60]
    np.testing.assert_allclose((thick / thick[:, 1:2]).mean(axis=0), [175 / 238, 1, 1], atol=0.02)
    mud = corrupt(white, "spatter", 5, rng())
    covered = mud[mud.sum(axis=2) == mud.sum(axis=2).min()]
    np.testing.assert_allclose(covered[0], [63, 42, 20], atol=2)


@pytest.mark.parametrize(("severity", "fill"), [(1, 0), (3, 0), (4, 255), (5, 255)])
def test_spatter_on_grey_is_the_luma_of_spatter_on_colour(severity: int, fill: int) -> None:
    """Water and mud, of the same drops, as grey as their colours are; both results are truncated."""
    colour = corrupt(np.full((200, 200, 3), fill, np.uint8), "spatter", severity, rng())
    grey = corrupt(np.full((200, 200), fill, np.uint8), "spatter", severity, rng())
    assert np.ptp(grey) > 60
    assert np.abs(grey - colour @ np.array(LUMA)).max() < 1.1


def test_spatter_without_a_drop_leaves_the_picture_alone() -> None:
    """Where no noise passes the threshold there is nothing to divide by; the reference gives garbage then."""
    dry = SimpleNamespace(normal=lambda mean, sigma, shape: np.zeros(shape, np.float32))
    image = rng().integers(0, 256, (40, 50, 3)).astype(np.uint8)
    spattered = weather.spatter(image, Spatter(0.65, 0.3, 4, 0.69, 0.6, False), dry)
    np.testing.assert_array_equal(spattered, image)
    assert not np.shares_memory(spattered, image)


# ----------------------------------------------------------------------------------------------------------- digital


def colours() -> Image:
    """Return 3,000 colours, greys and extremes among them, as a picture."""
    values = rng().integers(0, 256, (3000, 3)).astype(np.uint8)
    values[:256] = np.arange(256)[:, None]
    values[256:264] = [[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)]
    return values.reshape(50, 60, 3)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_brightness_raises_the_value_of_hsv(severity: int) -> None:
    """As the standard library's conversion computes it, truncated."""
    image, amount = colours(), level("brightness", severity).amount
    expected = []
    for pixel in image.reshape(-1, 3) / 255:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        expected.append(colorsys.hsv_to_rgb(hue, saturation, min(value + amount, 1)))
    off = corrupt(image, "brightness", severity).reshape(-1, 3) - np.array(expected) * 255
    assert off.max() < 1e-6
    assert off.min() > -1 - 1e-6


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_saturate_stretches_the_saturation_of_hsv(severity: int) -> None:
    """As the standard library's conversion computes it, truncated to within a rounding error."""
    image, (factor, shift) = colours(), level("saturate", severity)
    expected = []
    for pixel in image.reshape(-1, 3) / 255:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        expected.append(colorsys.hsv_to_rgb(hue, min(saturation * factor + shift, 1), value))
    off = corrupt(image, "saturate", severity).reshape(-1, 3) - np.array(expected) * 255
    assert off.max() < 0.01
    assert off.min() > -1.01


def test_saturate_tints_grey_red() -> None:
    """Grey has hue 0, red; severities 4 and 5 add saturation to it."""
    grey = np.full((32, 32, 3), 200, np.uint8)
    assert (corrupt(grey, "saturate", 3) == 200).all()
    np.testing.assert_array_equal(corrupt(grey, "saturate", 5)[0, 0], [200, 160, 160])


def test_contrast_shrinks_each_channel_towards_its_own_mean() -> None:
    """(x - mean) c + mean with the mean of that channel over the picture."""
    image = rng().integers(0, 256, (40, 50, 3)).astype(np.uint8)
    image[..., 0] //= 4
    means = image.mean(axis=(0, 1))
    expected = (image - means) * 0.4 + means
    off = corrupt(image, "contrast", 1) - expected
    assert off.max() < 1e-6
    assert off.min() > -1 - 1e-6


@pytest.mark.parametrize("kind", [Elastic(21.25), ElasticAffine(0.05, 0.2, 0.07)])
def test_elastic_transform_moves_nothing_without_noise(kind: Any) -> None:
    """With a field of zeros every pixel stays: no offset of half a pixel, no shift at the border."""
    still = SimpleNamespace(uniform=lambda bound, shape: np.zeros(shape, np.float32))
    image = rng().integers(0, 256, (40, 50, 3)).astype(np.uint8)
    np.testing.assert_array_equal(digital.elastic_transform(image, kind, still), image)


def test_elastic_displacements_have_the_published_size() -> None:
    """A ramp shows them: uniform noise of +-.005 H smoothed over .01 H leaves a deviation of .0814 alpha pixels."""
    expected = 0.005 / np.sqrt(3) / (2 * np.sqrt(np.pi) * 0.01)
    slope = 250 / 399
    truncation = 2 / 12 / slope**2  # of the ramp and of the result
    ramp = np.tile(np.linspace(0, 250, 400), (400, 1)).astype(np.uint8)[..., None].repeat(3, axis=2)
    for severity, alpha in ((1, 12.5), (5, 30)):
        moved = [corrupt(ramp, "elastic_transform", severity, rng(seed)).astype(float) - ramp for seed in range(6)]
        pixels = np.stack(moved)[:, 40:-40, 40:-40, 0] / slope
        assert np.sqrt(pixels.var() - truncation) == pytest.approx(expected * alpha, rel=0.06)


@pytest.mark.parametrize(
    ("parameters", "severity", "side"),
    [(parameters, severity, 64) for parameters in ("cifar-c", "tiny-imagenet-c") for severity in (1, 2, 3, 4, 5)]
    + [("cifar-c", 2, 32)],
)
def test_elastic_transform_of_the_small_sets_is_the_published_one(parameters: str, severity: int, side: int) -> None:
    """In float64, by SciPy: three points jittered by +-affine, the picture with them, then a smoothed displacement."""
    kind = CORRUPTIONS["elastic_transform"].levels(parameters)[severity - 1]
    alpha, sigma, affine = np.array(kind) * side
    y, x = np.mgrid[:side, :side].astype(float)
    image = np.stack([127 + 90 * np.sin(x / 5), 127 + 90 * np.cos(y / 6), 127 + 90 * np.sin((x + y) / 8)], axis=-1)
    image = image.astype(np.uint8)

    drawn = np.random.RandomState(5)
    third = side // 3
    before = side // 2 + np.array([[third, third], [third, -third], [-third, -third]], float)  # (x, y)
    after = before + drawn.uniform(-affine, affine, (3, 2))
    back = np.linalg.solve(np.column_stack([after, np.ones(3)]), before)  # from (x, y, 1) to (x, y)
    fields = [drawn.uniform(-1, 1, (side, side)) for _ in range(2)]
    dx, dy = (scipy.ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3) * alpha for field in fields)
    source = np.stack([x, y, np.ones_like(x)], axis=-1) @ back
    expected = np.empty_like(image)
    for channel in range(3):
        layer = image[..., channel].astype(float)
        layer = scipy.ndimage.map_coordinates(layer, [source[..., 1], source[..., 0]], order=1, mode="mirror")
        expected[..., channel] = scipy.ndimage.map_coordinates(layer, [y + dy, x + dx], order=1, mode="reflect")

    off = np.abs(digital.elastic_transform(image, kind, ReferenceDraws(5)).astype(int) - expected)
    assert off.max() <= (4 if ROUNDED_WARPS else 1)
    assert off.mean() <= 0.2


def test_pixelate_averages_whole_boxes() -> None:
    """At a quarter of the side each block is 4 x 4 pixels, all the same, near the mean of what it covers."""
    image = rng().integers(0, 256, (64, 96, 3)).astype(np.uint8)
    blocks = corrupt(image, "pixelate", 5).reshape(16, 4, 24, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    means = image.reshape(16, 4, 24, 4, 3).mean(axis=(1, 3))
    assert np.abs(blocks[:, 0, :, 0] - means).max() <= 1


@pytest.mark.parametrize("shape", [(64, 96, 3), (34, 37), (131, 52, 3), (52, 131), (40, 371, 3), (220, 259)])
def test_pixelate_is_that_of_pillow(shape: tuple[int, ...]) -> None:
    """Boxes across, then down: Pillow 10's order for any shape, later ones take a tall picture down first."""
    image = rng().integers(0, 256, shape).astype(np.uint8)
    for severity in range(1, 6):
        height, width = (int(side * level("pixelate", severity).side) for side in shape[:2])
        small = PIL.Image.fromarray(image)
        for size in ((width, shape[0]), (width, height)):
            small = small.resize(size, PIL.Image.Resampling.BOX)
        expected = small.resize(shape[1::-1], PIL.Image.Resampling.NEAREST)
        np.testing.assert_array_equal(corrupt(image, "pixelate", severity), np.array(expected))


@pytest.mark.parametrize("shape", [(48, 64, 3), (33, 75)], ids=["colour", "grey"])
@pytest.mark.parametrize(("severity", "quality"), [(1, 25), (5, 7)])
def test_jpeg_is_that_of_pillow(severity: int, quality: int, shape: tuple[int, ...]) -> None:
    """Same codec, same quality, RGB order; a grey picture has three equal channels in between, as in the reference."""
    image = cv2.blur(rng().integers(0, 256, shape).astype(np.uint8), (5, 5))
    stream = io.BytesIO()
    PIL.Image.fromarray(image).convert("RGB").save(stream, "JPEG", quality=quality)
    decoded = PIL.Image.open(stream)
    expected = np.array(decoded if image.ndim == 3 else decoded.convert("L"))
    np.testing.assert_array_equal(corrupt(image, "jpeg_compression", severity), expected)


# ------------------------------------------------------------------------------------------------------ parameters


def test_parameter_sets_are_complete() -> None:
    """Each has all 19 in published order, five levels of one kind each."""
    assert list(PARAMETERS) == ["imagenet-c", "cifar-c", "tiny-imagenet-c"]
    for table in PARAMETERS.values():
        assert list(table) == list(CORRUPTIONS)
        for levels in table.values():
            assert len(levels) == 5
            assert len({type(entry) for entry in levels}) == 1


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in {"glass_blur", "zoom_blur", "saturate"}])
def test_small_sets_are_milder(name: str, picture: Image) -> None:
    """The sets for 32 and 64 px damage a small picture less than that for large ones, at severity 5."""
    damage = []
    for parameters in ("cifar-c", "imagenet-c"):
        results = [corrupt(picture, name, 5, rng(seed), parameters=parameters) for seed in range(3)]
        damage.append(np.mean([np.square(result.astype(float) - picture).mean() for result in results]))
    assert damage[0] < damage[1]


def test_motion_blur_stays_within_45_degrees_of_horizontal() -> None:
    """Those are the published angles; what is drawn is used: at 0 degrees vertical stripes blur."""
    asked: list[tuple[float, float]] = []
    draws = SimpleNamespace(angle=lambda low, high: asked.append((low, high)) or 0.0)
    stripes = np.tile(np.array([0, 255], np.uint8).repeat(4), (40, 8))
    blurred = blur.motion_blur(stripes, Motion(10, 3), draws)
    assert asked == [(-45, 45)]
    assert blurred.std() < stripes.std() * 0.7
