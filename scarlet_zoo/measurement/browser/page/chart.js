// Draws the milliseconds of each run over time, with one colour for each network.

const COLOURS = ["#b2182b", "#2166ac", "#1b7837", "#e08214", "#762a83", "#666"];
export const colour = (index) => COLOURS[index % COLOURS.length];

export function draw(canvas, series) {
  const scale = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const all = series.flat(), most = Math.max(...all, 1e-3) * 1.1;
  const longest = Math.max(...series.map((samples) => samples.length), 2);
  pen.font = "12px system-ui";
  pen.fillStyle = pen.strokeStyle = getComputedStyle(canvas).color;
  pen.globalAlpha = 0.6;
  for (const part of [0, 0.5, 1]) {
    const y = 14 + (1 - part) * (height - 22);
    pen.fillText(`${(most * part).toPrecision(3)} ms`, 4, y - 2);
    pen.fillRect(0, y, width, 0.5);
  }
  pen.globalAlpha = 1;
  series.forEach((samples, index) => {
    pen.strokeStyle = colour(index);
    pen.beginPath();
    samples.forEach((ms, at) => pen.lineTo((at / (longest - 1)) * width, 14 + (1 - ms / most) * (height - 22)));
    pen.stroke();
  });
}
