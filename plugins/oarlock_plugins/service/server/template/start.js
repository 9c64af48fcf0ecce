"use strict";
// What the parts share: elements, requests with the token, numbers as people read them.
const $ = (id) => document.getElementById(id);
let token = ""; // kept nowhere but here

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

async function ask(path, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, body === undefined ? { headers } : { method: "POST", body: JSON.stringify(body), headers });
  const text = await answer.text();
  let found;
  try { found = JSON.parse(text); } catch { found = { error: text.slice(0, 200) }; }
  if (answer.ok) return found;
  const error = new Error(found.error || `status ${answer.status}`);
  error.status = answer.status;
  error.id = answer.headers.get("X-Request-Id");
  throw error;
}

function show(value) {
  if (typeof value !== "number") return String(value);
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(3).replace("e+", "e");
  return String(Number(value.toPrecision(5)));
}

function tile(name, value) {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value));
}
