// SHA-256 (FIPS 180-4) for pages without a secure context, where the browser does not offer its own.

const K = new Uint32Array(64), START = new Uint32Array(8);
for (let n = 2, found = 0; found < 64; n++) {
  let prime = true;
  for (let d = 2; d * d <= n; d++) prime &&= n % d !== 0;
  if (!prime) continue;
  // The first 32 bits of the fractional parts of the primes' square and cube roots.
  if (found < 8) START[found] = (Math.sqrt(n) % 1) * 2 ** 32;
  K[found++] = (Math.cbrt(n) % 1) * 2 ** 32;
}

const turn = (x, by) => (x >>> by) | (x << (32 - by));

function block(state, view, at, w) {
  for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + 4 * i);
  for (let i = 16; i < 64; i++) {
    const a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
    const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
  }
  [a, b, c, d, e, f, g, h].forEach((value, i) => { state[i] += value; });
}

export function sha256Script(buffer) {
  const size = buffer.byteLength, whole = size - (size % 64);
  const state = Uint32Array.from(START), w = new Uint32Array(64);
  const view = new DataView(buffer);
  for (let at = 0; at < whole; at += 64) block(state, view, at, w);
  const rest = new Uint8Array(size - whole + 9 > 64 ? 128 : 64);
  rest.set(new Uint8Array(buffer, whole));
  rest[size - whole] = 128;
  const end = new DataView(rest.buffer);
  end.setUint32(rest.length - 8, Math.floor(size / 2 ** 29));
  end.setUint32(rest.length - 4, size << 3);
  for (let at = 0; at < rest.length; at += 64) block(state, end, at, w);
  return [...state].map((value) => value.toString(16).padStart(8, "0")).join("");
}

export async function sha256(buffer) {
  if (!globalThis.crypto?.subtle) return sha256Script(buffer);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
  return [...digest].map((value) => value.toString(16).padStart(2, "0")).join("");
}
