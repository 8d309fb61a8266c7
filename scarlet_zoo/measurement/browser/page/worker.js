// Runs networks and times them, away from the page, which stays alive meanwhile.

import * as ort from "/ort/ort.wasm.bundle.min.mjs";
import { runsPerSample, timerStep } from "/page/numbers.js";
import { sha256 } from "/page/sha256.js";

let headers, ready;

function begin({ token, client, threads }) {
  headers = { Authorization: `Bearer ${token}`, "X-Client": client };
  ort.env.wasm.wasmPaths = { wasm: "/ort/ort-wasm-simd-threaded.wasm" };
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
}

async function bytes(path) {
  const answer = await fetch(path, { headers });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${(await answer.json().catch(() => ({}))).error ?? ""}`);
  return answer.arrayBuffer();
}

const OPTIONS = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
const ARRAYS = { float32: Float32Array, uint8: Uint8Array };

function randomFeeds(session) {
  const feeds = {};
  for (const input of session.inputMetadata) {
    const shape = input.shape.map((side) => (typeof side === "number" ? side : 1));
    const data = new ARRAYS[input.type](shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < data.length; i++) data[i] = input.type === "uint8" ? (i * 97) % 256 : Math.sin(i * 12.9898);
    feeds[input.name] = new ort.Tensor(input.type, data, shape);
  }
  return feeds;
}

// A network with its answers checked against the host's.
async function open(model) {
  const file = await bytes(`/models/${model.id}/file`);
  const hash = await sha256(file);
  if (hash !== model.sha256) throw new Error("another file than was named");
  const loading = performance.now();
  const session = await ort.InferenceSession.create(new Uint8Array(file), OPTIONS);
  const loadMs = performance.now() - loading;
  const { name, type, shape } = model.input;
  const data = new ARRAYS[type](await bytes(`/models/${model.id}/input`));
  const feeds = { [name]: new ort.Tensor(type, data, shape) };
  const first = performance.now();
  const answers = await session.run(feeds);
  const firstMs = performance.now() - first;
  let error = 0;
  for (const [output, wanted] of Object.entries(model.outputs)) {
    const got = answers[output].data;
    const range = Math.max(...wanted) - Math.min(...wanted) || 1;
    wanted.forEach((value, i) => { error = Math.max(error, Math.abs(Number(got[i]) - value) / range); });
  }
  if (!(error <= model.tolerance)) throw new Error(`its answers are off by ${error.toPrecision(2)} of their range`);
  return { model, session, feeds, hash, loadMs, firstMs, error };
}

async function timed(session, feeds, runs) {
  const begun = performance.now();
  for (let run = 0; run < runs; run++) await session.run(feeds);
  return (performance.now() - begun) / runs;
}

// Files take turns, each in bursts, as on the host.
async function measure({ models, settings, known }) {
  const stepMs = timerStep(), subjects = [];
  for (const model of models) {
    post("state", { text: `Loading ${model.label}` });
    try {
      subjects.push(await open(model));
    } catch (error) {
      post("failed", { model: model.id, reason: String(error.message ?? error) });
    }
  }
  for (const subject of subjects) {
    const before = known[subject.model.id] ?? { samples: [], openings: [] };
    Object.assign(subject, before, { opening: (before.openings.at(-1) ?? -1) + 1 });
    await timed(subject.session, subject.feeds, settings.warmup);
    subject.per ??= runsPerSample(await timed(subject.session, subject.feeds, 5), stepMs);
  }
  const spent = (s) => s.samples.reduce((sum, value) => sum + value, 0) * s.per;
  const share = (s) => Math.min(s.samples.length / settings.runs, spent(s) / (1e3 * settings.seconds));
  while (subjects.some((subject) => share(subject) < 1)) {
    for (const subject of subjects.filter((one) => share(one) < 1)) {
      await timed(subject.session, subject.feeds, 1); // the others have emptied the caches
      for (let run = 0; run < settings.burst; run++) {
        subject.samples.push(await timed(subject.session, subject.feeds, subject.per));
        subject.openings.push(subject.opening);
      }
      const { samples, openings, per, model } = subject;
      post("samples", { model: model.id, samples, openings, per, done: Math.min(...subjects.map(share), 1) });
    }
  }
  for (const subject of subjects) {
    const { model, hash, loadMs, firstMs, error, samples, openings, per } = subject;
    post("measured", { model: model.id, hash, loadMs, firstMs, error, samples, openings, per, stepMs });
    await subject.session.release();
  }
  post("done", {});
}

async function tableGroup({ files, runs, burst }) {
  const sessions = [], hashes = [];
  for (const name of files) {
    const file = await bytes(`/table/files/${name}`);
    hashes.push(await sha256(file));
    sessions.push(await ort.InferenceSession.create(new Uint8Array(file), OPTIONS));
  }
  const all = sessions.map((session) => ({ session, feeds: randomFeeds(session), samples: [] }));
  const stepMs = timerStep();
  for (const one of all) one.per = runsPerSample(await timed(one.session, one.feeds, 3), stepMs);
  // From the first file to the last, so that each finds in the caches what the rest of its group left there.
  for (let run = -burst; run < runs; run++) {
    for (const one of all) {
      const ms = await timed(one.session, one.feeds, one.per);
      if (run >= 0) one.samples.push(ms);
    }
  }
  for (const session of sessions) await session.release();
  post("group", { samples: all.map((one) => one.samples), hashes, stepMs });
}

async function classify({ model, data, shape }) {
  ready ??= open(model);
  const { session } = await ready;
  const { name, type } = model.input;
  const answers = await session.run({ [name]: new ort.Tensor(type, data, shape) });
  post("classes", { logits: Array.from(Object.values(answers)[0].data, Number) });
}

const post = (kind, told) => self.postMessage({ kind, ...told });
const VERBS = { begin, measure, tableGroup, classify };
let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last.then(() => VERBS[data.verb](data)).catch((error) => {
    post("error", { verb: data.verb, reason: String(error.message ?? error) });
  });
};
