// Runs and times networks in a worker, so that the page stays responsive: on the processor, or by WebGPU.

import { runsPerSample, timerStep } from "/page/numbers.js";
import { sha256 } from "/page/sha256.js";

let headers, ready, ort, options, listening;

const RUNTIMES = {
  wasm: ["/ort/ort.wasm.bundle.min.mjs", "/ort/ort-wasm-simd-threaded.wasm"],
  webgpu: ["/ort/ort.webgpu.bundle.min.mjs", "/ort/ort-wasm-simd-threaded.asyncify.wasm"],
};

// The runtime keeps the console's functions when it is loaded, and says only there which node runs where.
for (const name of ["debug", "log", "info", "warn", "error"]) {
  const own = console[name].bind(console);
  console[name] = (...said) => (listening ? listening.push(said.join(" ")) : own(...said));
}

async function begin({ token, client, threads, provider }) {
  headers = { Authorization: `Bearer ${token}`, "X-Client": client };
  const [script, wasm] = RUNTIMES[provider];
  ort = await import(script);
  ort.env.wasm.wasmPaths = { wasm };
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  options = { executionProviders: [provider], graphOptimizationLevel: "all" };
}

async function bytes(path) {
  const answer = await fetch(path, { headers });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${(await answer.json().catch(() => ({}))).error ?? ""}`);
  return answer.arrayBuffer();
}

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

// How many nodes of a network run on which provider, as the runtime says it while it opens the network.
async function placements(file) {
  listening = [];
  try {
    const session = await ort.InferenceSession.create(new Uint8Array(file), { ...options, logSeverityLevel: 0 });
    await session.release();
    const found = listening.map((line) => line.match(/placed on \[(\w+)\]\. Number of nodes: (\d+)/)).filter(Boolean);
    return Object.fromEntries(found.map(([, name, count]) => [name, Number(count)]));
  } finally {
    listening = undefined;
  }
}

// Opens a network and checks its outputs against the host's.
async function open(model) {
  const file = await bytes(`/models/${model.id}/file`);
  const hash = await sha256(file);
  if (hash !== model.sha256) throw new Error("got a file with another hash than the catalog names");
  const nodes = options.executionProviders[0] === "webgpu" ? await placements(file) : null;
  if (nodes && !nodes.WebGpuExecutionProvider) throw new Error("none of its nodes runs by WebGPU");
  const loading = performance.now();
  const session = await ort.InferenceSession.create(new Uint8Array(file), options);
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
  if (!(error <= model.tolerance)) {
    throw new Error(`its outputs differ from the host's by ${error.toPrecision(2)} of their range`);
  }
  return { model, session, feeds, hash, loadMs, firstMs, error, nodes };
}

async function timed(session, feeds, runs) {
  const begun = performance.now();
  for (let run = 0; run < runs; run++) await session.run(feeds);
  return (performance.now() - begun) / runs;
}

// Measures files interleaved, each in bursts, as on the host.
async function measure({ models, settings, known }) {
  const stepMs = timerStep(), workloads = [];
  for (const model of models) {
    post("state", { text: `Loading ${model.label}` });
    try {
      workloads.push(await open(model));
    } catch (error) {
      post("failed", { model: model.id, reason: String(error.message ?? error) });
    }
  }
  for (const workload of workloads) {
    const before = known[workload.model.id] ?? { samples: [], openings: [] };
    Object.assign(workload, before, { opening: (before.openings.at(-1) ?? -1) + 1 });
    await timed(workload.session, workload.feeds, settings.warmup);
    workload.per ??= runsPerSample(await timed(workload.session, workload.feeds, 5), stepMs);
  }
  const spent = (s) => s.samples.reduce((sum, value) => sum + value, 0) * s.per;
  const share = (s) => Math.min(s.samples.length / settings.runs, spent(s) / (1e3 * settings.seconds));
  while (workloads.some((workload) => share(workload) < 1)) {
    for (const workload of workloads.filter((one) => share(one) < 1)) {
      await timed(workload.session, workload.feeds, 1); // uncounted: the caches hold the others
      for (let run = 0; run < settings.burst; run++) {
        workload.samples.push(await timed(workload.session, workload.feeds, workload.per));
        workload.openings.push(workload.opening);
      }
      const { samples, openings, per, model } = workload;
      post("samples", { model: model.id, samples, openings, per, done: Math.min(...workloads.map(share), 1) });
    }
  }
  for (const workload of workloads) {
    const { model, hash, loadMs, firstMs, error, samples, openings, per, nodes } = workload;
    post("measured", { model: model.id, hash, loadMs, firstMs, error, samples, openings, per, stepMs, nodes });
    await workload.session.release();
  }
  post("done", {});
}

async function tableGroup({ files, runs, burst }) {
  const sessions = [], hashes = [];
  for (const name of files) {
    const file = await bytes(`/table/files/${name}`);
    hashes.push(await sha256(file));
    sessions.push(await ort.InferenceSession.create(new Uint8Array(file), options));
  }
  const all = sessions.map((session) => ({ session, feeds: randomFeeds(session), samples: [] }));
  const stepMs = timerStep();
  for (const one of all) one.per = runsPerSample(await timed(one.session, one.feeds, 3), stepMs);
  // In the order of the group, so that each file finds the caches as the rest of its group leaves them.
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
  const image = new ort.Tensor(type, data, shape), start = performance.now();
  const answers = await session.run({ [name]: image });
  const ms = performance.now() - start;
  post("classes", { logits: Array.from(Object.values(answers)[0].data, Number), ms });
}

const post = (kind, fields) => self.postMessage({ kind, ...fields });
const VERBS = { begin, measure, tableGroup, classify };
let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last.then(() => VERBS[data.verb](data)).catch((error) => {
    post("error", { verb: data.verb, reason: String(error.message ?? error) });
  });
};
