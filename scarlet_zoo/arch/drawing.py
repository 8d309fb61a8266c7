"""The drawing of an architecture, as SVG that takes the colours of the page around it."""

from __future__ import annotations

import html
import math

from scarlet_zoo.arch.cost import Cost, LayerCost

_WIDTH, _ROW, _BAR, _LEFT = 640, 22, 13, 108
# By kernel size; what has none is grey.
_COLOURS = {"3": "#2166ac", "5": "#8c6bb1", "7": "#b2182b"}


def architecture_svg(cost: Cost, title: str) -> str:
    """Draw a network from its first layer to its last.

    A layer is a bar as long as its share of the multiply-adds, on a square-root scale, so that small layers can be
    seen, too. Its colour is the kernel size; a layer that is skipped is a dashed line. A thin line stands where the
    feature map becomes smaller.

    Args:
        cost: the network's cost, layer by layer.
        title: what the drawing is called, for readers who do not see it.

    Returns:
        The SVG without blank lines, so that it can stand in markdown.
    """
    largest = max(layer.macs for layer in cost.layers)
    lines = [
        f'<div class="wide"><svg class="architecture" viewBox="0 0 {_WIDTH} {_ROW * len(cost.layers) + 6}" role="img"'
        f' xmlns="http://www.w3.org/2000/svg"><title>{html.escape(title)}</title>'
    ]
    for place, layer in enumerate(cost.layers):
        lines += _row(layer, _ROW * place + 3, largest)
    return "\n".join([*lines, "</svg></div>"])


def _row(layer: LayerCost, top: int, largest: int) -> list[str]:
    middle = top + _BAR - 2
    parts = [_text(0, middle, layer.name), _text(58, middle, f"{layer.out_size} px")]
    if layer.stride > 1:
        parts.append(f'<line x1="0" x2="{_WIDTH}" y1="{top - 2}" y2="{top - 2}" class="stride"/>')
    if layer.macs == 0:
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 230}" y1="{top + 6}" y2="{top + 6}" class="skip"/>')
        return [*parts, _text(_WIDTH - 220, middle, "skipped")]
    length = max(2, round((_WIDTH - 230 - _LEFT) * math.sqrt(layer.macs / largest)))
    parts.append(f'<rect x="{_LEFT}" y="{top}" width="{length}" height="{_BAR}" rx="2" fill="{_colour(layer)}"/>')
    said = f"{layer.token}, {layer.in_chs} to {layer.out_chs} channels"
    return [*parts, _text(_WIDTH - 220, middle, said)]


def _text(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}">{html.escape(text)}</text>'


def _colour(layer: LayerCost) -> str:
    kernel = layer.token.partition("k")[2][:1]
    return _COLOURS.get(kernel, "#737373")
