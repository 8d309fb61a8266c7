// Compares the networks: what is drawn, which keep the budget, and the table. No module, so that it also runs in a page
// that is opened as a file; run.js, which runs networks, is loaded only where the page comes from a host.
"use strict";

const HERE = "this browser, now";
const $ = (id) => document.getElementById(id);
const { entries, sets } = JSON.parse($("data").textContent);
const AXES = {
  latency: { title: "latency of one image, ms", of: (entry) => latencyOf(entry)?.p50 ?? null },
  macs: { title: "multiply-adds for one image, millions", of: (entry) => (entry.macs ? entry.macs / 1e6 : null) },
  bytes: { title: "file size, MB", of: (entry) => (entry.bytes ? entry.bytes / 1e6 : null) },
};

const latencyOf = (entry) => entry.latencies.find((one) => one.group === $("group").value) ?? null;
const pointOf = (entry) => entry.points.find((one) => one.set === $("set").value) ?? null;
const short = (value) => (value >= 100 ? value.toFixed(0) : +value.toPrecision(3));

function option(value, text = value) {
  return Object.assign(document.createElement("option"), { value, textContent: text });
}

// The measurements of networks with an accuracy on this data set; of all networks where there is none.
function groups() {
  const of = entries.filter((entry) => !sets.length || pointOf(entry));
  return [...new Set(of.flatMap((entry) => entry.latencies.map((one) => one.group)))];
}

function fillGroups(wanted = $("group").value) {
  const found = groups();
  $("group").replaceChildren(...(found.length ? found.map((group) => option(group)) : [option("", "no record of these")]));
  if (found.includes(wanted)) $("group").value = wanted;
}

// Why a network is not shown; null if it is. What is not known keeps no budget.
function keeps(entry) {
  const asked = [["most-latency", latencyOf(entry)?.p50], ["most-macs", entry.macs && entry.macs / 1e6],
    ["most-bytes", entry.bytes && entry.bytes / 1e6]];
  return asked.every(([id, got]) => {
    const most = $(id).value === "" ? NaN : Number($(id).value);
    return Number.isNaN(most) || (got !== null && got !== undefined && got <= most);
  });
}

function cell(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}

function latencyText(entry) {
  const one = latencyOf(entry);
  if (!one) return "no record";
  return `${short(one.p50)} ms${one.stable ? "" : ", UNSTABLE"}${one.same ? "" : " *"}`;
}

function row(entry) {
  const point = pointOf(entry), line = document.createElement("tr"), name = cell("th", "");
  name.scope = "row";
  name.append(Object.assign(document.createElement("a"), { href: `#card-${entry.id}`, textContent: entry.title }));
  line.append(name, cell("td", point ? `${short(point.top1)} %` : "not known"), cell("td", latencyText(entry)),
    cell("td", entry.macs ? `${short(entry.macs / 1e6)} M` : "not known"),
    cell("td", entry.bytes ? `${short(entry.bytes / 1e6)} MB` : "none"), cell("td", entry.bytes ? entry.precision : ""));
  return line;
}

function drawn(entry) {
  const x = AXES[$("axis").value].of(entry), point = pointOf(entry), one = latencyOf(entry);
  const timed = $("axis").value === "latency";
  return { id: entry.id, title: entry.title, x, xLow: timed ? one.low : null, xHigh: timed ? one.high : null,
    y: point.top1, yLow: point.low, yHigh: point.high, published: point.set.includes("published"),
    said: `${entry.title}: ${short(point.top1)} %, ${short(x)} ${AXES[$("axis").value].title.split(", ").at(-1)}` };
}

function caption(points, shown) {
  const told = [];
  if ($("set").value) told.push(`Top-1 accuracy on ${$("set").value}.`);
  if (points.some((point) => point.published)) told.push("Hollow points are figures of others, which nobody measured here.");
  if (points.length > 1) told.push("The dashed line joins the networks that no other beats in both.");
  if ($("axis").value === "latency" && $("group").value) told.push(`Latency: ${$("group").value}.`);
  if (shown.some((entry) => latencyOf(entry) && !latencyOf(entry).same)) {
    told.push("* measured on another file of this network; speed does not depend on the weights.");
  }
  if (!points.length) told.push("No network has both figures; choose another axis or other data.");
  return told.join(" ");
}

function show() {
  // Networks of other data are another question, and stand in the list of cards alone.
  const asked = entries.filter((entry) => !sets.length || pointOf(entry)), shown = asked.filter(keeps);
  const axis = AXES[$("axis").value];
  const points = shown.filter((entry) => pointOf(entry) && axis.of(entry)).map(drawn);
  const alt = `Accuracy against ${axis.title} of ${points.length} networks; the table below has the figures.`;
  scatter.draw($("scatter"), points, axis.title, alt);
  $("figure").hidden = !sets.length;
  $("caption").textContent = caption(points, shown);
  $("count").textContent = `${shown.length} of ${asked.length} networks${sets.length ? " with this data" : ""} are within the budget.`;
  $("rows").replaceChildren(...shown.map(row));
  for (const entry of entries) $(`card-${entry.id}`).hidden = !keeps(entry);
}

// What run.js measures in this browser becomes one more measurement to compare.
function measuredHere(id, { p50, low, high, stable }) {
  const entry = entries.find((one) => one.id === id);
  entry.latencies = [...entry.latencies.filter((one) => one.group !== HERE), { group: HERE, p50, low, high, stable, same: true }];
  const before = pointOf(entry) || !sets.length ? HERE : $("group").value;
  fillGroups(before);
  show();
}

function begin() {
  $("set").replaceChildren(...(sets.length ? sets.map((set) => option(set)) : [option("", "no accuracy is known")]));
  fillGroups();
  if (!groups().length) $("axis").value = entries.some((entry) => entry.macs) ? "macs" : "bytes";
  $("set").onchange = () => { fillGroups(); show(); };
  for (const id of ["axis", "group"]) $(id).onchange = show;
  const fields = ["most-latency", "most-macs", "most-bytes"];
  for (const id of fields) $(id).oninput = show;
  $("clear").onclick = () => { for (const id of fields) $(id).value = ""; show(); };
  new ResizeObserver(() => requestAnimationFrame(show)).observe(document.body);
  show();
  const hosted = location.protocol.startsWith("http");
  if ($("runner")) {
    $("no-host").hidden = hosted;
    $("runner").hidden = !hosted;
    if (hosted) import("./run.js").then((run) => run.begin(measuredHere));
  }
  for (const button of document.querySelectorAll("button.try")) {
    button.hidden = !hosted;
    button.onclick = () => {
      $("network").value = button.dataset.id;
      $("network").dispatchEvent(new Event("change"));
      $("try").scrollIntoView();
      $("image").focus({ preventScroll: true });
    };
  }
}

begin();
