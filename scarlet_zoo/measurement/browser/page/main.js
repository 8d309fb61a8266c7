// The page: asks the worker, shows what it finds, sends it back, and remembers it over a reload.

import { colour, draw } from "/page/chart.js";
import { percentile, timerStep, variation } from "/page/numbers.js";
import { read } from "/page/picture.js";

const $ = (id) => document.getElementById(id);
const token = (location.hash.slice(1) || sessionStorage.token) ?? "";
const kept = JSON.parse(sessionStorage.kept ?? "{}");
kept.client ??= [...crypto.getRandomValues(new Uint8Array(16))].map((v) => v.toString(16).padStart(2, "0")).join("");
kept.samples ??= {};
kept.posted ??= {};
const keep = () => { sessionStorage.kept = JSON.stringify(kept); };
sessionStorage.token = token;

let catalog, worker, measuring = false, posting = Promise.resolve();

async function api(path, body) {
  const headers = { Authorization: `Bearer ${token}`, "X-Client": kept.client };
  const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? answer.statusText);
  return told;
}

const browser = () => ({
  user_agent: navigator.userAgent.slice(0, 400), cores: navigator.hardwareConcurrency || 1,
  platform: (navigator.userAgentData?.platform || navigator.platform || "unknown").slice(0, 80),
  secure_context: isSecureContext, cross_origin_isolated: globalThis.crossOriginIsolated === true,
  timer_ms: Math.min(timerStep(), 100), hash: globalThis.crypto?.subtle ? "subtle" : "script",
});

async function deviceName() {
  const hints = await navigator.userAgentData?.getHighEntropyValues?.(["model"]).catch(() => null);
  const system = navigator.userAgent.match(/\(([^;)]+;?[^;)]*)/)?.[1] ?? "device";
  return (hints?.model || system).replace(/[/\\]/g, " ").slice(0, 60);
}

const say = (text) => { $("state").textContent = text; };

function startWorker() {
  worker?.terminate();
  worker = new Worker("/page/worker.js", { type: "module" });
  worker.onmessage = ({ data }) => HANDLERS[data.kind](data);
  worker.onerror = (event) => HANDLERS.error({ verb: "worker", reason: event.message });
  worker.postMessage({ verb: "begin", token, client: kept.client, threads: +$("threads").value });
}

function start() {
  kept.device = $("device").value.trim() || kept.device;
  kept.threads = +$("threads").value;
  kept.running = measuring = true;
  keep();
  $("start").disabled = true;
  startWorker();
  const models = catalog.models.filter((model) => model.measured && !kept.posted[model.id]);
  worker.postMessage({ verb: "measure", models, settings: catalog.settings, known: kept.samples });
}

const HANDLERS = {
  state: ({ text }) => say(text),
  samples({ model, samples, openings, per, done }) {
    kept.samples[model] = { samples, openings, per };
    keep();
    $("progress").value = done;
    say(`Measuring, ${Math.round(100 * done)} %`);
    draw($("chart"), catalog.models.filter((m) => m.measured).map((m) => kept.samples[m.id]?.samples ?? []));
  },
  failed({ model, reason }) {
    kept.posted[model] = { failed: reason };
    keep();
    showCards();
  },
  measured(told) {
    posting = posting.then(() => postRecord(told));
  },
  async done() {
    await posting;
    measuring = kept.running = false;
    $("progress").value = 1;
    $("start").textContent = "Measure again";
    $("start").disabled = false;
    say("Done.");
    keep();
  },
  error({ verb, reason }) {
    say(`${verb}: ${reason}`);
    measuring = kept.running = false;
    keep();
    $("start").disabled = $("table-start").disabled = false;
  },
  classes({ logits }) {
    const model = classifier();
    const most = Math.max(...logits), weights = logits.map((value) => Math.exp(value - most));
    const total = weights.reduce((sum, value) => sum + value, 0);
    const best = weights.map((weight, i) => [weight / total, i]).sort((a, b) => b[0] - a[0]).slice(0, 3);
    $("answers").replaceChildren(...best.map(([share, i]) => element("li",
      `${model.labels?.[i] ?? `class ${i}`}, ${(100 * share).toFixed(1)} %`)));
  },
  group: (told) => groupDone(told),
};

async function postRecord(told) {
  const { settings } = catalog;
  try {
    const answer = await api("/records", {
      client: kept.client, device: kept.device, model: told.model, sha256: told.hash, golden_error: told.error,
      load_ms: told.loadMs, first_ms: told.firstMs, samples_ms: told.samples, opening_of_sample: told.openings,
      browser: browser(), method: {
        threads: kept.threads, warmup: settings.warmup, burst: settings.burst, runs: settings.runs,
        seconds: settings.seconds, runs_per_sample: told.per, openings: told.openings.at(-1) + 1,
      },
    });
    kept.posted[told.model] = { device: answer.device };
  } catch (error) {
    kept.posted[told.model] = { failed: `not taken: ${error.message}` };
  }
  keep();
  showCards();
}

function element(tag, text, name = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = name;
  return made;
}

function showCards() {
  const cards = catalog.models.filter((model) => model.measured && kept.posted[model.id]).map((model) => {
    const { failed, device } = kept.posted[model.id], own = kept.samples[model.id]?.samples ?? [];
    const card = element("article", "", failed ? "card bad" : "card");
    const title = element("h3", model.label);
    title.style.setProperty("color", colour(catalog.models.indexOf(model)));
    card.append(title);
    if (failed) {
      card.append(element("p", failed));
      return card;
    }
    const cv = variation(own);
    card.append(element("p", `${percentile(own, 0.5).toPrecision(4)} ms`, "big"), element("p",
      `90 % of runs in ${percentile(own, 0.9).toPrecision(4)} ms, fastest ${Math.min(...own).toPrecision(4)} ms; ` +
      `${own.length} samples, variation ${(100 * cv).toFixed(1)} %${cv > 0.05 ? ", unstable" : ""}`),
    element("p", `${model.precision}, ${model.form}; ${kept.threads} thread${kept.threads > 1 ? "s" : ""}; kept as ${device}`));
    return card;
  });
  $("cards").replaceChildren(...cards);
}

const classifier = () => catalog.models.find((model) => model.labels && model.preprocessing);

async function classifyPicture(source) {
  const model = classifier(), { preprocessing, input } = model;
  try {
    const fed = await read(source, $("seen"), preprocessing, input.type);
    $("seen").hidden = false;
    if (!worker) startWorker();
    $("answers").replaceChildren(element("li", "…"));
    worker.postMessage({ verb: "classify", model, data: fed.data, shape: fed.shape });
  } catch (error) {
    $("answers").replaceChildren(element("li", `this is no picture: ${error.message}`));
  }
}

async function camera() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } }).catch(() => null);
  if (!stream) return say("The camera is not allowed.");
  const video = $("video");
  video.srcObject = stream;
  video.hidden = false;
  await video.play();
  const look = async () => {
    if (!measuring) await classifyPicture(video);
    if (!video.hidden) setTimeout(look, 500);
  };
  return look();
}

async function nextGroup() {
  const query = new URLSearchParams({ client: kept.client, device: kept.device });
  const next = await api(`/table?${query}`);
  showTable(next);
  if (next.finished) return;
  kept.group = next;
  worker.postMessage({ verb: "tableGroup", files: next.files, runs: catalog.settings.table_runs, burst: 2 });
}

function showTable({ done, all, finished, table }) {
  $("table-progress").value = done / all;
  $("table-state").textContent = finished ? `Done${table ? `: ${table}` : ""}.` : `${done} of ${all} groups`;
  if (finished) kept.table = false;
  keep();
}

async function groupDone({ samples, hashes }) {
  const { sitting, group } = kept.group;
  const told = await api("/table/groups", {
    client: kept.client, device: kept.device, browser: browser(), threads: +$("threads").value, sitting, group,
    samples_ms: samples, sha256: hashes,
  });
  showTable(told);
  if (!told.finished) await nextGroup();
}

async function startTable() {
  kept.device = $("device").value.trim() || kept.device;
  kept.table = true;
  keep();
  $("table-start").disabled = true;
  if (!worker) startWorker();
  await nextGroup().catch((error) => HANDLERS.error({ verb: "table", reason: error.message }));
}

async function open() {
  try {
    catalog = await api("/catalog");
  } catch (error) {
    return say(`This page needs the address that the terminal shows, whole: ${error.message}.`);
  }
  kept.device ??= await deviceName();
  $("device").value = kept.device;
  const isolated = globalThis.crossOriginIsolated === true;
  const most = isolated ? navigator.hardwareConcurrency || 1 : 1;
  for (const count of new Set([1, 2, 4, most])) if (count <= most) $("threads").add(new Option(count, count));
  const asked = kept.threads ?? catalog.settings.threads;
  $("threads").value = Math.min(asked, most);
  $("where").textContent = isolated ? "Secure and isolated: threads and a fine clock."
    : "Plain http: one thread, and a coarse clock, so several runs are timed at once.";
  const model = classifier();
  $("picture-section").hidden = !model;
  if (model) $("picture-about").textContent = `${model.label}, ${model.labels.length} classes: ${model.labels.slice(0, 10).join(", ")}.`;
  $("camera").hidden = !(isSecureContext && navigator.mediaDevices);
  $("table-section").hidden = !catalog.table;
  $("start").onclick = () => { kept.posted = {}; kept.samples = {}; start(); };
  $("table-start").onclick = startTable;
  $("camera").onclick = camera;
  $("picture").onchange = ({ target }) => target.files[0] && classifyPicture(target.files[0]);
  $("start").disabled = false;
  say("Ready.");
  showCards();
  keep();
  if (kept.running) start();
  if (kept.table) await startTable();
  return undefined;
}

open();
