// Prepares an image for a network: resizes the shorter side as Pillow does, crops the centre, and makes it grey for a
// network of one channel.

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
// Each filter's reach and its weight at a distance (Pillow, src/libImaging/Resample.c).
const FILTERS = {
  bilinear: [1, (x) => Math.max(1 - x, 0)],
  bicubic: [2, (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0)],
  lanczos: [3, (x) => (x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};
const MOST = 1024; // a photograph is first shrunk to this many pixels on its longer side, which is fast

function resizeAxis(pixels, channels, lines, from, to, alongRows, [reach, kernel]) {
  const scale = from / to, stretch = Math.max(scale, 1), out = new Uint8ClampedArray(lines * to * channels);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach * stretch + 0.5), 0);
    const last = Math.min(Math.trunc(centre + reach * stretch + 0.5), from);
    const raw = Array.from({ length: last - first }, (_, k) => kernel(Math.abs((first + k - centre + 0.5) / stretch)));
    const total = raw.reduce((sum, weight) => sum + weight, 0);
    const weights = raw.map((weight) => Math.round((weight / total) * 2 ** 22));
    for (let line = 0; line < lines; line++) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 2 ** 21;
        for (let k = 0; k < weights.length; k++) {
          const at = alongRows ? line * from + first + k : (first + k) * lines + line;
          sum += pixels[at * channels + channel] * weights[k];
        }
        out[(alongRows ? line * to + i : i * lines + line) * channels + channel] = Math.floor(sum / 2 ** 22);
      }
    }
  }
  return out;
}

export function resize(pixels, channels, [w, h], [width, height], name) {
  const filter = FILTERS[name] ?? FILTERS.bilinear;
  const wide = w === width ? pixels : resizeAxis(pixels, channels, h, w, width, true, filter);
  return h === height ? wide : resizeAxis(wide, channels, width, h, height, false, filter);
}

async function levelsOf(source, channels) {
  const bitmap = await createImageBitmap(source), shrink = Math.min(1, MOST / Math.max(bitmap.width, bitmap.height));
  const size = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * shrink)));
  const pen = Object.assign(document.createElement("canvas"), { width: size[0], height: size[1] })
    .getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, ...size);
  const { data } = pen.getImageData(0, 0, ...size);
  const levels = new Uint8Array(size[0] * size[1] * channels);
  for (let i = 0; i < size[0] * size[1]; i++) {
    const [r, g, b] = data.subarray(4 * i, 4 * i + 3);
    if (channels === 1) levels[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16; // ITU-R 601, as Pillow
    else levels.set([r, g, b], 3 * i);
  }
  return { levels, size };
}

const centre = (spare) => (spare >> 1) + (spare & (spare >> 1) & 1); // rounds half a pixel to the even number

// invert: whether light and dark change places for a network of one channel; undefined decides by the image's corners.
export async function read(source, canvas, { size: [height, width], crop, mean, std, interpolation }, type, invert) {
  const channels = mean.length, { levels: all, size: [w, h] } = await levelsOf(source, channels);
  const short = Math.floor(height / crop);
  const to = height !== width ? [Math.floor(width / crop), short]
    : w <= h ? [short, Math.trunc((short * h) / w)] : [Math.trunc((short * w) / h), short];
  const resized = resize(all, channels, [w, h], to, interpolation);
  const left = centre(to[0] - width), top = centre(to[1] - height), count = width * height;
  let levels = new Uint8Array(count * channels);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * to[0] + left) * channels;
    levels.set(resized.subarray(from, from + width * channels), y * width * channels);
  }
  if (channels === 1 && (invert ?? isOnLight(levels, width, height))) levels = levels.map((level) => 255 - level);
  show(canvas, levels, channels, width, height);
  if (type === "uint8") return { data: levels, shape: [1, height, width, channels] };
  const data = new Float32Array(levels.length);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < channels; c++) data[c * count + i] = (levels[i * channels + c] / 255 - mean[c]) / std[c];
  }
  return { data, shape: [1, channels, height, width] };
}

function show(canvas, levels, channels, width, height) {
  Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = levels[i * channels + (channels === 1 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Our grey networks were trained on light objects on a dark background, so an image with a light background is inverted.
function isOnLight(levels, width, height) {
  const at = (y, x) => levels[y * width + x];
  const corners = [at(0, 0), at(0, width - 1), at(height - 1, 0), at(height - 1, width - 1)].sort((a, b) => a - b);
  return (corners[1] + corners[2]) / 2 >= 128;
}
