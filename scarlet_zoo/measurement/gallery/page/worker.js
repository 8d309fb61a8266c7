// Runs networks in a worker, so that the page stays responsive: one thread, which needs no special headers of the host.

import * as ort from "./runtime/ort.wasm.bundle.min.js";
import { runsPerSample, timerStep } from "./numbers.js";
import { sha256 } from "./sha256.js";

ort.env.wasm.wasmPaths = { wasm: new URL("runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

const OPTIONS = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
const ARRAYS = { float32: Float32Array, uint8: Uint8Array };
const KEPT = 2, WARMUP = 5, SAMPLES = 30, MOST_MS = 3000;
const opened = new Map();

// The input of the check, the same bits as on the machine that made the page.
function checkImage({ preprocessing: { size: [height, width], mean }, input: { type, channels_last: last } }) {
  const channels = mean.length, data = new ARRAYS[type](height * width * channels);
  // An image of channels last is turned after the levels were counted through, as there.
  for (let i = 0; i < data.length; i++) {
    const at = last ? (i % (height * width)) * channels + Math.floor(i / (height * width)) : i;
    const level = (i * 97) % 256;
    data[at] = type === "uint8" ? level : level / 128 - 1;
  }
  const shape = type === "uint8" || last ? [1, height, width, channels] : [1, channels, height, width];
  return new ort.Tensor(type, data, shape);
}

async function run(session, model, tensor) {
  return Object.values(await session.run({ [model.input.name]: tensor }))[0].data;
}

async function open(id, model) {
  if (opened.has(id)) return opened.get(id);
  const path = `networks/${encodeURIComponent(id)}.onnx`, answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  const file = await answer.arrayBuffer();
  if (await sha256(file) !== model.sha256) throw new Error(`${path} is not the file that this page was made for`);
  const session = await ort.InferenceSession.create(new Uint8Array(file), OPTIONS);
  const got = await run(session, model, checkImage(model));
  const range = Math.max(...model.check) - Math.min(...model.check) || 1;
  const error = Math.max(...model.check.map((value, i) => Math.abs(Number(got[i]) - value) / range));
  if (!(error <= model.tolerance)) {
    await session.release();
    throw new Error(`this browser's answers differ from the checked ones by ${error.toPrecision(2)} of their range`);
  }
  if (opened.size >= KEPT) {
    const [oldest] = opened.keys();
    await opened.get(oldest).release();
    opened.delete(oldest);
  }
  opened.set(id, session);
  return session;
}

async function timed(session, model, tensor, runs) {
  const begun = performance.now();
  for (let i = 0; i < runs; i++) await run(session, model, tensor);
  return (performance.now() - begun) / runs;
}

const VERBS = {
  async classify({ id, model, data, shape }) {
    const session = await open(id, model), tensor = new ort.Tensor(model.input.type, data, shape);
    await run(session, model, tensor); // the first run of an image takes longer
    const begun = performance.now(), values = await run(session, model, tensor);
    return { ms: performance.now() - begun, values: Array.from(values, Number) };
  },
  async time({ id, model }) {
    const session = await open(id, model), tensor = checkImage(model);
    const runs = runsPerSample(await timed(session, model, tensor, WARMUP), timerStep());
    const samples = [], begun = performance.now();
    while (samples.length < SAMPLES || performance.now() - begun < 500) {
      samples.push(await timed(session, model, tensor, runs));
      if (performance.now() - begun > MOST_MS && samples.length > 4) break;
    }
    return { samples, runs };
  },
};

self.onmessage = async ({ data }) => {
  try {
    self.postMessage(await VERBS[data.verb](data));
  } catch (error) {
    self.postMessage({ error: String(error?.message ?? error) });
  }
};
