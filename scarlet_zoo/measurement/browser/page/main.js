// The page: has the worker measure, shows and posts the results, and keeps them in the session over a reload.

import { colour, draw } from "/page/chart.js";
import { findGpu } from "/page/gpu.js";
import { percentile, timerStep, variation } from "/page/numbers.js";
import { read } from "/page/picture.js";

const $ = (id) => document.getElementById(id);
const token = (location.hash.slice(1) || sessionStorage.token) ?? "";
const stored = JSON.parse(sessionStorage.kept ?? "{}");
stored.client ??= [...crypto.getRandomValues(new Uint8Array(16))].map((v) => v.toString(16).padStart(2, "0")).join("");
stored.samples ??= {};
stored.posted ??= {};
const store = () => { sessionStorage.kept = JSON.stringify(stored); };
sessionStorage.token = token;

const PROVIDERS = { wasm: "the processor, in WebAssembly", webgpu: "the GPU, by WebGPU" };
let catalog, gpu, worker, provider, measuring = false, posting = Promise.resolve();

const key = (model, where) => `${model}:${where}`; // of what is stored of a network on a provider
const measured = () => catalog.models.filter((model) => model.measured);
const rows = () => Object.keys(PROVIDERS).flatMap((where) => measured().map((model) => [model, where]));
const left = (where) => measured().filter((model) => !stored.posted[key(model.id, where)]);

async function api(path, body) {
  const headers = { Authorization: `Bearer ${token}`, "X-Client": stored.client };
  const asked = { "Content-Type": "application/json", ...headers };
  const answer = await fetch(path, body ? { method: "POST", headers: asked, body: JSON.stringify(body) } : { headers });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error ?? answer.statusText);
  return content;
}

const browser = () => ({
  user_agent: navigator.userAgent.slice(0, 400), cores: navigator.hardwareConcurrency || 1,
  platform: (navigator.userAgentData?.platform || navigator.platform || "unknown").slice(0, 80),
  secure_context: isSecureContext, cross_origin_isolated: globalThis.crossOriginIsolated === true,
  timer_ms: Math.min(timerStep(), 100), hash: globalThis.crypto?.subtle ? "subtle" : "script",
  gpu: gpu?.name ?? null, gpu_in_software: gpu?.software ?? null,
});

async function deviceName() {
  const hints = await navigator.userAgentData?.getHighEntropyValues?.(["model"]).catch(() => null);
  const system = navigator.userAgent.match(/\(([^;)]+;?[^;)]*)/)?.[1] ?? "device";
  return (hints?.model || system).replace(/[/\\]/g, " ").slice(0, 60);
}

const say = (text) => { $("state").textContent = text; };

function startWorker(where = "wasm") {
  worker?.terminate();
  provider = where;
  worker = new Worker("/page/worker.js", { type: "module" });
  worker.onmessage = ({ data }) => HANDLERS[data.kind](data);
  worker.onerror = (event) => HANDLERS.error({ verb: "worker", reason: event.message });
  worker.postMessage({ verb: "begin", token, client: stored.client, threads: +$("threads").value, provider });
}

function start() {
  stored.device = $("device").value.trim() || stored.device;
  stored.threads = +$("threads").value;
  stored.providers = gpu.name ? $("provider").value.split(" ") : ["wasm"];
  stored.running = measuring = true;
  store();
  $("start").disabled = true;
  measureNext();
}

// Measures on one provider after the other, so that they do not slow each other down.
function measureNext() {
  const where = stored.providers.find((one) => left(one).length);
  if (!where) return finish();
  startWorker(where);
  const models = left(where), known = {};
  for (const { id } of models) if (stored.samples[key(id, where)]) known[id] = stored.samples[key(id, where)];
  return worker.postMessage({ verb: "measure", models, settings: catalog.settings, known });
}

function finish() {
  measuring = stored.running = false;
  $("progress").value = 1;
  $("start").textContent = "Measure again";
  $("start").disabled = false;
  say("Done.");
  store();
}

const HANDLERS = {
  state: ({ text }) => say(text),
  samples({ model, samples, openings, per, done }) {
    stored.samples[key(model, provider)] = { samples, openings, per };
    store();
    $("progress").value = done;
    say(`Measuring on ${PROVIDERS[provider]}, ${Math.round(100 * done)} %`);
    draw($("chart"), rows().map(([one, where]) => stored.samples[key(one.id, where)]?.samples ?? []));
  },
  failed({ model, reason }) {
    stored.posted[key(model, provider)] = { failed: `On ${PROVIDERS[provider]}: ${reason}` };
    store();
    showCards();
  },
  measured(result) {
    const where = provider;
    posting = posting.then(() => postRecord(result, where));
  },
  async done() {
    await posting;
    measureNext();
  },
  error({ verb, reason }) {
    if (measuring && provider === "webgpu") { // what the processor has measured stays
      for (const model of left(provider)) HANDLERS.failed({ model: model.id, reason });
      HANDLERS.done();
      return;
    }
    say(`${verb}: ${reason}`);
    measuring = stored.running = false;
    store();
    $("start").disabled = $("table-start").disabled = false;
  },
  classes({ logits, ms }) {
    const model = classifier();
    $("took").textContent = `${ms.toPrecision(3)} ms on this device, ${model.label}`;
    const most = Math.max(...logits), weights = logits.map((value) => Math.exp(value - most));
    const total = weights.reduce((sum, value) => sum + value, 0);
    const best = weights.map((weight, i) => [weight / total, i]).sort((a, b) => b[0] - a[0]).slice(0, 3);
    $("answers").replaceChildren(...best.map(([share, i]) => element("li",
      `${model.labels?.[i] ?? `class ${i}`}, ${(100 * share).toFixed(1)} %`)));
  },
  group: (result) => groupDone(result),
};

async function postRecord(result, where) {
  const { settings } = catalog;
  try {
    const answer = await api("/records", {
      client: stored.client, device: stored.device, model: result.model, sha256: result.hash,
      provider: where, provider_nodes: result.nodes, golden_error: result.error, load_ms: result.loadMs, first_ms: result.firstMs, samples_ms: result.samples,
      opening_of_sample: result.openings,
      browser: browser(), method: {
        threads: stored.threads, warmup: settings.warmup, burst: settings.burst, runs: settings.runs,
        seconds: settings.seconds, runs_per_sample: result.per, openings: result.openings.at(-1) + 1,
      },
    });
    stored.posted[key(result.model, where)] = { device: answer.device, nodes: result.nodes };
  } catch (error) {
    stored.posted[key(result.model, where)] = { failed: `The computer did not take this result: ${error.message}` };
  }
  store();
  showCards();
}

function element(tag, text, name = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  node.className = name;
  return node;
}

function showCards() {
  const cards = rows().map(([model, where], index) => {
    const posted = stored.posted[key(model.id, where)], own = stored.samples[key(model.id, where)]?.samples ?? [];
    if (!posted) return null;
    const { failed, device, nodes } = posted, card = element("article", "", failed ? "card bad" : "card");
    const title = element("h3", where === "wasm" ? model.label : `${model.label} on ${PROVIDERS[where]}`);
    title.style.setProperty("color", colour(index));
    card.append(title);
    if (failed) {
      card.append(element("p", failed));
      return card;
    }
    const cv = variation(own);
    card.append(element("p", `${percentile(own, 0.5).toPrecision(4)} ms`, "big"), element("p",
      `90 % of runs in ${percentile(own, 0.9).toPrecision(4)} ms, fastest ${Math.min(...own).toPrecision(4)} ms; ` +
      `${own.length} samples, variation ${(100 * cv).toFixed(1)} %${cv > 0.05 ? ", unstable" : ""}`),
    element("p", `${model.precision}, ${model.form}; ${stored.threads} thread${stored.threads > 1 ? "s" : ""}; ` +
      `saved as ${device}`));
    if (nodes) {
      const words = Object.entries(nodes).map(([name, count]) => `${count} on ${name}`);
      card.append(element("p", `nodes: ${words.join(", ")}; ${gpu?.name ?? "GPU"}${gpu?.software ? ", in software" : ""}`));
    }
    return card;
  });
  $("cards").replaceChildren(...cards.filter(Boolean));
}

const classifier = () => catalog.models.find((model) => model.labels && model.preprocessing);

async function classifyImage(source) {
  const model = classifier(), { preprocessing, input } = model;
  try {
    const fed = await read(source, $("seen"), preprocessing, input.type);
    if (!worker || (provider !== "wasm" && !measuring)) startWorker();
    // What the camera sees keeps its last answer until the next one is there.
    if ($("result").hidden || $("video").hidden) $("answers").replaceChildren(element("li", "…"));
    $("result").hidden = false;
    worker.postMessage({ verb: "classify", model, data: fed.data, shape: fed.shape });
  } catch (error) {
    $("result").hidden = false;
    $("took").textContent = "";
    $("answers").replaceChildren(element("li", `This is not an image: ${error.message}`));
  }
}

async function camera() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } }).catch(() => null);
  if (!stream) return say("The browser does not allow the camera.");
  const video = $("video");
  video.srcObject = stream;
  video.hidden = false;
  await video.play();
  const look = async () => {
    if (!measuring) await classifyImage(video);
    if (!video.hidden) setTimeout(look, 500);
  };
  return look();
}

async function nextGroup() {
  const query = new URLSearchParams({ client: stored.client, device: stored.device });
  const next = await api(`/table?${query}`);
  showTable(next);
  if (next.finished) return;
  stored.group = next;
  worker.postMessage({ verb: "tableGroup", files: next.files, runs: catalog.settings.table_runs, burst: 2 });
}

function showTable({ done, all, finished, table }) {
  $("table-progress").value = done / all;
  $("table-state").textContent = finished ? `Done${table ? `: ${table}` : ""}.` : `${done} of ${all} groups`;
  if (finished) stored.table = false;
  store();
}

async function groupDone({ samples, hashes }) {
  const { sitting, group } = stored.group;
  const state = await api("/table/groups", {
    client: stored.client, device: stored.device, browser: browser(), threads: +$("threads").value, sitting, group,
    samples_ms: samples, sha256: hashes,
  });
  showTable(state);
  if (!state.finished) await nextGroup();
}

async function startTable() {
  stored.device = $("device").value.trim() || stored.device;
  stored.table = true;
  store();
  $("table-start").disabled = true;
  if (!worker || provider !== "wasm") startWorker();
  await nextGroup().catch((error) => HANDLERS.error({ verb: "table", reason: error.message }));
}

async function open() {
  try {
    catalog = await api("/catalog");
  } catch (error) {
    return say(`Open the whole address that the terminal shows: ${error.message}.`);
  }
  stored.device ??= await deviceName();
  $("device").value = stored.device;
  const isolated = globalThis.crossOriginIsolated === true;
  const most = isolated ? navigator.hardwareConcurrency || 1 : 1;
  for (const count of new Set([1, 2, 4, most])) if (count <= most) $("threads").add(new Option(count, count));
  const asked = stored.threads ?? catalog.settings.threads;
  $("threads").value = Math.min(asked, most);
  $("where").textContent = isolated ? "This page is secure and isolated, so it has threads and a fine clock."
    : "This page has one thread and a coarse clock, because it is not secure; several runs are timed together.";
  gpu = await findGpu();
  $("gpu").textContent = gpu.words;
  $("provider-label").hidden = !gpu.name;
  // A GPU of software is slower than the processor that it runs on.
  $("provider").value = stored.providers?.join(" ") ?? (gpu.name && !gpu.software ? "wasm webgpu" : "wasm");
  const model = classifier();
  $("picture-section").hidden = !model;
  if (model) {
    const names = model.labels.slice(0, 10).join(", ");
    $("picture-about").textContent = `${model.label}, ${model.labels.length} classes: ${names}.`;
  }
  $("camera").hidden = !(isSecureContext && navigator.mediaDevices);
  $("table-section").hidden = !catalog.table;
  $("start").onclick = () => { stored.posted = {}; stored.samples = {}; start(); };
  $("table-start").onclick = startTable;
  $("camera").onclick = camera;
  $("picture").onchange = ({ target }) => target.files[0] && classifyImage(target.files[0]);
  $("start").disabled = false;
  say("Ready.");
  showCards();
  store();
  if (stored.running) start();
  if (stored.table) await startTable();
  return undefined;
}

open();
