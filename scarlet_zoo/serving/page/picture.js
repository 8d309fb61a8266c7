// A picture as a network wants it: the shorter side resized, the centre cropped, grey where it has one channel.

export async function read(source, canvas, { size: [height, width], crop, mean, std }, type) {
  const bitmap = await createImageBitmap(source);
  const side = Math.min(bitmap.width, bitmap.height) * crop, aspect = width / height;
  const [w, h] = aspect > 1 ? [side, side / aspect] : [side * aspect, side];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  canvas.width = width;
  canvas.height = height;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, (bitmap.width - w) / 2, (bitmap.height - h) / 2, w, h, 0, 0, width, height);
  const image = pen.getImageData(0, 0, width, height), channels = mean.length, count = width * height;
  const levels = new Uint8Array(count * channels);
  for (let i = 0; i < count; i++) {
    const [r, g, b] = image.data.subarray(4 * i, 4 * i + 3);
    if (channels === 1) levels[i] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
    else levels.set([r, g, b], 3 * i);
  }
  if (type === "uint8") return { data: levels, shape: [1, height, width, channels] };
  const data = new Float32Array(levels.length);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < channels; c++) data[c * count + i] = (levels[i * channels + c] / 255 - mean[c]) / std[c];
  }
  return { data, shape: [1, channels, height, width] };
}

// A thing on a light ground, for a network that has seen light things on a dark one.
export function onDark({ data, shape }, [height, width], type) {
  const at = (y, x) => data[y * width + x];
  const corners = [at(0, 0), at(0, width - 1), at(height - 1, 0), at(height - 1, width - 1)].sort((a, b) => a - b);
  const [low, high] = [Math.min(...data), Math.max(...data)];
  if ((corners[1] + corners[2]) / 2 < (low + high) / 2) return { data, shape, turned: false };
  return { data: data.map((value) => (type === "uint8" ? 255 - value : low + high - value)), shape, turned: true };
}
