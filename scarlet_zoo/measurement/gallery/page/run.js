// Runs a network on an image of the visitor's, and times it in this browser. The work is done by worker.js.

import { percentile, variation } from "./numbers.js";
import { read } from "./picture.js";

const $ = (id) => document.getElementById(id);
const SHOWN = 5;
const known = new Map();
let worker, waiting, image, tell, turn = 0;

const say = (text) => { $("state").textContent = text; };

async function facts(id) {
  if (!known.has(id)) {
    const answer = await fetch(`networks/${encodeURIComponent(id)}.json`);
    if (!answer.ok) throw new Error(`networks/${id}.json: ${answer.status}`);
    known.set(id, await answer.json());
  }
  return known.get(id);
}

// Asks the worker for one thing and waits for its answer; what was asked before is answered first.
let last = Promise.resolve();
function ask(message, transfer = []) {
  const next = last.then(() => new Promise((resolve, reject) => {
    waiting = { resolve, reject };
    worker.postMessage(message, transfer);
  }));
  last = next.catch(() => {});
  return next;
}

function element(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}

function shares(values, areProbabilities) {
  if (areProbabilities) return values;
  const most = Math.max(...values), weights = values.map((value) => Math.exp(value - most));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

// A file of TensorFlow's takes float32 (N, H, W, C).
function channelsLast({ data, shape: [, channels, height, width] }) {
  const turned = new Float32Array(data.length), count = height * width;
  for (let i = 0; i < count; i++) for (let c = 0; c < channels; c++) turned[i * channels + c] = data[c * count + i];
  return { data: turned, shape: [1, height, width, channels] };
}

async function classify() {
  if (!image) return;
  const id = $("network").value, own = ++turn;
  try {
    const model = await facts(id);
    $("grey").hidden = model.preprocessing.mean.length !== 1;
    let fed;
    try {
      // Nothing is guessed from the image, so that the answers are those of every other runtime.
      fed = await read(image, $("seen"), model.preprocessing, model.input.type, $("invert").checked);
    } catch (error) {
      throw new Error(`this is not an image that the browser opens (${error.message})`);
    }
    if (model.input.channels_last) fed = channelsLast(fed);
    if (own === turn) say(`Loading ${title(id)}, ${(model.bytes / 1e6).toFixed(1)} MB, and the runtime …`);
    const { values, ms } = await ask({ verb: "classify", id, model, ...fed });
    if (own === turn) showAnswers(id, model, shares(values, model.probabilities), ms);
  } catch (error) {
    if (own !== turn) return;
    $("result").hidden = true;
    say(`It did not work: ${error.message}`);
  }
}

const title = (id) => [...$("network").options].find((option) => option.value === id)?.textContent ?? id;

function showAnswers(id, model, found, ms) {
  const best = found.map((share, index) => [share, index]).sort((a, b) => b[0] - a[0]).slice(0, SHOWN);
  $("answers").replaceChildren(...best.map(([share, index]) => {
    const line = document.createElement("li"), meter = element("meter", "");
    Object.assign(meter, { min: 0, max: 1, value: share });
    meter.setAttribute("aria-hidden", "true");
    line.append(element("span", model.labels[index] ?? `class ${index}`), element("span", `${(100 * share).toFixed(1)} %`), meter);
    return line;
  }));
  $("took").textContent = `${title(id)}: ${ms.toPrecision(3)} ms in this browser, once.`;
  $("result").hidden = false;
  const [share, index] = best[0];
  say(`${model.labels[index] ?? `class ${index}`}, ${(100 * share).toFixed(1)} %.`);
}

async function time() {
  const id = $("network").value;
  $("time").disabled = true;
  say(`Timing ${title(id)} …`);
  try {
    const { samples, runs } = await ask({ verb: "time", id, model: await facts(id) });
    const p50 = percentile(samples, 0.5), stable = variation(samples) <= 0.05;
    tell(id, { p50, low: null, high: null, stable });
    say(`${title(id)}: ${p50.toPrecision(3)} ms, the median of ${samples.length} samples of ${runs} run${runs > 1 ? "s" : ""}` +
      ` (middle half ${percentile(samples, 0.25).toPrecision(3)} to ${percentile(samples, 0.75).toPrecision(3)} ms)` +
      `${stable ? "" : "; UNSTABLE, they vary by more than 5 %"}. It is in the plot, as measured on “this browser, now”.`);
  } catch (error) {
    say(`It did not work: ${error.message}`);
  }
  $("time").disabled = false;
}

function take(files) {
  const file = [...files].find((one) => one.type.startsWith("image/")) ?? files[0];
  if (!file) return say("That was no file. Drop an image from a folder.");
  image = file;
  return classify();
}

export function begin(measuredHere) {
  tell = measuredHere;
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => (data.error ? waiting.reject(new Error(data.error)) : waiting.resolve(data));
  worker.onerror = (event) => waiting?.reject(new Error(event.message || "the runtime could not be loaded"));
  $("image").onchange = ({ target }) => target.files.length && take(target.files);
  $("network").onchange = classify;
  $("invert").onchange = classify;
  $("time").onclick = time;
  const drop = $("drop");
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files); });
  // A file that is dropped beside the field would replace the page.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
}
