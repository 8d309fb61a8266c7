// Draws points as SVG: accuracy in percent upwards, a cost to the right on a logarithmic scale. No module, so that it also
// runs in a page that is opened as a file.
"use strict";

const scatter = (() => {
  const SVG = "http://www.w3.org/2000/svg", TOP = 16, BOTTOM = 44, LEFT = 52, RIGHT = 16;

  function node(tag, attributes = {}, text = "") {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  }

  // Round numbers that cover a range, at most `most` of them.
  function linearTicks(low, high, most) {
    const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= raw);
    const ticks = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) ticks.push(+at.toPrecision(8));
    return ticks;
  }

  function logTicks(low, high) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const times of [1, 2, 5]) ticks.push(+(times * 10 ** power).toPrecision(3));
    }
    const inside = ticks.filter((tick) => tick >= low && tick <= high);
    return inside.length >= 4 ? inside : linearTicks(low, high, 5);
  }

  // The points that no other beats in both directions.
  function front(points) {
    const sorted = [...points].sort((a, b) => a.x - b.x || b.y - a.y);
    let best = -Infinity;
    return sorted.filter(({ y }) => y > best && ((best = y), true));
  }

  function label(placed, point, x, y, width) {
    const long = point.title.length * 6.6;
    // First where the dashed line is not.
    const places = [[-10, -8, "end"], [10, 18, "start"], [10, -10, "start"], [-10, 18, "end"], [10, 4, "start"],
      [-10, 4, "end"], [0, -14, "middle"], [0, 24, "middle"]];
    for (const [dx, dy, anchor] of places) {
      const from = x + dx - (anchor === "end" ? long : anchor === "middle" ? long / 2 : 0);
      const box = { left: from, right: from + long, top: y + dy - 11, bottom: y + dy + 3 };
      const apart = (other) => box.right < other.left || box.left > other.right || box.bottom < other.top || box.top > other.bottom;
      if (from > 2 && box.right < width - 2 && placed.every(apart)) {
        placed.push(box);
        return node("text", { x: x + dx, y: y + dy, "text-anchor": anchor }, point.title);
      }
    }
    return null; // it stands in the table
  }

  function range(values, logarithmic) {
    const low = Math.min(...values), high = Math.max(...values);
    if (logarithmic) return high / low > 1.5 ? [low / 1.25, high * 1.25] : [low / 1.6, high * 1.6];
    const spare = Math.max((high - low) * 0.15, 0.5);
    return [Math.max(low - spare, 0), Math.min(high + spare, 100)];
  }

  // points: {id, title, x, xLow, xHigh, y, yLow, yHigh, published, said}; low and high may be null.
  function draw(box, points, xTitle, alt) {
    const width = Math.max(box.clientWidth, 280), height = Math.min(Math.max(width * 0.55, 260), 440);
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": alt });
    box.replaceChildren(svg);
    if (!points.length) return;
    const [x0, x1] = range(points.flatMap(({ x, xLow, xHigh }) => [x, xLow ?? x, xHigh ?? x]), true);
    const [y0, y1] = range(points.flatMap(({ y, yLow, yHigh }) => [y, yLow ?? y, yHigh ?? y]), false);
    const xAt = (x) => LEFT + (Math.log(x / x0) / Math.log(x1 / x0)) * (width - LEFT - RIGHT);
    const yAt = (y) => height - BOTTOM - ((y - y0) / (y1 - y0)) * (height - TOP - BOTTOM);
    for (const tick of linearTicks(y0, y1, 6)) {
      svg.append(node("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: yAt(tick), y2: yAt(tick) }),
        node("text", { class: "tick", x: LEFT - 6, y: yAt(tick) + 4, "text-anchor": "end" }, `${tick} %`));
    }
    for (const tick of logTicks(x0, x1)) {
      svg.append(node("line", { class: "grid", x1: xAt(tick), x2: xAt(tick), y1: TOP, y2: height - BOTTOM }),
        node("text", { class: "tick", x: xAt(tick), y: height - BOTTOM + 16, "text-anchor": "middle" }, `${tick}`));
    }
    svg.append(node("text", { x: (LEFT + width - RIGHT) / 2, y: height - 8, "text-anchor": "middle" }, xTitle));
    const best = front(points);
    const steps = best.map(({ x, y }, at) => `${at ? `H${xAt(x)}V${yAt(y)}` : `M${xAt(x)} ${yAt(y)}`}`).join("");
    if (best.length > 1) svg.append(node("path", { class: "front", d: steps }));
    const placed = points.map(({ x, y }) => ({ left: xAt(x) - 7, right: xAt(x) + 7, top: yAt(y) - 7, bottom: yAt(y) + 7 }));
    for (const point of points) {
      const x = xAt(point.x), y = yAt(point.y), link = node("a", { href: `#card-${point.id}`, "aria-label": point.said });
      link.append(node("title", {}, point.said));
      if (point.xLow !== null) link.append(node("line", { class: "bar", x1: xAt(point.xLow), x2: xAt(point.xHigh), y1: y, y2: y }));
      if (point.yLow !== null) link.append(node("line", { class: "bar", x1: x, x2: x, y1: yAt(point.yLow), y2: yAt(point.yHigh) }));
      link.append(node("circle", { class: point.published ? "dot published" : "dot", cx: x, cy: y, r: 7 }));
      svg.append(link);
    }
    for (const point of points) {
      const text = label(placed, point, xAt(point.x), yAt(point.y), width);
      if (text) svg.append(text);
    }
  }

  return { draw };
})();
