"use strict";
// What all charts share: the data, the run that is marked, the text beside the pointer, drawing again in another width.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const place = new Map(); // of a run among the points
data.points.slice(0, data.ranked).forEach((point, index) => point.runs.forEach((run) => place.set(run, index)));
const best = data.ranked ? data.points[0].run : null;
let chosen = null;

function make(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "text", "circle", "rect", "title"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function shade(run) { // class and colour of a run, by its place
  const index = place.get(run);
  const mark = run === best && !data.single ? " best" : "";
  if (index === undefined) return { class: "" };
  const last = data.ranked - 1;
  return { class: " ranked" + mark, style: `--t:${last ? (1 - index / last).toFixed(3) : 1}` };
}

function crowd(element, count) { // the more lines, the fainter each
  element.style.setProperty("--faint", Math.max(0.12, Math.min(0.8, 30 / Math.max(1, count))).toFixed(2));
}

function choose(run) {
  chosen = run === chosen ? null : run;
  markChosen();
  document.dispatchEvent(new Event("chosen"));
}

function markChosen() {
  for (const element of document.querySelectorAll("[data-run]")) {
    element.classList.toggle("chosen", Number(element.dataset.run) === chosen);
  }
}

function hover(run) {
  for (const element of document.querySelectorAll(".hover")) element.classList.remove("hover");
  if (run === null) return;
  for (const element of document.querySelectorAll(`[data-run="${run}"]`)) element.classList.add("hover");
}

function tell(event, text) {
  const tip = $("tip");
  tip.hidden = text === null;
  if (text === null) return;
  tip.textContent = text;
  const room = document.documentElement.clientWidth;
  const left = Math.min(event.pageX + 14, room - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${event.pageY + 16}px`;
}

function about(run) {
  const point = data.points.find((one) => one.runs.includes(run));
  const one = data.runs[run];
  const lines = [one.name + (place.has(run) ? `, place ${place.get(run) + 1}` : `, ${one.status.replace("_", " ")}`)];
  if (point) {
    data.objectives.forEach(({ key }, index) => {
      const [mean, deviation] = point.found[index];
      lines.push(`${key} ${show(mean)}${deviation === null ? "" : ` ± ${show(deviation)}`}`);
    });
    for (const { key } of data.axes) if (point.values[key] !== null) lines.push(`${key}=${show(point.values[key])}`);
  }
  return lines.join("\n");
}

function show(value) {
  if (typeof value !== "number") return String(value);
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5)) {
    return value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return String(Number(value.toPrecision(5)));
}

function drawn(container, draw) { // and drawn again when there is more or less room
  let width = 0;
  const look = () => {
    const now = Math.floor(container.clientWidth);
    if (now === width || !now) return;
    width = now;
    container.replaceChildren(draw(width));
    markChosen();
  };
  new ResizeObserver(look).observe(container);
  look();
  return () => { width = 0; look(); };
}
