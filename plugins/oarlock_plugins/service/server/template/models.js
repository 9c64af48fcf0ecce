// The models, their versions and how fast they answer; asked for again every second while somebody looks.
let known = [];

function milliseconds(value) {
  return value === null ? "–" : `${value.toPrecision(3)} ms`;
}

function tensors(list) {
  return list.map((one) => `${one.name}: ${one.datatype} [rows${one.shape.slice(1).map((size) => `, ${size < 0 ? "any" : size}`).join("")}]`).join("; ");
}

function modelCard(model) {
  const tiles = make("dl", { class: "tiles" }, tile("serves", model.live === null ? "nothing" : `version ${model.live}`),
    tile("requests/s", show(Number(model.requests_per_second.toFixed(1)))), tile("p50", milliseconds(model.p50_ms)),
    tile("p99", milliseconds(model.p99_ms)), tile("waiting", String(model.waiting)));
  const versions = model.versions.map((one) => make("tr", {}, make("td", {}, String(one.version)),
    make("td", { class: `state ${one.state}` }, one.state), make("td", { class: "wrap" }, one.reason)));
  const head = make("tr", {}, ...["version", "state", ""].map((text) => make("th", { scope: "col" }, text)));
  const card = make("section", { "data-model": model.name }, make("h2", {}, model.name), tiles);
  if (model.live !== null) {
    card.append(make("p", {}, make("span", { class: "muted" }, "takes "), make("code", {}, tensors(model.inputs)),
      make("span", { class: "muted" }, " gives "), make("code", {}, tensors(model.outputs))));
    const metrics = Object.entries(model.metrics).map(([name, value]) => `${name} ${show(value)}`).join(", ");
    if (metrics) card.append(make("p", { class: "muted" }, metrics));
  }
  card.append(make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...versions))));
  return card;
}

async function look() {
  try {
    const status = await ask("/status");
    $("problem").hidden = $("token-form").hidden = true;
    const up = Math.round(status.now - status.started);
    $("server").textContent = `${status.ready ? "ready" : "not ready"} · ${status.engine} · up ${up} s · oarlock ${status.version}`;
    $("models").replaceChildren(...status.models.map(modelCard));
    if (!status.models.length) $("models").append(make("p", { class: "muted" }, "The folder has no model yet."));
    known = status.models.filter((model) => model.live !== null);
    offer();
  } catch (error) {
    $("token-form").hidden = error.status !== 401;
    $("problem").hidden = false;
    $("problem").textContent = error.status ? error.message : "the server does not answer";
  }
}

$("token-form").addEventListener("submit", (event) => { event.preventDefault(); token = $("token").value.trim(); look(); });
